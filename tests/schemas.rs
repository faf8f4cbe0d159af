//! `schemas/` against the types and against our own parsers.
//!
//! Each file in `schemas/examples` holds the examples of one schema; each says what it shows and
//! whether it is good. The schema and our parser must agree about it. `UPDATE=1` writes the schemas
//! anew, never the examples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "schemas/reference.rs"]
mod reference;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use forebay::cli::schema;
use forebay::job::{Code, Failure, Record, Timestamp};
use forebay::meter::CostAnswer;
use forebay::provider::script::Script;
use forebay::telemetry::METRICS;
use forebay::wire::frame::{self, ClientMessage, Protocol, ServerMessage};
use forebay::wire::submit::{Entrance, from_value};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    shows: String,
    good: bool,
    /// Why a schema cannot say that this is bad, though our parser does.
    #[serde(default)]
    beyond_schema: Option<String>,
    value: Value,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn examples(name: &str) -> Vec<Example> {
    let path = folder().join(format!("examples/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What our own code makes of a value.
fn parse(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "job" => from_value(value.clone())
            .and_then(|said| said.into_job(&Entrance::default(), Timestamp(0)))
            .map(drop)
            .map_err(|failure| failure.to_string()),
        "event" => Record::deserialize(value).map(drop).map_err(|error| error.to_string()),
        "error" => {
            let fields = value.as_object().filter(|fields| fields.len() == 1);
            let error = fields.and_then(|fields| fields.get("error")).ok_or("not an envelope")?;
            Failure::deserialize(error).map(drop).map_err(|error| error.to_string())
        }
        "config" => {
            let text = toml::to_string(value).map_err(|error| error.to_string())?;
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("forebay.toml");
            std::fs::write(&path, text).unwrap();
            forebay::config::load(Some(&path), std::iter::empty()).map(drop).map_err(|problems| format!("{problems:?}"))
        }
        "costs" => CostAnswer::deserialize(value).map(drop).map_err(|error| error.to_string()),
        "script" => Script::parse(&value.to_string(), "script").map(drop).map_err(|failure| failure.to_string()),
        "ws_client" => match frame::decode(Protocol::Json, value.to_string().as_bytes()) {
            Ok(ClientMessage::Run { job, .. }) => parse("job", &serde_json::from_str(job.get()).unwrap()),
            said => said.map(drop).map_err(|failure| failure.to_string()),
        },
        "ws_server" => ServerMessage::deserialize(value).map(drop).map_err(|error| error.to_string()),
        _ => panic!("no parser for {name}"),
    }
}

/// A committed file is `now`; with `UPDATE=1` it becomes that.
fn compare(path: &Path, now: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, now).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == now, "{} is not what the types say; UPDATE=1 writes it anew", path.display());
}

#[test]
fn the_references_in_the_guides_are_those_of_the_types() {
    let config = serde_json::from_str(&schema::text("config").unwrap()).unwrap();
    for (guide, reference) in
        [("configuration", reference::of_config(&config)), ("metrics", reference::of_metrics(METRICS))]
    {
        let path = folder().join(format!("../src/guide/{guide}.md"));
        let text = std::fs::read_to_string(&path).unwrap();
        compare(&path, &reference::put_into(&text, &reference).unwrap_or_else(|| panic!("{guide}.md has no markers")));
    }
}

#[test]
fn the_sample_configuration_for_a_server_fits_the_schema() {
    let text = std::fs::read_to_string(folder().join("../scripts/deploy/forebay.toml")).unwrap();
    // The settings that are switched off are settings all the same.
    let is_setting = |line: &&str| !line.starts_with("# ") && *line != "#";
    let lines = text.lines().filter(is_setting).map(|line| line.strip_prefix('#').unwrap_or(line));
    let sample: toml::Table = toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(sample.len() > 5, "{sample:?}");
    let schema = serde_json::from_str(&schema::text("config").unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let problem = validator.validate(&serde_json::to_value(sample).unwrap()).err().map(|error| error.to_string());
    assert_eq!(problem, None);
}

#[test]
fn the_schemas_are_those_of_the_types() {
    for name in schema::names() {
        compare(&folder().join(format!("{name}.schema.json")), &schema::text(name).unwrap());
    }
    let files = std::fs::read_dir(folder()).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let known: BTreeSet<String> = schema::names().map(|name| format!("{name}.schema.json")).collect();
    let found: BTreeSet<String> = files.filter(|file| file != "examples").collect();
    assert_eq!(found, known, "a schema without a type");
}

#[test]
fn schema_and_parser_agree_about_every_example() {
    let mut wrong = Vec::new();
    for name in schema::names() {
        let schema: Value = serde_json::from_str(&schema::text(name).unwrap()).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a valid schema");
        let examples = examples(name);
        assert!(examples.iter().any(|example| example.good) && examples.iter().any(|example| !example.good), "{name}");
        for Example { shows, good, beyond_schema, value } in &examples {
            assert!(!shows.is_empty(), "{name}: {value} does not say what it shows");
            let parsed = parse(name, value);
            if parsed.is_ok() != *good {
                wrong.push(format!("{name}: {shows}: our parser says {parsed:?}"));
            }
            let problem = validator.validate(value).err().map(|error| format!("{error} at {}", error.instance_path()));
            if problem.is_none() != (*good || beyond_schema.is_some()) {
                wrong.push(format!("{name}: {shows}: the schema says {problem:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every name that `tag` can have in `name`'s schema has a good and a bad example.
fn every_variant_is_shown(name: &str, tag: &str) {
    let schema: Value = serde_json::from_str(&schema::text(name).unwrap()).unwrap();
    let variants = schema["oneOf"].as_array().expect("one schema per variant");
    let all: BTreeSet<&str> = variants.iter().filter_map(|v| v["properties"][tag]["const"].as_str()).collect();
    assert_eq!(all.len(), variants.len(), "{name}: a variant without a name");
    let examples = examples(name);
    for good in [true, false] {
        let shown: BTreeSet<&str> =
            examples.iter().filter(|e| e.good == good).filter_map(|e| e.value[tag].as_str()).collect();
        assert!(all.is_subset(&shown), "{name}, good = {good}: {:?} are missing", all.difference(&shown));
    }
}

#[test]
fn every_event_and_message_has_a_good_and_a_bad_example() {
    every_variant_is_shown("event", "kind");
    every_variant_is_shown("ws_client", "type");
    every_variant_is_shown("ws_server", "type");
}

#[test]
fn every_error_code_has_an_example_that_says_whose_fault_it_is() {
    let examples = examples("error");
    for code in Code::ALL {
        let example = examples.iter().find(|e| e.good && e.value["error"]["code"] == code.as_str());
        let error = &example.unwrap_or_else(|| panic!("no example of {}", code.as_str())).value["error"];
        let failure = Failure::deserialize(error).unwrap();
        assert_eq!((failure.fault, failure.retryable), (code.fault(), code.retryable()), "{}", code.as_str());
        assert_eq!(serde_json::to_value(&failure).unwrap(), *error, "written as it is read");
    }
}
