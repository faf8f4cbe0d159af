//! Recorded traffic: real, not ours to pass on, and so not in this repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay::job::Code;
use forebay::provider::{Endpoint, ModelCall};
use serde_json::{Value, json};

use super::dialect::{self, Dialect};
use super::replay::{Adapter, Gist, Outcome, Reply, failure_json, job, replay, target};

/// Cuts tried per recording, unless `FOREBAY_ALL_CUTS` asks for every byte; our own exchanges are
/// always cut at every byte.
const CUTS: usize = 150;

/// Where the recordings are, if they are here.
pub(crate) fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let raw = std::env::var_os("FOREBAY_FIXTURES").map(PathBuf::from);
    let folder = raw.unwrap_or_else(|| root.join("../shared/fixtures")).join("text");
    folder.join("index.json").is_file().then_some(folder)
}

pub(crate) fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("it is JSON")
}

#[test]
fn recorded_traffic_is_understood() {
    let Some(folder) = folder() else {
        println!("RECORDED TRAFFIC IS ABSENT: set FOREBAY_FIXTURES. Only our own exchanges were tested.");
        return;
    };
    let index = load(&folder.join("index.json"));
    let mut understood: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut skipped = 0;
    for entry in index.as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let (provider, file) = (text("provider"), text("file"));
        let reason = dialect::NO_JOB.iter().find(|(what, _)| *what == text("api") || *what == file);
        let reason = reason.map(|(_, reason)| *reason);
        let dialect = dialect::of(provider, text("api")).filter(|_| reason.is_none());
        let result = match dialect {
            None => {
                let reason = reason.unwrap_or_else(|| {
                    wrong.push(format!("{file}: no dialect reads it"));
                    "no dialect reads it"
                });
                skipped += 1;
                format!("skipped: {reason}")
            }
            Some(dialect) => match check(dialect, &load(&folder.join(file))) {
                Ok(digest) => {
                    let result =
                        digest["finish"].as_str().or(digest["error"]["code"].as_str()).unwrap_or("?").to_owned();
                    understood.entry(provider.into()).or_default().insert(file.into(), digest);
                    result
                }
                Err(problem) => {
                    wrong.push(format!("{file}: {problem}"));
                    "WRONG".into()
                }
            },
        };
        let dialect = dialect.map_or("-", |dialect| dialect.name);
        println!("{provider:12} {:17} {:28} {dialect:10} {result}", text("api"), text("case"));
    }
    for (provider, digests) in &understood {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{provider}.json"));
        let expected = if path.is_file() { load(&path) } else { Value::Null };
        let digests = serde_json::to_value(digests).expect("JSON");
        if std::env::var_os("UPDATE").is_some() {
            let mut text = serde_json::to_string_pretty(&digests).expect("JSON");
            text.push('\n');
            std::fs::write(&path, text).expect("can be written");
        } else {
            for (file, digest) in digests.as_object().expect("an object") {
                if expected[file] != *digest {
                    wrong.push(format!("{file}: expected {}, got {digest}", expected[file]));
                }
            }
        }
    }
    let count: usize = understood.values().map(BTreeMap::len).sum();
    let providers = understood.len();
    println!("{count} recordings of {providers} providers understood, {skipped} skipped, {} not", wrong.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What a recording is understood as, if it is the same however it is cut.
fn check(dialect: &Dialect, exchange: &Value) -> Result<Value, String> {
    let adapter =
        &Adapter { framing: dialect.framing, decoder: &|| (dialect.decoder)(exchange), classify: &dialect.classify };
    let reply = Reply::of(exchange);
    let whole = replay(adapter, &reply, [&reply.body[..]]);
    if replay(adapter, &reply, reply.pieces()) != whole {
        return Err("is another answer in its recorded pieces".into());
    }
    if replay(adapter, &reply, reply.body.chunks(1)) != whole {
        return Err("is another answer byte by byte".into());
    }
    if (200..300).contains(&reply.status) {
        let expected = (dialect.oracle)(&reply);
        match (&whole.end, expected) {
            (Ok(finish), Some(expected)) => {
                let gist = Gist::of(&whole.events, finish);
                if gist != expected {
                    return Err(format!("understood {gist:#?}, the oracle {expected:#?}"));
                }
                if let Some((_, name, arguments)) = gist.tools.iter().find(|(.., text)| !is_arguments(text))
                    && *finish.reason != *"length"
                {
                    return Err(format!("the arguments of {name} are not JSON: {arguments}"));
                }
            }
            (Err(_), None) => {}
            (end, expected) => return Err(format!("ended as {end:?}, the oracle has {expected:?}")),
        }
        check_cuts(adapter, &reply, &whole)?;
    }
    Ok(match &whole.end {
        Ok(finish) => Gist::of(&whole.events, finish).digest(),
        Err(failure) => json!({"error": failure_json(failure)}),
    })
}

/// Tools without parameters may be called with nothing.
fn is_arguments(text: &str) -> bool {
    text.is_empty() || serde_json::from_str::<Value>(text).is_ok()
}

fn check_cuts(adapter: &Adapter<'_>, reply: &Reply, whole: &Outcome) -> Result<(), String> {
    let all_cuts = std::env::var_os("FOREBAY_ALL_CUTS").is_some();
    let step = if all_cuts { 1 } else { reply.body.len().div_ceil(CUTS).max(1) };
    let near_the_end = reply.body.len().saturating_sub(40)..reply.body.len();
    for at in (0..reply.body.len()).step_by(step).chain(near_the_end) {
        check_cut(adapter, reply, whole, at)?;
    }
    Ok(())
}

/// A body that ends early is truncated, unless all of the answer had come.
pub(crate) fn check_cut(adapter: &Adapter<'_>, reply: &Reply, whole: &Outcome, at: usize) -> Result<(), String> {
    let cut = replay(adapter, reply, [&reply.body[..at]]);
    match (&cut.end, &whole.end) {
        (Err(failure), _) if failure.code == Code::ProviderTruncated => {}
        (Err(failure), Err(expected)) if failure.code == expected.code => {}
        // OpenRouter can say an error after it has said a finish: cut in between, the finish stands.
        (Ok(finish), Err(_)) if says(&reply.body[..at], &format!("\"finish_reason\":\"{}\"", finish.reason)) => {}
        (Ok(finish), Ok(expected)) => {
            let (mut gist, mut full) = (Gist::of(&cut.events, finish), Gist::of(&whole.events, expected));
            // Usage may come after the end of the answer.
            (gist.usage, full.usage) = (Value::Null, Value::Null);
            if gist != full {
                return Err(format!("cut at {at} of {} a different answer is whole", reply.body.len()));
            }
        }
        (end, _) => return Err(format!("cut at {at} of {} it ends as {end:?}", reply.body.len())),
    }
    Ok(())
}

fn says(body: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(body).contains(words)
}

#[test]
fn a_recorded_request_is_what_its_job_becomes() {
    let Some(folder) = folder() else { return };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let Some(dialect) = dialect::of(text("provider"), text("api")) else { continue };
        let Some(rebuild) = (dialect.rebuild)(&load(&folder.join(text("file")))) else { continue };
        let mut job = job(&rebuild.input.to_string());
        job.task = rebuild.task;
        let (target, endpoint) = (target(&rebuild.model), Endpoint::plain("p", "http://h/v1"));
        match rebuild.provider.encode(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false }) {
            Ok(outbound) => {
                let sent: Value = serde_json::from_slice(&outbound.body).expect("JSON");
                if sent != rebuild.becomes {
                    wrong.push(format!("{}: sent {sent}, recorded {}", text("file"), rebuild.becomes));
                }
            }
            Err(failure) => wrong.push(format!("{}: {failure}", text("file"))),
        }
        *counts.entry(dialect.name).or_default() += 1;
    }
    println!("recorded requests rebuilt: {counts:?}");
    assert!(!counts.is_empty(), "no recorded request was found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
