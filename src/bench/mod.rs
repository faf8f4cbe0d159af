//! `forebay bench`: the numbers that Forebay wants to reach, measured on this machine.
//!
//! Owns the load, the controls and the verdicts. Promises that what is compared was measured in the
//! same run, that every target is a process of its own, and that no process and no file stays.
//! Does not tune anything.

mod children;
mod client;
mod floor;
mod load;
mod machine;
mod report;
mod rows;
mod stage;
mod token;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use children::Scratch;
use machine::Machine;
use report::{Report, Row};
use rows::Group;

/// Threads of each of the bench's own processes: the targets are set for a machine with two cores.
const WORKERS: usize = 2;

/// Command-line arguments of `forebay bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Measure for less than a minute, with more noise.
    #[arg(long)]
    pub quick: bool,
    /// Measure only these rows; may be repeated.
    #[arg(long, value_enum, value_name = "ROW", num_args = 1..)]
    pub only: Vec<Group>,
    /// Directory for bench.json and bench.md; measured logs are kept there while it runs.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub out: PathBuf,
    /// Role of a process that the bench has started.
    #[arg(long, value_enum, hide = true)]
    pub role: Option<Role>,
    /// Address that the floor passes requests on to.
    #[arg(long, hide = true)]
    pub upstream: Option<SocketAddr>,
    /// Number of records that the writer writes into `--out`.
    #[arg(long, hide = true)]
    pub records: Option<u64>,
    /// Path of the broker's configuration file.
    #[arg(long, hide = true)]
    pub broker_config: Option<PathBuf>,
}

/// A process that the bench starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Role {
    /// The provider that answers.
    Upstream,
    /// The trivial proxy that is the control.
    Floor,
    /// The broker, `forebay serve`.
    Broker,
    /// A process that fills a log and is killed.
    Writer,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Upstream => "upstream",
            Role::Floor => "floor",
            Role::Broker => "broker",
            Role::Writer => "writer",
        }
    }
}

/// Measures, prints the table and writes it. Blocks; call it on the main thread and outside of a
/// runtime: the processes it starts die with the thread that it runs on.
///
/// # Errors
/// When a row could not be measured; the others are in the report all the same.
pub fn run(args: BenchArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let Some(role) = args.role else {
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = measure(&args) => outcome,
                _ = tokio::signal::ctrl_c() => bail!("interrupted; nothing was written"),
            }
        });
        runtime.shutdown_background();
        return outcome;
    };
    children::settle_in()?;
    match role {
        Role::Upstream => runtime.block_on(upstream::serve()),
        Role::Floor => runtime.block_on(floor::serve(args.upstream.context("--upstream is missing")?)),
        Role::Writer => runtime.block_on(async {
            let _log = rows::boot::write(&args.out, args.records.context("--records is missing")?).await?;
            children::kill_myself()
        }),
        Role::Broker => children::become_broker(&args.broker_config.context("--broker-config is missing")?),
    }
}

/// Settings and state that every row is measured with.
struct Bench {
    quick: bool,
    scratch: Scratch,
    machine: Machine,
    rows: Vec<Row>,
}

impl Bench {
    /// Returns the seconds of a measurement: `full`, or a quarter of it when it must be quick.
    fn lasts(&self, full: f64) -> std::time::Duration {
        std::time::Duration::from_secs_f64(if self.quick { full / 4.0 } else { full })
    }

    /// Returns how often a measurement is repeated.
    fn rounds(&self, full: usize) -> usize {
        if self.quick { 2 } else { full }
    }

    fn push(&mut self, row: Row) {
        say(&format!(
            "  {}: {} [{}]",
            row.what,
            row.value.map_or_else(|| "–".into(), |v| format!("{v:.3} {}", row.unit)),
            row.verdict
        ));
        self.rows.push(row);
    }
}

/// Prints progress to stderr; stdout is for the table.
fn say(text: &str) {
    // The bench goes on when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn measure(args: &BenchArgs) -> Result<()> {
    let start = Instant::now();
    std::fs::create_dir_all(&args.out).with_context(|| format!("create {}", args.out.display()))?;
    let scratch = Scratch::new(&args.out)?;
    let machine = Machine::look(scratch.path())?;
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures mean nothing (make bench builds a release)");
    }
    let mut bench = Bench { quick: args.quick, scratch, machine, rows: Vec::new() };
    let mut failed = Vec::new();
    for group in Group::ALL {
        if !args.only.is_empty() && !args.only.contains(&group) {
            continue;
        }
        say(&format!("{} …", group.name()));
        bench.machine.look_again(bench.scratch.path())?;
        if let Err(why) = group.measure(&mut bench).await {
            bench.push(Row::missing(group.name(), "not measured", format!("{why:#}")));
            failed.push(group.name());
        }
    }
    let report =
        Report { quick: args.quick, took_s: start.elapsed().as_secs_f64(), machine: bench.machine, rows: bench.rows };
    report.write(&args.out)?;
    writeln!(std::io::stdout(), "{}", report.table())?;
    if !failed.is_empty() {
        bail!("not measured: {}; the table says why", failed.join(", "));
    }
    Ok(())
}
