//! One scenario through one entrance: the job, and everything that must hold of it.

use std::fmt::Write;

use forebay::job::{Code, Event, Failure, Record, State, Usage};
use forebay::meter::tokens;
use serde_json::{Value, json};

use crate::act::{THOUGHT, upto, whole};
use crate::entrance::{ClientBehavior, Entrance, ReadRequest, follow, text};
use crate::provider::Call;
use crate::table::{Ends, Row};
use crate::world::World;

/// What a job costs per token, so that money can be checked.
const PRICES: (f64, f64) = (0.000_003, 0.000_015);
/// Name of the provider whose port refuses connections until its job waits.
const LATE: &str = "late";

/// A row of the table that is run as one job.
pub(crate) struct Case {
    row: &'static Row,
    pub(crate) id: String,
    /// Name of the model by which the fault server finds the plan.
    name: String,
    /// The number of its port that refuses.
    late: Option<usize>,
}

impl Case {
    pub(crate) fn new(world: &World, row: &'static Row, tag: &str) -> Case {
        let needs_late = row.targets.iter().any(|target| target.provider == LATE);
        let late = needs_late.then(|| world.next_late());
        Case { row, id: format!("{}-{tag}", row.name), name: format!("{}.{tag}", row.name), late }
    }

    /// The provider's name in the configuration.
    fn provider(&self, name: &str) -> String {
        match self.late {
            Some(number) if name == LATE => format!("{LATE}{number}"),
            _ => name.to_owned(),
        }
    }

    fn job(&self) -> Value {
        let models = self
            .row
            .targets
            .iter()
            .map(|target| format!("{}/{}", self.provider(target.provider), target.model.unwrap_or(&self.name)));
        let models: Vec<String> = models.collect();
        let mut options = json!({
            "fallbacks": models[1..],
            "timeouts": {
                "connect_ms": 1000, "first_token_ms": 8000, "idle_ms": 8000, "total_ms": 60000, "queue_ms": 5000,
            },
            "retry": {"max_attempts": 2, "delay_ms": 20, "max_delay_ms": 100},
            "cost": {"per_token_in": PRICES.0, "per_token_out": PRICES.1},
        });
        merge(&mut options, &serde_json::from_str(self.row.options).unwrap());
        json!({
            "id": self.id,
            "model": models[0],
            "input": {"messages": [{"role": "user", "content": "Count to sixty."}], "user": self.name},
            "metadata": {"case": self.id},
            "options": options,
        })
    }

    /// Submits the job and returns all its records.
    pub(crate) async fn run(&self, world: &World, behavior: ClientBehavior) -> Vec<Record> {
        let job = self.job();
        let asking = follow(&world.entrances, &job, behavior);
        match self.late {
            None => asking.await,
            Some(number) => tokio::join!(asking, self.recover(world, number)).0,
        }
    }

    /// The provider recovers once its job waits.
    async fn recover(&self, world: &World, number: usize) {
        let waits = crate::broker::found("a job that waits", || async {
            let request = ReadRequest::Resume { id: self.id.clone(), cursor: "-1".into() };
            let mut reading = world.entrances.read(Entrance::Stream, request);
            while let Some(Ok(batch)) = reading.recv().await {
                let last = batch.records.last();
                if last.is_some_and(|last| matches!(last.event, Event::Queued(_)) || last.event.terminal().is_some()) {
                    return Some(());
                }
            }
            None
        });
        waits.await;
        world.server.switch_on(number);
    }

    /// Checks what holds over every crash of the broker: the laws of a stream, and the end that the row names.
    pub(crate) fn check_end(&self, records: &[Record]) {
        let transcript = story(records);
        let id = &self.id;
        for (record, seq) in records.iter().zip(0..) {
            assert_eq!(record.seq, seq, "{id}: a gap in\n{transcript}");
            let is_last = record.seq + 1 == records.len() as u64;
            assert_eq!(record.event.terminal().is_some(), is_last, "{id}: one terminal, and that last\n{transcript}");
            assert_eq!(matches!(record.event, Event::Accepted(_)), seq == 0, "{id}: accepted first\n{transcript}");
        }
        let (text, last) = (text(records), &records.last().unwrap().event);
        match (self.row.ends, last) {
            (Ends::Whole, Event::Completed(end)) => {
                assert_eq!((&*text, &*end.finish_reason), (&*whole(), "stop"), "{id}\n{transcript}");
            }
            (Ends::Cut(count, reason), Event::Completed(end)) => {
                assert_eq!((text, &*end.finish_reason), (upto(count), reason), "{id}\n{transcript}");
            }
            (Ends::Failed(code, tried), Event::Failed(end)) => {
                assert_eq!(end.error.code.as_str(), code, "{id}\n{transcript}");
                assert!(whole().starts_with(&text), "{id}: {text}\n{transcript}");
                check_says(id, &end.error, tried, end.attempts);
            }
            (expected, _) => panic!("{id}: not {expected:?} but\n{transcript}"),
        }
    }

    /// Checks what also holds while the broker does not crash: calls, events, ledger.
    pub(crate) async fn check_all(&self, world: &World, records: &[Record]) {
        self.check_end(records);
        self.check_events(records);
        self.check_stored(world, records).await;
        self.check_calls(world, records);
        self.check_ledger(world, records).await;
    }

    /// Checks that a later reader gets the same records.
    pub(crate) async fn check_stored(&self, world: &World, records: &[Record]) {
        let mut reading =
            world.entrances.read(Entrance::Socket, ReadRequest::Resume { id: self.id.clone(), cursor: "-1".into() });
        let mut stored = Vec::new();
        while let Some(Ok(batch)) = reading.recv().await {
            stored.extend(batch.records);
        }
        assert_eq!(stored, records, "{}: as seen, so stored", self.id);
    }

    fn check_events(&self, records: &[Record]) {
        let transcript = story(records);
        let mut lines = transcript.lines().map(|line| line.replace(|c: char| c.is_ascii_digit(), ""));
        for expected in self.row.events {
            assert!(
                lines.any(|line| line.contains(expected)),
                "{}: no `{expected}` in its place\n{transcript}",
                self.id
            );
        }
        let attempts = attempts(records);
        for (attempt, number) in attempts.iter().zip(1..) {
            assert_eq!(attempt.number, number, "{}\n{transcript}", self.id);
            if let Some(emitted) = attempt.lost_emitted {
                assert_eq!(emitted, attempt.has_output, "{}: attempt {number}\n{transcript}", self.id);
            }
        }
    }

    /// Checks that no provider was called more often than the rules allow, which is once more for each of
    /// its attempts that ended in a crash of the broker.
    pub(crate) fn check_calls(&self, world: &World, records: &[Record]) {
        let (transcript, attempts) = (story(records), attempts(records));
        let any_died = attempts.iter().any(|attempt| attempt.lost_by == Some(Code::Internal));
        let mut known = Vec::new();
        for target in self.row.targets {
            let provider = self.provider(target.provider);
            let is_dead =
                |attempt: &&Attempt| *attempt.provider == *provider && attempt.lost_by == Some(Code::Internal);
            let died = attempts.iter().filter(is_dead).count();
            let calls = world.server.calls(&provider, &self.name);
            let (min, max) = target.calls;
            let within = if any_died { 0..=max + died } else { min..=max };
            assert!(within.contains(&calls.len()), "{}: {} calls of {provider}\n{transcript}", self.id, calls.len());
            for call in calls {
                assert!(!call.body.to_string().contains(THOUGHT), "{}: {}", self.id, call.body);
            }
            known.push(provider);
        }
        assert_eq!(world.server.calls_elsewhere(&known, &self.name), 0, "{}: calls of others", self.id);
    }

    /// Checks that the ledger has a line per attempt, with the usage that the fault server counted.
    async fn check_ledger(&self, world: &World, records: &[Record]) {
        let transcript = story(records);
        let costs = world.entrances.json(&format!("/v1/costs?by=provider&tag.case={}", self.id)).await;
        let last = &records.last().unwrap().event;
        let (usage, attempts_made) = match last {
            Event::Completed(end) => (&end.usage, end.attempts),
            Event::Failed(end) => (&end.usage, end.attempts),
            other => panic!("{}: {other:?}", self.id),
        };
        let total = &costs["total"];
        assert_eq!(total["attempts"], attempts_made, "{}: {costs}\n{transcript}", self.id);
        assert_eq!((&total["jobs"], &total["unpriced_jobs"]), (&json!(1), &json!(0)), "{}: {costs}", self.id);
        let summed = (number(total, "input_tokens"), number(total, "output_tokens"));
        assert_eq!(summed, tokens_of(usage), "{}: the terminal and the ledger\n{transcript}", self.id);
        let paid = (summed.0 * 3 + summed.1 * 15) as f64 / 1e6;
        let usd: f64 = total["usd"].as_str().unwrap().parse().unwrap();
        assert!((usd - paid).abs() < 1e-9, "{}: {usd} is not {paid}: {costs}", self.id);
        let attempts = attempts(records);
        assert_eq!(attempts.len(), attempts_made as usize, "{}\n{transcript}", self.id);
        for row in costs["rows"].as_array().unwrap() {
            let provider = row["key"]["provider"].as_str().unwrap();
            let made: Vec<&Attempt> = attempts.iter().filter(|attempt| *attempt.provider == *provider).collect();
            let calls = world.server.calls(provider, &self.name);
            assert_eq!(row["attempts"], made.len(), "{}: {provider} in {costs}\n{transcript}", self.id);
            let is_reached = calls.len() == made.len() || calls.is_empty() || provider.starts_with(LATE);
            assert!(is_reached, "{}: calls of {provider}\n{transcript}", self.id);
            let (mut least, mut most) = ((0, 0), (0, 0));
            // Those that did not reach it came first, and cost nothing.
            for (attempt, call) in made.iter().skip(made.len() - calls.len()).zip(&calls) {
                let (low, high) = billed(attempt, call);
                (least, most) = ((least.0 + low.0, least.1 + low.1), (most.0 + high.0, most.1 + high.1));
            }
            let (input, output) = (number(row, "input_tokens"), number(row, "output_tokens"));
            assert!(
                (least.0..=most.0).contains(&input),
                "{}: {input} not in {least:?}..{most:?}\n{transcript}",
                self.id
            );
            assert!(
                (least.1..=most.1).contains(&output),
                "{}: {output} not in {least:?}..{most:?}\n{transcript}",
                self.id
            );
        }
    }
}

/// Returns the least and the most that an attempt may be booked with: the provider's own count, else an
/// estimate of what was sent and received.
fn billed(attempt: &Attempt, call: &Call) -> ((u64, u64), (u64, u64)) {
    // An estimate counts by another tokenizer than the fault server's, which counts words.
    let input = 4 * call.words + 16;
    match call.usage {
        Some(reported) => (reported, reported),
        // The loser of a race had received the request when it was called off.
        None if !attempt.has_output => ((0, 0), (if attempt.lost_by == Some(Code::Cancelled) { input } else { 0 }, 0)),
        None => {
            let count = |text: &str| tokens::count(&attempt.model, text);
            ((1, count(&attempt.text)), (input, count(&attempt.text).max(count(&call.sent))))
        }
    }
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_default()
}

fn tokens_of(usage: &Usage) -> (u64, u64) {
    (usage.input_tokens.unwrap_or_default(), usage.output_tokens.unwrap_or_default())
}

/// Checks that a failure names the providers that were tried.
fn check_says(id: &str, failure: &Failure, tried: &[&str], attempts: u32) {
    for provider in tried {
        let names = failure.message.contains(provider) || failure.provider.as_deref() == Some(*provider);
        assert!(names, "{id}: no word of {provider}: {failure:?}");
    }
    assert!(attempts > 0 && !failure.message.is_empty(), "{id}: {failure:?}");
}

/// An attempt as readers receive it.
#[derive(Debug)]
struct Attempt {
    number: u32,
    provider: Box<str>,
    model: Box<str>,
    text: String,
    has_output: bool,
    /// Whether its `lost` event reports output, if there is one.
    lost_emitted: Option<bool>,
    lost_by: Option<Code>,
}

fn attempts(records: &[Record]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for record in records {
        match &record.event {
            Event::Attempt(begun) => attempts.push(Attempt {
                number: begun.attempt,
                provider: begun.provider.clone(),
                model: begun.model.clone(),
                text: String::new(),
                has_output: false,
                lost_emitted: None,
                lost_by: None,
            }),
            Event::Delta(delta) => {
                let attempt = attempts.last_mut().unwrap();
                attempt.text.push_str(&delta.text);
                attempt.has_output = true;
            }
            Event::Lost(lost) => {
                let attempt = attempts.iter_mut().find(|attempt| attempt.number == lost.attempt).unwrap();
                attempt.lost_emitted = Some(lost.emitted);
                attempt.lost_by = Some(lost.error.code);
            }
            _ => {}
        }
    }
    attempts
}

/// Describes a stream in a few lines.
pub(crate) fn story(records: &[Record]) -> String {
    let (mut text, mut deltas) = (String::new(), 0);
    for record in records {
        if let Event::Delta(_) = record.event {
            deltas += 1;
            continue;
        }
        if deltas > 0 {
            writeln!(text, "  {deltas} deltas").unwrap();
            deltas = 0;
        }
        match &record.event {
            Event::Attempt(begun) => {
                let mode = format!("{:?}", begun.mode).to_lowercase();
                writeln!(text, "  attempt {} {mode}", begun.provider).unwrap();
            }
            Event::Lost(lost) => writeln!(text, "  lost {}", lost.error).unwrap(),
            Event::Queued(queued) => writeln!(text, "  queued {queued:?}").unwrap(),
            Event::Failed(failed) => writeln!(text, "  failed {} after {}", failed.error, failed.attempts).unwrap(),
            other => writeln!(text, "  {}", other.kind()).unwrap(),
        }
    }
    if records.last().is_none_or(|last| last.event.terminal().is_none_or(|state| state == State::Pending)) {
        text.push_str("  and no end\n");
    }
    text
}

/// Puts the fields of `over` into `under`, objects field by field.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name.as_str()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}
