//! What can happen in a job's stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cost, Failure, Gateway, ModelName, Output, Tags, Task, Timestamp, Usage};

/// An event of a job's stream. Stored externally tagged; on the wire the tag is `kind` and the
/// fields stand beside it (`wire/record.rs`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "kind")]
pub enum Event {
    /// The job is durable.
    Accepted(Accepted),
    /// The job waits in the queue.
    Queued(Queued),
    /// An attempt at a target begins.
    Attempt(AttemptStarted),
    /// A piece of the answer.
    Delta(Delta),
    /// A piece of a tool call.
    ToolCall(ToolCall),
    /// A whole output of the job.
    Output(Output),
    /// The provider reported progress of a long job.
    Progress(Progress),
    /// The attempt ended without the provider's own end.
    Lost(Lost),
    /// Readers discard all output so far.
    Restarted(Restarted),
    /// The terminal event of a job that was completed.
    Completed(Completed),
    /// The terminal event of a job that failed.
    Failed(Failed),
    /// The terminal event of a job that was cancelled.
    Cancelled(Cancelled),
    /// The terminal event of a job that a crash of the broker interrupted for good.
    Interrupted(Interrupted),
}

impl Event {
    /// Returns the `kind` on the wire.
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

    /// Returns the terminal state that this event brings, if it is a terminal event.
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

    /// Returns whether this is part of the answer itself: from here on a failure is visible to readers.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self, Event::Delta(_) | Event::ToolCall(_) | Event::Output(_))
    }
}

/// An event with its sequence number and time: a stream consists of records.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Sequence number of the record, dense from 0.
    pub seq: u64,
    /// Time at which the record was appended.
    pub at: Timestamp,
    /// Event that the record holds.
    pub event: Event,
}

/// The state of a job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The job is accepted; no part of the answer is there yet.
    Pending,
    /// Part of the answer is there.
    Streaming,
    /// The job is done; this state is terminal.
    Completed,
    /// The job failed; this state is terminal.
    Failed,
    /// The job was cancelled; this state is terminal.
    Cancelled,
    /// A crash or a stop of the broker ended the job; this state is terminal.
    Interrupted,
}

impl State {
    /// Returns the name on the wire and in metric labels.
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

    /// Returns whether no event can follow this state.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Pending | State::Streaming)
    }
}

/// Fields of the `accepted` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The model as the client named it.
    pub model: ModelName,
    /// Kind of work that the model does.
    pub task: Task,
    /// Gateway that the job was submitted to.
    pub gateway: Gateway,
    /// Tags from the job's `metadata`.
    pub metadata: Tags,
}

/// Why a job waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// A limit is full.
    RateLimited,
    /// Every target is cooling down after failures.
    Cooling,
    /// Every place for a running job is taken.
    Capacity,
}

/// Fields of the `queued` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    /// Reason why the job waits.
    pub reason: QueueReason,
    /// Number of jobs that wait before this one.
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
    /// No output was emitted before this attempt.
    Start,
    /// The attempt goes on from the text so far.
    Continue,
    /// The attempt begins anew; readers discard all earlier output.
    Restart,
}

/// Fields of the `attempt` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AttemptStarted {
    /// Number of the attempt, counted from 1 over the whole job.
    pub attempt: u32,
    /// Provider that serves the attempt.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub model: Box<str>,
    /// How it relates to what was emitted before.
    pub mode: AttemptMode,
    /// Fields of the input that this provider does not take and that were left out, because the job has
    /// set `drop_unsupported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Box<str>>,
}

/// Which text a delta belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text of the answer itself.
    #[default]
    Text,
    /// Text of the model's reasoning.
    Reasoning,
    /// Text with which the model refuses to answer.
    Refusal,
    /// Transcript of the answer's audio.
    AudioTranscript,
}

impl Part {
    /// Returns the name on the wire.
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

/// Fields of the `delta` event.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// Text that the piece belongs to.
    pub part: Part,
    /// Which of several answers or blocks, from 0.
    pub index: u32,
    /// Text of this piece.
    pub text: String,
    /// Fields of the provider's own that would be lost otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Box<Value>>,
}

/// Fields of the `tool_call` event.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Number of the call within the answer, from 0.
    pub index: u32,
    /// The provider's id of the call; sent with its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Box<str>>,
    /// Name of the tool; sent with the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// A piece of the arguments' JSON text.
    pub arguments: String,
}

/// The state of a long job at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressState {
    /// The job waits at the provider.
    Queued,
    /// The provider works on the job.
    Running,
}

/// Fields of the `progress` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// State of the job at the provider.
    pub state: ProgressState,
    /// Finished share of the work, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Text for people about the progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
    /// Handle of work that goes on at the provider without a connection and can be reattached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamId>,
}

/// Identifies work at the provider that outlives the connection to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamId {
    /// The provider's own id of it.
    pub id: Box<str>,
}

/// Fields of the `lost` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// Number of the attempt that was lost.
    pub attempt: u32,
    /// Failure that ended the attempt.
    pub error: Failure,
    /// Whether readers saw part of its answer.
    pub emitted: bool,
}

/// Fields of the `restarted` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Restarted {
    /// Number of the attempt that begins anew.
    pub attempt: u32,
}

/// How a job's time was spent, in milliseconds since the job was accepted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// Time until the first attempt began.
    pub queued_ms: u64,
    /// Time until the first piece of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_output_ms: Option<u64>,
    /// Time until the terminal event.
    pub total_ms: u64,
}

/// Fields of the `completed` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// Reason why the model stopped: `stop`, `length`, `tool_calls`, `content_filter`, …
    pub finish_reason: Box<str>,
    /// Reason in the provider's own words, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_finish_reason: Option<Box<str>>,
    /// Usage, summed over all attempts.
    pub usage: Usage,
    /// Cost, summed over all attempts.
    pub cost: Cost,
    /// How the job's time was spent.
    pub timing: Timing,
    /// Number of attempts that the job took.
    pub attempts: u32,
}

/// Fields of the `failed` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// Failure that ended the job.
    pub error: Failure,
    /// Usage, summed over all attempts.
    pub usage: Usage,
    /// Cost, summed over all attempts.
    pub cost: Cost,
    /// Number of attempts that were made.
    pub attempts: u32,
}

/// Fields of the `cancelled` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// Cause of the cancellation: `client`, `disconnect`, …
    pub by: Box<str>,
    /// Usage, summed over all attempts.
    pub usage: Usage,
    /// Cost, summed over all attempts.
    pub cost: Cost,
}

/// Fields of the `interrupted` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Interrupted {
    /// Usage, summed over all attempts.
    pub usage: Usage,
    /// Cost, summed over all attempts.
    pub cost: Cost,
}
