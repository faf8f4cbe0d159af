//! What can happen in a job's stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cost, Failure, Gateway, ModelName, Output, Tags, Task, Timestamp, Usage};

/// A meaning in a job's stream. Stored externally tagged; on the wire the tag is `kind` and the
/// fields stand beside it (`wire/record.rs`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "kind")]
pub enum Event {
    /// The job is durable.
    Accepted(Accepted),
    /// The job waits.
    Queued(Queued),
    /// An attempt begins.
    Attempt(AttemptStarted),
    /// A piece of the answer.
    Delta(Delta),
    /// A piece of a tool call.
    ToolCall(ToolCall),
    /// A whole output.
    Output(Output),
    /// Signs of life of a long job.
    Progress(Progress),
    /// The attempt ended without the provider's own end.
    Lost(Lost),
    /// Readers discard all output so far.
    Restarted(Restarted),
    /// Terminal: done.
    Completed(Completed),
    /// Terminal: could not be done.
    Failed(Failed),
    /// Terminal: somebody cancelled it.
    Cancelled(Cancelled),
    /// Terminal: Forebay died and could not go on.
    Interrupted(Interrupted),
}

impl Event {
    /// The `kind` on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Accepted(_) => "accepted",
            Event::Queued(_) => "queued",
            Event::Attempt(_) => "attempt",
            Event::Delta(_) => "delta",
            Event::ToolCall(_) => "tool_call",
            Event::Output(_) => "output",
            Event::Progress(_) => "progress",
            Event::Lost(_) => "lost",
            Event::Restarted(_) => "restarted",
            Event::Completed(_) => "completed",
            Event::Failed(_) => "failed",
            Event::Cancelled(_) => "cancelled",
            Event::Interrupted(_) => "interrupted",
        }
    }

    /// The terminal state this event brings, if it is a terminal.
    #[must_use]
    pub fn terminal(&self) -> Option<State> {
        match self {
            Event::Completed(_) => Some(State::Completed),
            Event::Failed(_) => Some(State::Failed),
            Event::Cancelled(_) => Some(State::Cancelled),
            Event::Interrupted(_) => Some(State::Interrupted),
            _ => None,
        }
    }

    /// Whether this is part of the answer itself: from here on a failure is visible to readers.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self, Event::Delta(_) | Event::ToolCall(_) | Event::Output(_))
    }
}

/// An event with its place and time: what a stream consists of.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Dense from 0.
    pub seq: u64,
    /// When it was appended.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; nothing of the answer yet.
    Pending,
    /// Part of the answer is there.
    Streaming,
    /// Terminal.
    Completed,
    /// Terminal.
    Failed,
    /// Terminal.
    Cancelled,
    /// Terminal.
    Interrupted,
}

impl State {
    /// The name on the wire and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Streaming => "streaming",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Interrupted => "interrupted",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Pending | State::Streaming)
    }
}

/// What the `accepted` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The model as the client named it.
    pub model: ModelName,
    /// What the model is asked to do.
    pub task: Task,
    /// The gateway the job lives in.
    pub gateway: Gateway,
    /// The job's tags.
    pub metadata: Tags,
}

/// Why a job waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// A limit is full.
    RateLimited,
    /// Every target cools down.
    Cooling,
    /// All places are taken.
    Capacity,
}

/// What the `queued` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    /// Why.
    pub reason: QueueReason,
    /// Jobs before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Milliseconds until its turn, estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
}

/// How an attempt relates to what was emitted before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptMode {
    /// Nothing was.
    Start,
    /// Goes on from the text so far.
    Continue,
    /// Begins anew; what was emitted is to be discarded.
    Restart,
}

/// What the `attempt` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AttemptStarted {
    /// Counts from 1 over the whole job.
    pub attempt: u32,
    /// Who is asked.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub model: Box<str>,
    /// How it relates to what was emitted before.
    pub mode: AttemptMode,
    /// Fields of the input that this provider does not take and that were left out, because the job
    /// said `drop_unsupported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Box<str>>,
}

/// Which text a delta belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The answer.
    #[default]
    Text,
    /// The model's reasoning.
    Reasoning,
    /// The model's own refusal.
    Refusal,
    /// What the audio says.
    AudioTranscript,
}

impl Part {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Text => "text",
            Part::Reasoning => "reasoning",
            Part::Refusal => "refusal",
            Part::AudioTranscript => "audio_transcript",
        }
    }
}

/// What the `delta` event says.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// Which text.
    pub part: Part,
    /// Which of several answers or blocks, from 0.
    pub index: u32,
    /// The piece.
    pub text: String,
    /// Fields of the provider's own that would be lost otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Box<Value>>,
}

/// What the `tool_call` event says.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Which call, from 0.
    pub index: u32,
    /// The provider's id of the call; with its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Box<str>>,
    /// The tool; with the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// A piece of the JSON text.
    pub arguments: String,
}

/// Where a long job stands at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressState {
    /// Waits at the provider.
    Queued,
    /// Is being worked on.
    Running,
}

/// What the `progress` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Where it stands.
    pub state: ProgressState,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
    /// The work goes on at the provider even if nobody listens, and can be taken up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamId>,
}

/// Work at the provider that outlives the connection to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamId {
    /// The provider's own id of it.
    pub id: Box<str>,
}

/// What the `lost` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// Which attempt.
    pub attempt: u32,
    /// Why.
    pub error: Failure,
    /// Whether readers saw part of its answer.
    pub emitted: bool,
}

/// What the `restarted` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Restarted {
    /// The attempt that begins anew.
    pub attempt: u32,
}

/// Where the time went, in milliseconds since the job was accepted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// Until the first attempt began.
    pub queued_ms: u64,
    /// Until the first piece of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_output_ms: Option<u64>,
    /// Until the terminal.
    pub total_ms: u64,
}

/// What the `completed` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// `stop`, `length`, `tool_calls`, `content_filter`, …
    pub finish_reason: Box<str>,
    /// The provider's own word for it, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_finish_reason: Option<Box<str>>,
    /// Summed over all attempts.
    pub usage: Usage,
    /// Summed over all attempts.
    pub cost: Cost,
    /// Where the time went.
    pub timing: Timing,
    /// How many attempts it took.
    pub attempts: u32,
}

/// What the `failed` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// Why.
    pub error: Failure,
    /// Summed over all attempts.
    pub usage: Usage,
    /// Summed over all attempts.
    pub cost: Cost,
    /// How many attempts were made.
    pub attempts: u32,
}

/// What the `cancelled` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// `client`, `disconnect`, …
    pub by: Box<str>,
    /// Summed over all attempts.
    pub usage: Usage,
    /// Summed over all attempts.
    pub cost: Cost,
}

/// What the `interrupted` event says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Interrupted {
    /// Summed over all attempts.
    pub usage: Usage,
    /// Summed over all attempts.
    pub cost: Cost,
}
