//! The configuration as an operator meets it: files, overrides, problems, reloads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::config::{Durability, Loaded, Problem, Watcher, load};
use tempfile::TempDir;

fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn read(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let (_directory, path) = file(text);
    load(Some(&path), env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The problems of `text`, each as `LINE key: message`, LINE being a variable's name for overrides.
fn problems(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let problems = read(text, env).map(|_| ()).expect_err(text);
    let place = |place: &str| place.rsplit_once(".toml:").map_or(place.to_owned(), |(_, line)| line.to_owned());
    problems.iter().map(|p| format!("{} {}: {}", place(&p.place), p.key, p.message)).collect()
}

const EVERYTHING: &str = r#"
    [server]
    listen = "0.0.0.0:8087"
    [nats]
    url = "nats://127.0.0.1:4222"
    prefix = "forebay"
    [log]
    path = "forebay-data"
    durability = "process"
    retention_s = 604800
    [providers.local]
    kind = "openai-compatible"
    base_url = "http://127.0.0.1:8080/v1"
    api_key = "env:LOCAL_KEY"
    headers = { x-team = "AI" }
    [models."smart"]
    targets = ["anthropic/claude-sonnet-4.5", "openai/gpt-5"]
    strategy = "failover"
    [models."spread"]
    targets = ["anthropic/claude-sonnet-4.5", "openai/gpt-5"]
    strategy = "weighted"
    weights = [3, 0.5]
    sticky = "metadata.userId"
    [prices."local/smollm2"]
    input_per_mtok_usd = 0.0
    output_per_mtok_usd = "0.1"
    [gateways.default]
    retry.max_attempts = 3
    [health]
    failures_in_a_row = 3
    error_rate = 0.25
    retries_per_s = 5
    [queue]
    fair_by = "metadata.teamId"
    waiting_max = 100
    [[keys]]
    name = "agents"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    gateways = ["default"]
    scopes = ["run", "read"]
    [metrics]
    tag_labels = ["teamId"]
"#;

#[test]
fn no_file_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("forebay.toml");
    let loaded = load(None, std::iter::empty()).expect("the defaults are good");
    assert_eq!(loaded.config.server.listen.as_ref(), "127.0.0.1:8087");
    let problems = load(Some(&missing), std::iter::empty()).map(|_| ()).expect_err("a named file must be there");
    assert!(problems[0].to_string().contains("cannot be read"), "{problems:?}");
}

#[test]
fn the_documented_file_is_read() {
    let config = read(EVERYTHING, &[("LOCAL_KEY", "x")]).unwrap().config;
    assert_eq!(config.log.durability, Durability::Process);
    assert_eq!(config.gateways["default"].retry.max_attempts, Some(3));
    assert_eq!(config.models["smart"].targets.len(), 2);
    assert_eq!(config.models["spread"].weights, [3.0, 0.5]);
    assert_eq!(config.keys[0].name.as_ref(), "agents");
}

#[test]
fn a_variable_overrides_the_file_with_the_type_of_its_key() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[providers.my-vllm]\nkind = \"openai-compatible\"\n";
    let env = [
        ("FOREBAY__SERVER__LISTEN", "127.0.0.1:2"),
        ("FOREBAY__SERVER__DRAIN_S", "5"),
        ("FOREBAY__SERVER__ALLOW_ANONYMOUS", "true"),
        ("FOREBAY__NATS__PREFIX", "123"),
        ("FOREBAY__LOG__PATH", "/tmp/a b"),
        ("FOREBAY__LOG__DURABILITY", "none"),
        ("FOREBAY__PROVIDERS__MY_VLLM__API_KEY", "12345"),
        ("FOREBAY__METRICS__TAG_LABELS", r#"["a", "b"]"#),
        ("FOREBAY__MODELS__SMART", r#"{ targets = ["a/b"] }"#),
        ("FOREBAY__GATEWAYS__TEAM__RETRY__MAX_ATTEMPTS", "7"),
        ("FOREBAY__KEYS", &format!(r#"[{{ name = "k", sha256 = "{}" }}]"#, "0".repeat(64))),
        ("FOREBAY_LOG", "debug"),
        ("OTHER", "x"),
    ];
    let config = read(text, &env).unwrap().config;
    assert_eq!((config.server.listen.as_ref(), config.server.drain_s), ("127.0.0.1:2", 5));
    assert!(config.server.allow_anonymous);
    assert_eq!(config.nats.prefix.as_ref(), "123", "text, though it looks like a number");
    assert_eq!(config.log.path, Path::new("/tmp/a b"));
    assert_eq!(config.log.durability, Durability::None);
    let provider = &config.providers["my-vllm"];
    assert_eq!(provider.api_key.as_ref().unwrap().resolve().as_deref(), Ok("12345"));
    assert!(provider.kind.is_some(), "what the file says beside it stays");
    assert_eq!(config.metrics.tag_labels.len(), 2);
    assert_eq!(config.models["smart"].targets.len(), 1);
    assert_eq!(config.gateways["team"].retry.max_attempts, Some(7));
    assert_eq!(config.keys.len(), 1);
}

#[test]
fn how_targets_are_chosen_must_make_sense() {
    let model = "[models.m]\ntargets = [\"a/b\", \"a/c\"]\n";
    for (rest, expected) in [
        ("strategy = \"best\"", "3 models.m.strategy: unknown variant `best`"),
        ("weights = [1, 2]", "3 models.m.weights: only with strategy = \"weighted\""),
        ("strategy = \"weighted\"\nweights = [1]", "4 models.m.weights: must be 2, one for each target"),
        ("strategy = \"weighted\"\nweights = [1, 0]", "4 models.m.weights.1: must be more than 0 and at most 1000000"),
        ("strategy = \"weighted\"\nweights = [nan, 1]", "4 models.m.weights.0: must be more than 0"),
        ("strategy = \"weighted\"\nweights = [1, 1e7]", "4 models.m.weights.1: must be more than 0"),
        ("strategy = \"weighted\"\nweights = [1, \"2\"]", "4 models.m.weights.1: must be f64"),
        ("sticky = \"userId\"", "3 models.m.sticky: must be `metadata.` and a key"),
        ("sticky = \"metadata.\"", "3 models.m.sticky: must be `metadata.` and a key"),
    ] {
        let found = problems(&format!("{model}{rest}"), &[]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{rest}: {found:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_or_variable() {
    let cases: &[(&str, &str)] = &[
        ("[server]\nlissen = \"x\"", "2 server.lissen: unknown key"),
        ("\n[servr]\na = 1", "2 servr: unknown key"),
        ("[server]\ndrain_s = \"5\"", "2 server.drain_s: must be u64, not a string"),
        ("[server]\ndrain_s = -5", "2 server.drain_s: is out of range: must be u64"),
        ("[server]\ndrain_s = 99999", "2 server.drain_s: must be 0 to 3600"),
        ("[server]\nlisten = \"8087\"", "2 server.listen: must be an address and a port"),
        ("[server]\nlisten = \"0.0.0.0:8087\"", "2 server.listen: is not loopback"),
        ("[server]\nheartbeat_ms = 0", "2 server.heartbeat_ms: must be 1 to"),
        ("[log]\ndurability = \"maybe\"", "2 log.durability: unknown variant `maybe`"),
        ("[log]\njournal_bytes_max = 1024", "2 log.journal_bytes_max: must be 4194304 to"),
        ("[log]\nretention_s = 0", "2 log.retention_s: must be 1 to"),
        ("[nats]\nprefix = \"a.*\"", "2 nats.prefix: must be tokens"),
        ("[nats]\ncredentials = \"env:NOPE\"", "2 nats.credentials: the environment variable NOPE is not set"),
        ("[providers.x]\napi_key = \"file:/nope\"", "2 providers.x.api_key: /nope:"),
        ("[providers.x]\nbase_url = \"127.0.0.1\"", "2 providers.x.base_url: must be an address"),
        ("[providers.x]\nprefill = \"yes\"", "2 providers.x.prefill: is none of exact, repeats, none"),
        ("[providers.\"a/b\"]\n", "1 providers.\"a/b\": the name must be"),
        ("[prices.\"a/b\"]\ntiers = [{ above_input_tokens = 1000 }]", "2 prices.\"a/b\".tiers.0: names no price"),
        (
            "[prices.\"a/b\"]\nimage_usd = 1\ntiers = [{ input_per_mtok_usd = 1 }]",
            "3 prices.\"a/b\".tiers.0: missing field",
        ),
        ("[prices.\"a/b\"]\nreasoning_per_mtok_usd = 1e9", "2 prices.\"a/b\".reasoning_per_mtok_usd: must be at most"),
        ("[models.m]\ntargets = [\"a/b\"]\nstrategy = \"best\"", "3 models.m.strategy: unknown variant `best`"),
        ("[models.m]\ntargets = [\"a/b\"]\nweights = [1]", "3 models.m.weights: only with strategy = \"weighted\""),
        (
            "[models.m]\ntargets = [\"a/b\", \"a/c\"]\nstrategy = \"weighted\"\nweights = [1]",
            "4 models.m.weights: must be 2, one for each target",
        ),
        (
            "[models.m]\ntargets = [\"a/b\", \"a/c\"]\nstrategy = \"weighted\"\nweights = [1, 0]",
            "4 models.m.weights.1: must be more than 0 and at most 1000000",
        ),
        (
            "[models.m]\ntargets = [\"a/b\"]\nstrategy = \"weighted\"\nweights = [nan]",
            "4 models.m.weights.0: must be more than 0",
        ),
        (
            "[models.m]\ntargets = [\"a/b\"]\nstrategy = \"weighted\"\nweights = [\"much\"]",
            "4 models.m.weights.0: must be f64",
        ),
        ("[health]\nfailures_in_a_row = 0", "2 health.failures_in_a_row: must be 1 to 1000"),
        ("[health]\nerror_rate = 1.5", "2 health.error_rate: must be 0.01 to 1"),
        ("[health]\nerror_rate = nan", "2 health.error_rate: must be 0.01 to 1"),
        ("[health]\nopen_ms = 5000\nopen_ms_max = 4000", "3 health.open_ms_max: must be 5000 to 600000"),
        ("[health]\nretries_per_s = 0", "2 health.retries_per_s: must be 0.01 to 1000"),
        ("[queue]\nfair_by = \"teamId\"", "2 queue.fair_by: must be `metadata.` and a key"),
        ("[queue]\nfair_by = \"metadata.\"", "2 queue.fair_by: must be `metadata.` and a key"),
        ("[queue]\nwaiting_max = 5000000", "2 queue.waiting_max: must be 0 to 1000000"),
        ("[models.m]\ntargets = [\"a/b\"]\nsticky = \"userId\"", "3 models.m.sticky: must be `metadata.` and a key"),
        ("[models.m]\ntargets = [\"a/b\"]\nsticky = \"metadata.\"", "3 models.m.sticky: must be `metadata.` and a key"),
        ("[prices.\"a/b\"]\ninput_usd = 1", "2 prices.\"a/b\".input_usd: unknown key"),
        ("[models.x]\ntargets = [\"gpt\"]", "2 models.x.targets.0: `gpt` is not"),
        ("[models.x]\ntargets = []", "2 models.x.targets: must be 1 to"),
        ("[models.x]\n", "1 models.x: missing field `targets`"),
        ("[models.x]\ntargets = [\"a/b\"]\ntimeouts.idle_ms = 0", "3 models.x.timeouts.idle_ms: must be 1 to"),
        ("[prices.\"a/b\"]\n", "1 prices.\"a/b\": names no price"),
        ("[prices.\"a/b\"]\nrequest_usd = -1", "2 prices.\"a/b\".request_usd: must"),
        ("[gateways.\"a b\"]\n", "1 gateways.\"a b\": the name must be"),
        ("[gateways.a]\nretry.max_attempts = 99", "2 gateways.a.retry.max_attempts: must be 1 to 20"),
        ("[[keys]]\nname = \"k\"\nsha256 = \"abc\"", "3 keys.0.sha256: must be the 64 hexadecimal digits"),
        ("[[keys]]\nname = \"k\"\nsha256 = \"abc\"\nscopes = [\"fly\"]", "4 keys.0.scopes.0: unknown variant"),
        ("[metrics]\ntag_labels = [\"\"]", "2 metrics.tag_labels: must be metadata keys"),
        ("[server]\nlisten = ", "2 : "),
        ("[server]\n[server]", "2 : duplicate key"),
    ];
    for (text, expected) in cases {
        let found = problems(text, &[]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\nexpected {expected}\nfound {found:?}");
    }
    for (name, value, expected) in [
        ("FOREBAY__SERVER__LISSEN", "x", "FOREBAY__SERVER__LISSEN server.lissen: unknown key"),
        ("FOREBAY__SERVER__DRAIN_S", "soon", "FOREBAY__SERVER__DRAIN_S server.drain_s: must be u64, not a string"),
        ("FOREBAY__SERVER__DRAIN_S", "99999", "FOREBAY__SERVER__DRAIN_S server.drain_s: must be 0 to 3600"),
        ("FOREBAY__SERVER__LISTEN__X", "1", "FOREBAY__SERVER__LISTEN__X server.listen.x: is below"),
        ("FOREBAY__", "1", "FOREBAY__ : must be FOREBAY__SECTION__KEY"),
    ] {
        let found = problems("[server]\nlisten = \"127.0.0.1:1\"", &[(name, value)]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{name}: expected {expected}\nfound {found:?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "[server]\nnope = 1\ndrain_s = \"x\"\n[models.x]\ntargets = 7\n[log]\nretention_s = \"y\"\n";
    let found = problems(text, &[("FOREBAY__NATS__NOPE", "1")]);
    for key in ["2 server.nope", "3 server.drain_s", "5 models.x.targets", "7 log.retention_s", "nats.nope"] {
        assert!(found.iter().any(|problem| problem.contains(key)), "{key} in {found:?}");
    }
    assert_eq!(found.len(), 5, "each once: {found:?}");
}

#[test]
fn a_secret_is_never_shown() {
    let secret = "sk-very-secret";
    let text = format!(
        "[nats]\nurl = \"nats://user:{secret}@127.0.0.1:4222\"\n[providers.x]\napi_key = \"env:KEY\"\n\
         headers = {{ authorization = \"{secret}\" }}\n"
    );
    let loaded = read(&text, &[("KEY", secret), ("FOREBAY__PROVIDERS__Y__API_KEY", secret)]).unwrap();
    assert!(!format!("{loaded:?}").contains(secret));
    for bad in [
        format!("[providers.x]\nheaders = \"{secret}\""),
        format!("[providers]\nx = \"{secret}\""),
        format!("[providers.x]\napi_key = [\"{secret}\"]"),
        format!("[providers.x]\napi_key = {{ a = \"{secret}\" }}"),
        format!("[providers.x]\nheaders = {{ \"a b\" = \"{secret}\" }}"),
        format!("[providers.x]\napi_key = \"{secret}"),
        format!("[providers.x]\napi_key = {secret}"),
        format!("[[keys]]\nname = \"k\"\nsha256 = \"{secret}\""),
        format!("[server]\ndrain_s = \"{secret}\""),
    ] {
        let found = problems(&bad, &[]);
        assert!(!format!("{found:?}").contains(secret), "{found:?}");
    }
}

#[tokio::test]
async fn a_good_change_is_taken_whole_and_a_bad_one_not_at_all() {
    let (_directory, path) = file("[server]\ndrain_s = 1\n");
    let mut watcher = Watcher::new(load(Some(&path), std::iter::empty()).unwrap());
    let patience = Duration::from_secs(30);

    std::fs::write(&path, "[server]\ndrain_s = 2\nlisten = \"127.0.0.1:9\"\n[log]\npath = \"elsewhere\"\n").unwrap();
    let reloaded = tokio::time::timeout(patience, watcher.changed()).await.expect("the change is seen");
    assert_eq!(reloaded.config.server.drain_s, 2);
    assert_eq!(reloaded.needs_restart, ["server.listen", "log.path"]);
    assert_eq!(reloaded.config.server.listen.as_ref(), "127.0.0.1:8087", "what cannot change is as before");
    assert_eq!(reloaded.config.log.path, Path::new("forebay-data"));

    // A bad file, and then a good one by renaming: only the good one is told of.
    let bad = tokio::time::timeout(Duration::from_secs(1), async {
        std::fs::write(&path, "[server]\ndrain_s = 3\nnope = 1\n").unwrap();
        watcher.changed().await
    });
    assert!(bad.await.is_err(), "a bad configuration is not taken");
    let beside = path.with_extension("new");
    std::fs::File::create(&beside).unwrap().write_all(b"[server]\ndrain_s = 4\n").unwrap();
    std::fs::rename(&beside, &path).unwrap();
    let reloaded = tokio::time::timeout(patience, watcher.changed()).await.expect("a renamed file is seen");
    assert_eq!(reloaded.config.server.drain_s, 4);
}
