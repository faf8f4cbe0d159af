//! What one can say on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::config::Scope;
use crate::job::{Gateway, State, Task};

/// A durable inference layer for agents: every token is in a log before anyone sees it.
///
/// Start a broker with `forebay serve`, send it a job with `forebay run MODEL PROMPT`.
#[derive(Parser, Debug)]
#[command(name = "forebay", version, about, long_about, arg_required_else_help = true, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) address: BrokerAddress,
    /// The configuration file [default: forebay.toml, if it is there].
    #[arg(long, global = true, env = "FOREBAY_CONFIG", value_name = "FILE", help_heading = "Global options")]
    pub(super) config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  forebay serve                                      start a broker
  forebay run local/smollm2 'Say hello' --tag teamId=AI
  forebay follow ID                                  read a job's stream again, from its start
  forebay costs --by teamId --by model --bucket day
  forebay models sonnet --task chat
  forebay check                                      is forebay.toml right?
  forebay key new --name agents >> forebay.toml      a key for clients, shown once
  forebay help                                       the guides; `forebay help quickstart` prints one

Exit codes: 0 done, 1 the job failed, 2 usage, 3 cannot connect.
Log: FOREBAY_LOG=debug (or forebay=debug,async_nats=warn).";

/// Where the broker is.
#[derive(Args, Debug)]
pub(super) struct BrokerAddress {
    /// The address of the NATS server, for `run`, `cancel`, `costs` and `models`.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_NATS",
        hide_env_values = true,
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222",
        help_heading = "Global options"
    )]
    pub(super) nats: String,
    /// First token of the broker's NATS subjects.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_PREFIX",
        value_name = "PREFIX",
        default_value = "forebay",
        help_heading = "Global options"
    )]
    pub(super) prefix: String,
    /// The broker's HTTP address, for `jobs` and `follow`.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8087",
        help_heading = "Global options"
    )]
    pub(super) url: String,
    /// The key, where the broker wants one, for `jobs` and `follow`.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_TOKEN",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Global options"
    )]
    pub(super) token: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run the broker until Ctrl-C or SIGTERM.
    Serve,
    /// Measure this machine against the numbers that Forebay wants to reach.
    Bench(BenchArgs),
    /// Send a job over NATS and print its answer as it comes.
    Run(RunArguments),
    /// Read a job's stream over WebSocket: what is there, then what comes.
    Follow {
        /// The id of the job.
        id: String,
        /// Where to begin: -1 = the start, now = the tail, or a cursor that was given.
        #[arg(long, default_value = "-1", allow_hyphen_values = true)]
        cursor: String,
        /// Print records as JSON, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job and print how it ended.
    Cancel {
        /// The id of the job.
        id: String,
    },
    /// List jobs, newest first.
    Jobs(JobsArguments),
    /// What was spent, by tags, model, provider or gateway.
    Costs(CostsArguments),
    /// The models that jobs can use, and their prices.
    Models(ModelsArguments),
    /// Check the configuration, its overrides and its secrets.
    Check,
    /// Keys that clients present.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print a JSON Schema, or the names of all.
    Schema {
        /// For example `job`, `event`, `error`.
        name: Option<String>,
    },
    /// Print this help and the list of guides, a command's help, or a guide.
    Help {
        /// A command (`run`, `key new`) or a guide (`webhooks`).
        #[arg(num_args = 0..)]
        topic: Vec<String>,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Make a key for a client. Its [[keys]] block goes to stdout, to be appended to forebay.toml; the key itself is
    /// shown once, on stderr, and kept nowhere.
    New(NewKeyArguments),
}

#[derive(Args, Debug)]
pub(super) struct NewKeyArguments {
    /// What logs call it [default: made of its digest].
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) name: Option<String>,
    /// A gateway that it may use. May be given several times [default: default].
    #[arg(long = "gateway", value_name = "GATEWAY")]
    pub(super) gateways: Vec<Gateway>,
    /// What it may do there: run, read, admin. May be given several times [default: run and read].
    #[arg(long = "scope", value_name = "SCOPE", value_parser = named::<Scope>)]
    pub(super) scopes: Vec<Scope>,
    /// Print the key and all about it as JSON on stdout instead, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct RunArguments {
    /// `provider/model`, or an alias from the configuration.
    pub(super) model: String,
    /// The prompt for the model. Absent or `-` = stdin.
    pub(super) prompt: Option<String>,
    /// A tag of the job, by which costs can be broken down. May be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) tags: Vec<(String, String)>,
    /// Print records as JSON, one a line, instead of the text.
    #[arg(long)]
    pub(super) json: bool,
    /// The job's id; a repeat joins it instead of asking again.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// The gateway that gets the job.
    #[arg(long)]
    pub(super) gateway: Option<String>,
    /// Your own name for this piece of work: a repeat joins the job.
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
    /// The task of the job [default: the model's own task].
    #[arg(long, value_parser = named::<Task>)]
    pub(super) task: Option<Task>,
    /// The system message, which comes before the prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub(super) system: Option<String>,
    /// Output tokens at most.
    #[arg(long, value_name = "COUNT", conflicts_with = "input")]
    pub(super) max_tokens: Option<u64>,
    /// The task's whole body as JSON, instead of a prompt.
    #[arg(long, value_name = "JSON", conflicts_with = "prompt", value_parser = json_object)]
    pub(super) input: Option<serde_json::Value>,
    /// The job's options as JSON: `{"retry": {"max_attempts": 1}}`.
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(super) options: Option<serde_json::Value>,
}

#[derive(Args, Debug)]
pub(super) struct ModelsArguments {
    /// Only those whose name contains this, with dots or dashes.
    pub(super) filter: Option<String>,
    /// Only those of this provider.
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<String>,
    /// Only those for this task.
    #[arg(long, value_parser = named::<Task>)]
    pub(super) task: Option<Task>,
    /// The whole catalog, also of providers that are off.
    #[arg(long)]
    pub(super) all: bool,
    /// Print the broker's JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct JobsArguments {
    /// Only in this state: pending, streaming, completed, failed, cancelled, interrupted.
    #[arg(long, value_parser = named::<State>)]
    pub(super) state: Option<State>,
    /// Only with this tag. May be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) tags: Vec<(String, String)>,
    /// The most rows to list.
    #[arg(long, default_value_t = 20)]
    pub(super) limit: u32,
    /// Only older than this job.
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
    /// Print the broker's JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct CostsArguments {
    /// gateway, model, provider, or a metadata key. May be given several times.
    #[arg(long, value_name = "KEY")]
    pub(super) by: Vec<String>,
    /// From this hour on: 2026-11-01 or 2026-11-01T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Up to the beginning of this hour.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// One row per hour or day (UTC).
    #[arg(long, value_name = "hour|day")]
    pub(super) bucket: Option<String>,
    /// Only jobs with this tag. May be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) tags: Vec<(String, String)>,
    /// Print the broker's JSON.
    #[arg(long)]
    pub(super) json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

fn json_object(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("must be a JSON object".to_owned()) }
}

/// A value of a closed set, by its name on the wire.
fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
