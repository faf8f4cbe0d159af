//! The rows, in groups that `--only` names. Each group starts its own processes.

pub(super) mod boot;
mod hangup;
mod held;
mod http;
mod idle;
mod log;
mod replay;
mod sockets;
mod stages;
mod transit;

use anyhow::Result;
use clap::ValueEnum;

use super::Bench;

/// Rows that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Group {
    /// CPU of a request, as a ratio of the floor's.
    Cpu,
    /// Added latency and time to first token.
    Latency,
    /// Time and CPU of a request by stage and thread.
    Stages,
    /// Requests per second of a saturated broker.
    Rate,
    /// Delay that is added to each token.
    Transit,
    /// Streams held at once, and their memory.
    Held,
    /// Durable appends and events per second, without entrances.
    Log,
    /// Time from append to reader, without entrances.
    Readers,
    /// Replay of a finished job from disk.
    Replay,
    /// Reconnects of readers over WebSocket.
    Reconnect,
    /// Cost of readers that do not read.
    Stalled,
    /// Memory of connections that are idle.
    Idle,
    /// Clients that disconnect during an answer.
    Hangup,
    /// Start of the broker after a kill.
    Boot,
}

impl Group {
    /// All groups in the order in which they are measured.
    pub const ALL: [Group; 14] = [
        Group::Cpu,
        Group::Latency,
        Group::Stages,
        Group::Rate,
        Group::Transit,
        Group::Held,
        Group::Log,
        Group::Readers,
        Group::Replay,
        Group::Reconnect,
        Group::Stalled,
        Group::Idle,
        Group::Hangup,
        Group::Boot,
    ];

    /// Returns the name that `--only` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Cpu => "cpu",
            Group::Latency => "latency",
            Group::Stages => "stages",
            Group::Rate => "rate",
            Group::Transit => "transit",
            Group::Held => "held",
            Group::Log => "log",
            Group::Readers => "readers",
            Group::Replay => "replay",
            Group::Reconnect => "reconnect",
            Group::Stalled => "stalled",
            Group::Idle => "idle",
            Group::Hangup => "hangup",
            Group::Boot => "boot",
        }
    }

    pub(super) async fn measure(self, bench: &mut Bench) -> Result<()> {
        match self {
            Group::Cpu => http::costs(bench).await,
            Group::Latency => http::latency(bench).await,
            Group::Stages => stages::measure(bench).await,
            Group::Rate => http::rate(bench).await,
            Group::Transit => transit::measure(bench).await,
            Group::Held => held::measure(bench).await,
            Group::Log => log::measure(bench).await,
            Group::Readers => log::readers(bench).await,
            Group::Replay => replay::measure(bench).await,
            Group::Reconnect => sockets::reconnect(bench).await,
            Group::Stalled => sockets::stalled(bench).await,
            Group::Idle => idle::measure(bench).await,
            Group::Hangup => hangup::measure(bench).await,
            Group::Boot => boot::measure(bench).await,
        }
    }
}
