//! One attempt: asks one target and relays its reply into the log.
//!
//! Owns the time-outs of an attempt. Appends and waits; meanwhile no more is read of the provider's
//! socket than the next append takes, and that is the back-pressure. Knows nothing of retries.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::ahead::Ahead;
use super::course::{Course, Spent};
use super::inline::inlined;
use crate::job::caps::{BATCH_EVENTS_MAX, OUTPUT_INLINE_BYTES_MAX};
use crate::job::{AttemptMode, AttemptOutcome, AttemptStarted, Code, Event, Failure, OutputBody, Target};
use crate::policy::terms::Terms;
use crate::provider::call::Reply;
use crate::provider::framing::Framer;
use crate::provider::registry::Entry;
use crate::provider::{Ask, Decoder, Finish, Outbound, Step};
use crate::telemetry::{self, Labels};

/// Makes one attempt at `target`. The finish when the provider came to its own end; what it
/// emitted last is then in `course.pending`, to become durable together with the terminal.
///
/// # Errors
/// Why the attempt is lost; the provider's usage so far is booked in `course` either way.
pub(super) async fn relay(course: &mut Course, target: &Target, terms: &Terms) -> Result<Finish, Failure> {
    let labels = course.live.labels(&course.job, Some(target));
    let Some(entry) = course.live.registry.get(&target.provider).cloned() else {
        begin(course, target, Vec::new()).await?;
        return Err(Failure::new(Code::UnknownModel, format!("no provider `{}` is configured", target.provider))
            .of_the_target());
    };
    let job = Arc::clone(&course.job);
    let ask = Ask { job: &job, target, endpoint: &entry.endpoint, prefilled: false };
    let mut encoded = match entry.provider.wants_files_inside(ask) {
        false => entry.provider.encode(ask),
        true => encode_with_files(course, &entry, target).await,
    };
    let dropped = encoded.as_mut().map(|outbound| std::mem::take(&mut outbound.dropped)).unwrap_or_default();
    let attempt = begin(course, target, dropped).await?;
    let started = Instant::now();
    let mut decoder = entry.provider.decoder(ask);
    let first_by = started + terms.first_token;
    let result = async {
        let outbound = encoded?.for_attempt(attempt);
        let framing = outbound.framing;
        if attempt == 1 {
            let since = course.svc.clock.now().ms_since(course.job.submitted_at);
            telemetry::overhead("dispatch", Duration::from_millis(since));
        }
        let sent = course.svc.caller.send(outbound, terms.connect, course.svc.clock.now());
        let mut reply = within(first_by, "the first token", sent).await?;
        if !(200..300).contains(&reply.status) {
            let body = reply.error_body().await;
            return Err(entry.provider.classify(reply.status, &reply.headers, &body));
        }
        decoder.on_headers(&reply.headers);
        let framer = Framer::new(framing, &reply.headers);
        listen(course, &mut reply, framer, &mut *decoder, (terms, first_by, &labels)).await
    }
    .await;
    let now = course.svc.clock.now();
    let spent = course.current();
    spent.ended_at = Some(now);
    spent.bill = decoder.bill();
    let outcome = match result {
        Ok(finish) => {
            spent.usage = finish.usage.clone();
            spent.outcome = Some(AttemptOutcome::Completed);
            Ok(finish)
        }
        Err(failure) => {
            spent.usage = decoder.usage_so_far();
            spent.outcome = Some(AttemptOutcome::Lost);
            Err(failure.with_provider(&target.provider))
        }
    };
    if let Some(usage) = &course.current().usage {
        telemetry::tokens(&labels, usage, started.elapsed());
    }
    let ended = if outcome.is_ok() { AttemptOutcome::Completed } else { AttemptOutcome::Lost };
    telemetry::attempt_ended(&labels, ended, started.elapsed());
    outcome
}

/// The request with the job's files inside it. They are fetched once for all attempts.
async fn encode_with_files(course: &mut Course, entry: &Entry, target: &Target) -> Result<Outbound, Failure> {
    if course.with_files.is_none() {
        let with_files = inlined(&course.job, &course.live.remote).await?;
        course.with_files = Some(with_files.map_or_else(|| Arc::clone(&course.job), Arc::new));
    }
    let job = course.with_files.as_ref().unwrap_or(&course.job);
    entry.provider.encode(Ask { job, target, endpoint: &entry.endpoint, prefilled: false })
}

/// Makes the attempt durable before anything is sent, so that a crash never asks twice unknowingly.
async fn begin(course: &mut Course, target: &Target, dropped: Vec<Box<str>>) -> Result<u32, Failure> {
    let attempt = u32::try_from(course.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
    course.attempts.push(Spent::new(target.clone()));
    let mode = std::mem::replace(&mut course.mode, AttemptMode::Start);
    course.dispatched_at.get_or_insert(course.svc.clock.now());
    let (provider, model) = (target.provider.clone(), target.model.clone());
    let started = AttemptStarted { attempt, provider, model, mode, dropped };
    course.append(vec![Event::Attempt(started)]).await?;
    Ok(attempt)
}

/// Reads the reply to the provider's own end.
async fn listen(
    course: &mut Course,
    reply: &mut Reply,
    mut framer: Framer,
    decoder: &mut dyn Decoder,
    (terms, first_by, labels): (&Terms, Instant, &Labels),
) -> Result<Finish, Failure> {
    let mut ahead = Ahead::new(reply);
    let mut events = Vec::new();
    let mut heard = false;
    loop {
        let (deadline, what) = match heard {
            false => (first_by, "the first token"),
            true => (Instant::now() + terms.idle, "more"),
        };
        within(deadline, what, ahead.ready()).await?;
        let arrived = ahead.since();
        let step = decode(&mut ahead, &mut framer, decoder, &mut events);
        if !events.is_empty() {
            if !heard {
                heard = true;
                telemetry::first_output(labels, terms.first_token.saturating_sub(first_by - arrived.min(first_by)));
            }
            count(course, &events);
            store_outputs(course, &mut events).await?;
        }
        // What came before a failure was said, and readers get it.
        match step {
            Ok(Heard::More) => ahead.during(publish(course, &mut events, arrived)).await?,
            Ok(Heard::All) => {
                let finish = decoder.on_end(&mut events);
                course.pending.append(&mut events);
                if course.pending.len() >= BATCH_EVENTS_MAX || finish.is_err() {
                    course.append(Vec::new()).await?;
                }
                return finish;
            }
            Err(failure) => {
                publish(course, &mut events, arrived).await?;
                return Err(failure);
            }
        }
    }
}

/// How much of a reply was heard.
enum Heard {
    More,
    All,
}

/// Turns everything that has come into events.
fn decode(
    ahead: &mut Ahead<'_>,
    framer: &mut Framer,
    decoder: &mut dyn Decoder,
    out: &mut Vec<Event>,
) -> Result<Heard, Failure> {
    while let Some(piece) = ahead.take() {
        framer.feed(piece);
        while let Some(packet) = framer.next()? {
            if decoder.on_packet(packet, out)? == Step::Done {
                return Ok(Heard::All);
            }
        }
    }
    match ahead.end() {
        None => Ok(Heard::More),
        Some(Err(failure)) => Err(failure),
        Some(Ok(())) => {
            if let Some(packet) = framer.finish()? {
                decoder.on_packet(packet, out)?;
            }
            Ok(Heard::All)
        }
    }
}

fn count(course: &mut Course, events: &[Event]) {
    let bytes = |event: &Event| match event {
        Event::Delta(delta) => delta.text.len().max(1),
        Event::ToolCall(call) => call.arguments.len().max(1),
        Event::Output(_) => 1,
        _ => 0,
    };
    let emitted: usize = events.iter().map(bytes).sum();
    course.current().emitted_bytes += emitted as u64;
    if emitted > 0 && course.first_output_at.is_none() {
        course.first_output_at = Some(course.svc.clock.now());
    }
}

/// An output too large for a record becomes a file, fsynced before the record that names it.
async fn store_outputs(course: &Course, events: &mut [Event]) -> Result<(), Failure> {
    for event in events {
        let Event::Output(output) = event else { continue };
        let bytes: Bytes = match &output.body {
            OutputBody::Value(value) => value.to_string().into(),
            OutputBody::Data(blob) => blob.0.clone(),
            OutputBody::Url(_) => continue,
        };
        if bytes.len() > OUTPUT_INLINE_BYTES_MAX {
            let sha256 = course.writer.log().put_output(course.writer.stream(), bytes).await?;
            output.sha256 = Some(sha256.into());
            output.body = OutputBody::Url(format!("/v1/jobs/{}/outputs/{}", course.job.id, output.index).into());
        }
    }
    Ok(())
}

async fn publish(course: &mut Course, events: &mut Vec<Event>, arrived: Instant) -> Result<(), Failure> {
    while events.len() > BATCH_EVENTS_MAX {
        let rest = events.split_off(BATCH_EVENTS_MAX);
        course.append(std::mem::replace(events, rest)).await?;
    }
    if !events.is_empty() {
        course.append(std::mem::take(events)).await?;
        telemetry::overhead("event", arrived.elapsed());
    }
    Ok(())
}

async fn within<T>(by: Instant, what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout_at(by, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(Code::ProviderTimeout, format!("the provider did not send {what} in time"))),
    }
}
