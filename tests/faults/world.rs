//! A broker process, a nats-server, and the fault server behind them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::entrance::Entrances;
use crate::provider::{Plan, REPEATS, Server, provider};
use crate::support::NatsServer;

/// Ports that refuse until they are switched on: one per job of the row that needs it.
const LATE: usize = 24;
/// The port that refuses for good.
const OFF: usize = LATE;

pub(crate) struct World {
    /// The nats-server; a test that restarts it takes it out.
    pub(crate) nats: Option<NatsServer>,
    pub(crate) server: Server,
    pub(crate) entrances: Entrances,
    late: AtomicUsize,
}

impl World {
    /// `config` is added to the broker's; `quiet` is how long a reply inbox may be silent.
    pub(crate) async fn start(plan: Plan, pace: Duration, quiet: Duration, config: &str) -> (World, Broker) {
        let server = Server::start(plan, pace, LATE + 1).await;
        let nats = NatsServer::start(true);
        let mut file: String = ["a", "b", "c"].map(|name| server.config(name, "openai-compatible")).concat();
        file += &server.config("p", "vllm");
        file += &server.config(REPEATS, "mistral");
        file += &["oa", "ob"].map(|name| server.config(name, "openai")).concat();
        file += &server.config_tls("tls");
        file += &provider("dns", "openai-compatible", "http://nowhere.invalid/v1");
        file += &server.config_closed("off", OFF);
        file += &(0..LATE).map(|number| server.config_closed(&format!("late{number}"), number)).collect::<String>();
        let mut broker = Broker::new(Some(&nats.url()), &(file + config));
        // Whatever stands between this machine and the world, the tests' providers are on it.
        broker.env("NO_PROXY", "*");
        broker.up().await;
        let url = broker.url("");
        let entrances = Entrances {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            ws: broker.ws(),
            base: url.trim_end_matches('/').to_owned(),
            nats: async_nats::ConnectOptions::new().retry_on_initial_connect().connect(nats.url()).await.unwrap(),
            quiet,
        };
        let world = World { nats: Some(nats), server, entrances, late: AtomicUsize::new(0) };
        world.listens_to_nats().await;
        (world, broker)
    }

    /// Waits until the broker has its subjects.
    pub(crate) async fn listens_to_nats(&self) {
        crate::broker::found("the NATS entrance", || async {
            self.entrances.nats.request("forebay.models", "{\"q\":\"nothing-like-it\"}".into()).await.ok()
        })
        .await;
    }

    /// The number of a port that still refuses.
    pub(crate) fn next_late(&self) -> usize {
        let number = self.late.fetch_add(1, Ordering::SeqCst);
        assert!(number < LATE, "more jobs than ports that refuse");
        number
    }
}
