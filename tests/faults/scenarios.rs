//! The table through each entrance; with clients that disconnect; with a broker that crashes.

use std::sync::Arc;
use std::time::Duration;

use forebay::job::Record;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::books::balance;
use crate::broker::PATIENCE;
use crate::check::Case;
use crate::entrance::{ClientBehavior, ENTRANCES};
use crate::table::{ROWS, Row, plan};
use crate::world::World;

/// Returns the rows that are tried: all, or those whose name begins with `$ROW`.
fn rows() -> impl Iterator<Item = &'static Row> {
    let only = std::env::var("ROW").unwrap_or_default();
    ROWS.iter().filter(move |row| row.name.starts_with(&only))
}

/// Returns a seed, which a failure prints, or that of `$SEED`.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    seed
}

/// Number of jobs at once: time-outs of seconds are part of the table, and a small machine must keep them.
const AT_ONCE: usize = 64;

/// Runs all checks and reports every one that went wrong.
async fn all<F: Future<Output: Send> + Send + 'static>(checks: Vec<(String, F)>) -> Vec<F::Output> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let begin = |(name, check): (String, F)| {
        let places = Arc::clone(&places);
        let placed = async move {
            let _place = places.acquire_owned().await;
            check.await
        };
        (name, tokio::spawn(placed))
    };
    let (names, tasks): (Vec<_>, Vec<_>) = checks.into_iter().map(begin).unzip();
    let (mut done, mut wrong) = (Vec::new(), Vec::new());
    for (name, ended) in names.into_iter().zip(join_all(tasks).await) {
        match ended {
            Ok(result) => done.push(result),
            Err(_) => wrong.push(name),
        }
    }
    assert!(wrong.is_empty(), "{} of {} went wrong: {}", wrong.len(), wrong.len() + done.len(), wrong.join(" "));
    done
}

async fn check(world: Arc<World>, row: &'static Row, tag: String, behavior: ClientBehavior) {
    let case = Case::new(&world, row, &tag);
    let records = case.run(&world, behavior).await;
    case.check_all(&world, &records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_by_every_entrance_gives_what_one_perfect_provider_would_have_given() {
    let (world, _broker) = World::start(Box::new(plan), Duration::ZERO, PATIENCE, "").await;
    let world = Arc::new(world);
    let checks = rows().flat_map(|row| {
        let world = &world;
        ENTRANCES.into_iter().map(move |entrance| {
            let (tag, behavior) =
                (entrance.name().to_owned(), ClientBehavior { entrance, leaves: None, expects_loss: false });
            (format!("{} {tag}", row.name), check(Arc::clone(world), row, tag, behavior))
        })
    });
    all(checks.collect()).await;
    assert_eq!(world.entrances.json("/v1/costs").await["total"]["jobs"], rows().count() * ENTRANCES.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_at_any_point_and_comes_back_by_another_entrance_misses_nothing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let (world, _broker) = World::start(Box::new(plan), Duration::from_millis(8), PATIENCE, "").await;
    let world = Arc::new(world);
    let mut checks = Vec::new();
    for row in rows() {
        for entrance in ENTRANCES {
            let behavior = ClientBehavior { entrance, leaves: Some(random.fork()), expects_loss: false };
            let tag = format!("{}-leaves", entrance.name());
            checks.push((format!("{} {tag}", row.name), check(Arc::clone(&world), row, tag, behavior)));
        }
    }
    all(checks).await;
}

/// Times that the whole table is run, and that the broker is killed during each run.
const ROUNDS: usize = 2;
const SOAK_ROUNDS: usize = 20;
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_at_any_point_ends_every_job_once_and_by_its_rules() {
    let mut random = fastrand::Rng::with_seed(seed());
    let quiet = Duration::from_secs(2);
    let (world, mut broker) = World::start(Box::new(plan), Duration::from_millis(15), quiet, "").await;
    let world = Arc::new(world);
    let mut streams = Vec::new();
    let soak = std::env::var_os("FOREBAY_SOAK").is_some();
    for round in 0..if soak { SOAK_ROUNDS } else { ROUNDS } {
        let jobs = rows().map(|row| {
            let case = Case::new(&world, row, &format!("killed-{round}"));
            let entrance = ENTRANCES[random.usize(..ENTRANCES.len())];
            let behavior = ClientBehavior { entrance, leaves: Some(random.fork()), expects_loss: true };
            let world = Arc::clone(&world);
            (case.id.clone(), async move { (case.run(&world, behavior).await, case) })
        });
        let jobs = tokio::spawn(all(jobs.collect::<Vec<_>>()));
        for _ in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.u64(50..900))).await;
            broker.kill();
            broker.up().await;
        }
        let checks = jobs.await.unwrap().into_iter().map(|(records, case): (Vec<Record>, Case)| {
            let world = Arc::clone(&world);
            (case.id.clone(), async move {
                case.check_end(&records);
                case.check_stored(&world, &records).await;
                case.check_calls(&world, &records);
                records
            })
        });
        streams.extend(all(checks.collect::<Vec<_>>()).await);
    }
    balance(&broker, &streams.iter().map(|records| &records[..]).collect::<Vec<_>>()).await;
}
