//! Exchanges of our own: they test every adapter on a bare clone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use forebay::job::Job;
use forebay::provider::{Endpoint, Framing, ModelCall, Provider, Route, Target, vendor};
use serde_json::{Value, json};

use super::recorded::check_cut;
use super::replay::{Adapter, Outcome, Reply, failure_json, job, replay, usage_json};

#[path = "example/acme.rs"]
mod example;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text")
}

fn files(vendor: &str) -> Vec<PathBuf> {
    files_in(&folder().join(vendor))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("each vendor has a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the file is there"))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with a file, or writes it with `UPDATE=1`.
fn expect(path: &Path, got: &Value) {
    if std::env::var_os("UPDATE").is_some() {
        let mut text = serde_json::to_string_pretty(got).expect("JSON");
        text.push('\n');
        std::fs::write(path, text).expect("can be written");
    }
    assert_eq!(load(path), *got, "{}", path.display());
}

#[test]
fn list_folders_and_files_agree() {
    let listed: BTreeSet<String> = vendor::ALL.iter().map(|provider| provider.card().id.to_owned()).collect();
    let folders: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("there")
        .map(|entry| name(&entry.expect("readable").path()).to_owned())
        .collect();
    assert_eq!(listed, folders, "vendors in vendor/mod.rs, and folders of tests/fixtures/text");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provider/vendor");
    for vendor in &listed {
        let source = sources.join(format!("{}.rs", vendor.replace('-', "_")));
        assert!(source.is_file(), "{} is missing", source.display());
        let files = files(vendor);
        let exchanges = files.iter().filter(|path| is_exchange(path)).count();
        assert!(exchanges > 0, "{vendor} has no exchange");
        for path in files.iter().filter(|path| name(path).ends_with(".events.json")) {
            let exchange = path.with_file_name(name(path).replace(".events.json", ".json"));
            assert!(exchange.is_file(), "{} belongs to no exchange", path.display());
        }
    }
}

fn is_exchange(path: &Path) -> bool {
    let name = name(path);
    name.ends_with(".json") && !name.ends_with(".events.json") && !is_request(path)
}

fn is_request(path: &Path) -> bool {
    name(path).starts_with("encode.")
}

#[test]
fn our_exchanges_are_understood_however_they_are_cut() {
    for provider in vendor::ALL {
        check_exchanges(*provider, &files(provider.card().id));
    }
}

#[test]
fn a_job_becomes_the_request_it_must() {
    for provider in vendor::ALL {
        check_requests(*provider, &files(provider.card().id));
    }
}

/// A vendor of a known protocol is one file and one folder of exchanges, made of what is public.
#[test]
fn a_vendor_that_is_added_passes_the_same_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers/example");
    let files = files_in(&folder);
    let vendor = example::ACME.card().id;
    assert!(vendor::ALL.iter().all(|provider| provider.card().id != vendor), "the example is none of the product's");
    check_exchanges(&example::ACME, &files);
    check_requests(&example::ACME, &files);
    let count = |is_one: fn(&Path) -> bool| files.iter().filter(|path| is_one(path)).count();
    assert_eq!((count(is_exchange), count(is_request)), (3, 2), "stream, whole answer and error; two requests");
}

/// Every exchange is understood as it must be, and the same however its bytes are cut.
fn check_exchanges(provider: &dyn Provider, files: &[PathBuf]) {
    for path in files.iter().filter(|path| is_exchange(path)) {
        let exchange = load(path);
        let reply = Reply::of(&exchange);
        let request = Case::of(&exchange);
        let adapter = &Adapter {
            framing: request.framing(provider),
            decoder: &|| provider.decoder(request.model_call()),
            classify: &|status, headers, body| provider.classify(status, headers, body),
        };
        let whole = replay(adapter, &reply, [&reply.body[..]]);
        let events: Vec<_> = whole.events.iter().map(|event| serde_json::to_value(event).expect("JSON")).collect();
        let expected = path.with_file_name(name(path).replace(".json", ".events.json"));
        expect(&expected, &json!({"events": events, "end": end_json(&whole)}));
        assert_eq!(replay(adapter, &reply, reply.body.chunks(1)), whole, "{} byte by byte", path.display());
        for size in [2, 3, 7, 64, 1000] {
            let cut = replay(adapter, &reply, reply.body.chunks(size));
            assert_eq!(cut, whole, "{} in pieces of {size}", path.display());
        }
        if (200..300).contains(&reply.status) {
            for at in 0..reply.body.len() {
                check_cut(adapter, &reply, &whole, at).unwrap_or_else(|problem| {
                    panic!("{}: {problem}", path.display());
                });
            }
        }
    }
}

fn end_json(outcome: &Outcome) -> Value {
    match &outcome.end {
        Ok(finish) => {
            let mut end = json!({"finish": finish.reason, "usage": usage_json(finish.usage.as_ref())});
            if let Some(native) = &finish.native {
                end["native"] = json!(native);
            }
            end
        }
        Err(failure) => {
            let mut error = failure_json(failure);
            error["message"] = json!(failure.message);
            json!({"error": error, "usage": usage_json(outcome.usage_so_far.as_ref())})
        }
    }
}

/// Every job becomes the request that it must.
fn check_requests(provider: &dyn Provider, files: &[PathBuf]) {
    for path in files.iter().filter(|path| is_request(path)) {
        let case = load(path);
        let got = encoded(provider, &Case::of(&case));
        assert_eq!(got, case["becomes"], "{}", path.display());
    }
}

/// What a case asks: `input`, and, where they matter, `task`, `model`, `settings`,
/// `drop_unsupported`, `prefilled`.
pub(crate) struct Case {
    job: Job,
    target: Target,
    endpoint: Endpoint,
    prefilled: bool,
}

impl Case {
    pub(crate) fn of(case: &Value) -> Case {
        let input = if case["input"].is_null() {
            json!({"messages": [{"role": "user", "content": "Hi"}]})
        } else {
            case["input"].clone()
        };
        let mut job = job(&input.to_string());
        job.task = serde_json::from_value(case["task"].clone()).unwrap_or_default();
        job.options.drop_unsupported = case["drop_unsupported"] == true;
        let mut endpoint = Endpoint::plain("here", "http://here/v1");
        for (name, value) in case["settings"].as_object().into_iter().flatten() {
            endpoint.settings.insert(name.as_str().into(), value.as_str().expect("a text").into());
        }
        let model = case["model"].as_str().unwrap_or("the-model");
        Case {
            job,
            target: Target { provider: "here".into(), model: model.into() },
            endpoint,
            prefilled: case["prefilled"] == true,
        }
    }

    /// How the reply to what is asked is cut.
    pub(crate) fn framing(&self, provider: &dyn Provider) -> Framing {
        provider.encode(self.model_call()).map_or(Framing::Sse, |outbound| outbound.framing)
    }

    pub(crate) fn model_call(&self) -> ModelCall<'_> {
        ModelCall { job: &self.job, target: &self.target, endpoint: &self.endpoint, prefilled: self.prefilled }
    }
}

/// The exchanges of a vendor, by name.
pub(crate) fn exchanges(vendor: &str) -> Vec<(String, Value)> {
    let files = files(vendor);
    let exchanges = files.iter().filter(|path| is_exchange(path));
    exchanges.map(|path| (format!("{vendor}/{}", name(path)), load(path))).collect()
}

/// Headers that say nothing of their own.
const USUAL_HEADERS: &[&str] = &["content-type", "accept"];

fn encoded(provider: &dyn Provider, request: &Case) -> Value {
    let outbound = match provider.encode(request.model_call()) {
        Ok(outbound) => outbound,
        Err(failure) => return json!({"error": {"code": failure.code, "param": failure.param}}),
    };
    let Route::Http { url, headers, .. } = outbound.route else { return json!({"script": true}) };
    let mut got = json!({"url": url, "body": serde_json::from_slice::<Value>(&outbound.body).expect("JSON")});
    if !outbound.dropped.is_empty() {
        got["dropped"] = json!(outbound.dropped);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !USUAL_HEADERS.contains(&name.as_str())) {
        got["headers"][name.as_str()] = json!(value.to_str().expect("text"));
    }
    got
}

#[test]
fn unknown_fields_are_handed_on_byte_for_byte() {
    let input = r#"{"messages":[{"role":"user","content":"\u00e4  "}],"odd":  1.50e3,"deep":{"b":1,"a":[ ]},"stream_options":{"x":1.0}}"#;
    let provider = vendor::ALL[0];
    let endpoint = Endpoint::plain("here", "http://h");
    let job = job(input);
    let target = Target { provider: "here".into(), model: "m\"".into() };
    let sent = provider
        .encode(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
        .expect("a chat")
        .body;
    let expected = concat!(
        r#"{"model":"m\"","stream":true,"stream_options":{"include_usage":true,"x":1.0},"#,
        r#""messages":[{"role":"user","content":"\u00e4  "}],"odd":1.50e3,"deep":{"b":1,"a":[ ]}}"#
    );
    assert_eq!(std::str::from_utf8(&sent).expect("text"), expected);
}

#[test]
fn the_guide_names_every_vendor_and_its_key() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/providers.md");
    let guide = std::fs::read_to_string(file).expect("the guide is there");
    for provider in vendor::ALL {
        let card = provider.card();
        assert!(
            guide.contains(&format!("`{}`", card.id)) || guide.contains(&format!("\"{}\"", card.id)),
            "{}",
            card.id
        );
        let usual = format!("{}_API_KEY", card.id.to_uppercase());
        let is_named = |key: &&&str| **key == usual || guide.contains(&format!("`{key}`"));
        assert!(card.key_variables.first().iter().all(is_named), "the key of {}", card.id);
    }
}

/// A block of Rust in the guide whose first line names a file is that file's text, or the part of it
/// from the block's second line on.
#[test]
fn the_guide_shows_what_the_files_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let guide = read("src/guide/adding-a-provider.md");
    let mut shown = BTreeSet::new();
    for block in guide.split("```rust\n").skip(1) {
        let block = block.split("```").next().expect("a block ends");
        let (path, text) = block.split_once('\n').expect("a line names the file");
        let path = path.strip_prefix("// ").expect("a line names the file");
        assert!(read(path).contains(text), "the guide shows something else than {path}:\n{text}");
        shown.insert(path.to_owned());
    }
    assert!(shown.len() >= 3, "{shown:?}");
}
