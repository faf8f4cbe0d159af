//! Taking up an answer that goes on at the provider: after a cut, and after our own death.
//!
//! Owns what the log tells about it, dropping what readers have from an answer that is heard again,
//! and ending one that nobody wants any more. The driver asks and listens. In the process that was
//! cut off, the cut decoder goes on with the packets after the last it heard, and nothing needs to be
//! dropped. After a crash a fresh decoder hears everything from the start (or the whole answer in one
//! piece), and [`ReplayFilter`] lets through what is new. Promises that the joined text is the provider's
//! own, or an error: each passage that is dropped must be the one that was said.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::job_run::{JobRun, each_record};
use crate::job::{Code, Delta, Event, Failure, Part, Target, ToolCall};
use crate::provider::{Ask, Decoder, Outbound, Provider, Upstream};
use crate::wire::record::BodyRef;

/// Texts, tool calls and fields of the provider's own that are told apart in one answer. A decoder
/// makes at most 4096 items of one; an answer with more than this is not taken up.
const PASSAGES_MAX: usize = 16_384;
/// How long a provider gets to end an answer that nobody wants any more.
const LET_GO_WAIT: Duration = Duration::from_secs(10);

/// An answer that goes on at a provider although nobody listens.
pub(crate) struct UpstreamRun {
    /// Who gives it.
    pub(crate) target: Target,
    /// The place of the attempt that heard it last.
    pub(crate) place: usize,
    /// What it is called there, and how much of it was heard.
    pub(crate) upstream: Upstream,
    /// The decoder that was cut off, if it was in this life of the broker; a fresh one hears it from
    /// the start.
    pub(crate) decoder: Option<Box<dyn Decoder>>,
    /// Whether it cannot be listened to any more, and is asked for in one piece.
    pub(crate) is_fetch: bool,
    /// Whether it was asked for so and was not there yet.
    pub(crate) is_under_way: bool,
}

impl UpstreamRun {
    /// The request that takes it up.
    pub(crate) fn outbound(&self, provider: &dyn Provider, ask: Ask<'_>) -> Option<Outbound> {
        if self.is_fetch { provider.fetch(ask, &self.upstream) } else { provider.resume(ask, &self.upstream) }
    }
}

/// The last attempt was refused to listen to the held answer: from now on it is asked for in one
/// piece. Whether that can be done; not where that was refused already.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn in_one_piece(run: &mut JobRun) -> Result<bool, Failure> {
    let mut rejoin = Reattach::default();
    each_record(run.writer.stream(), run.writer.log(), |_, body| rejoin.note(&body)).await?;
    let (Some(held), Some((_, skip))) = (run.held.as_mut().filter(|held| !held.is_fetch), rejoin.found()) else {
        return Ok(false);
    };
    let Some(entry) = run.snapshot.registry.get(&held.target.provider) else { return Ok(false) };
    (held.is_fetch, held.decoder, held.upstream.sequence) = (true, None, None);
    let ask = Ask { job: &run.job, target: &held.target, endpoint: &entry.endpoint, prefilled: false };
    let can = held.outbound(entry.provider, ask).is_some();
    run.skip = skip;
    Ok(can)
}

/// Ends what goes on at a provider for a job that is over: otherwise it is paid for to its end.
/// Nobody waits for this; what fails is said.
pub(crate) fn cancel_upstream(run: &mut JobRun) {
    let held = run.held.take().map(|held| (held.target, held.upstream));
    let left = run.attempts.iter_mut().filter(|spent| !spent.is_taken_up);
    let left = left.filter_map(|spent| Some((spent.target.clone(), spent.upstream.take()?)));
    let all: Vec<(Target, Upstream)> = held.into_iter().chain(left).collect();
    for (target, upstream) in all {
        end(run, target, upstream);
    }
}

/// Ends one answer.
pub(crate) fn end(run: &JobRun, target: Target, upstream: Upstream) {
    let Some(entry) = run.snapshot.registry.get(&target.provider) else { return };
    let ask = Ask { job: &run.job, target: &target, endpoint: &entry.endpoint, prefilled: false };
    let Some(outbound) = entry.provider.cancel(ask, &upstream) else { return };
    let (env, job) = (Arc::clone(&run.env), run.job.id.clone());
    run.env.runtime.spawn(async move {
        let sent = env.provider_client.send(outbound, LET_GO_WAIT, env.clock.now());
        let said = tokio::time::timeout(LET_GO_WAIT, sent).await;
        if !said.is_ok_and(|reply| reply.is_ok_and(|reply| (200..300).contains(&reply.status))) {
            tracing::warn!(%job, provider = %target.provider, id = %upstream.id, "an answer that nobody wants any more may go on there");
        }
    });
}

/// What a job's log says of the answer that its last attempt was listening to.
#[derive(Default)]
pub(crate) struct Reattach {
    id: Option<Box<str>>,
    /// Whether the attempt that is being read is a part of that answer.
    is_here: bool,
    skip: ReplayFilter,
}

impl Reattach {
    /// The next record of the job's stream, from its first. An attempt that takes an answer up says
    /// so by the same `progress` as the attempt that began it, appended together with its `attempt`:
    /// otherwise it goes on from the text and is another answer.
    pub(crate) fn note(&mut self, body: &BodyRef<'_>) {
        match body {
            BodyRef::Delta { part, index, text } if self.is_here => {
                self.skip.said(Passage::Text(*part, *index), text);
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
            BodyRef::Event(event) if self.is_here => self.skip.note(event),
            BodyRef::Event(_) => {}
        }
    }

    /// What can be taken up, and what of it readers have.
    pub(crate) fn found(self) -> Option<(Upstream, ReplayFilter)> {
        let id = self.id.filter(|_| self.is_here && !self.skip.is_too_much)?;
        Some((Upstream { id, sequence: None }, ReplayFilter { is_announced: true, ..self.skip }))
    }
}

/// Drops from an answer that is heard again what was said of it, wherever its pieces are cut now.
#[derive(Default)]
pub(crate) struct ReplayFilter {
    passages: HashMap<Passage, Said>,
    /// Digests of fields of the provider's own that stand alone, and how often.
    extras: HashMap<u64, u32>,
    outputs: u32,
    /// The `progress` that names the answer was told already.
    is_announced: bool,
    is_too_much: bool,
    /// What was heard again was not what was said.
    is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Passage {
    Text(Part, u32),
    Arguments(u32),
}

/// How much of a passage was said; what is heard again must be the same.
#[derive(Default)]
struct Said {
    bytes: usize,
    said: crc32fast::Hasher,
    heard: crc32fast::Hasher,
}

impl ReplayFilter {
    /// An event of the answer that readers have.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Delta(Delta { text, extra: Some(extra), .. }) if text.is_empty() && self.has_room() => {
                *self.extras.entry(digest(extra)).or_default() += 1;
            }
            Event::Delta(Delta { part, index, text, .. }) => self.said(Passage::Text(*part, *index), text),
            Event::ToolCall(call) => self.said(Passage::Arguments(call.index), &call.arguments),
            Event::Output(_) => self.outputs += 1,
            _ => {}
        }
    }

    fn said(&mut self, passage: Passage, text: &str) {
        // A call may have no arguments; a text that says nothing is none.
        if text.is_empty() && matches!(passage, Passage::Text(..)) {
            return;
        }
        if self.passages.contains_key(&passage) || self.has_room() {
            let said = self.passages.entry(passage).or_default();
            said.bytes += text.len();
            said.said.update(text.as_bytes());
        }
    }

    fn has_room(&mut self) -> bool {
        self.is_too_much |= self.passages.len() + self.extras.len() >= PASSAGES_MAX;
        !self.is_too_much
    }

    /// Takes out of `events`, the next of the answer, what was said. A piece that was said in part
    /// loses that part, and fields that ride on it: they came with its beginning.
    ///
    /// # Errors
    /// `provider_truncated` when the answer is not the one that was said; `events` is undefined then.
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

    /// Whether the answer turned out to be another than the one that was said: it is of no use.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether nothing is left to drop.
    pub(crate) fn is_done(&self) -> bool {
        self.passages.is_empty() && self.extras.is_empty() && self.outputs == 0 && !self.is_announced
    }

    /// The provider says that the answer is complete.
    ///
    /// # Errors
    /// `provider_truncated` when it is shorter than what was said.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        if self.passages.is_empty() && self.outputs == 0 { Ok(()) } else { Err(another()) }
    }

    fn is_new(&mut self, event: &mut Event) -> Result<bool, Failure> {
        match event {
            Event::Delta(Delta { text, extra, .. }) if text.is_empty() => {
                Ok(!extra.as_ref().is_some_and(|extra| self.drop_extra(digest(extra))))
            }
            Event::Delta(Delta { part, index, text, extra }) => {
                if self.shorten(Passage::Text(*part, *index), text)? {
                    *extra = None;
                    return Ok(!text.is_empty());
                }
                Ok(true)
            }
            Event::ToolCall(ToolCall { index, call_id, name, arguments }) => {
                if self.shorten(Passage::Arguments(*index), arguments)? {
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

    /// Cuts from `text` what was said of its passage. Whether anything was.
    fn shorten(&mut self, passage: Passage, text: &mut String) -> Result<bool, Failure> {
        let Some(said) = self.passages.get_mut(&passage) else { return Ok(false) };
        let known = said.bytes.min(text.len());
        if !text.is_char_boundary(known) {
            return Err(another());
        }
        said.heard.update(&text.as_bytes()[..known]);
        said.bytes -= known;
        text.drain(..known);
        if said.bytes == 0 {
            let is_same = said.heard.clone().finalize() == said.said.clone().finalize();
            self.passages.remove(&passage);
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

/// Of the same fields in the same process the same.
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
