//! A broker in the test's own process, with scripted providers. It has no entrance: a test opens the one that it tests.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::{Arc, OnceLock};

use actix::ArbiterHandle;
use forebay::admission::Admission;
use forebay::broker::{Broker, Parts};
use forebay::clock::Clock;
use forebay::config::Config;
use forebay::job::{Completed, Cost, Delta, Event, Timestamp, Timing, Usage};
use forebay::log::Log;
use forebay::log::memory::MemoryLog;
use forebay::meter::Meter;
use forebay::provider::call::ProviderClient;
use forebay::run::Arbiters;
use forebay::snapshot::ConfigSnapshot;
use tokio::runtime::Handle;

/// Starts a broker with this configuration, in TOML. Unless the test says otherwise it has an empty log in memory, the
/// system's clock, the actors' thread of the test program and one fixed seed.
pub(crate) fn broker(config: &str) -> BrokerBuilder {
    let config = toml::from_str(config).expect("a valid configuration");
    BrokerBuilder { config, log: None, clock: Clock::System, arbiter: None, seed: 7 }
}

pub(crate) struct BrokerBuilder {
    config: Config,
    log: Option<Arc<dyn Log>>,
    clock: Clock,
    arbiter: Option<ArbiterHandle>,
    seed: u64,
}

impl BrokerBuilder {
    /// Uses this log instead of an empty one in memory.
    pub(crate) fn log(mut self, log: Arc<dyn Log>) -> BrokerBuilder {
        self.log = Some(log);
        self
    }

    /// Uses this clock instead of the system's.
    pub(crate) fn clock(mut self, clock: Clock) -> BrokerBuilder {
        self.clock = clock;
        self
    }

    /// Runs the actors on this thread.
    pub(crate) fn arbiter(mut self, arbiter: ArbiterHandle) -> BrokerBuilder {
        self.arbiter = Some(arbiter);
        self
    }

    /// Sets the seed of everything that is drawn.
    pub(crate) fn seed(mut self, seed: u64) -> BrokerBuilder {
        self.seed = seed;
        self
    }

    /// Starts the broker, whose tasks run on `runtime`.
    pub(crate) fn start(self, runtime: &Handle) -> Arc<Broker> {
        let BrokerBuilder { config, log, clock, arbiter, seed } = self;
        let arbiter = arbiter.unwrap_or_else(actors);
        let log = log.unwrap_or_else(|| MemoryLog::new(clock));
        let meter = Meter::start_in_arbiter(&arbiter, log.clone(), &config);
        let admission = Admission::start(&arbiter, clock, &config);
        Broker::new(Parts {
            log,
            snapshot: ConfigSnapshot::build(config, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}")),
            clock,
            provider_client: ProviderClient::new().expect("a client"),
            meter,
            admission,
            arbiters: Arbiters::new(vec![arbiter]),
            runtime: runtime.clone(),
            seed,
        })
    }
}

/// Returns the thread that runs actors for the whole test program; starts it at the first call.
pub(crate) fn actors() -> ArbiterHandle {
    static ACTORS: OnceLock<ArbiterHandle> = OnceLock::new();
    let start = || {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let system = actix::System::new();
            sender.send(actix::System::current().arbiter().clone()).expect("the caller waits");
            drop(system.run());
        });
        receiver.recv().expect("the thread starts")
    };
    ACTORS.get_or_init(start).clone()
}

/// Returns a clock that stands where the tests' time begins and moves with tokio's, which a test can pause.
pub(crate) fn simulated_clock() -> Clock {
    Clock::Simulated { start: Timestamp(1_795_255_200_000), since: tokio::time::Instant::now() }
}

/// Returns the event for a piece of an answer's text.
pub(crate) fn delta(text: &str) -> Event {
    Event::Delta(Delta { text: text.into(), ..Delta::default() })
}

/// Returns the event with which a job ends well, at no cost.
pub(crate) fn completed() -> Event {
    Event::Completed(Completed {
        finish_reason: "stop".into(),
        native_finish_reason: None,
        usage: Usage::default(),
        cost: Cost::FREE,
        timing: Timing::default(),
        attempts: 1,
    })
}
