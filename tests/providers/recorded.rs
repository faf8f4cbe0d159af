//! Recorded traffic: real, not ours to pass on, and so not in this repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay::job::Code;
use forebay::provider::{Endpoint, Headers, Provider, Route, Target, vendor};
use serde_json::{Value, json};

use super::oracle;
use super::replay::{Gist, Outcome, Reply, failure_json, job, replay};

/// Who answers `chat` in another dialect.
const OTHER_DIALECTS: &[(&str, &str)] = &[("cohere", "speaks its own v2 dialect; its adapter is not built yet")];

/// Cuts tried per recording; our own exchanges are cut at every byte.
const CUTS: usize = 150;

fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = std::env::var_os("FOREBAY_FIXTURES").map(PathBuf::from);
    let folder = said.unwrap_or_else(|| root.join("../shared/fixtures")).join("text");
    folder.join("index.json").is_file().then_some(folder)
}

fn dialect() -> &'static dyn Provider {
    *vendor::ALL.iter().find(|provider| provider.card().id == "openai-compatible").expect("it is listed")
}

fn load(path: &Path) -> Value {
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
    for entry in index.as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let (provider, file) = (text("provider"), text("file"));
        if !matches!(text("api"), "chat" | "compat-chat") {
            continue;
        }
        let skipped = OTHER_DIALECTS.iter().find(|(name, _)| *name == provider);
        let result = match skipped {
            Some((_, reason)) => format!("skipped: {reason}"),
            None => match check(&load(&folder.join(file))) {
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
        println!("{provider:12} {:28} {result}", text("case"));
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
    println!("{count} recordings of {} providers understood, {} not", understood.len(), wrong.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What a recording is understood as, if it is the same however it is cut.
fn check(exchange: &Value) -> Result<Value, String> {
    let provider = dialect();
    let reply = Reply::of(exchange);
    let whole = replay(provider, &reply, [&reply.body[..]]);
    if replay(provider, &reply, reply.pieces()) != whole {
        return Err("is another answer in its recorded pieces".into());
    }
    if replay(provider, &reply, reply.body.chunks(1)) != whole {
        return Err("is another answer byte by byte".into());
    }
    if (200..300).contains(&reply.status) {
        let expected = oracle::read(&reply);
        match (&whole.end, expected) {
            (Ok(finish), Some(expected)) => {
                let gist = Gist::of(&whole.events, finish);
                if gist != expected {
                    return Err(format!("understood {gist:#?}, the oracle {expected:#?}"));
                }
            }
            (Err(_), None) => {}
            (end, expected) => return Err(format!("ended as {end:?}, the oracle has {expected:?}")),
        }
        check_cuts(provider, &reply, &whole)?;
    }
    Ok(match &whole.end {
        Ok(finish) => Gist::of(&whole.events, finish).digest(),
        Err(failure) => json!({"error": failure_json(failure)}),
    })
}

fn check_cuts(provider: &dyn Provider, reply: &Reply, whole: &Outcome) -> Result<(), String> {
    let step = reply.body.len().div_ceil(CUTS).max(1);
    let near_the_end = reply.body.len().saturating_sub(40)..reply.body.len();
    for at in (0..reply.body.len()).step_by(step).chain(near_the_end) {
        check_cut(provider, reply, whole, at)?;
    }
    Ok(())
}

/// A body that ends early is truncated, unless all of the answer had come.
pub(crate) fn check_cut(provider: &dyn Provider, reply: &Reply, whole: &Outcome, at: usize) -> Result<(), String> {
    let cut = replay(provider, reply, [&reply.body[..at]]);
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
    let provider = dialect();
    let mut count = 0;
    for entry in load(&folder.join("index.json")).as_array().expect("a list") {
        let is_chat = matches!(entry["api"].as_str(), Some("chat" | "compat-chat"));
        if !is_chat || OTHER_DIALECTS.iter().any(|(name, _)| entry["provider"] == *name) {
            continue;
        }
        let file = entry["file"].as_str().expect("a file");
        let exchange = load(&folder.join(file));
        let Some(said) = exchange["request"]["body"].as_object().filter(|body| body.contains_key("messages")) else {
            continue;
        };
        let mut input = said.clone();
        let model = input.remove("model").and_then(|model| model.as_str().map(str::to_owned)).unwrap_or("m".into());
        input.remove("stream");
        let mut expected = Value::Object(said.clone());
        expected["model"] = json!(model);
        expected["stream"] = json!(true);
        if expected["stream_options"].is_null() {
            expected["stream_options"] = json!({});
        }
        expected["stream_options"]["include_usage"] = json!(true);
        let endpoint =
            Endpoint { name: "p".into(), base_url: "http://h/v1".into(), headers: Headers::new(), script: None };
        let target = Target { provider: "p".into(), model: model.into() };
        let job = job(&Value::Object(input).to_string());
        let outbound = provider.encode(&job, &target, &endpoint).expect(file);
        let sent: Value = serde_json::from_slice(&outbound.body).expect(file);
        assert_eq!(sent, expected, "{file}");
        let Route::Http { url, .. } = outbound.route else { panic!("{file}: goes over HTTP") };
        assert_eq!(&*url, "http://h/v1/chat/completions");
        count += 1;
    }
    println!("{count} recorded requests rebuilt");
    assert!(count > 0, "no recorded request was found");
}
