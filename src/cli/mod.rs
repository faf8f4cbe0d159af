//! The command line of the `forebay` program.
//!
//! Owns arguments, what a person sees, and exit codes: 0 done, 1 the job failed or the broker
//! refused, 2 usage or configuration, 3 cannot connect. Answers go to stdout, everything else to
//! stderr. Promises one clear line per error. Does not know how the broker works inside.

mod args;

mod query;

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

/// Error with which a command ends.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The job failed, or the broker refused it: exit code 1. The message is `None` if it was printed already.
    Failed(Option<String>),
    /// The arguments or the configuration are wrong: exit code 2.
    Usage(String),
    /// The broker does not answer: exit code 3.
    Unreachable(String),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            CommandError::Failed(_) => 1,
            CommandError::Usage(_) => 2,
            CommandError::Unreachable(_) => 3,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Failed(None) => Ok(()),
            CommandError::Failed(Some(message)) | CommandError::Usage(message) | CommandError::Unreachable(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> CommandError {
        match failure.code {
            Code::Invalid | Code::Unsupported | Code::BadCursor => CommandError::Usage(failure.to_string()),
            // A client that cannot reach a broker reports the same code.
            Code::Overloaded => CommandError::Unreachable(failure.to_string()),
            _ => CommandError::Failed(Some(failure.to_string())),
        }
    }
}

impl From<nats::Problem> for CommandError {
    fn from(problem: nats::Problem) -> CommandError {
        match problem {
            nats::Problem::CannotConnect(_) => CommandError::Unreachable(problem.to_string()),
            nats::Problem::Refused(failure) => failure.into(),
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> CommandError {
        match error.kind() {
            // The reader of stdout has closed it, for example `| head`.
            std::io::ErrorKind::BrokenPipe => CommandError::Failed(None),
            _ => CommandError::Failed(Some(error.to_string())),
        }
    }
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help and usage errors itself, the latter with exit code 2.
    let arguments = Arguments::parse();
    let result = start_log(&arguments).and_then(|()| dispatch(arguments));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.to_string();
            if !message.is_empty() {
                show::stderr_line(&format!("forebay: {message}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<(), CommandError> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Serve => {
            let loaded = check::load(config)?;
            crate::app::serve(loaded).map_err(|error| CommandError::Failed(Some(format!("{error:#}"))))
        }
        Command::Bench(args) => {
            crate::bench::run(args).map_err(|error| CommandError::Failed(Some(format!("{error:#}"))))
        }
        Command::Check => check::run(config),
        Command::Key(KeyCommand::New(arguments)) => key::new(&arguments),
        Command::Help { topic } => help::run(&topic),
        Command::Schema { name } => schema::run(name.as_deref()),
        Command::Run(job) => block_on(run::run(&arguments.address, job)),
        Command::Follow { id, cursor, json } => block_on(run::follow(&arguments.address, &id, &cursor, json)),
        Command::Cancel { id } => block_on(query::cancel(&arguments.address, &id)),
        Command::Jobs(filter) => block_on(query::jobs(&arguments.address, filter)),
        Command::Costs(query) => block_on(costs::run(&arguments.address, query)),
        Command::Models(filter) => block_on(models::run(&arguments.address, filter)),
    }
}

/// Runs a client's future on a runtime of one thread.
fn block_on(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A read of stdin that is no longer needed must not keep the process alive.
    runtime.shutdown_background();
    done
}

/// Starts the log on stderr. `FOREBAY_LOG`, else `RUST_LOG`, filters it: `debug`, `forebay=debug,async_nats=warn`.
fn start_log(arguments: &Arguments) -> Result<(), CommandError> {
    let default = if matches!(arguments.command, Command::Serve) { "info" } else { "error" };
    let variable = ["FOREBAY_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let filter = match variable.filter(|(_, filter)| !filter.is_empty()) {
        Some((name, filter)) => {
            EnvFilter::try_new(filter).map_err(|error| CommandError::Usage(format!("{name}: {error}")))?
        }
        None => EnvFilter::new(default),
    };
    // At `trace` the NATS client writes whole messages, prompts included.
    let filter = filter.add_directive("async_nats::connection=info".parse().expect("a directive"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
    Ok(())
}
