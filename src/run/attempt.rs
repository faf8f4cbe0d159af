//! One attempt at one target: asks, and hears what the provider says.
//!
//! Owns the time-outs of an attempt and what it reports to the target's admission. Does not touch the
//! job's log, so that two attempts can race. Promises that what it was told of usage is known
//! however it ends, also when it is dropped; that dropping it closes the provider's socket; and that
//! a provider which sends bytes but no packets is silent.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::env::Env;
use super::read_ahead::Ahead;
use super::reattach::UpstreamRun;
use crate::admission::Permit;
use crate::job::{Bill, Code, Event, Failure, Limits, Target, Timestamp, Usage};
use crate::policy::effective_options::EffectiveOptions;
use crate::provider::call::Reply;
use crate::provider::framing::Framer;
use crate::provider::tap::Tap;
use crate::provider::{Ask, Decoder, Finish, Framing, Outbound, Packet, Provider, Step, Upstream, limits};
use crate::telemetry::{self, Labels};

/// What a provider told about the work it did, as far as it came to that.
#[derive(Clone, Debug)]
pub(crate) struct AttemptReport {
    /// The provider's own numbers.
    pub(crate) usage: Option<Usage>,
    /// What else the price depends on.
    pub(crate) bill: Bill,
    /// When its answer ended.
    pub(crate) at: Timestamp,
    /// Whether the provider had taken the request on.
    pub(crate) is_taken: bool,
    /// What goes on at the provider without us.
    pub(crate) upstream: Option<Upstream>,
}

/// Where an attempt leaves what it was told, for whoever keeps the books.
pub(crate) type ReportSlot = Arc<OnceLock<AttemptReport>>;

/// How much was heard.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum AttemptProgress {
    /// There are events, and there may be more.
    More,
    /// The reply is over.
    All,
}

/// See the module.
pub(crate) struct Attempt {
    /// Its place among the job's attempts.
    pub(crate) place: usize,
    /// What was said and is not in the log yet.
    pub(crate) events: Vec<Event>,
    /// When the oldest of it came.
    pub(crate) arrived: Instant,
    pub(crate) labels: Labels,
    env: Arc<Env>,
    target: Target,
    pass: Option<Permit>,
    decoder: Box<dyn Decoder>,
    /// The answer that it takes up, as long as nothing was heard of that.
    upstream: Option<Upstream>,
    /// Whether it asks for that in one piece.
    is_fetch: bool,
    state: State,
    terms: EffectiveOptions,
    started: Instant,
    has_spoken: bool,
    is_taken: bool,
    /// The last sign of life, and how many there had been.
    alive_at: Instant,
    signs: u64,
    /// Packets that were heard.
    packets: u64,
    tell: ReportSlot,
}

#[expect(clippy::large_enum_variant, reason = "an attempt listens for nearly all of its life")]
enum State {
    Asking { sending: BoxFuture<'static, Answer>, framing: Framing },
    Listening { ahead: Ahead, framer: Framer },
}

/// The head of an answer, or what its error means; and what it says of the limits.
struct Answer {
    reply: Result<Reply, Failure>,
    limits: Option<Limits>,
}

/// What an attempt is made of.
pub(crate) struct AttemptParams<'a> {
    pub(crate) place: usize,
    pub(crate) env: &'a Arc<Env>,
    pub(crate) provider: &'static dyn Provider,
    pub(crate) ask: Ask<'a>,
    pub(crate) outbound: Outbound,
    /// The answer that it takes up, with the decoder that was cut off if that goes on.
    pub(crate) held: Option<UpstreamRun>,
    /// Who gets the reply's bytes beside the decoder.
    pub(crate) tap: Option<Tap>,
    pub(crate) terms: EffectiveOptions,
    pub(crate) labels: Labels,
    pub(crate) tell: ReportSlot,
}

impl Attempt {
    /// An attempt whose request goes out when it is first listened to.
    /// Without a pass its target learns nothing of how it went.
    pub(crate) fn new(asked: AttemptParams<'_>, pass: Option<Permit>) -> Attempt {
        let AttemptParams { place, env, provider, ask, outbound, held, tap, terms, labels, tell } = asked;
        let is_fetch = held.as_ref().is_some_and(|held| held.is_fetch);
        let (upstream, decoder) = held.map(|held| (held.upstream, held.decoder)).unzip();
        let framing = outbound.framing;
        let sending = Box::pin(send(Arc::clone(env), provider, outbound, (terms, tap)));
        let now = Instant::now();
        Attempt {
            place,
            events: Vec::new(),
            arrived: now,
            labels,
            env: Arc::clone(env),
            target: ask.target.clone(),
            pass,
            decoder: decoder.flatten().unwrap_or_else(|| provider.decoder(ask)),
            upstream,
            is_fetch,
            state: State::Asking { sending, framing },
            terms,
            started: now,
            has_spoken: false,
            is_taken: false,
            alive_at: now,
            signs: 0,
            packets: 0,
            tell,
        }
    }

    /// Resolves when there are events in `events`, or the reply is over. Cancel-safe.
    ///
    /// # Errors
    /// Why the attempt is lost; `events` holds what was said before.
    pub(crate) async fn next_events(&mut self) -> Result<AttemptProgress, Failure> {
        let heard = self.listen().await;
        if !self.has_spoken && self.events.iter().any(Event::is_output) {
            self.has_spoken = true;
            let took = self.arrived - self.started;
            telemetry::first_output(&self.labels, took);
            if let Some(pass) = &mut self.pass {
                pass.spoke(took);
            }
        }
        if let Err(failure) = &heard
            && let Some(pass) = self.pass.take()
            // A provider that takes its time over what goes on there has not failed.
            && !(self.is_under_way() || is_silence(failure) && self.goes_on())
        {
            pass.lost(failure);
        }
        heard
    }

    async fn listen(&mut self) -> Result<AttemptProgress, Failure> {
        let first_by = self.started + self.terms.first_token;
        if let State::Asking { sending, framing } = &mut self.state {
            let framing = *framing;
            let answer = within(first_by, "the first token", sending).await?;
            if let (Some(pass), Some(limits)) = (&self.pass, &answer.limits) {
                pass.learn(limits);
            }
            let reply = answer.reply?;
            self.is_taken = true;
            self.decoder.on_headers(&reply.headers);
            let framer = Framer::new(framing, &reply.headers);
            self.alive_at = Instant::now();
            self.state = State::Listening { ahead: Ahead::new(reply), framer };
        }
        let State::Listening { ahead, framer } = &mut self.state else { unreachable!("it was asked above") };
        loop {
            let (deadline, what) = match self.has_spoken {
                false => (first_by, "the first token"),
                true => (self.alive_at + self.terms.idle, "more"),
            };
            within(deadline, what, ahead.ready()).await??;
            self.arrived = ahead.since();
            let heard_before = self.packets;
            let step = decode((ahead, framer), &mut *self.decoder, &mut self.packets, &mut self.events);
            if self.packets > heard_before {
                // From here on the decoder knows what goes on.
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

    /// Does `work`, reading a little ahead meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.state {
            State::Listening { ahead, .. } => ahead.during(work).await,
            State::Asking { .. } => work.await,
        }
    }

    /// Reads on what is left of the reply for whoever gets its bytes.
    pub(crate) async fn flow_on(&mut self) {
        if let State::Listening { ahead, .. } = &mut self.state {
            ahead.flow_on(self.terms.idle).await;
        }
    }

    /// The provider's word on its end, once [`AttemptProgress::All`] was heard.
    ///
    /// # Errors
    /// `provider_truncated` when the provider had not said all.
    pub(crate) fn finish(&mut self) -> Result<Finish, Failure> {
        let finish = self.decoder.on_end(&mut self.events);
        if let Some(pass) = self.pass.take() {
            match &finish {
                Ok(_) => pass.ended(),
                Err(failure) => pass.lost(failure),
            }
        }
        finish
    }

    /// What goes on at the provider although this attempt is lost. The attempt is over with that, and
    /// was told nothing.
    pub(crate) fn leave(&mut self) -> Option<UpstreamRun> {
        let (is_fetch, is_under_way) = (self.is_fetch, self.is_under_way());
        let asked = self.upstream.take();
        let upstream = self.decoder.upstream().or(asked)?;
        let decoder = std::mem::replace(&mut self.decoder, Box::new(ClosedDecoder));
        // One that goes on hears what comes next; what comes in one piece is heard by a fresh one.
        let decoder = Some(decoder).filter(|_| !is_fetch);
        Some(UpstreamRun { target: self.target.clone(), place: self.place, upstream, decoder, is_fetch, is_under_way })
    }

    fn goes_on(&self) -> bool {
        self.upstream.is_some() || self.decoder.upstream().is_some()
    }

    /// Whether all that was heard is that the answer is not there yet.
    fn is_under_way(&self) -> bool {
        self.is_fetch && self.decoder.upstream().is_some()
    }

    /// Who is asked.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let told = AttemptReport {
            usage: self.decoder.usage_so_far(),
            bill: self.decoder.bill(),
            at: self.env.clock.now(),
            is_taken: self.is_taken,
            upstream: self.decoder.upstream().or_else(|| self.upstream.take()),
        };
        // AttemptReport once: nobody else has this place.
        let _ = self.tell.set(told);
    }
}

/// In the place of a decoder that was taken away.
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

/// Turns everything that has come into events.
fn decode(
    (ahead, framer): (&mut Ahead, &mut Framer),
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

/// Whether an attempt is lost because nothing came in time, as far as we can tell and nobody said.
pub(crate) fn is_silence(failure: &Failure) -> bool {
    failure.code == Code::ProviderTimeout && failure.provider_status.is_none() && !failure.never_sent
}

/// Sends the request; an answer with an error status is read to its meaning.
async fn send(
    env: Arc<Env>,
    provider: &'static dyn Provider,
    outbound: Outbound,
    (terms, tap): (EffectiveOptions, Option<Tap>),
) -> Answer {
    let mut reply = match env.provider_client.send(outbound, terms.connect, env.clock.now()).await {
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
    reply.flow_on(terms.idle).await;
    Answer { reply: Err(provider.classify(reply.status, &reply.headers, &body)), limits }
}

async fn within<T>(by: Instant, what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    let late = |_| Failure::new(Code::ProviderTimeout, format!("the provider did not send {what} in time"));
    timeout_at(by, work).await.map_err(late)
}
