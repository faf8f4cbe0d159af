//! What a model is called everywhere, made of what one provider calls it.
//!
//! | from | to |
//! | --- | --- |
//! | `claude-sonnet-4.5`, `claude_sonnet_4_5`, `Claude-Sonnet-4-5-latest` | `claude-sonnet-4-5` |
//! | `claude-sonnet-4-5@20250929`, `…-2025-09-29`, `command-a-03-2025` | the same, and the date |
//! | `us.anthropic.claude-sonnet-4-5-20250929-v1:0` at Bedrock | the same, and the date |
//! | `accounts/fireworks/models/kimi-k2p7-code`, `@cf/meta/x`, `meta-llama/x` | `kimi-k2-7-code`, `x`, `x` |
//!
//! Anything else is part of the name: `:free`, `-fast`, `:70b`, `-0905`.

use std::borrow::Cow;

use super::provider::{IdForm, facts};

/// A name without its date, and the date as a number (20250929; 202503 where there is no day; 0 =
/// none).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name<'a> {
    /// Lower case, with dashes only.
    pub base: Cow<'a, str>,
    /// Date as a number.
    pub date: u32,
}

/// Prefixes that Bedrock puts before an id for a place; the last is chosen where the job names none.
const PLACES: &[&str] = &["us-gov", "ca", "in", "au", "jp", "apac", "eu", "us", "", "global"];
/// Makers whose models Bedrock serves, as its ids name them.
const MAKERS: &[&str] = &[
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];

impl Name<'_> {
    /// Returns the name that the provider's `id` has everywhere.
    #[must_use]
    pub fn of<'a>(provider: &str, id: &'a str) -> Name<'a> {
        let form = facts(provider).ids;
        let id = match form {
            IdForm::Bedrock => of_bedrock(id),
            IdForm::Whole => Cow::Borrowed(id),
            IdForm::Plain | IdForm::PlainWithP => Cow::Borrowed(without_folders(id)),
        };
        let (mut base, mut date) = (spelled(&id, form == IdForm::PlainWithP), 0);
        for end in ["-latest", "-default"] {
            if let Some(rest) = base.strip_suffix(end).filter(|rest| !rest.is_empty()) {
                base.truncate(rest.len());
            }
        }
        if let Some((end, found)) = date_of(&base) {
            base.truncate(end);
            date = found;
        }
        // An id that is its own name stays where it is.
        let base = match id {
            Cow::Borrowed(id) if id == base => Cow::Borrowed(id),
            _ => Cow::Owned(base),
        };
        Name { base, date }
    }
}

/// Returns the place that an id at Bedrock is for (empty = where the request goes); none for a bare name,
/// and for every other provider.
pub(super) fn place_of(provider: &str, id: &str) -> Option<&'static str> {
    if facts(provider).ids != IdForm::Bedrock {
        return None;
    }
    let place = id.split_once('.').and_then(|(first, _)| PLACES.iter().find(|place| **place == first));
    place.copied().or_else(|| maker_of(id).map(|_| ""))
}

/// Returns the preference of a place: the highest is chosen.
pub(super) fn preference(place: &str) -> usize {
    PLACES.iter().position(|known| *known == place).unwrap_or(0)
}

/// Returns the maker that an id at Bedrock names.
pub(super) fn maker_of(id: &str) -> Option<&str> {
    let rest = id.split_once('.').filter(|(first, _)| PLACES.contains(first)).map_or(id, |(_, rest)| rest);
    rest.split_once('.').map(|(maker, _)| maker).filter(|maker| MAKERS.contains(maker))
}

fn of_bedrock(id: &str) -> Cow<'_, str> {
    let rest = id.split_once('.').filter(|(first, _)| PLACES.contains(first)).map_or(id, |(_, rest)| rest);
    let (maker, model) = rest.split_once('.').filter(|(maker, _)| MAKERS.contains(maker)).unwrap_or(("", rest));
    let model = match model.rsplit_once(':') {
        Some((model, version)) if is_number(version) => model.strip_suffix("-1").unwrap_or(model),
        _ => model,
    };
    // `-v1` is Bedrock's own; in `nova-pro-v1` or `claude-v2` it is all that says which one is meant.
    let model = match model.rsplit_once("-v") {
        Some((rest, version)) if is_number(version) && rest.bytes().any(|byte| byte.is_ascii_digit()) => rest,
        _ => model,
    };
    if maker == "deepseek" { format!("deepseek-{model}").into() } else { model.into() }
}

/// The id without the folders of its maker.
fn without_folders(id: &str) -> &str {
    let id = id.strip_prefix("@cf/").unwrap_or(id);
    if let Some(rest) = id.strip_prefix("accounts/") {
        return rest.splitn(3, '/').nth(2).unwrap_or(id);
    }
    id.split_once('/').map_or(id, |(_, rest)| rest)
}

/// Lower case, one kind of separator; `p` between digits is a point at Fireworks.
fn spelled(id: &str, has_p: bool) -> String {
    let bytes = id.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let letter = |(at, c): (usize, char)| match c {
        '.' | '_' | '@' => '-',
        'p' if has_p && digit(at.checked_sub(1)) && digit(Some(at + 1)) => '-',
        c => c.to_ascii_lowercase(),
    };
    id.char_indices().map(letter).collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where a name's date begins, and the date.
fn date_of(name: &str) -> Option<(usize, u32)> {
    let mut parts = name.rsplit('-');
    let (last, before, first) = (parts.next()?, parts.next()?, parts.next().unwrap_or(""));
    let number = |text: &str, digits: usize, range: std::ops::RangeInclusive<u32>| {
        let number = text.parse().ok().filter(|number| range.contains(number))?;
        (text.len() == digits && is_number(text)).then_some(number)
    };
    let year = 2019..=2099;
    if let Some(date) = number(last, 8, 20_190_101..=20_991_231) {
        return Some((name.len() - 9, date));
    }
    if let (Some(year), Some(month), Some(day)) =
        (number(first, 4, year.clone()), number(before, 2, 1..=12), number(last, 2, 1..=31))
    {
        return (name.len() > 11).then(|| (name.len() - 11, year * 10_000 + month * 100 + day));
    }
    if let (Some(month), Some(year)) = (number(before, 2, 1..=12), number(last, 4, year)) {
        return (name.len() > 8).then(|| (name.len() - 8, year * 100 + month));
    }
    None
}
