//! What a model takes, by its name: the rules of its maker where the catalog is silent.
//!
//! A version is read from any spelling (`claude-3-5-haiku-latest`, `claude-sonnet-4.5`,
//! `us.anthropic.claude-opus-4-5-20251101-v1:0`, `claude-opus-4-6@default`); a Claude without one
//! (`claude-mythos-preview`) is newer than all. Models that are not Claude follow the rules of their
//! vendor; the plain ones are the oldest form, which most servers of this protocol know.

use super::Site;
use crate::catalog;

/// Value of `format` in `reasoning_details` for the thoughts of a Claude, whose signatures only Claude can read.
const CLAUDE_REASONING: &str = "anthropic-claude-v1";

/// The most tokens that an answer may have, if neither the job nor the catalog says: what every
/// model of that age can do.
const OUTPUT_TOKENS_OF_CLAUDE_3: u64 = 4096;
const OUTPUT_TOKENS_OF_CLAUDE_4: u64 = 32_000;
const OUTPUT_TOKENS_OF_OTHERS: u64 = 8192;

/// How a request tells a model how much to think.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thinking {
    /// The model does not think.
    Never,
    /// The request gives a budget of tokens.
    Budget,
    /// The model decides by itself; the request names an effort.
    Adaptive,
    /// The model decides by itself, or does not think at all.
    OnOff,
}

/// What the models of a vendor do that are not Claude, as data.
#[derive(Debug)]
pub struct OtherModels {
    /// Value of `format` in `reasoning_details` for their thoughts: models with the same value can
    /// read each other's signatures.
    pub reasoning_format: &'static str,
    /// How a request tells the model of that name how much to think.
    pub thinking: fn(&str) -> Thinking,
    /// Whether they take a temperature of 0.
    pub takes_zero_temperature: bool,
    /// Whether their answer can be bound to a schema.
    pub takes_schema: bool,
}

impl OtherModels {
    /// Models of a server of which nothing else is known.
    pub const PLAIN: OtherModels = OtherModels {
        reasoning_format: "anthropic-compatible-v1",
        thinking: |_| Thinking::Budget,
        takes_zero_temperature: true,
        takes_schema: true,
    };
}

/// A model at a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    site: Site,
    name: &'a str,
    line: Line,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Claude(u32, u32),
    Other,
}

impl<'a> Model<'a> {
    /// Returns the model of that name at that provider.
    pub(super) fn of(site: Site, name: &'a str) -> Model<'a> {
        let line = version(name).map_or(Line::Other, |(major, minor)| Line::Claude(major, minor));
        Model { site, name, line }
    }

    /// Value of `format` in `reasoning_details` for the thoughts that it wrote itself.
    pub(super) fn reasoning_format(self) -> &'static str {
        match self.line {
            Line::Claude(..) => CLAUDE_REASONING,
            Line::Other => self.site.others.reasoning_format,
        }
    }

    /// The most tokens that its answer can have: `max_tokens` is not optional here.
    pub(super) fn output_tokens_max(self) -> u64 {
        self.entry().and_then(|entry| entry.output_tokens_max).unwrap_or(match self.line {
            Line::Claude(..=2, _) | Line::Claude(3, ..5) => OUTPUT_TOKENS_OF_CLAUDE_3,
            Line::Claude(4.., _) => OUTPUT_TOKENS_OF_CLAUDE_4,
            Line::Claude(3, _) | Line::Other => OUTPUT_TOKENS_OF_OTHERS,
        })
    }

    /// Whether the rules for Claude hold.
    pub(super) fn is_claude(self) -> bool {
        matches!(self.line, Line::Claude(..))
    }

    /// Whether it takes a temperature of 0.
    pub(super) fn takes_zero(self) -> bool {
        self.is_claude() || self.site.others.takes_zero_temperature
    }

    /// How it is told to think.
    pub(super) fn thinking(self) -> Thinking {
        match self.line {
            Line::Claude(..) if self.is_from(4, 6) || self.can("adaptive_thinking") => Thinking::Adaptive,
            Line::Claude(..) if self.is_from(3, 7) => Thinking::Budget,
            Line::Claude(..) => Thinking::Never,
            Line::Other => (self.site.others.thinking)(self.name),
        }
    }

    /// Whether it cannot be told not to think.
    pub(super) fn always_thinks(self) -> bool {
        let is = |line| self.name.contains(line);
        let by_name = is("fable") || is("mythos") || (self.is_from(5, 5) && !is("haiku"));
        by_name || (self.is_claude() && self.can("reasoning_always"))
    }

    /// Whether it may be made to call a tool.
    pub(super) fn can_be_forced(self) -> bool {
        !(self.always_thinks() && self.is_from(5, 1))
    }

    /// Whether it takes temperature, `top_p` and `top_k`.
    pub(super) fn samples(self) -> bool {
        !self.is_from(4, 7)
    }

    /// Whether it goes on from the beginning of its own answer.
    pub(super) fn takes_prefill(self) -> bool {
        !self.is_from(4, 6)
    }

    /// Whether it is known to go on, and not only not known to refuse.
    pub(super) fn goes_on(self) -> bool {
        self.takes_prefill() && self.can("prefill")
    }

    /// Whether its answer can be bound to a schema.
    pub(super) fn takes_schema(self) -> bool {
        match self.line {
            Line::Claude(4, 1) => true,
            Line::Claude(..) => self.is_from(4, 5),
            Line::Other => self.site.others.takes_schema,
        }
    }

    /// The effort as this model names it. Unknown words are handed on.
    pub(super) fn effort(self, raw: &str) -> &str {
        match raw {
            "minimal" => "low",
            "xhigh" if !self.is_from(4, 7) => "high",
            other => other,
        }
    }

    fn entry(self) -> Option<&'static catalog::Entry> {
        catalog::find(self.site.kind, self.name).or_else(|| catalog::find(self.site.maker, self.name))
    }

    /// Whether the catalog says so; its silence says nothing.
    fn can(self, ability: &str) -> bool {
        self.entry().is_some_and(|entry| entry.abilities.has(ability))
    }

    /// Whether it is a Claude of at least this version.
    fn is_from(self, major: u32, minor: u32) -> bool {
        matches!(self.line, Line::Claude(a, b) if (a, b) >= (major, minor))
    }
}

/// The version of a Claude.
fn version(name: &str) -> Option<(u32, u32)> {
    let name = name.to_ascii_lowercase();
    let rest = &name[name.find("claude")? + "claude".len()..];
    // A date has eight digits, a version at most two.
    let number = |token: &str| token.trim_start_matches('v').parse::<u32>().ok().filter(|_| token.len() <= 2);
    let mut tokens = rest.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|token| number(token).is_none());
    let Some(major) = tokens.next().and_then(number) else { return Some((u32::MAX, 0)) };
    Some((major, tokens.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::Form;
    use super::*;

    #[test]
    fn a_version_is_read_from_any_spelling() {
        for (name, expected) in [
            ("claude-3-5-haiku-latest", Some((3, 5))),
            ("claude-3-opus-20240229", Some((3, 0))),
            ("claude-sonnet-4.5", Some((4, 5))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-6@default", Some((4, 6))),
            ("us.anthropic.claude-opus-4-5-20251101-v1:0", Some((4, 5))),
            ("anthropic.claude-sonnet-4-20250514-v1:0", Some((4, 0))),
            ("anthropic/Claude-Opus-5", Some((5, 0))),
            ("claude-mythos-preview", Some((u32::MAX, 0))),
            ("MiniMax-M2.7", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn a_model_is_asked_as_its_age_demands() {
        const SITE: Site = Site { kind: "anthropic", maker: "anthropic", form: Form::Api, others: &OtherModels::PLAIN };
        for (name, thinking, samples, prefill, schema, always) in [
            ("claude-3-haiku-20240307", Thinking::Never, true, true, false, false),
            ("claude-sonnet-4-0", Thinking::Budget, true, true, false, false),
            ("claude-opus-4-1", Thinking::Budget, true, true, true, false),
            ("claude-haiku-4-5", Thinking::Budget, true, true, true, false),
            ("claude-opus-4-6", Thinking::Adaptive, true, false, true, false),
            ("claude-opus-4-8", Thinking::Adaptive, false, false, true, false),
            ("claude-sonnet-5", Thinking::Adaptive, false, false, true, false),
            ("claude-haiku-5-5", Thinking::Adaptive, false, false, true, false),
            ("claude-sonnet-5-5", Thinking::Adaptive, false, false, true, true),
            ("claude-mythos-preview", Thinking::Adaptive, false, false, true, true),
            ("SmolLM2-135M", Thinking::Budget, true, true, true, false),
        ] {
            let model = Model::of(SITE, name);
            let got = (model.thinking(), model.samples(), model.takes_prefill(), model.takes_schema());
            assert_eq!(got, (thinking, samples, prefill, schema), "{name}");
            assert_eq!(model.always_thinks(), always, "{name}");
        }
    }
}
