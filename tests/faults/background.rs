//! A response in the background is made once, whatever happens to the connection.

use std::sync::Arc;
use std::time::Duration;

use forebay::job::{AttemptMode, Event, Part, Record, State};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::act::{Act, whole};
use crate::broker::{Broker, PATIENCE, found};
use crate::check::story;
use crate::entrance::{ClientBehavior, Entrance, ReadRequest, follow, text};
use crate::upstream::Answer::{Full, Text};
use crate::upstream::{ARGUMENTS, Answer, Get, Plan, Server, THOUGHTS, count, number};
use crate::world::World;

pub(crate) const ENTRANCES: [Entrance; 3] = [Entrance::Nats, Entrance::Stream, Entrance::Socket];
/// All jobs have one target, which is cut so often that its breaker would open. Its retries are few:
/// reattaching to an answer is not a retry.
const HEALTH: &str =
    "[health]\nfailures_in_a_row = 1000\nerror_rate = 1.0\ncalls_min = 1000\nretry_share = 0.0\nretries_per_s = 0.01\n";

/// The expected outcome of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    /// The job completes, and its response is made once.
    Once,
    /// The job completes after a second request; the first response is cancelled at the provider, or was over.
    Twice { is_cancelled: bool },
}

/// A job of the table.
struct Row {
    name: String,
    plan: Plan,
    options: Value,
    ends: Ends,
    /// Number of GETs after which the rest of the response is made.
    gets_before_release: usize,
    /// The GETs that are expected, where that is certain: streams after a number, or wholes.
    gets: Option<Vec<Option<Option<usize>>>>,
}

impl Row {
    fn new(name: impl Into<String>, plan: Plan) -> Row {
        Row { name: name.into(), plan, options: json!({}), ends: Ends::Once, gets_before_release: 0, gets: None }
    }

    fn cut(answer: Answer, after: usize, gets: &[Get]) -> Row {
        let gets = gets.to_vec();
        Row::new(format!("cut{after}-{answer:?}"), Plan { cut: after, gets, ..Plan::of(answer) })
    }

    fn named(self, name: &str) -> Row {
        Row { name: format!("{name}-{}", self.name), ..self }
    }
}

/// A broker and the provider behind it.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) server: Server,
}

impl Stage {
    pub(crate) async fn start(quiet: Duration) -> (Arc<Stage>, Broker) {
        let server = Server::start().await;
        let refuse_all = |_: &str, _: &str, _: usize| Act::Status(500, "", "{}");
        let (world, broker) = World::start(
            Box::new(refuse_all),
            Duration::ZERO,
            quiet,
            &(server.config("bg") + &server.config("bg2") + HEALTH),
        )
        .await;
        (Arc::new(Stage { world, server }), broker)
    }

    pub(crate) fn job(&self, id: &str, plan: &Plan, options: &Value) -> Value {
        self.server.plan(id, plan.clone());
        let mut job = json!({
            "id": id,
            "model": "bg/gpt-9",
            "input": {
                "messages": [{"role": "user", "content": "Count to sixty."}],
                "background": true,
                "user": id,
            },
            "metadata": {"case": id},
            "options": {"retry": {"max_attempts": 3, "delay_ms": 20, "max_delay_ms": 40}},
        });
        if plan.answer == Full {
            job["input"]["tools"] = json!([{"type": "function", "function": {"name": "count", "parameters": {}}}]);
        }
        for (name, value) in options.as_object().unwrap() {
            job["options"][name] = value.clone();
        }
        job
    }

    /// Waits until a reader has records for which the predicate holds.
    pub(crate) async fn seen(&self, id: &str, is_there: impl Fn(&[Record]) -> bool) {
        found("a part of the answer", || async {
            let mut reading = self
                .world
                .entrances
                .read(Entrance::Socket, ReadRequest::Resume { id: id.to_owned(), cursor: "-1".into() });
            let mut seen = Vec::new();
            while let Some(Ok(batch)) = reading.recv().await {
                seen.extend(batch.records);
                if is_there(&seen) {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    pub(crate) async fn booked(&self, id: &str) -> Value {
        self.world.entrances.json(&format!("/v1/costs?tag.case={id}")).await["total"].clone()
    }
}

async fn check(stage: Arc<Stage>, row: Arc<Row>, entrance: Entrance) {
    let id = format!("{}-{}", row.name, entrance.name());
    let mut job = stage.job(&id, &row.plan, &row.options);
    if row.ends != Ends::Once {
        // A request for another answer is a retry, and may wait for those of other jobs.
        job["model"] = json!(format!("bg/{id}"));
    }
    let asking = follow(&stage.world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: false });
    let release = async {
        if row.gets_before_release > 0 {
            let enough = || async { (stage.server.case(&id).gets.len() >= row.gets_before_release).then_some(()) };
            found("enough GETs", enough).await;
        }
        if row.gets_before_release > 0 {
            stage.server.release(&id);
        }
    };
    let (records, ()) = tokio::join!(asking, release);
    check_answer(&id, row.plan.answer, &records);
    let (transcript, case) = (story(&records), stage.server.case(&id));
    let booked = stage.booked(&id).await;
    let tokens = |name: &str| booked[name].as_u64().unwrap();
    let billed = (tokens("input_tokens"), tokens("output_tokens"));
    match row.ends {
        Ends::Once => {
            assert_eq!((case.posts.len(), case.cancels.len()), (1, 0), "{id}: {:?}\n{transcript}", case.gets);
            assert_eq!(billed, case.posts[0].usage, "{id}: {booked}\n{transcript}");
            check_attempts(&id, &records);
        }
        Ends::Twice { is_cancelled } => {
            let first: Vec<String> = is_cancelled.then(|| case.posts[0].id.clone()).into_iter().collect();
            let ended = || async { (stage.server.case(&id).cancels.len() >= first.len()).then_some(()) };
            found("the end of the first", ended).await;
            let cancels: Vec<_> = stage.server.case(&id).cancels.into_iter().map(|(id, _)| id).collect();
            assert_eq!((case.posts.len(), cancels), (2, first), "{id}: {:?}\n{transcript}", case.gets);
            let last = case.posts[1].usage;
            assert!(billed.0 > last.0 && billed.1 > last.1, "{id}: both, {billed:?} over {last:?}\n{transcript}");
        }
    }
    if let Some(expected) = &row.gets {
        assert_eq!(case.gets, *expected, "{id}\n{transcript}");
    }
}

/// Checks that readers have exactly the text that was made.
pub(crate) fn check_answer(id: &str, answer: Answer, records: &[Record]) {
    let transcript = story(records);
    assert_eq!(records.last().unwrap().event.terminal(), Some(State::Completed), "{id}\n{transcript}");
    let (mut thoughts, mut calls, mut details) = (String::new(), Vec::new(), 0);
    for record in records {
        match &record.event {
            Event::Delta(delta) => {
                if delta.part == Part::Reasoning {
                    thoughts.push_str(&delta.text);
                }
                details +=
                    usize::from(delta.extra.as_ref().is_some_and(|extra| extra.to_string().contains("c2VjcmV0")));
            }
            Event::ToolCall(call) => {
                if call.name.is_some() {
                    calls.push((call.call_id.as_deref(), call.name.as_deref(), String::new()));
                }
                calls.last_mut().unwrap().2.push_str(&call.arguments);
            }
            Event::Restarted(_) => (thoughts, calls, details) = (String::new(), Vec::new(), 0),
            _ => {}
        }
    }
    assert_eq!(text(records), whole(), "{id}\n{transcript}");
    if answer == Full {
        assert_eq!(thoughts, THOUGHTS.join("\n\n"), "{id}\n{transcript}");
        assert_eq!(calls, [(Some("call_1"), Some("count"), ARGUMENTS.to_owned())], "{id}\n{transcript}");
        assert_eq!(details, 1, "{id}\n{transcript}");
    }
}

/// Checks that nothing is begun anew, and that each attempt's mode fits the output that readers have.
pub(crate) fn check_attempts(id: &str, records: &[Record]) {
    let transcript = story(records);
    let (mut has_output, mut named_count) = (false, 0);
    for record in records {
        match &record.event {
            Event::Restarted(_) => panic!("{id}: restarted\n{transcript}"),
            Event::Attempt(begun) => {
                let mode = if has_output { AttemptMode::Continue } else { AttemptMode::Start };
                assert_eq!(begun.mode, mode, "{id}: attempt {}\n{transcript}", begun.attempt);
                named_count += 1;
            }
            event => has_output |= event.is_output(),
        }
    }
    let named = records
        .iter()
        .filter(|record| matches!(&record.event, Event::Progress(progress) if progress.upstream.is_some()));
    assert_eq!(named.count(), named_count, "{id}: each attempt names the response once\n{transcript}");
}

async fn all(rows: Vec<Row>) {
    let (stage, _broker) = Stage::start(PATIENCE).await;
    let rows: Vec<Arc<Row>> = rows.into_iter().map(Arc::new).collect();
    let begin = |(row, entrance): (&Arc<Row>, Entrance)| {
        let name = format!("{}-{}", row.name, entrance.name());
        (name, tokio::spawn(check(Arc::clone(&stage), Arc::clone(row), entrance)))
    };
    let pairs = rows.iter().flat_map(|row| ENTRANCES.map(|entrance| (row, entrance)));
    let (names, tasks): (Vec<_>, Vec<_>) = pairs.map(begin).unzip();
    let ended = names.into_iter().zip(join_all(tasks).await);
    let wrong: Vec<String> = ended.filter_map(|(name, ended)| ended.is_err().then_some(name)).collect();
    assert!(wrong.is_empty(), "{} went wrong: {}", wrong.len(), wrong.join(" "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_is_cut_after_any_packet_is_heard_to_its_end_and_paid_once() {
    let rows = (1..count(Full)).map(|after| {
        let gets = Some(vec![Some(Some(after - 1))]);
        Row { gets, ..Row::cut(Full, after, &[Get::Served]) }
    });
    all(rows.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_goes_on_is_waited_for_whatever_becomes_of_those_who_listen() {
    use Get::{Cut, OnlyWhole, Served, Status};
    let middle = number(Full, "response.output_text.delta") + 3;
    let call = number(Full, "response.function_call_arguments.delta") + 2;
    let mut rows = vec![
        Row {
            gets: Some(vec![Some(Some(middle - 1)), Some(Some(call - 1))]),
            ..Row::cut(Full, middle, &[Cut(call), Served])
        }
        .named("twice"),
        Row::cut(Full, 2, &[Cut(5), Cut(middle), Cut(call), Served]).named("often-forward"),
    ];
    for after in [1, middle, call] {
        let streams = |count: usize| Some(vec![Some(Some(after - 1)); count]);
        rows.push(Row { gets: streams(2), ..Row::cut(Full, after, &[Status(503), Served]) }.named("503"));
        // A target that may be tried once may be silent as often as it likes.
        let impatient = json!({"timeouts": {"first_token_ms": 1000, "idle_ms": 1000}, "retry": {"max_attempts": 1}});
        let silent = Row::new(format!("silent{after}"), Plan { hold: after, ..Plan::of(Full) });
        rows.push(Row { options: impatient.clone(), gets_before_release: 3, ..silent });
        let whole = || Some(vec![Some(Some(after - 1)), None]);
        rows.push(Row { gets: whole(), ..Row::cut(Full, after, &[OnlyWhole]) }.named("whole"));
        let mut late = Row::cut(Full, after, &[OnlyWhole]).named("whole-late");
        (late.plan.hold, late.gets_before_release) = (after, 5);
        rows.push(late);
        let refused = Row::cut(Full, after, &[OnlyWhole, Status(503), OnlyWhole]).named("whole-503");
        rows.push(Row { gets: Some(vec![Some(Some(after - 1)), None, None]), ..refused });
    }
    all(rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_is_lost_for_good_is_gone_on_with_by_another_and_both_are_paid() {
    use Get::{Cut, Served, Status};
    let first = number(Text, "response.output_text.delta") + 1;
    let mut rows = Vec::new();
    for after in [first, first + 8] {
        let gone = Row::cut(Text, after, &[Status(404)]).named("gone");
        let ends = Ends::Twice { is_cancelled: true };
        rows.push(Row { ends, gets: Some(vec![Some(Some(after - 1)), None]), ..gone });
        let gone_later = Row::cut(Text, after, &[Cut(after + 2), Status(404)]).named("gone-later");
        rows.push(Row { ends, ..gone_later });
        // The attempt that reattached got nothing of the response, which is paid all the same.
        let gone_unread = Row::cut(Text, after, &[Cut(after), Status(404)]).named("gone-unread");
        rows.push(Row { ends, ..gone_unread });
        rows.push(Row { ends, ..Row::cut(Text, after, &[Status(401)]).named("refused") });
        let ends = Ends::Twice { is_cancelled: false };
        let failed = Row::new(format!("failed{after}"), Plan { fails: Some(after), ..Plan::of(Text) });
        rows.push(Row { ends, gets: Some(Vec::new()), ..failed });
        let mut failed_meanwhile = Row::cut(Text, after, &[Served]).named("failed-meanwhile");
        failed_meanwhile.plan.fails = Some(after);
        rows.push(Row { ends, gets: Some(vec![Some(Some(after - 1))]), ..failed_meanwhile });
    }
    all(rows).await;
}
