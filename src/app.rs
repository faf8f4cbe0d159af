//! Starts the parts in order and stops them in order.
//!
//! Owns the threads: tokio's for sockets, an actix system with its arbiters for actors, the log's
//! own. Promises that HTTP and WebSocket open when every unfinished job is settled (the NATS entrance
//! is there before: settled jobs are delivered through it), and that a stop closes the entrances, drains
//! jobs and makes the log whole, in this order.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admission::Admission;
use crate::broker::{Broker, Parts};
use crate::clock::Clock;
use crate::config::{Config, Loaded, Reloaded, Watcher};
use crate::http;
use crate::log::Log;
use crate::log::disk::DiskLog;
use crate::meter::Meter;
use crate::nats::NatsEntrance;
use crate::policy::access;
use crate::provider::call::ProviderClient;
use crate::run::Arbiters;
use crate::snapshot::ConfigSnapshot;
use crate::telemetry;

/// How often histograms are folded, so that they do not grow between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long the HTTP entrance may take to close its connections once the jobs are done.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the broker until SIGTERM or SIGINT.
///
/// # Errors
/// When a part cannot start: one line for the operator.
pub fn serve(loaded: Loaded) -> anyhow::Result<()> {
    telemetry::install();
    access::check_listen(&loaded.config).map_err(|failure| anyhow!("{}", failure.message))?;
    let listen = loaded.config.server.listen.clone();
    let listener = TcpListener::bind(&*listen).with_context(|| format!("cannot listen on {listen}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("forebay-io").build()?;
    let actors = Actors::start(loaded.config.server.arbiters)?;
    let result = runtime.block_on(run(loaded, listener, actors.arbiters.clone()));
    actors.stop();
    runtime.shutdown_timeout(CLOSE_TIMEOUT);
    result
}

async fn run(loaded: Loaded, listener: TcpListener, arbiters: Arbiters) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let mut stop = Stop::new()?;
    let broker = open_broker(&loaded, arbiters.clone()).await?;
    let runtime = tokio::runtime::Handle::current();
    let nats = match loaded.config.nats.enabled {
        true => Some(
            NatsEntrance::start(Arc::clone(&broker), arbiters.pick(), runtime)
                .map_err(|failure| anyhow!("{}", failure.message))?,
        ),
        false => None,
    };
    broker.settle_unfinished().await;
    let mut webhooks = tokio::task::JoinSet::new();
    webhooks.spawn(Arc::clone(&broker).deliver_webhooks());
    let (close, mut closing) = watch::channel(false);
    let shutdown = async move {
        // A closed channel means the same: the process ends.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    let mut entrances = tokio::task::JoinSet::new();
    entrances.spawn(http::serve(listener, Arc::clone(&broker), http::Limits::default(), shutdown));
    tracing::info!(%address, log = %shown(&loaded.config.log.path), "ready");
    supervise(&broker, loaded, &mut stop).await;
    shut_down(&broker, nats, &mut stop).await;
    close.send_replace(true);
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, entrances.join_next()).await;
    // The next start delivers the webhooks that are still due.
    webhooks.shutdown().await;
    broker.log.close().await;
    tracing::info!("down");
    Ok(())
}

async fn open_broker(loaded: &Loaded, arbiters: Arbiters) -> anyhow::Result<Arc<Broker>> {
    let config = loaded.config.log.clone();
    let opened = tokio::task::spawn_blocking(move || DiskLog::open(&config, Clock::System)).await?;
    let log: Arc<dyn Log> = opened.map_err(|failure| anyhow!("the log cannot be opened: {}", failure.message))?;
    for note in log.health().notes {
        tracing::warn!("{note}");
    }
    let snapshot = build(loaded.config.clone(), loaded)?;
    tracing::info!(providers = %snapshot.registry.names().collect::<Vec<_>>().join(", "), "providers that are on");
    let meter = Meter::start_in_arbiter(arbiters.pick(), log.clone(), &snapshot.config);
    let admission = Admission::start(arbiters.pick(), Clock::System, &snapshot.config);
    Ok(Broker::new(Parts {
        log,
        snapshot,
        clock: Clock::System,
        provider_client: ProviderClient::new().map_err(|failure| anyhow!("{}", failure.message))?,
        meter,
        admission,
        arbiters,
        runtime: tokio::runtime::Handle::current(),
        seed: fastrand::u64(..),
    }))
}

/// Signals that stop the broker: SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next stop signal. Cancel-safe.
    async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads the configuration and keeps the metrics small until a stop signal comes.
async fn supervise(broker: &Arc<Broker>, loaded: Loaded, stop: &mut Stop) {
    let mut watcher = Watcher::new(loaded.clone());
    let mut upkeep = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stop.signal() => return,
            _ = upkeep.tick() => telemetry::upkeep(),
            Reloaded { config, .. } = watcher.changed() => reload(broker, config, &loaded).await,
        }
    }
}

/// Puts a changed configuration in force as a whole, or not at all; jobs under way keep the one that
/// they began with.
async fn reload(broker: &Arc<Broker>, config: Config, loaded: &Loaded) {
    match build(config, loaded) {
        Ok(snapshot) => {
            broker.meter.reload(Arc::new(snapshot.config.clone())).await;
            broker.admission.reload(&snapshot.config);
            broker.snapshot.store(Arc::new(snapshot));
            tracing::info!("the configuration was reloaded");
        }
        Err(error) => tracing::error!("{error}; the configuration before stays in force"),
    }
}

/// Lets jobs finish; interrupts them when the time is up or a second stop signal comes.
async fn shut_down(broker: &Arc<Broker>, nats: Option<NatsEntrance>, stop: &mut Stop) {
    let grace = Duration::from_secs(broker.snapshot.load().config.server.drain_s);
    tracing::info!(jobs = broker.jobs_in_flight(), "going down: no new jobs, waiting for running ones");
    tokio::select! {
        () = broker.drain(grace) => {}
        () = stop.signal() => {
            tracing::warn!("a second stop signal came: the broker does not wait for jobs");
            broker.drain(Duration::ZERO).await;
        }
    }
    if let Some(nats) = nats {
        nats.stop().await;
    }
}

fn build(config: Config, loaded: &Loaded) -> anyhow::Result<ConfigSnapshot> {
    let env = |name: &str| loaded.env(name).filter(|value| !value.is_empty());
    ConfigSnapshot::build(config, &env).map_err(|problems| anyhow!("{}", problems.join("; ")))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The actix system on a thread of its own, and its arbiters.
struct Actors {
    arbiters: Arbiters,
    system: actix::System,
    thread: std::thread::JoinHandle<()>,
}

impl Actors {
    /// Starts `threads` arbiters; 0 means one per core.
    fn start(threads: usize) -> anyhow::Result<Actors> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            configured => configured,
        };
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let body = move || {
            let runner = actix::System::new();
            let arbiters: Vec<actix::Arbiter> =
                (0..threads).map(|_| runner.block_on(async { actix::Arbiter::new() })).collect();
            let handles = arbiters.iter().map(actix::Arbiter::handle).collect();
            if send.send((actix::System::current(), handles)).is_ok()
                && let Err(error) = runner.run()
            {
                tracing::error!(%error, "the actor system ended badly");
            }
            for arbiter in arbiters {
                arbiter.stop();
                let _ = arbiter.join();
            }
        };
        let thread = std::thread::Builder::new().name("forebay-actors".into()).spawn(body)?;
        let (system, handles) = receive.recv().context("the actor system did not start")?;
        Ok(Actors { arbiters: Arbiters::new(handles), system, thread })
    }

    /// Stops the actor system. Call it when every job has ended: `System::stop` drops actors without notice.
    fn stop(self) {
        self.system.stop();
        let _ = self.thread.join();
    }
}
