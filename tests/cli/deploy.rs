//! The files of `scripts/deploy`: what they name exists, and the programs that read them accept them.
//!
//! Programs that are not installed are not run; the test then prints SKIPPED and what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::config::{LogConfig, Nats, Server, load};
use serde_json::Value;

use super::{certificate, forebay, output_of};
use crate::promql::{Metrics, complaints};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn deploy(name: &str) -> PathBuf {
    root().join("scripts/deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a program in `scripts/deploy`, which must succeed; `None` where it is not installed.
fn program(name: &str, package: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(name).current_dir(deploy("")).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: {name} is not installed (Debian package {package})");
            return None;
        }
        Err(error) => panic!("{name}: {error}"),
    };
    let (code, stdout, stderr) = output_of(&output);
    assert_eq!(code, Some(0), "{name} {arguments:?}\n{stdout}\n{stderr}");
    Some(stdout + &stderr)
}

/// A YAML file as JSON; `None` where Python has no YAML reader.
fn yaml(name: &str) -> Option<Value> {
    if Command::new("python3").args(["-c", "import yaml"]).output().is_ok_and(|output| output.status.success()) {
        let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
        let json = program("python3", "python3", &["-c", script, name])?;
        return Some(serde_json::from_str(&json).unwrap());
    }
    println!("SKIPPED: python3 has no module `yaml` (Debian package python3-yaml): {name} is not read");
    None
}

/// The expressions of the alert rules: after `expr:`, or in the indented lines below `expr: |`.
fn rule_expressions() -> Vec<String> {
    let text = text("alerts.yml");
    let mut lines = text.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim_start().strip_prefix("expr: ") else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut whole = expression.trim_start_matches('|').to_owned();
        while let Some(next) = lines.next_if(|next| next.len() - next.trim_start().len() > indent) {
            whole += next;
        }
        found.push(whole);
    }
    assert_eq!(found.len(), text.matches("- alert: ").count(), "each alert has its expression");
    found
}

/// The expressions of the dashboard's panels, with its variables replaced by values.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("grafana/forebay.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    expressions
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$provider", ".*"))
        .collect()
}

#[test]
fn rules_and_dashboard_ask_only_for_metrics_that_exist() {
    let metrics = Metrics::all();
    let (rules, panels) = (rule_expressions(), dashboard_expressions());
    assert!(rules.len() > 10 && panels.len() > 20, "{} rules, {} panels", rules.len(), panels.len());
    for expression in rules.iter().chain(&panels) {
        assert_eq!(complaints(&metrics, expression), Vec::<String>::new(), "{expression}");
    }
    let dashboard: Value = serde_json::from_str(&text("grafana/forebay.json")).unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect(query);
        let (metric, label) = inner.split_once(", ").expect(query);
        assert_eq!(complaints(&metrics, &format!("sum by ({label}) ({metric})")), Vec::<String>::new(), "{query}");
    }
    let unused = metrics.names().filter(|name| !panels.iter().any(|panel| panel.contains(name)));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&str>::new(), "metrics that no panel shows");
}

#[test]
fn prometheus_takes_its_configuration_its_rules_and_the_panels_expressions() {
    if program("promtool", "prometheus", &["check", "config", "prometheus.yml"]).is_none() {
        return;
    }
    program("promtool", "prometheus", &["check", "rules", "alerts.yml"]);
    program("promtool", "prometheus", &["test", "rules", "alerts_test.yml"]);
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("panels.yml");
    let records = dashboard_expressions()
        .into_iter()
        .enumerate()
        .map(|(at, expr)| serde_json::json!({"record": format!("panel:{at}"), "expr": expr}));
    let group = serde_json::json!({"groups": [{"name": "panels", "rules": records.collect::<Vec<_>>()}]});
    std::fs::write(&rules, group.to_string()).unwrap();
    program("promtool", "prometheus", &["check", "rules", rules.to_str().unwrap()]);
}

/// `forebay check` accepts `text` as `forebay.toml` in `directory`.
fn check_accepts(directory: &Path, text: &str) {
    let path = directory.join("forebay.toml");
    std::fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = output_of(&forebay(&["check", "--config", path.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn the_sample_configuration_is_right_also_with_everything_switched_on() {
    let directory = tempfile::tempdir().unwrap();
    let sample = text("forebay.toml");
    check_accepts(directory.path(), &sample);
    // `#key = …` and `#[section]` are settings; `# …` is prose.
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    });
    let folder = directory.path().to_str().unwrap();
    let everything = lines.collect::<Vec<_>>().join("\n").replace("/etc/forebay", folder);
    let everything = everything.replace("env:FOREBAY_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let (cert, key) = certificate();
    let files =
        [("tls/fullchain.pem", &*cert), ("tls/privkey.pem", &key), ("nats.creds", "x"), ("secrets/openai", "x")];
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    check_accepts(directory.path(), &everything);

    let config = load(Some(&directory.path().join("forebay.toml")), std::iter::empty()).unwrap().config;
    let server = Server { tls: None, cors_origins: Vec::new(), ..config.server };
    assert_eq!(format!("{server:?}"), format!("{:?}", Server::default()), "what is switched off shows the default");
    let log = LogConfig { path: LogConfig::default().path, ..config.log };
    assert_eq!(format!("{log:?}"), format!("{:?}", LogConfig::default()));
    assert_eq!((&*config.nats.prefix, config.nats.enabled), (&*Nats::default().prefix, true));
}

/// The values of a key in the unit.
fn unit_values<'a>(unit: &'a str, key: &'a str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_systemd_unit_parses_and_leaves_time_and_files_enough() {
    let unit = text("forebay.service");
    let config = load(Some(&deploy("forebay.toml")), std::iter::empty()).unwrap().config;
    let number = |key| unit_values(&unit, key)[0].parse::<u64>().unwrap();
    assert!(number("TimeoutStopSec") >= config.server.drain_s + 10, "running jobs may finish");
    assert!(number("LimitNOFILE") >= 2 * config.server.connections_max as u64);
    let state = Path::new("/var/lib").join(unit_values(&unit, "StateDirectory")[0]);
    assert!(config.log.path.starts_with(&state), "{state:?}");
    assert_eq!(unit_values(&unit, "ExecStart"), ["/usr/local/bin/forebay serve --config /etc/forebay/forebay.toml"]);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.service");
    std::fs::write(&path, unit.replace("/usr/local/bin/forebay", env!("CARGO_BIN_EXE_forebay"))).unwrap();
    let path = path.to_str().unwrap();
    let Some(report) = program("systemd-analyze", "systemd", &["verify", path]) else { return };
    assert!(!report.contains("forebay.service"), "{report}");
    let version = program("systemd-analyze", "systemd", &["--version"]).unwrap();
    let version = version.split_whitespace().nth(1).and_then(|version| version.parse::<u32>().ok());
    if version.is_none_or(|version| version < 250) {
        println!("SKIPPED: systemd-analyze {version:?} cannot judge a unit that is not loaded");
        return;
    }
    // The threshold is in tenths; 10.0 is a service without any protection.
    program("systemd-analyze", "systemd", &["security", "--offline=true", "--threshold=20", path]);
}

#[test]
fn the_compose_file_and_its_neighbours_parse_and_fit_together() {
    for name in ["prometheus.yml", "alerts.yml", "alerts_test.yml", "grafana/datasource.yaml"] {
        let _ = yaml(name);
    }
    let Some(compose) = yaml("compose.yaml") else { return };
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["forebay", "grafana", "nats", "prometheus"]);
    let list = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    for (name, service) in services {
        assert!(service["healthcheck"]["test"].is_array(), "{name} has a health check");
        for port in list(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        for volume in list(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            let is_there = match source.strip_prefix("./") {
                Some(file) => deploy(file).is_file() && volume.ends_with(":ro"),
                None => compose["volumes"].get(source).is_some(),
            };
            assert!(is_there, "{name}: {volume}");
        }
        for needed in service["depends_on"].as_object().into_iter().flatten().map(|(needed, _)| needed) {
            assert!(services.contains_key(needed), "{name} waits for {needed}");
        }
    }
    let build = &services["forebay"]["build"];
    assert!(root().join(build["dockerfile"].as_str().unwrap()).is_file());
    assert_eq!(deploy(build["context"].as_str().unwrap()).canonicalize().unwrap(), root().canonicalize().unwrap());
    let grace = services["forebay"]["stop_grace_period"].as_str().unwrap().trim_end_matches('s');
    assert!(grace.parse::<u64>().unwrap() >= Server::default().drain_s + 10);
    let dashboards = yaml("grafana/dashboards.yaml").unwrap();
    let folder = dashboards["providers"][0]["options"]["path"].as_str().unwrap();
    let mounted = list(&services["grafana"]["volumes"]);
    assert!(mounted.contains(&format!("./grafana/forebay.json:{folder}/forebay.json:ro")), "{mounted:?}");
}

#[test]
fn the_container_file_copies_what_exists_with_the_compiler_that_is_asked_for() {
    let file = text("Containerfile");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(file.contains(&format!("/rust:{version}-")), "rust-version is {version}");
    let sent: Vec<String> = text("Containerfile.dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('!').map(str::to_owned))
        .collect();
    let copies = file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with("--from"));
    let mut count = 0;
    for copy in copies {
        let sources: Vec<&str> = copy.split_whitespace().collect();
        for source in &sources[..sources.len() - 1] {
            assert!(root().join(source).exists(), "{source} does not exist");
            assert!(sent.iter().any(|sent| sent == source), "{source} is not sent to the builder");
            count += 1;
        }
    }
    assert_eq!(count, sent.len(), "what is sent is copied");
}
