//! `forebay schema`: the JSON Schemas of what clients write and read, and of the configuration.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::{CommandError, show};
use crate::config::Config;
use crate::job::{Failure, Record};
use crate::meter::CostAnswer;
use crate::provider::script::ScriptForm;
use crate::wire::frame::{ClientMessage, ServerMessage};
use crate::wire::submit::JobRequest;

/// The body of every error answer.
#[derive(JsonSchema)]
#[schemars(title = "Error", extend("additionalProperties" = false))]
#[expect(dead_code, reason = "only its schema is used")]
struct ErrorEnvelope {
    /// Failure that the request ended with.
    error: Failure,
}

/// The name of a schema and the function that makes it.
type Entry = (&'static str, fn() -> Schema);

/// All schemas, by name. `schemas/NAME.schema.json` holds what these print.
const ALL: &[Entry] = &[
    ("config", of::<Config>),
    ("costs", of::<CostAnswer>),
    ("error", of::<ErrorEnvelope>),
    ("event", of::<Record>),
    ("job", of::<JobRequest>),
    ("script", of::<ScriptForm>),
    ("ws_client", of::<ClientMessage>),
    ("ws_server", of::<ServerMessage>),
];

fn of<T: JsonSchema>() -> Schema {
    SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>()
}

/// The names of all schemas.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// A schema as it is printed and committed, its last line feed included; `None` for another name.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    let (_, schema) = ALL.iter().find(|(known, _)| *known == name)?;
    let pretty = serde_json::to_string_pretty(&schema()).expect("a schema is JSON");
    Some(pretty + "\n")
}

/// Carries out `forebay schema [NAME]`.
pub(super) fn run(name: Option<&str>) -> Result<(), CommandError> {
    let Some(name) = name else {
        return show::stdout_line(&names().collect::<Vec<_>>().join("\n")).map_err(CommandError::from);
    };
    let all = || names().collect::<Vec<_>>().join(", ");
    let text = text(name).ok_or_else(|| CommandError::Usage(format!("no schema `{name}`; there are {}", all())))?;
    show::stdout_line(text.trim_end()).map_err(CommandError::from)
}
