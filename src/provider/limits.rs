//! What providers say is left of their limits, in the headers of any answer.
//!
//! | who | how |
//! | --- | --- |
//! | OpenAI's way, and most | `x-ratelimit-{limit,remaining,reset}-RESOURCE`, resets as `12ms`, `1m3.5s`, seconds |
//! | Anthropic's way | `anthropic-ratelimit-RESOURCE-{limit,remaining,reset}`, resets in RFC 3339 |
//! | Azure OpenAI | with `x-ratelimit-renewalperiod-RESOURCE`: its resets are milliseconds (recorded ones are) |
//! | others | `x-ratelimit-…` and `ratelimit-…` without a resource (requests), moments since 1970 |
//!
//! Promises one pass over the names and no allocation. Does not judge: what follows from a limit is
//! the policy's.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Headers;
use crate::job::caps::DURATION_MS_MAX;
use crate::job::{Limits, Timestamp, Window};

/// What is limited, as headers name it; the first few are requests.
const RESOURCES: [&str; 16] = [
    "",
    "requests",
    "requests-day",
    "requests-minute",
    "req-minute",
    "req-10-second",
    "tokens",
    "tokens-minute",
    "tokens-day",
    "tokens-month",
    "tokens-prompt",
    "tokens-generated",
    "tokens_usage_based",
    "input-tokens",
    "output-tokens",
    // Mistral's older word for tokens.
    "bysize",
];
/// How many of [`RESOURCES`] are requests.
const OF_REQUESTS: usize = 6;
/// Above this a plain number is seconds since 1970 rather than a wait: 31 years.
const EPOCH_S_MIN: f64 = 1e9;
/// Above this it is milliseconds since 1970.
const EPOCH_MS_MIN: f64 = 1e12;

/// What the headers say about one resource.
#[derive(Clone, Copy, Default)]
struct RawLimit<'a> {
    limit: Option<&'a str>,
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
    has_period: bool,
}

/// What is left by `headers`, which came at `now`; nothing if they do not speak of it. Of several
/// limits of a kind, the one with the least left; a reset that is not told is now.
#[must_use]
pub fn read(headers: &Headers, now: Timestamp) -> Option<Limits> {
    let mut raw = [RawLimit::default(); RESOURCES.len()];
    let mut any = false;
    for (name, value) in headers {
        let Some((resource, field)) = parts(name.as_str()) else { continue };
        let Some(at) = RESOURCES.iter().position(|known| *known == resource) else { continue };
        let value = value.to_str().ok().map(str::trim);
        match field {
            "limit" => raw[at].limit = value,
            "remaining" => {
                raw[at].remaining = value;
                any |= value.is_some();
            }
            "reset" => raw[at].reset = value,
            _ => raw[at].has_period = true,
        }
    }
    if !any {
        return None;
    }
    let now = Received { ours: now, headers };
    let least = |raw: &[RawLimit<'_>]| {
        let windows = raw.iter().filter_map(|raw| raw.window(&now));
        windows.min_by_key(|window| (window.remaining, std::cmp::Reverse(window.reset_ms)))
    };
    let limits = Limits { requests: least(&raw[..OF_REQUESTS]), tokens: least(&raw[OF_REQUESTS..]) };
    (limits != Limits::default()).then_some(limits)
}

/// The resource and the field that a header's name speaks of.
fn parts(name: &str) -> Option<(&str, &str)> {
    const FIELDS: [&str; 4] = ["limit", "remaining", "reset", "renewalperiod"];
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        return rest.rsplit_once('-').filter(|(_, field)| FIELDS.contains(field));
    }
    let rest = name.strip_prefix("x-").unwrap_or(name).strip_prefix("ratelimit")?;
    let (resource, rest) = match rest.strip_prefix("bysize-") {
        Some(rest) => (Some("bysize"), rest),
        None => (None, rest.strip_prefix('-')?),
    };
    let (field, after) = rest.split_once('-').unwrap_or((rest, ""));
    FIELDS.contains(&field).then_some((resource.unwrap_or(after), field))
}

impl RawLimit<'_> {
    /// Nothing where nothing is left to count, or nothing is limited: `-1`.
    fn window(&self, now: &Received<'_>) -> Option<Window> {
        let limit = self.limit.map(number);
        if limit.is_some_and(|limit| limit.is_some_and(|limit| limit < 0.0)) {
            return None;
        }
        let remaining = number(self.remaining?)?;
        if remaining < 0.0 && limit.is_none() {
            return None;
        }
        let reset_ms = self.reset.and_then(|reset| wait_ms(reset, self.has_period, now));
        Some(Window {
            limit: limit.flatten().map(|limit| limit as u64),
            remaining: remaining.max(0.0) as u64,
            reset_ms: reset_ms.unwrap_or(0),
        })
    }
}

/// The number that `text` starts with: some say `100, 100;w=60`.
fn number(text: &str) -> Option<f64> {
    let end = text.find([',', ';', ' ']).unwrap_or(text.len());
    text[..end].parse().ok().filter(|number: &f64| number.is_finite())
}

/// Milliseconds until a reset that is said in any of the ways above.
fn wait_ms(reset: &str, is_ms: bool, now: &Received<'_>) -> Option<u64> {
    let ms = match number(reset) {
        Some(at) if at >= EPOCH_MS_MIN => at - now.ms(),
        Some(at) if at >= EPOCH_S_MIN => at * 1000.0 - now.ms(),
        Some(ms) if is_ms => ms,
        Some(seconds) => seconds * 1000.0,
        None => match duration_ms(reset) {
            Some(ms) => ms,
            None => Timestamp::parse(reset)?.0 as f64 - now.ms(),
        },
    };
    Some((ms.max(0.0).ceil() as u64).min(DURATION_MS_MAX))
}

/// `1h2m3.5s`, `17m16.8s`, `12ms`, `0s`.
fn duration_ms(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("ms", 1.0),
        ("us", 1e-3),
        ("µs", 1e-3),
        ("ns", 1e-6),
        ("d", 86_400_000.0),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1000.0),
    ];
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        let (unit, ms) = UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
        total += count * ms;
        rest = &rest[digits + unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// The moment that a reset counts from: the answer's own `date`, so that a clock of ours that is wrong
/// does no harm, else ours.
struct Received<'a> {
    ours: Timestamp,
    headers: &'a Headers,
}

impl Received<'_> {
    fn ms(&self) -> f64 {
        let date = self.headers.get("date").and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        theirs.map_or(self.ours.0 as f64, |date| date.unix_timestamp() as f64 * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_255_200_000); // 2026-11-21T10:00:00Z

    fn window(limit: Option<u64>, remaining: u64, reset_ms: u64) -> Option<Window> {
        Some(Window { limit, remaining, reset_ms })
    }

    fn check(headers: &[(&'static str, &str)], requests: Option<Window>, tokens: Option<Window>) {
        let mut map = Headers::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let expected = (requests.is_some() || tokens.is_some()).then_some(Limits { requests, tokens });
        assert_eq!(read(&map, NOW), expected, "{headers:?}");
    }

    #[test]
    fn what_is_left_is_understood_however_a_provider_names_it() {
        check(
            &[
                ("x-ratelimit-limit-requests", "500"),
                ("x-ratelimit-remaining-requests", "499"),
                ("x-ratelimit-reset-requests", "120ms"),
                ("x-ratelimit-limit-tokens", "200000"),
                ("x-ratelimit-remaining-tokens", "199214"),
                ("x-ratelimit-reset-tokens", "1m3.5s"),
                ("x-ratelimit-remaining-input-images", "0"),
            ],
            window(Some(500), 499, 120),
            window(Some(200_000), 199_214, 63_500),
        );
        // Anthropic: of several limits of tokens, the one with the least left.
        check(
            &[
                ("anthropic-ratelimit-requests-limit", "4000"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-21T10:00:30Z"),
                ("anthropic-ratelimit-input-tokens-remaining", "2000000"),
                ("anthropic-ratelimit-output-tokens-limit", "400000"),
                ("anthropic-ratelimit-output-tokens-remaining", "1000"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-11-21T09:59:59Z"),
            ],
            window(Some(4000), 0, 30_000),
            window(Some(400_000), 1000, 0),
        );
        // Cerebras: a day's requests, a minute's tokens, seconds with a fraction.
        check(
            &[
                ("x-ratelimit-remaining-requests-day", "1439999"),
                ("x-ratelimit-reset-requests-day", "24482.5664"),
                ("x-ratelimit-remaining-tokens-minute", "999742"),
                ("x-ratelimit-reset-tokens-minute", "2.5"),
            ],
            window(None, 1_439_999, 24_482_567),
            window(None, 999_742, 2500),
        );
        // Mistral and xAI tell no reset; Fireworks counts what goes in and what comes out.
        check(
            &[
                ("x-ratelimit-limit-req-minute", "360"),
                ("x-ratelimit-remaining-req-minute", "352"),
                ("x-ratelimit-remaining-tokens-minute", "199533"),
                ("x-ratelimit-tokens-query-cost", "210"),
                ("x-ratelimit-remaining-tokens-month", "5"),
            ],
            window(Some(360), 352, 0),
            window(None, 5, 0),
        );
        check(
            &[
                ("x-ratelimit-remaining-tokens-prompt", "59925"),
                ("x-ratelimit-remaining-tokens-generated", "12000"),
                ("x-ratelimit-over-limit", "no"),
            ],
            None,
            window(None, 12_000, 0),
        );
        // Azure with its renewal period: milliseconds. Nothing is limited where it says -1.
        check(
            &[
                ("x-ratelimit-limit-requests", "120"),
                ("x-ratelimit-remaining-requests", "119"),
                ("x-ratelimit-reset-requests", "500"),
                ("x-ratelimit-renewalperiod-requests", "60"),
                ("x-ratelimit-limit-tokens", "-1"),
                ("x-ratelimit-remaining-tokens", "-1"),
                ("x-ratelimit-reset-tokens", "0"),
            ],
            window(Some(120), 119, 500),
            None,
        );
        check(&[("ratelimitbysize-remaining", "7"), ("ratelimitbysize-reset", "3")], None, window(None, 7, 3000));
    }

    #[test]
    fn limits_without_a_resource_are_of_requests() {
        for (limit, reset, expected) in [
            ("2", "2", 2000),
            ("2, 2;w=1", "2", 2000),
            ("2", "1795255203", 3000),
            ("2", "1795255203500", 3500),
            ("2", "1795255100", 0),
        ] {
            let of = |names: [&'static str; 3]| {
                check(
                    &[(names[0], limit), (names[1], "1"), (names[2], reset), ("x-ratelimit", "false")],
                    window(Some(2), 1, expected),
                    None,
                );
            };
            of(["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]);
            of(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]);
        }
    }

    #[test]
    fn a_reset_is_a_wait_in_every_form() {
        for (reset, expected) in [
            ("12ms", 12),
            ("0s", 0),
            ("6.56s", 6560),
            ("17m16.8s", 1_036_800),
            ("1h2m", 3_720_000),
            ("0.5ms", 1),
            ("2d", DURATION_MS_MAX),
            ("1e300", DURATION_MS_MAX),
            ("2026-11-21T10:00:01Z", 1000),
            // What makes no sense is not told.
            ("soon", 0),
            ("", 0),
            ("5", 5000),
            ("-5", 0),
            ("5x", 0),
            ("NaN", 0),
            ("inf", 0),
        ] {
            check(
                &[("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-reset-tokens", reset)],
                None,
                window(None, 9, expected),
            );
        }
    }

    #[test]
    fn a_date_counts_from_the_answers_own_clock() {
        check(
            &[
                ("date", "Tue, 20 Jan 2026 22:25:57 GMT"),
                ("anthropic-ratelimit-requests-remaining", "3"),
                ("anthropic-ratelimit-requests-reset", "2026-01-20T22:26:00Z"),
            ],
            window(None, 3, 3000),
            None,
        );
    }

    #[test]
    fn who_says_nothing_of_limits_has_told_none() {
        for headers in [
            &[][..],
            &[("x-ratelimit-limit-requests", "5"), ("x-ratelimit-reset-requests", "1s")],
            &[("x-ratelimit-remaining-requests", "many")],
            &[("x-ratelimit-remaining-requests", "-1")],
            &[("x-ratelimit-remaining-images", "1")],
            &[("x-ratelimitation", "1"), ("ratelimit", "1"), ("anthropic-ratelimit-", "1"), ("retry-after", "2")],
        ] {
            check(headers, None, None);
        }
        // Over the limit is nothing left.
        check(
            &[("x-ratelimit-limit-requests", "5"), ("x-ratelimit-remaining-requests", "-2")],
            window(Some(5), 0, 0),
            None,
        );
    }
}
