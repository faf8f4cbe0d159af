//! A response in the background is made once, whatever becomes of the connection, of the broker or of
//! whoever asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::job::{AttemptMode, Code, Event, Part, Record, State};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::act::{Act, whole};
use crate::books::paid;
use crate::broker::{Broker, PATIENCE, found};
use crate::check::story;
use crate::door::{Ask, Door, Manners, follow, text};
use crate::upstream::Answer::{Full, Text};
use crate::upstream::{ARGUMENTS, Answer, Get, Plan, Server, THOUGHTS, count, number};
use crate::world::World;

const DOORS: [Door; 3] = [Door::Nats, Door::Stream, Door::Socket];
/// How soon a response must be ended that nobody wants any more.
const SOON: Duration = Duration::from_secs(1);

/// All jobs have one target, which is cut so often that it would be let rest. Its retries are few: to
/// go on hearing an answer is none.
const HEALTH: &str =
    "[health]\nfailures_in_a_row = 1000\nerror_rate = 1.0\ncalls_min = 1000\nretry_share = 0.0\nretries_per_s = 0.01\n";

/// What must come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    /// Completed, and made once.
    Once,
    /// Completed, and asked for a second time after a loss; the first is cancelled there, or was over.
    Twice { is_cancelled: bool },
}

/// One job.
struct Row {
    name: String,
    plan: Plan,
    options: Value,
    ends: Ends,
    /// The rest is made once so many GETs came.
    gets_before_release: usize,
    /// What GETs were, where that is certain: streams after a number, or wholes.
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

struct Stage {
    world: World,
    server: Server,
}

impl Stage {
    async fn start(quiet: Duration) -> (Arc<Stage>, Broker) {
        let server = Server::start().await;
        let nobody = |_: &str, _: &str, _: usize| Act::Status(500, "", "{}");
        let (world, broker) =
            World::start(Box::new(nobody), Duration::ZERO, quiet, &(server.config("bg") + HEALTH)).await;
        (Arc::new(Stage { world, server }), broker)
    }

    fn job(&self, id: &str, plan: &Plan, options: &Value) -> Value {
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

    /// Waits until a reader has what such a predicate finds.
    async fn seen(&self, id: &str, is_there: impl Fn(&[Record]) -> bool) {
        found("a part of the answer", || async {
            let mut reading = self.world.way.read(Door::Socket, Ask::Resume { id: id.to_owned(), cursor: "-1".into() });
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

    async fn booked(&self, id: &str) -> Value {
        self.world.way.json(&format!("/v1/costs?tag.case={id}")).await["total"].clone()
    }
}

async fn check(stage: Arc<Stage>, row: Arc<Row>, door: Door) {
    let id = format!("{}-{}", row.name, door.name());
    let mut job = stage.job(&id, &row.plan, &row.options);
    if row.ends != Ends::Once {
        // To ask for another answer is a retry, and may wait for those of other jobs.
        job["model"] = json!(format!("bg/{id}"));
    }
    let asking = follow(&stage.world.way, &job, Manners { door, leaves: None, expects_loss: false });
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
    let (said, case) = (story(&records), stage.server.case(&id));
    let booked = stage.booked(&id).await;
    let told = |name: &str| booked[name].as_u64().unwrap();
    let billed = (told("input_tokens"), told("output_tokens"));
    match row.ends {
        Ends::Once => {
            assert_eq!((case.posts.len(), case.cancels.len()), (1, 0), "{id}: {:?}\n{said}", case.gets);
            assert_eq!(billed, case.posts[0].usage, "{id}: {booked}\n{said}");
            check_attempts(&id, &records);
        }
        Ends::Twice { is_cancelled } => {
            let first: Vec<String> = is_cancelled.then(|| case.posts[0].id.clone()).into_iter().collect();
            let ended = || async { (stage.server.case(&id).cancels.len() >= first.len()).then_some(()) };
            found("the end of the first", ended).await;
            let cancels: Vec<_> = stage.server.case(&id).cancels.into_iter().map(|(id, _)| id).collect();
            assert_eq!((case.posts.len(), cancels), (2, first), "{id}: {:?}\n{said}", case.gets);
            let last = case.posts[1].usage;
            assert!(billed.0 > last.0 && billed.1 > last.1, "{id}: both, {billed:?} over {last:?}\n{said}");
        }
    }
    if let Some(expected) = &row.gets {
        assert_eq!(case.gets, *expected, "{id}\n{said}");
    }
}

/// What readers have is what was made, to the letter.
fn check_answer(id: &str, answer: Answer, records: &[Record]) {
    let said = story(records);
    assert_eq!(records.last().unwrap().event.terminal(), Some(State::Completed), "{id}\n{said}");
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
    assert_eq!(text(records), whole(), "{id}\n{said}");
    if answer == Full {
        assert_eq!(thoughts, THOUGHTS.join("\n\n"), "{id}\n{said}");
        assert_eq!(calls, [(Some("call_1"), Some("count"), ARGUMENTS.to_owned())], "{id}\n{said}");
        assert_eq!(details, 1, "{id}\n{said}");
    }
}

/// Nothing is begun anew, and each attempt says how it stands to what readers have.
fn check_attempts(id: &str, records: &[Record]) {
    let said = story(records);
    let (mut has_output, mut told) = (false, 0);
    for record in records {
        match &record.event {
            Event::Restarted(_) => panic!("{id}: restarted\n{said}"),
            Event::Attempt(begun) => {
                let mode = if has_output { AttemptMode::Continue } else { AttemptMode::Start };
                assert_eq!(begun.mode, mode, "{id}: attempt {}\n{said}", begun.attempt);
                told += 1;
            }
            event => has_output |= event.is_output(),
        }
    }
    let named =
        records.iter().filter(|record| matches!(&record.event, Event::Progress(told) if told.upstream.is_some()));
    assert_eq!(named.count(), told, "{id}: each attempt names the response once\n{said}");
}

async fn all(rows: Vec<Row>) {
    let (stage, _broker) = Stage::start(PATIENCE).await;
    let rows: Vec<Arc<Row>> = rows.into_iter().map(Arc::new).collect();
    let begin = |(row, door): (&Arc<Row>, Door)| {
        let name = format!("{}-{}", row.name, door.name());
        (name, tokio::spawn(check(Arc::clone(&stage), Arc::clone(row), door)))
    };
    let pairs = rows.iter().flat_map(|row| DOORS.map(|door| (row, door)));
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
        // Whoever may try once may be silent as often as it likes.
        let impatient = json!({"timeouts": {"first_token_ms": 60, "idle_ms": 60}, "retry": {"max_attempts": 1}});
        let silent = Row::new(format!("silent{after}"), Plan { hold: after, ..Plan::of(Full) });
        rows.push(Row { options: impatient.clone(), gets_before_release: 4, ..silent });
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
        // The one that took it up heard nothing of it, and it is paid all the same.
        let gone_unheard = Row::cut(Text, after, &[Cut(after), Status(404)]).named("gone-unheard");
        rows.push(Row { ends, ..gone_unheard });
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

/// Where a job is when the broker dies: after so many packets, and whether the rest is made meanwhile.
fn moments() -> Vec<(usize, bool)> {
    let text = number(Full, "response.output_text.delta") + 3;
    let call = number(Full, "response.function_call_arguments.delta") + 2;
    let moments = [3, text, call, count(Full) - 1];
    moments.into_iter().flat_map(|after| [(after, true), (after, false)]).collect()
}

/// Whether readers have what is made of a response up to its packet `after`.
fn has(after: usize) -> impl Fn(&[Record]) -> bool {
    let made = crate::upstream::said(Full, after);
    move |records| {
        let call = |record: &Record| match &record.event {
            Event::ToolCall(call) => call.arguments.clone(),
            _ => String::new(),
        };
        let calls: String = records.iter().map(call).collect();
        let is_named = |record: &Record| matches!(&record.event, Event::Progress(told) if told.upstream.is_some());
        records.iter().any(is_named) && text(records) == made.0 && calls == made.1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_died_hears_the_rest_of_the_same_response_or_ends_it() {
    let (stage, mut broker) = Stage::start(Duration::from_secs(2)).await;
    let mut jobs = Vec::new();
    for (after, is_made_meanwhile) in moments() {
        for (door, rule) in [(Door::Stream, "continue"), (Door::Socket, "restart"), (Door::Nats, "interrupt")] {
            // Some were cut before, and are heard by a second attempt.
            for is_cut in [false, true] {
                let id = format!("dies{after}-{is_made_meanwhile}-{rule}-{is_cut}");
                let cut = if is_cut && after > 3 { 3 } else { usize::MAX };
                let plan = Plan { hold: after, cut, ..Plan::of(Full) };
                let job = stage.job(&id, &plan, &json!({"on_crash": rule}));
                let theirs = Arc::clone(&stage);
                let asking = tokio::spawn(async move {
                    follow(&theirs.world.way, &job, Manners { door, leaves: None, expects_loss: true }).await
                });
                jobs.push((id, after, is_made_meanwhile, rule, asking));
            }
        }
    }
    for (id, after, ..) in &jobs {
        stage.seen(id, has(*after)).await;
    }
    broker.kill();
    for (id, _, is_made_meanwhile, ..) in &jobs {
        if *is_made_meanwhile {
            stage.server.release(id);
        }
    }
    broker.up().await;
    for (id, _, is_made_meanwhile, rule, _) in &jobs {
        if !is_made_meanwhile && *rule != "interrupt" {
            found("a GET", || async { (!stage.server.case(id).gets.is_empty()).then_some(()) }).await;
            stage.server.release(id);
        }
    }
    for (id, _, _, rule, asking) in jobs {
        let records = asking.await.unwrap();
        let (said, case) = (story(&records), stage.server.case(&id));
        assert_eq!(case.posts.len(), 1, "{id}\n{said}");
        if rule == "interrupt" {
            assert_eq!(records.last().unwrap().event.terminal(), Some(State::Interrupted), "{id}\n{said}");
            found("the end upstream", || async { (!stage.server.case(&id).cancels.is_empty()).then_some(()) }).await;
            assert_eq!(stage.server.case(&id).cancels.len(), 1, "{id}\n{said}");
            continue;
        }
        check_answer(&id, Full, &records);
        check_attempts(&id, &records);
        assert!(case.cancels.is_empty(), "{id}\n{said}");
        let booked = stage.booked(&id).await;
        let (input, output) = case.posts[0].usage;
        assert_eq!(
            (&booked["input_tokens"], &booked["output_tokens"]),
            (&json!(input), &json!(output)),
            "{id}\n{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_or_out_of_time_ends_its_response_within_a_second_and_pays_it_once() {
    let (stage, _broker) = Stage::start(PATIENCE).await;
    let after = number(Full, "response.output_text.delta") + 3;
    let mut tasks = Vec::new();
    for door in DOORS {
        for is_cut in [false, true] {
            for is_late in [false, true] {
                let id = format!("ends-{}-{is_cut}-{is_late}", door.name());
                tasks.push(tokio::spawn(ends(Arc::clone(&stage), id, door, (after, is_cut, is_late))));
            }
        }
    }
    // However many attempts heard it, it is one prompt and one answer.
    let billed: Vec<(u64, u64)> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert!(billed[0].0 > 0 && billed[0].1 > 0 && billed.iter().all(|one| *one == billed[0]), "{billed:?}");
}

async fn ends(stage: Arc<Stage>, id: String, door: Door, (after, is_cut, is_late): (usize, bool, bool)) -> (u64, u64) {
    let cut = if is_cut { after - 2 } else { usize::MAX };
    let options = if is_late { json!({"timeouts": {"total_ms": 1500}}) } else { json!({}) };
    let job = stage.job(&id, &Plan { hold: after, cut, ..Plan::of(Full) }, &options);
    let asking = async {
        let records = follow(&stage.world.way, &job, Manners { door, leaves: None, expects_loss: false }).await;
        (records, Instant::now())
    };
    let cancel = async {
        stage.seen(&id, has(after)).await;
        let asked = Instant::now();
        if !is_late {
            stage.world.way.cancel(door, &id).await;
        }
        asked
    };
    let ((records, ended), asked) = tokio::join!(asking, cancel);
    let (said, last) = (story(&records), &records.last().unwrap().event);
    match last {
        Event::Failed(failed) => {
            assert_eq!((is_late, failed.error.code), (true, Code::ProviderTimeout), "{id}\n{said}")
        }
        last => assert_eq!((is_late, last.terminal()), (false, Some(State::Cancelled)), "{id}\n{said}"),
    }
    let left = found("the end upstream", || async { stage.server.case(&id).cancels.first().cloned() }).await.1;
    let since = if is_late { ended } else { asked };
    assert!(left.saturating_duration_since(since) < SOON, "{id}: after {:?}", left.duration_since(since));
    let case = stage.server.case(&id);
    assert_eq!((case.posts.len(), case.cancels.len()), (1, 1), "{id}: {:?}\n{said}", case.cancels);
    let attempts = records.iter().filter(|record| matches!(record.event, Event::Attempt(_))).count();
    assert_eq!(attempts, 1 + usize::from(is_cut), "{id}\n{said}");
    let usage = paid(last).unwrap().0;
    let booked = stage.booked(&id).await;
    assert_eq!(booked["output_tokens"], json!(usage.output_tokens), "{id}: {booked}\n{said}");
    (usage.input_tokens.unwrap(), usage.output_tokens.unwrap())
}
