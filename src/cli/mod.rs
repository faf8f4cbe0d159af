//! The command line: everything that a person types.
//!
//! Owns arguments, what a person sees, and exit codes: 0 done, 1 the job failed or the broker
//! refused, 2 usage or configuration, 3 cannot connect. Answers go to stdout, everything else to
//! stderr. Promises one clear line per error. Does not know how the broker works inside.

mod args;

mod ask;

mod check;

mod costs;

mod help;

mod key;

mod models;

pub mod nats;

mod run;

pub mod schema;

mod show;

mod socket;

use std::fmt;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::job::{Code, Failure};
use args::{Arguments, Command, KeyCommand};

/// How a command ended, if not well.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The job failed, or the broker refused: 1. What is to be said about it, if anything is left.
    Failed(Option<String>),
    /// The arguments or the configuration are wrong: 2.
    Usage(String),
    /// Nobody answers: 3.
    Unreachable(String),
}

impl Trouble {
    fn exit_code(&self) -> u8 {
        match self {
            Trouble::Failed(_) => 1,
            Trouble::Usage(_) => 2,
            Trouble::Unreachable(_) => 3,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Failed(None) => Ok(()),
            Trouble::Failed(Some(message)) | Trouble::Usage(message) | Trouble::Unreachable(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        match failure.code {
            Code::Invalid | Code::Unsupported | Code::BadCursor => Trouble::Usage(failure.to_string()),
            // What a client that finds nobody to talk to says, too.
            Code::Overloaded => Trouble::Unreachable(failure.to_string()),
            _ => Trouble::Failed(Some(failure.to_string())),
        }
    }
}

impl From<nats::Problem> for Trouble {
    fn from(problem: nats::Problem) -> Trouble {
        match problem {
            nats::Problem::CannotConnect(_) => Trouble::Unreachable(problem.to_string()),
            nats::Problem::Refused(failure) => failure.into(),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        match error.kind() {
            // Who reads our output has had enough, for example `| head`.
            std::io::ErrorKind::BrokenPipe => Trouble::Failed(None),
            _ => Trouble::Failed(Some(error.to_string())),
        }
    }
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help and usage errors itself, the latter with exit code 2.
    let arguments = Arguments::parse();
    let done = start_log(&arguments).and_then(|()| dispatch(arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            let message = trouble.to_string();
            if !message.is_empty() {
                show::complain(&format!("forebay: {message}"));
            }
            ExitCode::from(trouble.exit_code())
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Trouble> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Serve => {
            let loaded = check::load(config)?;
            crate::app::serve(loaded).map_err(|error| Trouble::Failed(Some(format!("{error:#}"))))
        }
        Command::Bench(args) => crate::bench::run(args).map_err(|error| Trouble::Failed(Some(format!("{error:#}")))),
        Command::Check => check::run(config),
        Command::Key(KeyCommand::New(said)) => key::new(&said),
        Command::Help { topic } => help::run(&topic),
        Command::Schema { name } => schema::run(name.as_deref()),
        Command::Run(job) => block_on(run::run(&arguments.reach, job)),
        Command::Follow { id, cursor, json } => block_on(run::follow(&arguments.reach, &id, &cursor, json)),
        Command::Cancel { id } => block_on(ask::cancel(&arguments.reach, &id)),
        Command::Jobs(filter) => block_on(ask::jobs(&arguments.reach, filter)),
        Command::Costs(query) => block_on(costs::run(&arguments.reach, query)),
        Command::Models(filter) => block_on(models::run(&arguments.reach, filter)),
    }
}

/// A client needs one thread.
fn block_on(work: impl Future<Output = Result<(), Trouble>>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A read of stdin that nobody waits for any more must not hold us.
    runtime.shutdown_background();
    done
}

/// Logs to stderr. `FOREBAY_LOG`, else `RUST_LOG`, filters: `debug`, `forebay=debug,async_nats=warn`.
fn start_log(arguments: &Arguments) -> Result<(), Trouble> {
    let default = if matches!(arguments.command, Command::Serve) { "info" } else { "error" };
    let said = ["FOREBAY_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let filter = match said.filter(|(_, filter)| !filter.is_empty()) {
        Some((name, filter)) => {
            EnvFilter::try_new(filter).map_err(|error| Trouble::Usage(format!("{name}: {error}")))?
        }
        None => EnvFilter::new(default),
    };
    // At `trace` the NATS client writes whole messages, what agents ask included.
    let filter = filter.add_directive("async_nats::connection=info".parse().expect("a directive"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
    Ok(())
}
