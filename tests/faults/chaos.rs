//! Everything at once, for as long as one likes: providers that fall ill in turn, a broker that is
//! killed, a nats-server that is restarted, a hundred jobs by every entrance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay::job::{Event, Record, State};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::act::{Act, Trouble, upto, whole};
use crate::books::balance;
use crate::broker::{Broker, found};
use crate::entrance::{ClientBehavior, ENTRANCES, follow, text};
use crate::provider::Plan;
use crate::scenarios::seed;
use crate::world::World;

/// Jobs under way at once.
const JOBS: usize = 100;
/// How long, unless `$FOREBAY_CHAOS_S` says so.
const SECONDS: u64 = 600;
/// Share of the time in which the broker is killed; afterwards it runs on, so that its memory can be read.
const KILLS_UNTIL: f64 = 0.6;
/// How long one provider is ill, before the next is.
const ILL_S: u64 = 7;
/// Of the calls of a provider that is not the ill one.
const FAULTS_OF_THE_HEALTHY: f64 = 0.1;
/// What a broker may grow between two thirds of its quiet time and its end: the heap's own slack.
const GROWTH_KB_MAX: u64 = 48 * 1024;
/// Share of all jobs that must succeed.
const SUCCESS_MIN: f64 = 0.999;

const SLOW_DOWN: Act = Act::Status(429, "retry-after: 1\r\n", r#"{"error":{"message":"slow down"}}"#);
const BROKEN: Act = Act::Status(500, "", r#"{"error":{"message":"oops"}}"#);
const FAULTS: &[Act] = &[
    SLOW_DOWN,
    BROKEN,
    Act::Status(401, "", r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#),
    Act::Status(302, "location: /elsewhere\r\n", ""),
    Act::Status(204, "", ""),
    Act::Hangs(true),
    Act::Hangs(false),
    Act::Late(20_000),
    Act::Html(200),
    Act::Html(502),
    Act::Gzip,
    Act::Doubled,
];
const TROUBLES: &[Trouble] = &[
    Trouble::Reset,
    Trouble::Closed,
    Trouble::BilledAndClosed,
    Trouble::Stall,
    Trouble::Error,
    Trouble::NoEnd,
    Trouble::Malformed,
    Trouble::Trickle,
];

fn a_fault(random: &mut fastrand::Rng) -> Act {
    match random.bool() {
        true => FAULTS[random.usize(..FAULTS.len())],
        false => Act::After(random.usize(..=60), TROUBLES[random.usize(..TROUBLES.len())]),
    }
}

/// One of the three providers is ill at a time; the others have faults now and then. None is when `healed`.
fn plan(seed: u64, healed: Arc<AtomicBool>) -> Plan {
    let (began, count) = (Instant::now(), AtomicU64::new(0));
    Box::new(move |provider, _, _| {
        let mut random = fastrand::Rng::with_seed(seed ^ count.fetch_add(1, Ordering::SeqCst));
        let ill = ["a", "b", "c"][(began.elapsed().as_secs() / ILL_S % 3) as usize];
        let chance = if provider == ill { 1.0 } else { FAULTS_OF_THE_HEALTHY };
        let faulty = random.f64() < chance && !healed.load(Ordering::SeqCst);
        if faulty { a_fault(&mut random) } else { Act::Answer }
    })
}

fn a_job(id: &str, random: &mut fastrand::Rng) -> Value {
    let mut providers = ["a", "b", "c"];
    random.shuffle(&mut providers);
    let models = providers.map(|provider| format!("{provider}/m{}", random.u8(..4)));
    json!({
        "id": id,
        "model": models[0],
        "input": {"messages": [{"role": "user", "content": "Count to sixty."}]},
        "options": {
            "fallbacks": &models[1..],
            "timeouts": {
                "connect_ms": 1000, "first_token_ms": 2000, "idle_ms": 2000, "queue_ms": 60000, "total_ms": 85000,
            },
            "retry": {"max_attempts": 3, "delay_ms": 50, "max_delay_ms": 500},
            "cost": {"per_token_in": 1e-6, "per_token_out": 2e-6},
        },
    })
}

/// One job after the other until the time is over.
async fn customer(world: Arc<World>, number: usize, mut random: fastrand::Rng, until: Instant) -> Vec<Vec<Record>> {
    let mut streams = Vec::new();
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        let job = a_job(&format!("chaos-{number}-{turn}"), &mut random);
        let leaves = random.bool().then(|| random.fork());
        let behavior =
            ClientBehavior { entrance: ENTRANCES[random.usize(..ENTRANCES.len())], leaves, expects_loss: true };
        streams.push(follow(&world.entrances, &job, behavior).await);
    }
    streams
}

/// What a metric says, summed over its labels.
async fn metric(broker: &Broker, name: &str) -> f64 {
    let (_, body) = broker.get("/metrics").await.unwrap();
    let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let values = body.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

fn memory_kb(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes; `make soak`, or FOREBAY_CHAOS_S=30"]
async fn chaos_for_minutes_loses_no_answer_and_leaks_nothing() {
    let seconds = std::env::var("FOREBAY_CHAOS_S").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS);
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let healed = Arc::new(AtomicBool::new(false));
    let quiet = Duration::from_secs(3);
    let plan = plan(seed, Arc::clone(&healed));
    let (mut world, mut broker) = World::start(plan, Duration::from_millis(10), quiet, "").await;
    let mut nats = world.nats.take().unwrap();
    let world = Arc::new(world);
    let began = Instant::now();
    let (kills_until, until) =
        (began + Duration::from_secs_f64(seconds as f64 * KILLS_UNTIL), began + Duration::from_secs(seconds));
    let customers = (0..JOBS).map(|number| tokio::spawn(customer(Arc::clone(&world), number, random.fork(), until)));
    let customers = tokio::spawn(join_all(customers.collect::<Vec<_>>()));
    let (mut kills, mut restarts) = (0, 0);
    while Instant::now() < kills_until {
        tokio::time::sleep(Duration::from_millis(random.u64(4000..12_000))).await;
        if random.f64() < 0.7 {
            broker.kill();
            broker.up().await;
            kills += 1;
        } else {
            nats.restart();
            restarts += 1;
        }
    }
    tokio::time::sleep_until((kills_until + (until - kills_until) * 2 / 3).into()).await;
    let warm_kb = memory_kb(&broker);
    let streams: Vec<Vec<Record>> = customers.await.unwrap().into_iter().flat_map(Result::unwrap).collect();
    healed.store(true, Ordering::SeqCst);

    let failed: Vec<&Vec<Record>> = streams.iter().filter(|records| !is_whole(records)).collect();
    let calls = world.server.calls_in_all();
    println!(
        "{} jobs, {calls} calls, {kills} kills, {restarts} restarts of NATS, {} failed",
        streams.len(),
        failed.len()
    );
    for records in &failed {
        println!("{}", crate::check::story(records));
    }
    balance(&broker, &streams.iter().map(|records| &records[..]).collect::<Vec<_>>()).await;
    found("every socket to be closed", || async { (world.server.open() == 0).then_some(()) }).await;
    for gauge in ["forebay_jobs_in_flight", "forebay_queue_depth", "forebay_readers"] {
        found(gauge, || async { (metric(&broker, gauge).await == 0.0).then_some(()) }).await;
    }
    let end_kb = memory_kb(&broker);
    println!("memory: {warm_kb} kB warm, {end_kb} kB at the end");
    assert!(end_kb < warm_kb + GROWTH_KB_MAX, "{warm_kb} kB became {end_kb} kB");
    let rate = 1.0 - failed.len() as f64 / streams.len() as f64;
    assert!(rate >= SUCCESS_MIN, "only {rate} of the jobs were answered");
}

/// One terminal, last, after the whole answer; panics where a stream breaks the laws.
fn is_whole(records: &[Record]) -> bool {
    let transcript = crate::check::story(records);
    let terminals = records.iter().filter(|record| record.event.terminal().is_some()).count();
    assert_eq!(terminals, 1, "one terminal\n{transcript}");
    assert!(records.iter().map(|record| record.seq).eq(0..records.len() as u64), "dense\n{transcript}");
    let text = text(records);
    let last = &records.last().unwrap().event;
    match last {
        Event::Completed(_) => assert_eq!(text, whole(), "a whole answer\n{transcript}"),
        _ => assert!(upto(60).starts_with(&text), "{text}\n{transcript}"),
    }
    last.terminal() == Some(State::Completed)
}
