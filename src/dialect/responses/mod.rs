//! OpenAI's Responses API: requests of its clients and the answers that they read.
//!
//! Owns the requests of `/v1/responses`, its events and its whole objects. Pure: the same records
//! give the same events with the same numbers, from record 0, at every reading; ids come from the
//! job, dates from its `accepted` record. A conversation that goes on is written out again from the
//! jobs before, so that any provider can take it up. Reasoning that only its provider can read
//! travels sealed in `encrypted_content`. Does not know HTTP, nor where jobs are kept.

mod answer;
mod encrypted_content;
mod event_writer;
mod events;
mod history;
mod input;
mod object;
mod request;

use serde_json::{Value, json};

use crate::job::{Failure, JobId};

pub use events::Events;
pub use history::{input_items, turns};
pub use object::ResponseMeta;
pub use request::ResponseRequest;

/// What stands before the job's id in a response's.
const PREFIX: &str = "resp_";

/// The jobs that a response's id may mean, the likelier one first: a client may call its own job
/// `resp_…`, or name a job without what stands before it.
#[must_use]
pub fn jobs_of(id: &str) -> Vec<JobId> {
    [id.strip_prefix(PREFIX), Some(id)].into_iter().flatten().filter_map(|id| id.parse().ok()).collect()
}

/// The job that an item belongs to, and the item's place in its output.
#[must_use]
pub fn item_of(id: &str) -> Option<(JobId, usize)> {
    let (_, rest) = id.split_once('_')?;
    let (job, at) = rest.rsplit_once('_')?;
    Some((job.parse().ok()?, at.parse().ok()?))
}

/// The refusal to go on from a response that is not there, as OpenAI words it.
#[must_use]
pub fn no_previous(id: &str) -> Value {
    let cut = &id[..id.floor_char_boundary(80)];
    json!({"error": {
        "message": format!("Previous response with id '{cut}' not found: it must be finished, kept, and of this gateway."),
        "type": "invalid_request_error", "param": "previous_response_id", "code": "previous_response_not_found",
        "fault": "caller", "retryable": false,
    }})
}

/// A failure with its field named as clients of this dialect wrote it.
#[must_use]
pub fn in_request_terms(failure: &Failure) -> Failure {
    const NAMES: &[(&str, &str)] = &[
        ("input.messages", "input"),
        ("input.max_completion_tokens", "max_output_tokens"),
        ("input.max_tokens", "max_output_tokens"),
        ("input.response_format", "text.format"),
        ("input.reasoning_effort", "reasoning.effort"),
        ("input.verbosity", "text.verbosity"),
        ("input.logprobs", "include"),
    ];
    let mut failure = failure.clone();
    let Some(param) = failure.param.take() else { return failure };
    let named = NAMES.iter().find_map(|(ours, theirs)| {
        // The number of the message means nothing to a client that wrote items.
        param
            .strip_prefix(ours)
            .map(|rest| if *theirs == "input" { (*theirs).into() } else { format!("{theirs}{rest}") })
    });
    if let Some(named) = &named
        && let Some(message) = failure.message.strip_prefix(&*param)
    {
        failure.message = format!("{named}{message}").into();
    }
    failure.param = Some(named.map_or(param, Into::into));
    failure
}
