//! Upstream, floor and broker of one group of rows, fresh.

use anyhow::Result;

use super::children::{Process, Scratch};
use super::load::Target;
use super::{Bench, Role};

/// The processes of one measurement and their addresses. Dropping it ends them and removes what they wrote.
pub(super) struct Stage {
    pub(super) direct: Target,
    pub(super) floor: Target,
    pub(super) broker: Target,
    pub(super) floor_pid: u32,
    pub(super) broker_pid: u32,
    _processes: [Process; 3],
    _scratch: Scratch,
}

impl Stage {
    /// Starts upstream, floor and broker.
    pub(super) async fn set(bench: &Bench) -> Result<Stage> {
        let scratch = Scratch::new(bench.scratch.path())?;
        let upstream = Process::helper(Role::Upstream, None)?;
        let floor = Process::helper(Role::Floor, Some(upstream.address))?;
        let broker = Process::broker(scratch.path(), upstream.address).await?;
        let target = |name, process: &Process, is_broker| Target { name, address: process.address, is_broker };
        Ok(Stage {
            direct: target("direct", &upstream, false),
            floor: target("floor", &floor, false),
            broker: target("forebay", &broker, true),
            floor_pid: floor.pid(),
            broker_pid: broker.pid(),
            _processes: [broker, floor, upstream],
            _scratch: scratch,
        })
    }

    /// Returns the servers whose latency is measured, the baseline first.
    pub(super) fn targets(&self) -> [Target; 3] {
        [self.direct, self.floor, self.broker]
    }
}
