//! What the person who runs it does: stop, start in the wrong order, reload, read the log.

use async_nats::jetstream;
use forebay::job::{Event, State};
use forebay::wire::frame::{ClientMessage, Label, Protocol, ServerMessage};
use forebay::ws::client::{Client, Over};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::broker::{Broker, found, job, long_job, soon};
use crate::provider::Provider;
use crate::support::NatsServer;

/// Reads a job's stream until it says goaway, and whether it then ended with its terminal.
async fn until_goaway(broker: &Broker, id: &str) -> (bool, Option<State>) {
    let mut client = Client::connect(&broker.ws(), None, Protocol::Json).await.unwrap();
    let subscribe = ClientMessage::Subscribe { sub: Label::Number(1), id: id.into(), cursor: None, credit: None };
    client.say(&subscribe).await.unwrap();
    let (mut warned, mut ended) = (false, None);
    broker.terminate();
    let reading = async {
        loop {
            match client.next().await {
                Ok(ServerMessage::Goaway { .. }) => warned = true,
                Ok(ServerMessage::End { state, .. }) => ended = Some(state),
                Ok(_) => {}
                Err(Over::Lost(_)) => return,
                Err(Over::Refused(failure)) => panic!("{failure}"),
            }
        }
    };
    soon("the broker to close the socket", reading).await;
    (warned, ended)
}

async fn has_begun(broker: &Broker, id: &str) {
    let path = format!("/v1/jobs/{id}");
    found("the first token", || async {
        let cursor = broker.json(&path).await["cursor"].as_str().unwrap().to_owned();
        let (_, seq) = cursor.split_once('_').unwrap_or_else(|| panic!("{cursor}"));
        (seq.parse::<u64>().unwrap() > 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_jobs_finish_says_goaway_and_interrupts_what_takes_too_long() {
    let cases = [
        ("done in time", "server.drain_s = 60", 40, State::Completed),
        ("far too long", "server.drain_s = 1", 1_000_000, State::Interrupted),
    ];
    for (what, config, count, expected) in cases {
        // A key of a table must not come after another table began, so it is written inline.
        let mut broker = Broker::new(None, "");
        broker.configure(&format!("{config}\n[nats]\nenabled = false\n"));
        broker.up().await;
        broker.client().submit(&long_job("j", count, 25, &json!({"on_crash": "interrupt"}))).await;
        has_begun(&broker, "j").await;
        let (warned, ended) = until_goaway(&broker, "j").await;
        assert!(warned, "{what}");
        assert_eq!(ended, Some(expected), "{what}: readers hear the end");
        assert!(broker.ended().await.success(), "{what}");
        broker.up().await;
        let (records, state) = broker.records("j").await;
        assert_eq!(state, expected, "{what}");
        assert_eq!(records.iter().filter(|record| record.event.terminal().is_some()).count(), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_for_a_crash_is_kept() {
    let mut broker = Broker::start(None, "").await;
    for rule in ["interrupt", "continue", "restart"] {
        broker.client().submit(&long_job(rule, 160, 25, &json!({"on_crash": rule}))).await;
        has_begun(&broker, rule).await;
    }
    broker.kill();
    broker.up().await;
    let whole: String = (0..160).map(|n| format!("{n} ")).collect();
    for (rule, expected) in
        [("interrupt", State::Interrupted), ("continue", State::Completed), ("restart", State::Completed)]
    {
        let (records, state) = broker.records(rule).await;
        assert_eq!(state, expected, "{rule}");
        let restarts = records.iter().filter(|record| matches!(record.event, Event::Restarted(_))).count();
        assert_eq!(restarts, usize::from(rule == "restart"), "{rule}");
        let status = broker.json(&format!("/v1/jobs/{rule}")).await;
        assert_eq!(status["state"], json!(expected), "{rule}: {status}");
        if expected == State::Completed {
            let text: String = records
                .iter()
                .rev()
                .map_while(|record| match &record.event {
                    Event::Restarted(_) => None,
                    Event::Delta(delta) => Some(delta.text.clone()),
                    _ => Some(String::new()),
                })
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            assert_eq!(text, whole);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_passed_on_is_interrupted_and_not_asked_again() {
    let provider = Provider::start(&json!([{"text": "no Gemini"}, {"delay_ms": 60_000}])).await;
    let config = provider.config().replace("openai-compatible", "gemini-compatible");
    let mut broker = Broker::start(None, &config).await;
    let address = broker.url("/v1/acc/default/counted/v1/models/m:streamGenerateContent");
    let response = broker.client().http.post(address).body(r#"{"contents":[]}"#).send().await.unwrap();
    let id = response.headers()["forebay-job-id"].to_str().unwrap().to_owned();
    broker.kill();
    broker.up().await;
    let (records, state) = broker.records(&id).await;
    assert_eq!(state, State::Interrupted, "{records:?}");
    let status = broker.json(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&status["state"], provider.requests()), (&json!("interrupted"), 1), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_the_other_entrances_serve_and_readyz_shows_it_until_nats_is_there() {
    let mut server = NatsServer::reserve(true, &[]);
    let broker = Broker::start(Some(&server.url()), "").await;
    assert_eq!(broker.get("/readyz").await.unwrap().0, 503, "it is not ready");
    broker.client().submit(&job("over-http", &json!([{"text": "Hi"}]), &json!({}))).await;
    assert_eq!(broker.records("over-http").await.1, State::Completed);
    found("a log line about what is missing", || async { broker.stderr().contains("NATS").then_some(()) }).await;

    server.up();
    found("readiness", || async { (broker.get("/readyz").await?.0 == 200).then_some(()) }).await;
    let jetstream = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    for turn in 0..2 {
        found("the queue", || async { jetstream.get_stream("FOREBAY_JOBS").await.ok() }).await;
        let id = format!("over-nats-{turn}");
        let body = job(&id, &json!([{"text": "Hi"}]), &json!({})).to_string();
        let published = jetstream.publish("forebay.jobs.default", body.into()).await.unwrap();
        soon("its acknowledgement", published.into_future()).await.unwrap();
        assert_eq!(broker.records(&id).await.1, State::Completed);
        server.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_counts_from_then_on_and_a_wrong_one_never() {
    let broker = Broker::start(None, "").await;
    let priced = |id: &'static str| {
        let (broker, job) = (&broker, job(id, &json!([{"text": "Hi"}]), &json!({})));
        async move {
            broker.client().submit(&job).await;
            let (records, _) = broker.records(id).await;
            match &records.last().unwrap().event {
                Event::Completed(end) => end.cost.priced,
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(!priced("before").await, "a price that is not configured is not known");
    broker.configure("[nats]\nenabled = false\n[prices.\"scripted/any\"]\nrequest_usd = 1\noutput_per_mtok_usd = 1\ninput_per_mtok_usd = 1\n");
    found("the new configuration", || async { broker.stderr().contains("was reloaded").then_some(()) }).await;
    assert!(priced("after").await);
    broker.configure("[nats]\nenabled = false\n[prices.\"scripted/any\"]\nrequest_used = 1\n");
    found("the complaint", || async { broker.stderr().contains("request_used").then_some(()) }).await;
    assert!(priced("still").await, "what is in force stays in force");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_ever_logged_whatever_comes_in() {
    let server = NatsServer::start_with(false, &["--user", "me", "--pass", "s3cret-pass"]);
    let url = server.url().replace("nats://", "nats://me:s3cret-pass@");
    let sha: String = Sha256::digest("s3cret-good").iter().map(|byte| format!("{byte:02x}")).collect();
    let config = format!(
        "[providers.theirs]\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key = \"s3cret-key\"\n\
         headers = {{ x-extra = \"s3cret-header\" }}\n[[keys]]\nname = \"agent\"\nsha256 = \"{sha}\"\n"
    );
    let mut broker = Broker::new(Some(&url), &config);
    broker.env("FOREBAY_LOG", "trace");
    broker.env("RUST_LOG", "trace");
    broker.up().await;
    let client = reqwest::Client::builder().build().unwrap();
    for body in ["{", "\u{0}", r#"{"model":"theirs/m","input":"s3cret-input"}"#, &"[".repeat(10_000)] {
        let request = client.post(broker.url("/v1/run")).bearer_auth("s3cret-bearer").body(body.to_owned());
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401);
        assert!(!response.text().await.unwrap().contains("s3cret"));
    }
    let mut ws = Client::connect(&broker.ws(), Some("s3cret-bearer"), Protocol::Json).await;
    assert!(matches!(ws, Err(Over::Refused(_))), "{:?}", ws.as_mut().err());
    let nats = async_nats::ConnectOptions::with_user_and_password("me".into(), "s3cret-pass".into());
    let nats = nats.connect(server.url()).await.unwrap();
    let job = json!({"model": "theirs/m", "input": "s3cret-input", "options": {"retry": {"max_attempts": 1}}});
    let answer =
        found("an answer over NATS", || async { nats.request("forebay.run", job.to_string().into()).await.ok() });
    let answer: Value = serde_json::from_slice(&answer.await.payload).unwrap();
    assert_eq!(answer["state"], "pending", "{answer}");
    let run = client.post(broker.url("/v1/run")).bearer_auth("s3cret-good").body(job.to_string());
    let failed: Value = serde_json::from_str(&run.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(failed["error"]["code"], "provider_unavailable", "{failed}");
    broker.terminate();
    assert!(broker.ended().await.success());
    let stderr = broker.stderr();
    assert!(stderr.len() > 1000, "the log is detailed: {stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("s3cret")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

/// The value of the one sample that begins with `name` and holds every label of `labels`.
fn sample(scrape: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let mut found = scrape.lines().filter(of_name).filter(|line| labels.iter().all(|label| line.contains(label)));
    found.next()?.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_scrapes_is_what_happened() {
    let mut broker = Broker::new(None, "");
    broker.configure(
        "[nats]\nenabled = false\n[prices.\"scripted/any\"]\nrequest_usd = 0.25\ninput_per_mtok_usd = 0\n\
         output_per_mtok_usd = 0\n[metrics]\ntag_labels = [\"team\"]\n[models.\"scripted/any\"]\ntargets = [\"scripted/any\"]\n",
    );
    broker.up().await;
    let mut good = job("good", &json!([{"text": ["a", "b"]}]), &json!({}));
    good["metadata"] = json!({"team": "t1"});
    broker.client().submit(&good).await;
    let bad = job("bad", &json!([{"status": {"status": 400}}]), &json!({}));
    broker.client().submit(&bad).await;
    for id in ["good", "bad"] {
        broker.records(id).await;
    }
    broker.client().submit(&good).await;
    let expected: &[(&str, &[&str], f64)] = &[
        ("forebay_jobs_total", &["gateway=\"default\"", "provider=\"scripted\"", "state=\"completed\""], 1.0),
        ("forebay_jobs_total", &["state=\"failed\""], 1.0),
        ("forebay_jobs_in_flight", &[], 0.0),
        ("forebay_attempts_total", &["provider=\"scripted\"", "model=\"any\"", "outcome=\"completed\""], 1.0),
        ("forebay_cost_usd_total", &["gateway=\"default\"", "tag_team=\"t1\""], 0.25),
        ("forebay_cache_total", &["result=\"join\""], 1.0),
        ("gen_ai_client_token_usage_sum", &["gen_ai_token_type=\"output\""], 2.0),
        ("gen_ai_server_time_to_first_token_count", &[], 1.0),
        ("forebay_log_blobs", &[], 0.0),
    ];
    for (name, labels, value) in expected {
        let look = || async {
            let scrape = broker.get("/metrics").await?.1;
            (sample(&scrape, name, labels) == Some(*value)).then_some(())
        };
        found(&format!("{name}{labels:?} {value}"), look).await;
    }
    let scrape = broker.get("/metrics").await.unwrap().1;
    let at_least_one = [
        "forebay_log_commit_seconds_count",
        "forebay_log_records_total",
        "forebay_log_bytes",
        "forebay_overhead_seconds_count",
    ];
    for name in at_least_one {
        assert!(sample(&scrape, name, &[]) >= Some(1.0), "{name}\n{scrape}");
    }
    for line in scrape.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(name.starts_with("forebay_") || name.starts_with("gen_ai_"), "{line}");
    }
}
