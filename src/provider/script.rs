//! Timelines that the built-in provider plays: what a provider sends, when, and how it breaks.
//!
//! Owns the format of a script. A list of steps, or `{"attempts": [[…], […]]}` with a list per
//! attempt of the job (the last serves all later ones). A continued answer goes on in a single list
//! after what was said; of several lists the next says what comes. A list that does not end by
//! itself is ended well: a finish (`stop`) and a usage if none was given, then `[DONE]`.
//!
//! ```json
//! {"attempts": [
//!   [{"status": {"status": 429, "retry_after_ms": 200}}],
//!   [{"text": "Hel"}, {"delay_ms": 50}, {"text": ["lo, ", "world"]}, "cut"],
//!   [{"repeat": {"text": "word {n} ", "count": 100, "interval_ms": 10}}, {"finish": "length"}]
//! ]}
//! ```

mod player;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use player::{Head, Player};

use crate::job::Failure;
use crate::job::caps::DURATION_MS_MAX;

/// Steps of one timeline; more is a program, not a script.
const STEPS_MAX: usize = 10_000;
/// Timelines of one script: as many as a job can have attempts.
const TIMELINES_MAX: usize = 64;
/// Pieces that one `repeat` may make: a day of a thousand tokens a second.
const REPEAT_MAX: u64 = 86_400_000;
/// Bytes of one `huge` or `garbage` step: enough to break every limit of ours.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// One thing that the player does. A word, or an object with one key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScriptStep {
    /// Text, in one chunk or several.
    Text(Pieces),
    /// Reasoning, in one chunk or several.
    Reasoning(Pieces),
    /// A refusal, in one chunk or several.
    Refusal(Pieces),
    /// Many chunks from a template.
    Repeat(Repeat),
    /// A piece of a tool call.
    ToolCall(ScriptToolCall),
    /// A whole output of any JSON.
    Output(Value),
    /// The usage that is reported at the end; `null` = none is.
    Usage(Option<ScriptUsage>),
    /// The finish reason, in a chunk of its own.
    Finish(String),
    /// Nothing, for so many milliseconds.
    DelayMs(u64),
    /// An answer with this status instead of a stream. Must come first, but for delays.
    Status(ScriptStatus),
    /// An error inside the stream.
    Error(ScriptError),
    /// One `data` packet of any JSON, as it is.
    Packet(Value),
    /// Bytes as they are, not framed.
    Raw(String),
    /// So many bytes that are neither text nor packets.
    Garbage(usize),
    /// One text chunk of so many bytes.
    Huge(usize),
    /// From here on the bytes travel in pieces of this size. 0 = as they are.
    SplitBytes(usize),
    /// The connection is refused. Must come first, but for delays.
    Refuse,
    /// Nothing more comes, for ever.
    Stall,
    /// The connection breaks off here.
    Cut,
    /// The provider's own terminal, `[DONE]`. May be given twice.
    Done,
    /// The body ends cleanly, whatever is missing.
    End,
}

/// One piece or several.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Pieces {
    /// The text is one chunk.
    One(String),
    /// Each text is a chunk.
    Many(Vec<String>),
}

impl Pieces {
    fn as_slice(&self) -> &[String] {
        match self {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }
}

/// What the `repeat` step says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// The chunk; `{n}` in it is its number from 0.
    pub text: String,
    /// How many chunks there are.
    pub count: u64,
    /// Milliseconds before each chunk.
    #[serde(default)]
    pub interval_ms: u64,
}

/// What the `tool_call` step says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptToolCall {
    /// Which call, from 0.
    #[serde(default)]
    pub index: u32,
    /// Id of the call.
    #[serde(default)]
    pub id: Option<String>,
    /// Name of the tool.
    #[serde(default)]
    pub name: Option<String>,
    /// The JSON text of the arguments, in one chunk or several.
    pub arguments: Pieces,
}

/// What the `usage` step says.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptUsage {
    /// Number of all input tokens.
    pub input_tokens: u64,
    /// Number of all output tokens.
    pub output_tokens: u64,
    /// Input tokens read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

/// What the `status` step says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptStatus {
    /// The HTTP status, 100 to 599.
    pub status: u16,
    /// Milliseconds that the answer advises to wait.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// The error in the body.
    #[serde(default)]
    pub error: Option<ScriptError>,
    /// The body as it is, instead.
    #[serde(default)]
    pub body: Option<String>,
    /// The body's media type; `application/json` if not said.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// An error as OpenAI puts it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptError {
    /// Text for a person.
    pub message: String,
    /// Code of the error.
    #[serde(default)]
    pub code: Option<String>,
    /// The type of the error.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// The two forms of a script.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScriptForm {
    /// The same timeline for every attempt.
    Steps(Vec<ScriptStep>),
    /// A timeline per attempt.
    Attempts(ScriptAttempts),
}

/// One script for each attempt, in turn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptAttempts {
    /// The timelines in the order of the attempts; the last serves all later ones.
    pub attempts: Vec<Vec<ScriptStep>>,
}

/// A valid script, and the timeline of it that will be played.
#[derive(Clone, Debug)]
pub struct Script {
    timelines: Arc<[Vec<ScriptStep>]>,
    chosen: usize,
    /// Whether every attempt plays the same.
    is_one: bool,
    /// Text that is left out at the beginning.
    prefix: Box<str>,
}

impl Script {
    /// Reads a script from JSON. `place` names the field in errors.
    ///
    /// # Errors
    /// `invalid`, naming the step.
    pub fn parse(json: &str, place: &str) -> Result<Script, Failure> {
        // By hand, because an untagged enum cannot say what is wrong.
        let is_one = !json.trim_start().starts_with('{');
        let timelines = if !is_one {
            let form: Attempts<'_> =
                serde_json::from_str(json).map_err(|error| Failure::invalid(place, plain(&error)))?;
            form.attempts
                .iter()
                .enumerate()
                .map(|(number, steps)| timeline(steps, &format!("{place}.attempts[{number}]")))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            let steps = serde_json::from_str(json).map_err(|error| Failure::invalid(place, plain(&error)))?;
            vec![timeline(steps, place)?]
        };
        if timelines.is_empty() || timelines.len() > TIMELINES_MAX {
            let message = format!("must hold 1 to {TIMELINES_MAX} timelines");
            return Err(Failure::invalid(&format!("{place}.attempts"), message));
        }
        Ok(Script { timelines: timelines.into(), chosen: 0, is_one, prefix: "".into() })
    }

    /// The script that says `text` word by word.
    #[must_use]
    pub fn echo(text: &str) -> Script {
        let words = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
        let timelines = [vec![ScriptStep::Text(Pieces::Many(words))]].into();
        Script { timelines, chosen: 0, is_one: true, prefix: "".into() }
    }

    /// Chooses the timeline of attempt `attempt` (from 1).
    pub fn choose(&mut self, attempt: u32) {
        let number = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.chosen = number.min(self.timelines.len() - 1);
    }

    /// Goes on after `said`, as a model does that continues its own answer: what it said is left out.
    /// Not where there is a timeline for each attempt, which says itself what comes next.
    pub fn go_on_after(&mut self, prefix: &str) {
        if self.is_one {
            self.prefix = prefix.into();
        }
    }

    fn steps(&self) -> &[ScriptStep] {
        &self.timelines[self.chosen]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempts<'a> {
    #[serde(borrow)]
    attempts: Vec<&'a RawValue>,
}

fn timeline(json: &RawValue, place: &str) -> Result<Vec<ScriptStep>, Failure> {
    let steps: Vec<&RawValue> =
        serde_json::from_str(json.get()).map_err(|_| Failure::invalid(place, "must be a list of steps"))?;
    if steps.len() > STEPS_MAX {
        return Err(Failure::invalid(place, format!("has over {STEPS_MAX} steps")));
    }
    let mut begun = false;
    steps
        .iter()
        .enumerate()
        .map(|(number, step)| {
            let place = format!("{place}[{number}]");
            let step = serde_json::from_str(step.get()).map_err(|error| Failure::invalid(&place, plain(&error)))?;
            check(&step, begun).map_err(|message| Failure::invalid(&place, message))?;
            begun |= !matches!(step, ScriptStep::DelayMs(_));
            Ok(step)
        })
        .collect()
}

/// What is wrong with a step that can be read.
fn check(step: &ScriptStep, begun: bool) -> Result<(), String> {
    let below = |what: &str, value: u64, most: u64| {
        if value <= most { Ok(()) } else { Err(format!("{what} must be at most {most}")) }
    };
    match step {
        ScriptStep::DelayMs(ms) => below("delay_ms", *ms, DURATION_MS_MAX),
        ScriptStep::Repeat(repeat) => below("count", repeat.count, REPEAT_MAX)
            .and_then(|()| below("interval_ms", repeat.interval_ms, DURATION_MS_MAX)),
        ScriptStep::Garbage(bytes) | ScriptStep::Huge(bytes) => below("the size", *bytes as u64, BYTES_MAX as u64),
        ScriptStep::Refuse if begun => Err("refuse must come first".into()),
        ScriptStep::Status(_) if begun => Err("status must come first".into()),
        ScriptStep::Status(status) if !(100..600).contains(&status.status) => Err("status must be 100 to 599".into()),
        ScriptStep::Status(ScriptStatus { content_type: Some(kind), .. })
            if crate::egress::HeaderValue::from_str(kind).is_err() =>
        {
            Err("content_type is not a header value".into())
        }
        _ => Ok(()),
    }
}

/// serde's message without the line and column, which cannot be found in a job.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or("").to_owned()
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
