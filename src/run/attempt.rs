//! One attempt at one target: sends the request and receives the provider's answer.
//!
//! Owns the time-outs of an attempt and what it reports to the target's admission. Does not touch the job's
//! log, so that two attempts can race. Promises that the usage which the provider reported is known however
//! the attempt ends, also when it is dropped; that dropping it closes the provider's socket; and that a
//! provider which sends bytes but no packets counts as silent.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::env::Env;
use super::read_ahead::ReadAhead;
use super::reattach::UpstreamRun;
use crate::admission::Permit;
use crate::job::{Bill, Code, Event, Failure, Limits, Target, Timestamp, Usage};
use crate::policy::effective_options::EffectiveOptions;
use crate::provider::call::Reply;
use crate::provider::framing::Framer;
use crate::provider::tap::Tap;
use crate::provider::{Decoder, Finish, Framing, ModelCall, Outbound, Packet, Provider, Step, Upstream, limits};
use crate::telemetry::{self, Labels};

/// What a provider reported about the work that it did, as far as it came to that.
#[derive(Clone, Debug)]
pub(crate) struct AttemptReport {
    /// The provider's own numbers, if it gave any.
    pub(crate) usage: Option<Usage>,
    /// Facts other than usage on which the price depends.
    pub(crate) bill: Bill,
    /// The moment at which the answer ended.
    pub(crate) at: Timestamp,
    /// Whether the provider had accepted the request.
    pub(crate) was_accepted: bool,
    /// The answer that goes on at the provider although we do not receive it.
    pub(crate) upstream: Option<Upstream>,
}

/// The place in which an attempt leaves its report for the job.
pub(crate) type ReportSlot = Arc<OnceLock<AttemptReport>>;

/// Whether an attempt has more to give.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum AttemptProgress {
    /// Events have come, and more may follow.
    More,
    /// The reply is over.
    All,
}

/// A request to one target and the answer that comes back.
pub(crate) struct Attempt {
    /// Index of the attempt among the job's attempts.
    pub(crate) place: usize,
    /// Events that were received and are not in the log yet.
    pub(crate) events: Vec<Event>,
    /// The moment at which the oldest of these events came.
    pub(crate) arrived: Instant,
    pub(crate) labels: Labels,
    env: Arc<Env>,
    target: Target,
    permit: Option<Permit>,
    decoder: Box<dyn Decoder>,
    /// The answer that the attempt receives from where it was cut off, until the first packet of it came.
    upstream: Option<Upstream>,
    /// Whether the attempt asks for that answer in one piece.
    is_fetch: bool,
    state: State,
    options: EffectiveOptions,
    started: Instant,
    has_output: bool,
    was_accepted: bool,
    /// The moment of the last sign of life, and the number of signs before it.
    alive_at: Instant,
    signs: u64,
    /// Number of packets that were received.
    packets: u64,
    report_slot: ReportSlot,
}

#[expect(clippy::large_enum_variant, reason = "an attempt listens for nearly all of its life")]
enum State {
    Asking { sending: BoxFuture<'static, Answer>, framing: Framing },
    Receiving { ahead: ReadAhead, framer: Framer },
}

/// The head of an answer, or the failure that its error status means, and the limits that it states.
struct Answer {
    reply: Result<Reply, Failure>,
    limits: Option<Limits>,
}

/// Everything that an attempt is made of.
pub(crate) struct AttemptParams<'a> {
    pub(crate) place: usize,
    pub(crate) env: &'a Arc<Env>,
    pub(crate) provider: &'static dyn Provider,
    pub(crate) ask: ModelCall<'a>,
    pub(crate) outbound: Outbound,
    /// The answer that the attempt receives from where it was cut off, with the decoder that was cut off if
    /// that one goes on.
    pub(crate) upstream_run: Option<UpstreamRun>,
    /// A second reader of the reply's bytes, beside the decoder.
    pub(crate) tap: Option<Tap>,
    pub(crate) options: EffectiveOptions,
    pub(crate) labels: Labels,
    pub(crate) report_slot: ReportSlot,
}

impl Attempt {
    /// Prepares an attempt. Its request is sent when its events are awaited for the first time. Without a
    /// permit the target's health learns nothing of the outcome.
    pub(crate) fn new(params: AttemptParams<'_>, permit: Option<Permit>) -> Attempt {
        let AttemptParams { place, env, provider, ask, outbound, upstream_run, tap, options, labels, report_slot } =
            params;
        let is_fetch = upstream_run.as_ref().is_some_and(|upstream_run| upstream_run.is_fetch);
        let (upstream, decoder) =
            upstream_run.map(|upstream_run| (upstream_run.upstream, upstream_run.decoder)).unzip();
        let framing = outbound.framing;
        let sending = Box::pin(send(Arc::clone(env), provider, outbound, (options, tap)));
        let now = Instant::now();
        Attempt {
            place,
            events: Vec::new(),
            arrived: now,
            labels,
            env: Arc::clone(env),
            target: ask.target.clone(),
            permit,
            decoder: decoder.flatten().unwrap_or_else(|| provider.decoder(ask)),
            upstream,
            is_fetch,
            state: State::Asking { sending, framing },
            options,
            started: now,
            has_output: false,
            was_accepted: false,
            alive_at: now,
            signs: 0,
            packets: 0,
            report_slot,
        }
    }

    /// Waits until there are events in `events`, or the reply is over. Cancel-safe.
    ///
    /// # Errors
    /// Why the attempt is lost; `events` holds what came before.
    pub(crate) async fn next_events(&mut self) -> Result<AttemptProgress, Failure> {
        let progress = self.receive().await;
        if !self.has_output && self.events.iter().any(Event::is_output) {
            self.has_output = true;
            let took = self.arrived - self.started;
            telemetry::first_output(&self.labels, took);
            if let Some(permit) = &mut self.permit {
                permit.spoke(took);
            }
        }
        if let Err(failure) = &progress
            && let Some(permit) = self.permit.take()
            // A provider that takes its time over an answer that goes on there has not failed.
            && !(self.is_under_way() || is_silence(failure) && self.goes_on())
        {
            permit.lost(failure);
        }
        progress
    }

    async fn receive(&mut self) -> Result<AttemptProgress, Failure> {
        let first_by = self.started + self.options.first_token;
        if let State::Asking { sending, framing } = &mut self.state {
            let framing = *framing;
            let answer = within(first_by, "the first token", sending).await?;
            if let (Some(permit), Some(limits)) = (&self.permit, &answer.limits) {
                permit.learn(limits);
            }
            let reply = answer.reply?;
            self.was_accepted = true;
            self.decoder.on_headers(&reply.headers);
            let framer = Framer::new(framing, &reply.headers);
            self.alive_at = Instant::now();
            self.state = State::Receiving { ahead: ReadAhead::new(reply), framer };
        }
        let State::Receiving { ahead, framer } = &mut self.state else { unreachable!("the request was sent above") };
        loop {
            let (deadline, what) = match self.has_output {
                false => (first_by, "the first token"),
                true => (self.alive_at + self.options.idle, "more"),
            };
            within(deadline, what, ahead.ready()).await??;
            self.arrived = ahead.since();
            let heard_before = self.packets;
            let step = decode((ahead, framer), &mut *self.decoder, &mut self.packets, &mut self.events);
            if self.packets > heard_before {
                // From here on the decoder knows whether the answer goes on at the provider.
                self.upstream = None;
            }
            if framer.signs_of_life() != self.signs {
                self.signs = framer.signs_of_life();
                self.alive_at = Instant::now();
            }
            if !self.events.is_empty() || step != Ok(AttemptProgress::More) {
                return step;
            }
        }
    }

    /// Does `work` and reads a little ahead meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.state {
            State::Receiving { ahead, .. } => ahead.during(work).await,
            State::Asking { .. } => work.await,
        }
    }

    /// Reads the rest of the reply for the second reader of its bytes.
    pub(crate) async fn flow_on(&mut self) {
        if let State::Receiving { ahead, .. } = &mut self.state {
            ahead.flow_on(self.options.idle).await;
        }
    }

    /// Returns how the provider ended its answer, once [`AttemptProgress::All`] was returned.
    ///
    /// # Errors
    /// `provider_truncated` when the provider's own end did not come.
    pub(crate) fn finish(&mut self) -> Result<Finish, Failure> {
        let finish = self.decoder.on_end(&mut self.events);
        if let Some(permit) = self.permit.take() {
            match &finish {
                Ok(_) => permit.ended(),
                Err(failure) => permit.lost(failure),
            }
        }
        finish
    }

    /// Gives up the attempt and returns the answer that goes on at the provider, if there is one. The
    /// report of the attempt is then empty.
    pub(crate) fn detach(&mut self) -> Option<UpstreamRun> {
        let (is_fetch, is_under_way) = (self.is_fetch, self.is_under_way());
        let requested = self.upstream.take();
        let upstream = self.decoder.upstream().or(requested)?;
        let decoder = std::mem::replace(&mut self.decoder, Box::new(ClosedDecoder));
        // A decoder that goes on gets the packets that come next; an answer in one piece needs a fresh
        // one.
        let decoder = Some(decoder).filter(|_| !is_fetch);
        Some(UpstreamRun { target: self.target.clone(), place: self.place, upstream, decoder, is_fetch, is_under_way })
    }

    fn goes_on(&self) -> bool {
        self.upstream.is_some() || self.decoder.upstream().is_some()
    }

    /// Whether the provider has only said that the answer is not there yet.
    fn is_under_way(&self) -> bool {
        self.is_fetch && self.decoder.upstream().is_some()
    }

    /// The target that is asked.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Time since the attempt began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let report = AttemptReport {
            usage: self.decoder.usage_so_far(),
            bill: self.decoder.bill(),
            at: self.env.clock.now(),
            was_accepted: self.was_accepted,
            upstream: self.decoder.upstream().or_else(|| self.upstream.take()),
        };
        // The slot is written once: no other attempt has it.
        let _ = self.report_slot.set(report);
    }
}

/// Stands in the place of a decoder that was taken out of an attempt.
struct ClosedDecoder;

impl Decoder for ClosedDecoder {
    fn on_packet(&mut self, _: Packet<'_>, _: &mut Vec<Event>) -> Result<Step, Failure> {
        Err(Failure::internal("an attempt that was left is listened to"))
    }

    fn on_end(&mut self, _: &mut Vec<Event>) -> Result<Finish, Failure> {
        Err(Failure::internal("an attempt that was left is listened to"))
    }

    fn usage_so_far(&self) -> Option<Usage> {
        None
    }
}

/// Turns all bytes that have come into events.
fn decode(
    (ahead, framer): (&mut ReadAhead, &mut Framer),
    decoder: &mut dyn Decoder,
    packets: &mut u64,
    out: &mut Vec<Event>,
) -> Result<AttemptProgress, Failure> {
    while let Some(piece) = ahead.take() {
        framer.feed(piece);
        while let Some(packet) = framer.next()? {
            *packets += 1;
            if decoder.on_packet(packet, out)? == Step::Done {
                return Ok(AttemptProgress::All);
            }
        }
    }
    match ahead.end() {
        None => Ok(AttemptProgress::More),
        Some(Err(failure)) => Err(failure),
        Some(Ok(())) => {
            if let Some(packet) = framer.finish()? {
                *packets += 1;
                decoder.on_packet(packet, out)?;
            }
            Ok(AttemptProgress::All)
        }
    }
}

/// Whether an attempt is lost because nothing came in time and the provider did not say so itself.
pub(crate) fn is_silence(failure: &Failure) -> bool {
    failure.code == Code::ProviderTimeout && failure.provider_status.is_none() && !failure.never_sent
}

/// Sends the request; the body of an error answer is read to find out what it means.
async fn send(
    env: Arc<Env>,
    provider: &'static dyn Provider,
    outbound: Outbound,
    (options, tap): (EffectiveOptions, Option<Tap>),
) -> Answer {
    let mut reply = match env.provider_client.send(outbound, options.connect, env.clock.now()).await {
        Ok(reply) => reply,
        Err(failure) => return Answer { reply: Err(failure), limits: None },
    };
    if let Some(tap) = tap {
        reply.tap(tap);
    }
    let limits = limits::read(&reply.headers, env.clock.now());
    if (200..300).contains(&reply.status) {
        return Answer { reply: Ok(reply), limits };
    }
    let body = reply.error_body().await;
    reply.flow_on(options.idle).await;
    Answer { reply: Err(provider.classify(reply.status, &reply.headers, &body)), limits }
}

async fn within<T>(by: Instant, what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::new(Code::ProviderTimeout, format!("the provider did not send {what} in time"));
    timeout_at(by, work).await.map_err(late)
}
