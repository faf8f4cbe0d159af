//! The guides: what users, operators and contributors read.
//!
//! Owns the one list of guides, from which rustdoc, `forebay help` and `forebay help TOPIC` are made. Promises that each
//! Markdown file of this folder is in it. Links between guides have the form that repositories follow (`idempotency.md`);
//! in these pages the list of modules below leads to the same places.

/// One guide: its topic and its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guide {
    /// The topic, as `forebay help TOPIC` takes it: the name of its file.
    pub name: &'static str,
    /// The whole text, in Markdown.
    pub text: &'static str,
}

macro_rules! guides {
    ($($module:ident $name:literal)*) => {
        $(
            #[doc = include_str!(concat!($name, ".md"))]
            pub mod $module {}
        )*

        /// Every guide, in the order in which a newcomer reads them.
        pub const ALL: &[Guide] = &[$(Guide { name: $name, text: include_str!(concat!($name, ".md")) },)*];
    };
}

guides! {
    quickstart "quickstart"
    http "http"
    websocket "websocket"
    nats "nats"
    openai "openai"
    anthropic "anthropic"
    cloudflare "cloudflare"
    durable_streams "durable-streams"
    webhooks "webhooks"
    idempotency "idempotency"
    reliability "reliability"
    models "models"
    providers "providers"
    adding_a_provider "adding-a-provider"
    money "money"
    configuration "configuration"
    keys_and_security "keys-and-security"
    metrics "metrics"
    operations "operations"
    log_messages "log-messages"
    troubleshooting "troubleshooting"
    benchmarks "benchmarks"
    architecture "architecture"
    log "log"
    contributing "contributing"
    changes "changes"
}

impl Guide {
    /// The guide on a topic, which may be written in capitals and with blanks: `Durable Streams`.
    #[must_use]
    pub fn find(topic: &str) -> Option<&'static Guide> {
        let topic = as_name(topic);
        ALL.iter().find(|guide| guide.name == topic)
    }

    /// The title: the first line without its mark.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// The first sentence, which says what the guide is for, on one line and without marks of Markdown.
    #[must_use]
    pub fn summary(&self) -> String {
        let paragraph =
            self.text.lines().skip(1).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let text = without_links(&paragraph.collect::<Vec<_>>().join(" ")).replace(['`', '*'], "");
        let ends = |(at, _): &(usize, &str)| text[at + 2..].starts_with(char::is_uppercase);
        match text.match_indices(". ").find(ends) {
            Some((at, _)) => text[..=at].to_owned(),
            None => text,
        }
    }

    /// Topics that a reader who asked for `topic` may have meant: alike in spelling, or with a heading about it.
    #[must_use]
    pub fn near(topic: &str) -> Vec<&'static str> {
        let topic = as_name(topic);
        let is_like = |name: &str| distance(&topic, name) <= 1 + topic.chars().count() / 4;
        let contains = |text: &str| topic.len() >= 3 && as_name(text).contains(&topic);
        let is_near = |guide: &&Guide| {
            let mut headings = guide.text.lines().filter(|line| line.starts_with('#'));
            is_like(guide.name) || contains(guide.name) || topic.contains(guide.name) || headings.any(contains)
        };
        ALL.iter().filter(is_near).map(|guide| guide.name).collect()
    }
}

fn as_name(topic: &str) -> String {
    topic.trim().trim_end_matches(".md").to_lowercase().replace([' ', '_'], "-")
}

/// `[text](address)` without its address.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain.replace('[', "")
}

/// How many characters must be changed, added or removed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide");
        let files = std::fs::read_dir(folder).expect("the folder can be read");
        let names = files.filter_map(|file| file.expect("a file has a name").file_name().into_string().ok());
        let found: BTreeSet<String> = names.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
        let listed: BTreeSet<String> = ALL.iter().map(|guide| guide.name.to_owned()).collect();
        assert_eq!(listed, found, "src/guide/mod.rs lists every guide");
        assert_eq!(listed.len(), ALL.len(), "each once");
    }

    #[test]
    fn every_guide_has_a_title_and_says_what_it_is_for() {
        for guide in ALL {
            assert!(guide.text.starts_with("# ") && guide.text.ends_with('\n'), "{}", guide.name);
            let summary = guide.summary();
            let is_sentence = summary.ends_with(['.', ':', '?']) && (20..=300).contains(&summary.len());
            assert!(is_sentence && !summary.contains(['[', '`']), "{}: {summary}", guide.name);
        }
    }

    #[test]
    fn the_first_sentence_is_found() {
        for (text, summary) in [
            ("# A\n\nOne `x.y`. Two.\nThree.\n\nFour.\n", "One x.y."),
            (
                "# A\n\nSee [here](a.md) and\n[there](b.md): it goes on, e.g. so.\n\n## B\n",
                "See here and there: it goes on, e.g. so.",
            ),
            ("# A\n\nNo end\n", "No end"),
        ] {
            assert_eq!(Guide { name: "a", text }.summary(), summary);
        }
    }

    #[test]
    fn a_topic_is_found_as_people_write_it() {
        for topic in ["durable-streams", "Durable Streams", "durable_streams", "durable-streams.md"] {
            assert_eq!(Guide::find(topic).map(|guide| guide.name), Some("durable-streams"), "{topic}");
        }
        assert_eq!(Guide::find("nothing"), None);
        for (wrong, near) in
            [("webhoks", "webhooks"), ("webhook", "webhooks"), ("metric", "metrics"), ("stream", "durable-streams")]
        {
            assert!(Guide::near(wrong).contains(&near), "{wrong}: {:?}", Guide::near(wrong));
        }
        assert_eq!(Guide::near("xylophone"), Vec::<&str>::new());
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("abc", "acd")), (3, 0, 2));
    }
}
