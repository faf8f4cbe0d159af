//! Continuation: an answer that broke off in the middle is continued by the next attempt.
//!
//! Where a target continues the beginning of its own answer (`Provider::prefill`), the text so far is its
//! last message and nothing is lost. Elsewhere a turn in the user's voice asks for the rest, which loses
//! something: the model may choose other words than it would have, and it is believed when it repeats the
//! last ones. Reasoning is not sent back and not shown twice. What is not plain text (tool calls, outputs,
//! bound formats, several answers) cannot be continued. Promises that the input changes by what must be
//! added and by no other byte. Used after a loss only.

mod input;
mod overlap;
mod plain;
mod trim;

use super::job_run::{JobRun, each_record};
use crate::job::{Code, Event, Failure, Job, Part, Task};
use crate::provider::Prefill;
use crate::wire::record::BodyRef;

pub(crate) use input::{Continued, continued};
pub(crate) use trim::OverlapTrimmer;

/// Number of bytes of an answer that can be continued: as much as is read back for a count (`estimate.rs`).
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the next attempt is asked to continue the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContinueBy {
    /// The text so far is the model's own last message.
    Prefill(Prefill),
    /// A turn in the user's voice asks for the rest.
    Turn,
}

impl ContinueBy {
    /// Returns the best way with a target that treats a prefilled message like this.
    pub(crate) fn with(prefill: Prefill) -> ContinueBy {
        if prefill == Prefill::No { ContinueBy::Turn } else { ContinueBy::Prefill(prefill) }
    }
}

/// The part of an answer that readers have and that still stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct PartialAnswer {
    /// The text of the answer so far.
    pub(crate) text: String,
    /// Whether there is anything that cannot be sent back to a model as one text.
    is_more: bool,
}

/// Reads back the answer so far: what was emitted since readers were last told to discard, and what is
/// about to be.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn partial(run: &JobRun) -> Result<PartialAnswer, Failure> {
    let mut partial = PartialAnswer::default();
    each_record(run.writer.stream(), run.writer.log(), |_, body| match body {
        BodyRef::Delta { part, index, text } => partial.add(part, index, &text),
        BodyRef::Event(event) => partial.add_event(&event),
    })
    .await?;
    run.readers.pending.iter().for_each(|event| partial.add_event(event));
    Ok(partial)
}

impl PartialAnswer {
    fn add_event(&mut self, event: &Event) {
        match event {
            Event::Delta(delta) => self.add(delta.part, delta.index, &delta.text),
            Event::ToolCall(_) | Event::Output(_) => self.is_more = true,
            Event::Restarted(_) => *self = PartialAnswer::default(),
            _ => {}
        }
    }

    fn add(&mut self, part: Part, index: u32, text: &str) {
        match part {
            _ if text.is_empty() => {}
            Part::Text if index == 0 && self.text.len() + text.len() <= TEXT_BYTES_MAX => self.text.push_str(text),
            Part::Reasoning if index == 0 => {}
            _ => self.is_more = true,
        }
    }

    /// Returns whether the next attempt can continue from here. Where there is nothing but reasoning, it
    /// can, whatever the job asks for: the same request is simply sent again.
    pub(crate) fn can_continue(&self, job: &Job) -> bool {
        let is_text = job.task == Task::Chat && !self.is_more;
        is_text && (self.text.is_empty() || plain::asks_for_one_free_text(&job.input))
    }

    /// Splits the text into the part without white space at its end, which some providers refuse at the end
    /// of a last message and others cut off, and that white space.
    fn split(&self) -> (&str, &str) {
        self.text.split_at(self.text.trim_end().len())
    }
}

/// Returns whether an attempt was refused because the beginning of its answer was the last message: any
/// complaint about the request counts, for without that message it was accepted.
pub(crate) fn refuses_prefill(failure: &Failure) -> bool {
    match failure.code {
        Code::ProviderRejected => matches!(failure.provider_status, Some(400 | 422)),
        // Our own encoder knows models that refuse it.
        Code::Unsupported => failure.param.as_deref().is_some_and(|param| param.starts_with("input.messages")),
        _ => false,
    }
}

#[cfg(test)]
#[path = "continuation_tests.rs"]
mod tests;
