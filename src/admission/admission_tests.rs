use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::job::{Code, Limits, QueueReason, Window};

/// Makes an admission queue whose clock stands still until every task waits.
fn admission(config: &str) -> Admission {
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

fn throttle(admission: &Admission, model: &str, ms: u64) {
    let failure = Failure::new(Code::ProviderRateLimited, "busy").with_retry_after_ms(ms);
    admission.enter(&[first(model)]).expect("it is free").lost(&failure);
}

/// Its breaker is open for two seconds.
fn break_down(admission: &Admission, model: &str) {
    let permits: Vec<Permit> = (0..5).map(|_| admission.enter(&[first(model)]).expect("it is free")).collect();
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
    admission: Admission,
    began: Instant,
    went: Rc<RefCell<Vec<(u64, String)>>>,
}

impl Diary {
    fn new(admission: &Admission) -> Diary {
        Diary { admission: admission.clone(), began: Instant::now(), went: Rc::default() }
    }

    /// Waits, and does `then` with its permit.
    fn queue(&self, name: &str, waiting: Waiting, then: impl FnOnce(Permit) + 'static) {
        let (diary, name) = (self.clone(), name.to_owned());
        let mut ticket = self.admission.wait(waiting).expect("there is room");
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
        assert!(self.admission.queue.is_empty(), "a job or a target is left in the queue");
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
    let admission = admission("");
    assert_eq!(admission.enter(&[first("a"), first("b")]).ok().unwrap().target(), &target("a"));
    throttle(&admission, "a", 3000);
    assert_eq!(admission.enter(&[first("a"), first("b")]).ok().unwrap().target(), &target("b"));
    throttle(&admission, "b", 1000);
    let unavailable = admission.enter(&[first("a"), first("b")]).err().unwrap();
    assert_eq!((unavailable.until.ms_since(admission.queue.now()), unavailable.reason), (1000, QueueReason::Cooling));
    let mut permit = admission.enter(&[first("c")]).ok().unwrap();
    permit.spoke(Duration::from_millis(250));
    permit.ended();
    assert_eq!(admission.first_token(&target("c")), Some(Duration::from_millis(250)));
    assert_eq!(admission.first_token(&target("d")), None);
}

#[actix::test]
async fn the_line_goes_in_order_when_its_target_is_free() {
    let admission = admission("");
    throttle(&admission, "a", 1000);
    throttle(&admission, "b", 3000);
    let diary = Diary::new(&admission);
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
    let admission = admission("");
    // It has not been let in yet: its actor runs when this test waits.
    let in_queue = admission.wait(waiting(1, &["a"])).unwrap();
    assert_eq!(admission.enter(&[first("a")]).err().expect("a job waits").reason, QueueReason::Capacity);
    assert!(admission.enter(&[first("a"), first("b")]).is_ok(), "no job waits for b");
    let diary = Diary::new(&admission);
    diary.queue("newcomer", waiting(2, &["a"]), Permit::ended);
    drop(in_queue);
    diary.check(10, &[(0, "newcomer")]).await;
    assert!(admission.enter(&[first("a")]).is_ok(), "no job waits any more");
}

#[actix::test]
async fn a_probe_is_handed_to_exactly_one_and_the_rest_follow_when_it_speaks() {
    let admission = admission("");
    break_down(&admission, "a");
    let diary = Diary::new(&admission);
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
    let admission = admission("");
    break_down(&admission, "a");
    let diary = Diary::new(&admission);
    diary.queue("fails", waiting(1, &["a"]), |permit| permit.lost(&down()));
    diary.queue("drops", waiting(2, &["a"]), drop);
    diary.queue("works", waiting(3, &["a"]), Permit::ended);
    diary.queue("follows", waiting(4, &["a"]), Permit::ended);
    let expected = [(2000, "fails probes"), (6000, "drops probes"), (6000, "works probes"), (6000, "follows")];
    diary.check(6100, &expected).await;
}

#[actix::test]
async fn as_many_go_as_the_provider_says_are_left() {
    let admission = admission("");
    let learn = |permit: &Permit, remaining| {
        let window = Window { limit: None, remaining, reset_ms: 1000 };
        permit.learn(&Limits { requests: Some(window), tokens: None });
    };
    let permit = admission.enter(&[first("a")]).ok().unwrap();
    learn(&permit, 0);
    let diary = Diary::new(&admission);
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
    let admission = admission("");
    let retry = || Candidate { is_retry: true, ..first("a") };
    for _ in 0..10 {
        admission.enter(&[retry()]).expect("ten are saved up").ended();
    }
    assert_eq!(admission.enter(&[retry()]).err().unwrap().reason, QueueReason::RateLimited);
    let diary = Diary::new(&admission);
    for number in [1, 2] {
        let waiting = Waiting { candidates: vec![retry()], ..waiting(number, &[]) };
        diary.queue(&number.to_string(), waiting, Permit::ended);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(admission.enter(&[first("a")]).is_ok(), "a first call needs no budget");
    diary.check(2100, &[(800, "1"), (1800, "2")]).await;
}

#[actix::test]
async fn who_waits_is_told_its_place_at_once_and_when_it_changes() {
    let admission = admission("");
    throttle(&admission, "a", 60_000);
    let before = admission.wait(waiting(1, &["a"])).unwrap();
    let mut ticket = admission.wait(waiting(2, &["a"])).unwrap();
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
    assert!(admission.queue.is_empty());
}

#[actix::test]
async fn the_line_is_bounded_and_a_dropped_ticket_leaves_no_trace() {
    let admission = admission("queue.waiting_max = 2");
    throttle(&admission, "a", 1000);
    let (one, two) = (admission.wait(waiting(1, &["a"])).unwrap(), admission.wait(waiting(2, &["a", "a"])).unwrap());
    let full = admission.wait(waiting(3, &["a"])).err().expect("two are all");
    assert_eq!((full.code, full.retry_after_ms), (Code::Overloaded, Some(1000)));
    drop(one);
    let mut three = admission.wait(waiting(3, &["a"])).unwrap();
    drop(two);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(admission.queue.waiting() == 0, "the third has gone, though it has not looked");
    let Turn::Go(permit) = three.next().await else { panic!("its permit is there") };
    drop((permit, three));
    assert!(admission.queue.is_empty());
    let wake = Arc::downgrade(&admission.queue.wake);
    drop(admission);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(wake.strong_count(), 0, "the actor has ended");
}

#[actix::test]
async fn a_probe_whose_owner_left_before_it_looked_is_handed_on() {
    let admission = admission("");
    break_down(&admission, "a");
    let diary = Diary::new(&admission);
    let leaves = admission.wait(waiting(1, &["a"])).unwrap();
    diary.queue("stays", waiting(2, &["a"]), Permit::ended);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(leaves);
    diary.check(2600, &[(2500, "stays probes")]).await;
}

#[actix::test]
async fn a_full_board_forgets_who_is_well_first() {
    let admission = admission("");
    break_down(&admission, "ill");
    let held = admission.enter(&[first("held")]).ok().unwrap();
    for number in 0..crate::job::caps::GATES_MAX * 2 {
        admission.enter(&[first(&number.to_string())]).ok().unwrap().ended();
    }
    assert!(admission.queue.targets.all().len() <= crate::job::caps::GATES_MAX);
    assert!(admission.enter(&[first("ill")]).is_err(), "who is ill is remembered");
    assert!(admission.queue.targets.find(held.target()).is_some(), "who is being asked is remembered");
}

#[actix::test]
async fn a_reload_counts_for_those_who_wait_as_well() {
    let admission = admission("health.retries_per_s = 0.01");
    let retry = || Candidate { is_retry: true, ..first("a") };
    for _ in 0..10 {
        admission.enter(&[retry()]).expect("ten are saved up").ended();
    }
    let diary = Diary::new(&admission);
    diary.queue("1", Waiting { candidates: vec![retry()], ..waiting(1, &[]) }, Permit::ended);
    tokio::time::sleep(Duration::from_millis(100)).await;
    admission.reload(&toml::from_str("health.retries_per_s = 10.0").unwrap());
    diary.check(300, &[(100, "1")]).await;
}
