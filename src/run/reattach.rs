//! Receives an answer that goes on at its provider again: after a cut, and after a crash of the broker.
//!
//! Owns what the log says of such an answer, dropping what readers have of an answer that is received
//! again, and cancelling one that is no longer wanted. In the process that was cut off, the decoder goes on
//! with the packets after the last one it had, and nothing needs to be dropped. After a crash a fresh
//! decoder receives everything from the start (or the whole answer in one piece), and [`ReplayFilter`] lets
//! through what is new. Promises that the joined text is the provider's own, or an error: each part that
//! is dropped must equal the one that readers have.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::job_run::{JobRun, each_record};
use crate::job::{Code, Delta, Event, Failure, Part, Target, ToolCall};
use crate::provider::{Decoder, ModelCall, Outbound, Provider, Upstream};
use crate::wire::record::BodyRef;

/// Number of texts, tool calls and extra fields that are told apart in one answer. A decoder makes at most
/// 4096 items of one; an answer with more parts than this is not received again.
const PARTS_MAX: usize = 16_384;
/// How long a provider gets to end an answer that is no longer wanted.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// An answer that goes on at a provider although no connection of ours receives it.
pub(crate) struct UpstreamRun {
    /// The target that gives the answer.
    pub(crate) target: Target,
    /// Index of the attempt that received it last.
    pub(crate) place: usize,
    /// The provider's id of the answer, and how much of it was received.
    pub(crate) upstream: Upstream,
    /// The decoder that was cut off, if that happened in this process; otherwise a fresh one receives the
    /// answer from the start.
    pub(crate) decoder: Option<Box<dyn Decoder>>,
    /// Whether the answer can no longer be streamed and is fetched in one piece.
    pub(crate) is_fetch: bool,
    /// Whether it was fetched and was not complete yet.
    pub(crate) is_under_way: bool,
}

impl UpstreamRun {
    /// The request that receives the answer again, if the provider has such a request.
    pub(crate) fn outbound(&self, provider: &dyn Provider, ask: ModelCall<'_>) -> Option<Outbound> {
        if self.is_fetch { provider.fetch(ask, &self.upstream) } else { provider.resume(ask, &self.upstream) }
    }
}

/// Switches to fetching the answer in one piece, after the last attempt was refused to stream it. Returns
/// whether that can be done; it cannot where fetching was refused already.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn in_one_piece(run: &mut JobRun) -> Result<bool, Failure> {
    let mut reattach = Reattach::default();
    each_record(run.writer.stream(), run.writer.log(), |_, body| reattach.note(&body)).await?;
    let (Some(upstream_run), Some((_, filter))) =
        (run.upstream.unfinished.as_mut().filter(|upstream_run| !upstream_run.is_fetch), reattach.found())
    else {
        return Ok(false);
    };
    let Some(entry) = run.snapshot.registry.get(&upstream_run.target.provider) else { return Ok(false) };
    (upstream_run.is_fetch, upstream_run.decoder, upstream_run.upstream.sequence) = (true, None, None);
    let ask = ModelCall { job: &run.job, target: &upstream_run.target, endpoint: &entry.endpoint, prefilled: false };
    let can = upstream_run.outbound(entry.provider, ask).is_some();
    run.upstream.replay = filter;
    Ok(can)
}

/// Cancels whatever goes on at a provider for a job that is over: otherwise it would be paid for to its
/// end. Runs in the background; a failure is logged.
pub(crate) fn cancel_upstream(run: &mut JobRun) {
    let upstream_run = run.upstream.unfinished.take().map(|upstream_run| (upstream_run.target, upstream_run.upstream));
    let left = run.attempts.iter_mut().filter(|record| !record.is_superseded);
    let left = left.filter_map(|record| Some((record.target.clone(), record.upstream.take()?)));
    let all: Vec<(Target, Upstream)> = upstream_run.into_iter().chain(left).collect();
    for (target, upstream) in all {
        end(run, target, upstream);
    }
}

/// Cancels one answer at its provider, in the background.
pub(crate) fn end(run: &JobRun, target: Target, upstream: Upstream) {
    let Some(entry) = run.snapshot.registry.get(&target.provider) else { return };
    let ask = ModelCall { job: &run.job, target: &target, endpoint: &entry.endpoint, prefilled: false };
    let Some(outbound) = entry.provider.cancel(ask, &upstream) else { return };
    let (env, job) = (Arc::clone(&run.env), run.job.id.clone());
    run.env.runtime.spawn(async move {
        let sent = env.provider_client.send(outbound, CANCEL_WAIT, env.clock.now());
        let sent = tokio::time::timeout(CANCEL_WAIT, sent).await;
        if !sent.is_ok_and(|reply| reply.is_ok_and(|reply| (200..300).contains(&reply.status))) {
            tracing::warn!(%job, provider = %target.provider, id = %upstream.id, "an answer that is no longer wanted may go on at its provider");
        }
    });
}

/// What a job's log says of the answer that its last attempt was receiving.
#[derive(Default)]
pub(crate) struct Reattach {
    id: Option<Box<str>>,
    /// Whether the attempt that is being read is a part of that answer.
    is_here: bool,
    filter: ReplayFilter,
}

impl Reattach {
    /// Takes the next record of the job's stream, beginning with the first. An attempt that continues to
    /// receive an answer names it by the same `progress` as the attempt that began it, appended together
    /// with its `attempt`: otherwise it continues from the text and is another answer.
    pub(crate) fn note(&mut self, body: &BodyRef<'_>) {
        match body {
            BodyRef::Delta { part, index, text } if self.is_here => {
                self.filter.add(AnswerPart::Text(*part, *index), text);
            }
            BodyRef::Delta { .. } => {}
            BodyRef::Event(Event::Attempt(_)) => self.is_here = false,
            BodyRef::Event(Event::Restarted(_)) => *self = Reattach::default(),
            BodyRef::Event(Event::Progress(progress)) => {
                let Some(upstream) = &progress.upstream else { return };
                if self.id.as_ref() != Some(&upstream.id) {
                    *self = Reattach { id: Some(upstream.id.clone()), ..Reattach::default() };
                }
                self.is_here = true;
            }
            BodyRef::Event(event) if self.is_here => self.filter.note(event),
            BodyRef::Event(_) => {}
        }
    }

    /// Returns the answer that can be received again, and the filter that drops what readers have of it.
    pub(crate) fn found(self) -> Option<(Upstream, ReplayFilter)> {
        let id = self.id.filter(|_| self.is_here && !self.filter.is_too_long)?;
        Some((Upstream { id, sequence: None }, ReplayFilter { is_announced: true, ..self.filter }))
    }
}

/// Drops from an answer that is received again what readers have of it, wherever its pieces are cut now.
#[derive(Default)]
pub(crate) struct ReplayFilter {
    parts: HashMap<AnswerPart, PartSums>,
    /// Digests of extra fields that stand alone, with the number of times that each came.
    extras: HashMap<u64, u32>,
    outputs: u32,
    /// Whether readers have the `progress` that names the answer.
    is_announced: bool,
    is_too_long: bool,
    /// Whether the answer turned out to be another one.
    is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum AnswerPart {
    Text(Part, u32),
    Arguments(u32),
}

/// Length and checksums of a part: what is received again must equal what readers have.
#[derive(Default)]
struct PartSums {
    bytes: usize,
    seen: crc32fast::Hasher,
    received: crc32fast::Hasher,
}

impl ReplayFilter {
    /// Adds an event of the answer that readers have.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Delta(Delta { text, extra: Some(extra), .. }) if text.is_empty() && self.has_room() => {
                *self.extras.entry(digest(extra)).or_default() += 1;
            }
            Event::Delta(Delta { part, index, text, .. }) => self.add(AnswerPart::Text(*part, *index), text),
            Event::ToolCall(call) => self.add(AnswerPart::Arguments(call.index), &call.arguments),
            Event::Output(_) => self.outputs += 1,
            _ => {}
        }
    }

    fn add(&mut self, part: AnswerPart, text: &str) {
        // A tool call may have no arguments; an empty text is no part.
        if text.is_empty() && matches!(part, AnswerPart::Text(..)) {
            return;
        }
        if self.parts.contains_key(&part) || self.has_room() {
            let sums = self.parts.entry(part).or_default();
            sums.bytes += text.len();
            sums.seen.update(text.as_bytes());
        }
    }

    fn has_room(&mut self) -> bool {
        self.is_too_long |= self.parts.len() + self.extras.len() >= PARTS_MAX;
        !self.is_too_long
    }

    /// Removes from `events`, the next ones of the answer, what readers have. A piece of which they have a
    /// part loses that part, and the extra fields beside it: they came with its beginning.
    ///
    /// # Errors
    /// `provider_truncated` when the answer is another one; `events` is undefined then.
    pub(crate) fn apply(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        let mut outcome = Ok(());
        events.retain_mut(|event| match self.is_new(event) {
            Ok(is_new) => is_new,
            Err(failure) => {
                outcome = Err(failure);
                false
            }
        });
        self.is_broken |= outcome.is_err();
        outcome
    }

    /// Returns whether the answer turned out to be another one and is of no use.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns whether nothing is left to drop.
    pub(crate) fn is_done(&self) -> bool {
        self.parts.is_empty() && self.extras.is_empty() && self.outputs == 0 && !self.is_announced
    }

    /// Checks that the answer, which the provider says is complete, is as long as what readers have.
    ///
    /// # Errors
    /// `provider_truncated` when it is shorter.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        if self.parts.is_empty() && self.outputs == 0 { Ok(()) } else { Err(another()) }
    }

    fn is_new(&mut self, event: &mut Event) -> Result<bool, Failure> {
        match event {
            Event::Delta(Delta { text, extra, .. }) if text.is_empty() => {
                Ok(!extra.as_ref().is_some_and(|extra| self.drop_extra(digest(extra))))
            }
            Event::Delta(Delta { part, index, text, extra }) => {
                if self.shorten(AnswerPart::Text(*part, *index), text)? {
                    *extra = None;
                    return Ok(!text.is_empty());
                }
                Ok(true)
            }
            Event::ToolCall(ToolCall { index, call_id, name, arguments }) => {
                if self.shorten(AnswerPart::Arguments(*index), arguments)? {
                    (*call_id, *name) = (None, None);
                    return Ok(!arguments.is_empty());
                }
                Ok(true)
            }
            Event::Output(_) if self.outputs > 0 => {
                self.outputs -= 1;
                Ok(false)
            }
            Event::Progress(progress) if progress.upstream.is_some() => Ok(!std::mem::take(&mut self.is_announced)),
            _ => Ok(true),
        }
    }

    /// Cuts from `text` what readers have of its part; returns whether it cut anything.
    fn shorten(&mut self, part: AnswerPart, text: &mut String) -> Result<bool, Failure> {
        let Some(sums) = self.parts.get_mut(&part) else { return Ok(false) };
        let known = sums.bytes.min(text.len());
        if !text.is_char_boundary(known) {
            return Err(another());
        }
        sums.received.update(&text.as_bytes()[..known]);
        sums.bytes -= known;
        text.drain(..known);
        if sums.bytes == 0 {
            let is_same = sums.received.clone().finalize() == sums.seen.clone().finalize();
            self.parts.remove(&part);
            if !is_same {
                return Err(another());
            }
        }
        Ok(true)
    }

    fn drop_extra(&mut self, digest: u64) -> bool {
        let Some(count) = self.extras.get_mut(&digest) else { return false };
        *count -= 1;
        if *count == 0 {
            self.extras.remove(&digest);
        }
        true
    }
}

/// Digest of extra fields; equal fields have the same digest within one process.
fn digest(extra: &serde_json::Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    extra.to_string().hash(&mut hasher);
    hasher.finish()
}

fn another() -> Failure {
    Failure::new(Code::ProviderTruncated, "the provider's answer is another when it is heard again").of_the_target()
}

#[cfg(test)]
#[path = "reattach_tests.rs"]
mod tests;
