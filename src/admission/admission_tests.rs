use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::job::{Code, Limits, QueueReason, Window};

/// A gate whose clock stands still until everybody waits.
fn gate(config: &str) -> Admission {
    tokio::time::pause();
    let clock = Clock::Simulated { start: Timestamp(1_795_255_200_000), since: Instant::now() };
    Admission::start(&actix::Arbiter::current(), clock, &toml::from_str(config).unwrap())
}

fn target(model: &str) -> Target {
    Target { provider: "p".into(), model: model.into() }
}

fn first(model: &str) -> Candidate {
    Candidate { target: target(model), is_retry: false }
}

fn down() -> Failure {
    Failure::new(Code::ProviderUnavailable, "down")
}

fn throttle(gate: &Admission, model: &str, ms: u64) {
    let failure = Failure::new(Code::ProviderRateLimited, "busy").with_retry_after_ms(ms);
    gate.enter(&[first(model)]).expect("it is free").lost(&failure);
}

/// Its breaker is open for two seconds.
fn break_down(gate: &Admission, model: &str) {
    let permits: Vec<Permit> = (0..5).map(|_| gate.enter(&[first(model)]).expect("it is free")).collect();
    permits.into_iter().for_each(|permit| permit.lost(&down()));
}

fn waiting(number: u8, models: &[&str]) -> Waiting {
    Waiting {
        stream: StreamId([number; 16]),
        candidates: models.iter().map(|model| first(model)).collect(),
        priority: 5,
        share: None,
        since: Timestamp(u64::from(number)),
    }
}

/// Who went when, in milliseconds since the start, and with what.
#[derive(Clone)]
struct Diary {
    gate: Admission,
    began: Instant,
    went: Rc<RefCell<Vec<(u64, String)>>>,
}

impl Diary {
    fn new(gate: &Admission) -> Diary {
        Diary { gate: gate.clone(), began: Instant::now(), went: Rc::default() }
    }

    /// Waits, and does `then` with its permit.
    fn queue(&self, name: &str, waiting: Waiting, then: impl FnOnce(Permit) + 'static) {
        let (diary, name) = (self.clone(), name.to_owned());
        let mut ticket = self.gate.wait(waiting).expect("there is room");
        actix::spawn(async move {
            loop {
                if let Turn::Go(permit) = ticket.next().await {
                    let ms = diary.began.elapsed().as_millis() as u64;
                    diary
                        .went
                        .borrow_mut()
                        .push((ms, format!("{name}{}", if permit.is_probe() { " probes" } else { "" })));
                    return then(permit);
                }
            }
        });
    }

    async fn check(&self, until_ms: u64, expected: &[(u64, &str)]) {
        tokio::time::sleep_until(self.began + Duration::from_millis(until_ms)).await;
        let went = self.went.borrow();
        let went: Vec<(u64, &str)> = went.iter().map(|(ms, name)| (*ms / 10 * 10, &**name)).collect();
        assert_eq!(went, expected);
        assert!(self.gate.queue.is_empty(), "somebody or something is left in line");
    }
}

async fn queued(ticket: &mut Ticket) -> Queued {
    match ticket.next().await {
        Turn::Queued(queued) => queued,
        Turn::Go(_) => panic!("it should wait"),
    }
}

#[actix::test]
async fn a_free_gate_costs_nobody_a_wait_and_the_first_that_is_free_is_taken() {
    let gate = gate("");
    assert_eq!(gate.enter(&[first("a"), first("b")]).ok().unwrap().target(), &target("a"));
    throttle(&gate, "a", 3000);
    assert_eq!(gate.enter(&[first("a"), first("b")]).ok().unwrap().target(), &target("b"));
    throttle(&gate, "b", 1000);
    let unavailable = gate.enter(&[first("a"), first("b")]).err().unwrap();
    assert_eq!((unavailable.until.ms_since(gate.queue.now()), unavailable.reason), (1000, QueueReason::Cooling));
    let mut permit = gate.enter(&[first("c")]).ok().unwrap();
    permit.spoke(Duration::from_millis(250));
    permit.ended();
    assert_eq!(gate.first_token(&target("c")), Some(Duration::from_millis(250)));
    assert_eq!(gate.first_token(&target("d")), None);
}

#[actix::test]
async fn the_line_goes_in_order_when_its_target_is_free() {
    let gate = gate("");
    throttle(&gate, "a", 1000);
    throttle(&gate, "b", 3000);
    let diary = Diary::new(&gate);
    let urgent = Waiting { priority: 0, ..waiting(9, &["a"]) };
    let of = |share: &str, number| Waiting { share: Some(share.into()), ..waiting(number, &["a"]) };
    for (name, waiting) in [
        ("many 1", of("many", 1)),
        ("only b", waiting(2, &["b"])),
        ("many 2", of("many", 3)),
        ("one", of("one", 8)),
        ("urgent", urgent),
        ("either", waiting(7, &["b", "a"])),
    ] {
        diary.queue(name, waiting, drop);
    }
    let (at, late) = (1000, 3000);
    let expected = [(at, "urgent"), (at, "many 1"), (at, "one"), (at, "many 2"), (at, "either"), (late, "only b")];
    diary.check(3010, &expected).await;
}

#[actix::test]
async fn newcomers_do_not_overtake_the_line_for_the_same_target() {
    let gate = gate("");
    // It has not been let in yet: its actor runs when this test waits.
    let in_line = gate.wait(waiting(1, &["a"])).unwrap();
    assert_eq!(gate.enter(&[first("a")]).err().expect("somebody waits").reason, QueueReason::Capacity);
    assert!(gate.enter(&[first("a"), first("b")]).is_ok(), "nobody waits for b");
    let diary = Diary::new(&gate);
    diary.queue("newcomer", waiting(2, &["a"]), Permit::ended);
    drop(in_line);
    diary.check(10, &[(0, "newcomer")]).await;
    assert!(gate.enter(&[first("a")]).is_ok(), "nobody waits any more");
}

#[actix::test]
async fn a_probe_is_handed_to_exactly_one_and_the_rest_follow_when_it_speaks() {
    let gate = gate("");
    break_down(&gate, "a");
    let diary = Diary::new(&gate);
    diary.queue("1", waiting(1, &["a"]), |mut permit| {
        actix::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            permit.spoke(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_secs(30)).await;
            permit.ended();
        });
    });
    diary.queue("2", waiting(2, &["a"]), Permit::ended);
    diary.queue("3", waiting(3, &["a"]), Permit::ended);
    diary.check(2600, &[(2000, "1 probes"), (2500, "2"), (2500, "3")]).await;
}

#[actix::test]
async fn a_probe_that_fails_shuts_and_one_that_is_dropped_is_handed_on() {
    let gate = gate("");
    break_down(&gate, "a");
    let diary = Diary::new(&gate);
    diary.queue("fails", waiting(1, &["a"]), |permit| permit.lost(&down()));
    diary.queue("drops", waiting(2, &["a"]), drop);
    diary.queue("works", waiting(3, &["a"]), Permit::ended);
    diary.queue("follows", waiting(4, &["a"]), Permit::ended);
    let expected = [(2000, "fails probes"), (6000, "drops probes"), (6000, "works probes"), (6000, "follows")];
    diary.check(6100, &expected).await;
}

#[actix::test]
async fn as_many_go_as_the_provider_says_are_left() {
    let gate = gate("");
    let learn = |permit: &Permit, remaining| {
        let window = Window { limit: None, remaining, reset_ms: 1000 };
        permit.learn(&Limits { requests: Some(window), tokens: None });
    };
    let permit = gate.enter(&[first("a")]).ok().unwrap();
    learn(&permit, 0);
    let diary = Diary::new(&gate);
    diary.queue("1", waiting(1, &["a"]), move |permit| learn(&permit, 1));
    for name in ["2", "3"] {
        diary.queue(name, waiting(2, &["a"]), Permit::ended);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    learn(&permit, 1);
    diary.check(1600, &[(500, "1"), (500, "2"), (1500, "3")]).await;
}

#[actix::test]
async fn retries_wait_for_their_budget_and_first_calls_pass_them_by() {
    let gate = gate("");
    let retry = || Candidate { is_retry: true, ..first("a") };
    for _ in 0..10 {
        gate.enter(&[retry()]).expect("ten are saved up").ended();
    }
    assert_eq!(gate.enter(&[retry()]).err().unwrap().reason, QueueReason::RateLimited);
    let diary = Diary::new(&gate);
    for number in [1, 2] {
        let waiting = Waiting { candidates: vec![retry()], ..waiting(number, &[]) };
        diary.queue(&number.to_string(), waiting, Permit::ended);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(gate.enter(&[first("a")]).is_ok(), "a first call needs no budget");
    diary.check(2100, &[(800, "1"), (1800, "2")]).await;
}

#[actix::test]
async fn who_waits_is_told_its_place_at_once_and_when_it_changes() {
    let gate = gate("");
    throttle(&gate, "a", 60_000);
    let before = gate.wait(waiting(1, &["a"])).unwrap();
    let mut ticket = gate.wait(waiting(2, &["a"])).unwrap();
    let began = Instant::now();
    let at_once = Queued { reason: QueueReason::Cooling, position: Some(1), eta_ms: Some(60_000) };
    assert_eq!((queued(&mut ticket).await, began.elapsed()), (at_once, Duration::ZERO));
    let nothing_new = tokio::time::timeout(Duration::from_secs(25), ticket.next()).await;
    assert!(nothing_new.is_err(), "its place has not changed");
    drop(before);
    assert_eq!(queued(&mut ticket).await.position, Some(0));
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(matches!(ticket.next().await, Turn::Go(_)));
    assert_eq!(began.elapsed().as_secs(), 60);
    assert!(tokio::time::timeout(Duration::from_secs(1), ticket.next()).await.is_err(), "it has said all");
    assert!(gate.queue.is_empty());
}

#[actix::test]
async fn the_line_is_bounded_and_a_dropped_ticket_leaves_no_trace() {
    let gate = gate("queue.waiting_max = 2");
    throttle(&gate, "a", 1000);
    let (one, two) = (gate.wait(waiting(1, &["a"])).unwrap(), gate.wait(waiting(2, &["a", "a"])).unwrap());
    let full = gate.wait(waiting(3, &["a"])).err().expect("two are all");
    assert_eq!((full.code, full.retry_after_ms), (Code::Overloaded, Some(1000)));
    drop(one);
    let mut three = gate.wait(waiting(3, &["a"])).unwrap();
    drop(two);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(gate.queue.len() == 0, "the third has gone, though it has not looked");
    let Turn::Go(permit) = three.next().await else { panic!("its permit is there") };
    drop((permit, three));
    assert!(gate.queue.is_empty());
    let wake = Arc::downgrade(&gate.queue.wake);
    drop(gate);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(wake.strong_count(), 0, "the actor has ended");
}

#[actix::test]
async fn a_probe_whose_owner_left_before_it_looked_is_handed_on() {
    let gate = gate("");
    break_down(&gate, "a");
    let diary = Diary::new(&gate);
    let leaves = gate.wait(waiting(1, &["a"])).unwrap();
    diary.queue("stays", waiting(2, &["a"]), Permit::ended);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(leaves);
    diary.check(2600, &[(2500, "stays probes")]).await;
}

#[actix::test]
async fn a_full_board_forgets_who_is_well_first() {
    let gate = gate("");
    break_down(&gate, "ill");
    let held = gate.enter(&[first("held")]).ok().unwrap();
    for number in 0..crate::job::caps::GATES_MAX * 2 {
        gate.enter(&[first(&number.to_string())]).ok().unwrap().ended();
    }
    assert!(gate.queue.targets.all().len() <= crate::job::caps::GATES_MAX);
    assert!(gate.enter(&[first("ill")]).is_err(), "who is ill is remembered");
    assert!(gate.queue.targets.find(held.target()).is_some(), "who is being asked is remembered");
}

#[actix::test]
async fn a_reload_counts_for_those_who_wait_as_well() {
    let gate = gate("health.retries_per_s = 0.01");
    let retry = || Candidate { is_retry: true, ..first("a") };
    for _ in 0..10 {
        gate.enter(&[retry()]).expect("ten are saved up").ended();
    }
    let diary = Diary::new(&gate);
    diary.queue("1", Waiting { candidates: vec![retry()], ..waiting(1, &[]) }, Permit::ended);
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.reload(&toml::from_str("health.retries_per_s = 10.0").unwrap());
    diary.check(300, &[(100, "1")]).await;
}
