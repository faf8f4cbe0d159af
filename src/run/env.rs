//! What a job needs in order to run, whatever entrance it came by.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::log::Log;
use crate::meter::Meter;
use crate::notify::webhooks::Outbox;
use crate::provider::call::ProviderClient;
use crate::random::Random;
use crate::snapshot::ConfigSnapshot;

/// The parts of a broker that its jobs use. One per broker, shared by all its jobs.
pub struct Env {
    /// The durable log of all streams.
    pub log: Arc<dyn Log>,
    /// The configuration in force and what was built from it; a reload swaps it.
    pub snapshot: Arc<ArcSwap<ConfigSnapshot>>,
    /// The source of all dates.
    pub clock: Clock,
    /// Prices and the ledger.
    pub meter: Meter,
    /// Decides when a job may ask which target.
    pub admission: Admission,
    /// The client that calls providers.
    pub provider_client: ProviderClient,
    /// Webhooks that have to be delivered.
    pub outbox: Arc<Outbox>,
    /// The runtime for work that outlives its job, such as the cancellation of an answer that goes on
    /// at its provider.
    pub runtime: tokio::runtime::Handle,
    /// The source of the jitter of retries.
    pub random: Random,
}
