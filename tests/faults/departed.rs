//! A response in the background whose reader is gone: the broker crashed, or the job was cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::job::{Code, Event, Record, State};
use futures_util::future::join_all;
use serde_json::json;

use crate::background::{ENTRANCES, Stage, check_answer, check_attempts};
use crate::books::paid;
use crate::broker::{PATIENCE, found};
use crate::check::story;
use crate::entrance::{ClientBehavior, Entrance, follow, text};
use crate::upstream::Answer::Full;
use crate::upstream::{Get, Plan, count, number, packet_texts};

/// Time within which a response must be ended that is no longer needed.
const SOON: Duration = Duration::from_secs(1);

/// Progress of a job when the broker crashes: packets so far, and whether the rest is made meanwhile.
fn moments() -> Vec<(usize, bool)> {
    let text = number(Full, "response.output_text.delta") + 3;
    let call = number(Full, "response.function_call_arguments.delta") + 2;
    let moments = [3, text, call, count(Full) - 1];
    moments.into_iter().flat_map(|after| [(after, true), (after, false)]).collect()
}

/// Returns whether readers have everything that is made of a response up to its packet `after`.
fn has(after: usize) -> impl Fn(&[Record]) -> bool {
    let made = packet_texts(Full, after);
    move |records| {
        let call = |record: &Record| match &record.event {
            Event::ToolCall(call) => call.arguments.clone(),
            _ => String::new(),
        };
        let calls: String = records.iter().map(call).collect();
        let is_named =
            |record: &Record| matches!(&record.event, Event::Progress(progress) if progress.upstream.is_some());
        records.iter().any(is_named) && text(records) == made.0 && calls == made.1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_crashed_reads_the_rest_of_the_same_response_or_ends_it() {
    let (stage, mut broker) = Stage::start(Duration::from_secs(2)).await;
    let mut jobs = Vec::new();
    for (after, is_made_meanwhile) in moments() {
        for (entrance, rule) in
            [(Entrance::Stream, "continue"), (Entrance::Socket, "restart"), (Entrance::Nats, "interrupt")]
        {
            // Some were cut before, and are read by a second attempt.
            for is_cut in [false, true] {
                let id = format!("dies{after}-{is_made_meanwhile}-{rule}-{is_cut}");
                let cut = if is_cut && after > 3 { 3 } else { usize::MAX };
                let plan = Plan { hold: after, cut, ..Plan::of(Full) };
                let job = stage.job(&id, &plan, &json!({"on_crash": rule}));
                let theirs = Arc::clone(&stage);
                let asking = tokio::spawn(async move {
                    follow(&theirs.world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: true })
                        .await
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
        check_after_death(&stage, &id, rule, &records).await;
    }
}

async fn check_after_death(stage: &Stage, id: &str, rule: &str, records: &[Record]) {
    let (transcript, case) = (story(records), stage.server.case(id));
    assert_eq!(case.posts.len(), 1, "{id}\n{transcript}");
    if rule == "interrupt" {
        assert_eq!(records.last().unwrap().event.terminal(), Some(State::Interrupted), "{id}\n{transcript}");
        found("the end upstream", || async { (!stage.server.case(id).cancels.is_empty()).then_some(()) }).await;
        assert_eq!(stage.server.case(id).cancels.len(), 1, "{id}\n{transcript}");
        return;
    }
    check_answer(id, Full, records);
    check_attempts(id, records);
    assert!(case.cancels.is_empty(), "{id}\n{transcript}");
    let booked = stage.booked(id).await;
    let (input, output) = case.posts[0].usage;
    assert_eq!(
        (&booked["input_tokens"], &booked["output_tokens"]),
        (&json!(input), &json!(output)),
        "{id}\n{transcript}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_or_out_of_time_ends_its_response_within_a_second_and_pays_it_once() {
    let (stage, _broker) = Stage::start(PATIENCE).await;
    let after = number(Full, "response.output_text.delta") + 3;
    let mut tasks = Vec::new();
    for entrance in ENTRANCES {
        for is_cut in [false, true] {
            for is_late in [false, true] {
                let id = format!("ends-{}-{is_cut}-{is_late}", entrance.name());
                tasks.push(tokio::spawn(ends(Arc::clone(&stage), id, entrance, (after, is_cut, is_late))));
            }
        }
    }
    // However many attempts read it, it is one prompt and one answer.
    let billed: Vec<(u64, u64)> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert!(billed[0].0 > 0 && billed[0].1 > 0 && billed.iter().all(|one| *one == billed[0]), "{billed:?}");
}

async fn ends(
    stage: Arc<Stage>,
    id: String,
    entrance: Entrance,
    (after, is_cut, is_late): (usize, bool, bool),
) -> (u64, u64) {
    let cut = if is_cut { after - 2 } else { usize::MAX };
    let options = if is_late { json!({"timeouts": {"total_ms": 1500}}) } else { json!({}) };
    let job = stage.job(&id, &Plan { hold: after, cut, ..Plan::of(Full) }, &options);
    let asking = async {
        let records =
            follow(&stage.world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: false }).await;
        (records, Instant::now())
    };
    let cancel = async {
        stage.seen(&id, has(after)).await;
        let cancelled_at = Instant::now();
        if !is_late {
            stage.world.entrances.cancel(entrance, &id).await;
        }
        cancelled_at
    };
    let ((records, ended), cancelled_at) = tokio::join!(asking, cancel);
    let (transcript, last) = (story(&records), &records.last().unwrap().event);
    match last {
        Event::Failed(failed) => {
            assert_eq!((is_late, failed.error.code), (true, Code::ProviderTimeout), "{id}\n{transcript}")
        }
        last => assert_eq!((is_late, last.terminal()), (false, Some(State::Cancelled)), "{id}\n{transcript}"),
    }
    let left = found("the end upstream", || async { stage.server.case(&id).cancels.first().cloned() }).await.1;
    let since = if is_late { ended } else { cancelled_at };
    assert!(left.saturating_duration_since(since) < SOON, "{id}: after {:?}", left.duration_since(since));
    let case = stage.server.case(&id);
    assert_eq!((case.posts.len(), case.cancels.len()), (1, 1), "{id}: {:?}\n{transcript}", case.cancels);
    let attempts = records.iter().filter(|record| matches!(record.event, Event::Attempt(_))).count();
    assert_eq!(attempts, 1 + usize::from(is_cut), "{id}\n{transcript}");
    let usage = paid(last).unwrap().0;
    let booked = stage.booked(&id).await;
    assert_eq!(booked["output_tokens"], json!(usage.output_tokens), "{id}: {booked}\n{transcript}");
    (usage.input_tokens.unwrap(), usage.output_tokens.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_crashed_while_a_job_waited_for_the_rest_reads_it_or_ends_it() {
    let (stage, mut broker) = Stage::start(Duration::from_secs(2)).await;
    let after = number(Full, "response.output_text.delta") + 3;
    let mut jobs = Vec::new();
    for (entrance, rule) in
        [(Entrance::Stream, "continue"), (Entrance::Socket, "restart"), (Entrance::Nats, "interrupt")]
    {
        let id = format!("waits-{rule}");
        let plan = Plan { cut: after, gets: vec![Get::Busy, Get::Served], ..Plan::of(Full) };
        let mut job = stage.job(&id, &plan, &json!({"on_crash": rule}));
        job["model"] = json!(format!("bg/{id}"));
        let theirs = Arc::clone(&stage);
        let asking = tokio::spawn(async move {
            follow(&theirs.world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: true }).await
        });
        jobs.push((id, rule, asking));
    }
    for (id, ..) in &jobs {
        let waits = |records: &[Record]| records.iter().any(|record| matches!(record.event, Event::Queued(_)));
        stage.seen(id, waits).await;
    }
    broker.kill();
    broker.up().await;
    for (id, rule, asking) in jobs {
        let records = asking.await.unwrap();
        check_after_death(&stage, &id, rule, &records).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_responses_that_race_the_slower_is_ended() {
    let (stage, _broker) = Stage::start(PATIENCE).await;
    for entrance in ENTRANCES {
        let id = format!("races-{}", entrance.name());
        let options = json!({"hedge_ms": 200, "fallbacks": ["bg2/gpt-9"]});
        let job = stage.job(&id, &Plan { hold: 2, ..Plan::of(Full) }, &options);
        let records =
            follow(&stage.world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: false }).await;
        check_answer(&id, Full, &records);
        let ended = found("the end upstream", || async { stage.server.case(&id).cancels.first().cloned() }).await.0;
        let case = stage.server.case(&id);
        let transcript = story(&records);
        assert_eq!((case.posts.len(), case.cancels.len(), case.gets.len()), (2, 1, 0), "{id}\n{transcript}");
        assert_eq!(ended, case.posts[0].id, "{id}\n{transcript}");
    }
}
