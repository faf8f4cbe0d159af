//! What the catalog knows of a provider: its place in the order of preference, how its ids are read.
//!
//! Owns `providers.tsv`. A provider that has no line there is plain and comes last, so that a new one needs none.

use std::sync::LazyLock;

/// How a provider's id is read as a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IdForm {
    /// The folders before it are cut.
    Plain,
    /// A place and a maker stand before it, as at Amazon Bedrock.
    Bedrock,
    /// As [`IdForm::Plain`], with `p` for a point between digits, as at Fireworks.
    PlainWithP,
    /// The id is taken without a change.
    Whole,
}

/// What the catalog knows of one provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Place in the order of preference; the first is the lowest.
    pub(super) rank: u32,
    /// How its ids are read.
    pub(super) ids: IdForm,
    /// Whether every answer has a fee for its search, which the catalog has no price for.
    pub(super) has_search_fee: bool,
}

/// Facts of a provider that has no line in the file.
const PLAIN: Facts = Facts { rank: u32::MAX, ids: IdForm::Plain, has_search_fee: false };

static FACTS: LazyLock<Vec<(&'static str, Facts)>> = LazyLock::new(|| {
    let lines = include_str!("providers.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(read).collect()
});

/// Returns what is known of the provider of that kind.
pub(super) fn facts(provider: &str) -> Facts {
    FACTS.iter().find(|(known, _)| *known == provider).map_or(PLAIN, |(_, facts)| *facts)
}

fn read(line: &'static str) -> Option<(&'static str, Facts)> {
    let mut fields = line.split('\t');
    let (provider, rank, ids) = (fields.next()?, fields.next()?, fields.next()?);
    let ids = match ids {
        "plain" => IdForm::Plain,
        "bedrock" => IdForm::Bedrock,
        "plain-p" => IdForm::PlainWithP,
        "whole" => IdForm::Whole,
        _ => return None,
    };
    let rank = if rank.is_empty() { PLAIN.rank } else { rank.parse().ok()? };
    Some((provider, Facts { rank, ids, has_search_fee: fields.next() == Some("search") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_read_and_every_provider_has_models() {
        let text = include_str!("providers.tsv");
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(FACTS.len(), lines);
        for (at, (provider, _)) in FACTS.iter().enumerate() {
            assert!(FACTS[..at].iter().all(|(other, _)| other != provider), "{provider} stands twice");
            assert!(crate::catalog::all().iter().any(|entry| entry.provider == *provider), "{provider} has no model");
        }
        assert_eq!(facts("openai").rank, 1);
        assert_eq!(facts("not-in-the-file"), PLAIN);
    }
}
