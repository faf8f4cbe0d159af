//! The outbox of webhooks: which receivers must still be told that a job has ended.
//!
//! A row of the log, written with the job's terminal record, stays until the webhook has been accepted: so it is
//! delivered at least once, also after a crash of the broker. Owns the waits between tries. Promises bounded memory and
//! at most `AT_ONCE` calls at once; what does not fit stays in the log until there is room.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::WebhooksConfig;
use crate::egress::webhook::{WebhookMessage, WebhookResponse};
use crate::job::{Gateway, Job, JobId, State, StreamId, Timestamp};
use crate::log::{Found, Log, Row, RowRange, Status};
use crate::random::Random;
use crate::snapshot::ConfigSnapshot;
use crate::telemetry;
use crate::wire::row;

/// The first byte of the keys of the outbox's rows.
const PREFIX: u8 = b'w';
/// Number of calls that are made at once. A receiver that hangs holds a place for `webhooks.timeout_ms`.
const AT_ONCE: usize = 64;
/// Number of deliveries whose next try is kept in memory.
const WAITING_MAX: usize = 10_000;
/// Number of rows that are read from the log at once.
const PAGE_ROWS: usize = 256;
/// Milliseconds until the log is tried again after it could not be read or written.
const LOG_WAIT_MS: u64 = 30_000;

/// A webhook that is to be delivered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Due {
    url: Box<str>,
    job: JobId,
    gateway: Gateway,
    state: State,
    ended_at: Timestamp,
    /// Number of tries so far.
    tries: u32,
    /// The earliest time of the next try.
    next_at: Timestamp,
}

/// Returns the row that a job's terminal record comes with, if a receiver is to be told.
pub(crate) fn row_of(job: &Job, default: Option<&str>, stream: StreamId, ended: (State, Timestamp)) -> Option<Row> {
    let url = match &job.options.webhook {
        Some(webhook) => &webhook.url,
        None => default.filter(|_| job.options.background)?,
    };
    let (state, at) = ended;
    let due = Due {
        url: url.into(),
        job: job.id.clone(),
        gateway: job.gateway.clone(),
        state,
        ended_at: at,
        tries: 0,
        next_at: at,
    };
    Some(Row::put(key_of(stream), row::encode(&due)))
}

fn key_of(stream: StreamId) -> Bytes {
    [&[PREFIX], &stream.0[..]].concat().into()
}

fn stream_of(key: &[u8]) -> Option<StreamId> {
    Some(StreamId(key.strip_prefix(&[PREFIX])?.try_into().ok()?))
}

/// What an [`Outbox`] works with.
pub(crate) struct OutboxParts {
    /// The log, whose rows say which webhooks are still to be delivered.
    pub(crate) log: Arc<dyn Log>,
    /// The configuration in force: the webhooks' client, and the rules of retries.
    pub(crate) snapshot: Arc<ArcSwap<ConfigSnapshot>>,
    /// The source of all dates.
    pub(crate) clock: Clock,
    /// The source of the jitter of retries.
    pub(crate) random: Random,
}

/// The webhooks that are still to be delivered. The log's rows are the truth; this holds in memory when
/// to look at each of them next.
pub struct Outbox {
    parts: OutboxParts,
    turns: Mutex<Turns>,
    bell: Notify,
}

#[derive(Default)]
struct Turns {
    waiting: BTreeSet<(Timestamp, StreamId)>,
    /// The deliveries that wait, and those that are being tried.
    known: HashSet<StreamId>,
    /// Whether some rows in the log had no room here.
    left_out: bool,
}

impl Outbox {
    pub(crate) fn new(parts: OutboxParts) -> Arc<Outbox> {
        Arc::new(Outbox { parts, turns: Mutex::default(), bell: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().expect("nothing panics while it holds this lock")
    }

    /// Notes that a row became durable.
    pub(crate) fn add(&self, stream: StreamId, at: Timestamp) {
        self.lock().add(stream, at);
        self.bell.notify_one();
    }

    /// Returns the next delivery that is due, otherwise when to look again.
    fn take(&self, now: Timestamp) -> Result<StreamId, Option<Timestamp>> {
        let mut turns = self.lock();
        match turns.waiting.first().copied() {
            Some((at, stream)) if at <= now => {
                turns.waiting.pop_first();
                Ok(stream)
            }
            first => Err(first.map(|(at, _)| at)),
        }
    }

    /// Ends a try: the delivery is done, or is tried again at a later time.
    fn back(&self, stream: StreamId, again: Option<Timestamp>) {
        let mut turns = self.lock();
        turns.known.remove(&stream);
        if let Some(at) = again {
            turns.add(stream, at);
        }
        telemetry::webhooks_pending(turns.known.len());
    }

    fn wants_recall(&self) -> bool {
        let turns = self.lock();
        turns.left_out && turns.known.len() < WAITING_MAX / 2
    }
}

impl Turns {
    fn add(&mut self, stream: StreamId, at: Timestamp) {
        if self.known.contains(&stream) {
            return;
        }
        if self.known.len() >= WAITING_MAX {
            self.left_out = true;
            return;
        }
        self.known.insert(stream);
        self.waiting.insert((at, stream));
        telemetry::webhooks_pending(self.known.len());
    }
}

impl Outbox {
    /// Delivers webhooks as jobs end, and those that an earlier start of the broker left. Never returns.
    pub(crate) async fn deliver(self: Arc<Self>) {
        self.lock().left_out = true;
        let mut under_way = JoinSet::new();
        loop {
            if self.wants_recall() && !recall(&self).await {
                tokio::time::sleep(Duration::from_millis(LOG_WAIT_MS)).await;
            }
            let mut next_at = None;
            while under_way.len() < AT_ONCE {
                match self.take(self.parts.clock.now()) {
                    Ok(stream) => drop(under_way.spawn(one(Arc::clone(&self), stream))),
                    Err(at) => {
                        next_at = at;
                        break;
                    }
                }
            }
            let wait = next_at.map_or(LOG_WAIT_MS, |at| at.ms_since(self.parts.clock.now()));
            tokio::select! {
                Some(_) = under_way.join_next() => {}
                () = self.bell.notified(), if under_way.len() < AT_ONCE => {}
                () = tokio::time::sleep(Duration::from_millis(wait)), if under_way.len() < AT_ONCE => {}
            }
        }
    }
}

/// Reads the rows again, as many as there is room for. Returns whether the log could be read.
async fn recall(outbox: &Outbox) -> bool {
    outbox.lock().left_out = false;
    let prefix = Bytes::from_static(&[PREFIX]);
    let mut range = RowRange { prefix, after: None, limit: PAGE_ROWS, budget_bytes: usize::MAX };
    loop {
        let page = match outbox.parts.log.rows(range.clone()).await {
            Ok(page) => page,
            Err(failure) => {
                tracing::error!(%failure, "the log cannot tell whose webhooks are to be told");
                outbox.lock().left_out = true;
                return false;
            }
        };
        for (key, value) in &page {
            if let (Some(stream), Some(due)) = (stream_of(key), row::decode::<Due>(value)) {
                outbox.lock().add(stream, due.next_at);
            }
        }
        if page.len() < PAGE_ROWS || outbox.lock().left_out {
            return true;
        }
        range.after = page.last().map(|(key, _)| key.clone());
    }
}

/// Tries to deliver one webhook.
async fn one(outbox: Arc<Outbox>, stream: StreamId) {
    let key = key_of(stream);
    let later = || Some(outbox.parts.clock.now().plus_ms(LOG_WAIT_MS));
    let due = match outbox.parts.log.row(key.clone()).await {
        Ok(value) => value.as_deref().and_then(row::decode::<Due>),
        Err(failure) => {
            tracing::error!(%failure, "a row of the log cannot be read");
            return outbox.back(stream, later());
        }
    };
    let Some(mut due) = due else { return outbox.back(stream, None) };
    let snapshot = outbox.parts.snapshot.load_full();
    let message = WebhookMessage {
        id: message_id(&due),
        at: outbox.parts.clock.now(),
        body: body_of(&outbox, stream, &due).await,
    };
    let response = snapshot.webhooks.send(&due.url, message).await;
    due.tries += 1;
    let now = outbox.parts.clock.now();
    let again = match verdict(&response, &due, now, &snapshot.config.webhooks, outbox.parts.random.fraction()) {
        Verdict::Told => None,
        Verdict::GiveUp => {
            tracing::warn!(job = %due.job, tries = due.tries, answer = %shown(&response), "a webhook was not told: given up");
            None
        }
        Verdict::Again(at) => {
            tracing::info!(job = %due.job, tries = due.tries, answer = %shown(&response), "a webhook was not told: again later");
            Some(at)
        }
    };
    telemetry::webhook(match (&again, &response) {
        (Some(_), _) => "failed",
        (None, Ok(WebhookResponse { status: 200..=299, .. })) => "delivered",
        (None, _) => "given_up",
    });
    let row = match again {
        Some(at) => {
            due.next_at = at;
            Row::put(key, row::encode(&due))
        }
        None => Row::remove(key),
    };
    // Where the log does not take it, the next start delivers the webhook once more.
    if let Err(failure) = outbox.parts.log.write_rows(vec![row]).await {
        tracing::warn!(job = %due.job, %failure, "the log did not take what became of a webhook");
    }
    outbox.back(stream, again);
}

/// Returns the message id: the same at every try, and another one for a later job with the same id.
fn message_id(due: &Due) -> String {
    format!("job_{}_{}", due.job, due.ended_at.0)
}

/// Returns the message: the job's status. Of a job that was forgotten meanwhile only its end is known.
async fn body_of(outbox: &Outbox, stream: StreamId, due: &Due) -> Bytes {
    let data = match outbox.parts.log.find(&due.job).await {
        Ok(Found::Stream(found)) if found.head().stream == stream => json!(Status::of(&found)),
        _ => json!({"id": due.job, "gateway": due.gateway, "state": due.state}),
    };
    body(due, &data)
}

fn body(due: &Due, data: &Value) -> Bytes {
    let kind = format!("job.{}", due.state.as_str());
    json!({"type": kind, "timestamp": due.ended_at.to_string(), "data": data}).to_string().into()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Told,
    Again(Timestamp),
    GiveUp,
}

/// Decides what follows a try; `chance` is in 0..1.
fn verdict(
    response: &Result<WebhookResponse, String>,
    due: &Due,
    now: Timestamp,
    config: &WebhooksConfig,
    chance: f64,
) -> Verdict {
    let advised = match response {
        Ok(WebhookResponse { status: 200..=299, .. }) => return Verdict::Told,
        // The receiver says that it is gone for good.
        Ok(WebhookResponse { status: 410, .. }) => return Verdict::GiveUp,
        Ok(response) => response.retry_after,
        Err(_) => None,
    };
    let doubled = config.delay_ms.saturating_mul(1 << due.tries.saturating_sub(1).min(32));
    let most = doubled.min(config.delay_ms_max);
    // Jitter, so that jobs which ended together do not come back together; never at once.
    let spread = (Duration::from_millis(most).mul_f64(chance)).as_millis();
    let wait = u64::try_from(spread).unwrap_or(most).max(config.delay_ms / 2);
    let advised = advised.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let at = now.plus_ms(wait.max(advised.min(config.delay_ms_max)));
    let is_over = due.tries >= config.attempts_max || at.ms_since(due.ended_at) > config.give_up_s.saturating_mul(1000);
    if is_over { Verdict::GiveUp } else { Verdict::Again(at) }
}

fn shown(response: &Result<WebhookResponse, String>) -> String {
    match response {
        Ok(response) => response.status.to_string(),
        Err(problem) => problem.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::log::memory::MemoryLog;

    #[test]
    fn a_webhook_is_told_again_until_it_is_over() {
        let config = WebhooksConfig::default();
        let ok =
            |status, after: Option<u64>| Ok(WebhookResponse { status, retry_after: after.map(Duration::from_secs) });
        let again = |ms: u64| Verdict::Again(Timestamp(1_000_000 + ms));
        for (response, tries, chance, expected) in [
            (ok(204, None), 1, 0.5, Verdict::Told),
            (ok(410, None), 1, 0.5, Verdict::GiveUp),
            (ok(500, None), 1, 1.0, again(2_000)),
            (ok(500, None), 1, 0.0, again(1_000)),
            (ok(302, None), 3, 0.5, again(4_000)),
            (ok(429, Some(60)), 1, 0.0, again(60_000)),
            (ok(503, Some(999_999_999)), 1, 0.0, again(10_800_000)),
            (Err("no such host".into()), 15, 1.0, again(10_800_000)),
            (ok(500, None), 16, 0.5, Verdict::GiveUp),
        ] {
            let due = Due {
                url: "https://example.com".into(),
                job: "j".parse().unwrap(),
                gateway: Gateway::default(),
                state: State::Completed,
                ended_at: Timestamp(1_000_000),
                tries,
                next_at: Timestamp(0),
            };
            assert_eq!(
                verdict(&response, &due, Timestamp(1_000_000), &config, chance),
                expected,
                "{response:?} {tries}"
            );
            let late = Timestamp(1_000_000 + 86_400_000);
            let then = if matches!(expected, Verdict::Again(_)) { Verdict::GiveUp } else { expected };
            assert_eq!(verdict(&response, &due, late, &config, chance), then, "a day later: {response:?}");
        }
    }

    #[test]
    fn what_has_no_room_is_recalled_later() {
        let snapshot = ConfigSnapshot::build(Config::default(), &|_| None).unwrap();
        let outbox = Outbox::new(OutboxParts {
            log: MemoryLog::new(Clock::System),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            clock: Clock::System,
            random: Random::seeded(1),
        });
        let stream = |n: u64| StreamId(u128::from(n).to_be_bytes());
        for n in 0..=WAITING_MAX as u64 {
            outbox.add(stream(n), Timestamp(n));
            outbox.add(stream(n), Timestamp(0));
        }
        assert_eq!(outbox.lock().waiting.len(), WAITING_MAX);
        assert!(outbox.lock().left_out && !outbox.wants_recall());
        assert_eq!(outbox.take(Timestamp(0)), Ok(stream(0)), "the earliest first");
        assert_eq!(outbox.take(Timestamp(0)), Err(Some(Timestamp(1))));
        for n in 1..WAITING_MAX as u64 {
            assert_eq!(outbox.take(Timestamp(u64::MAX)), Ok(stream(n)));
            outbox.back(stream(n), None);
        }
        assert!(outbox.wants_recall());
    }
}
