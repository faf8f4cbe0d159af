//! The binary as a shell runs it: exit codes, help, and the streams that output goes to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test says which program it lacks")]

#[path = "cli/deploy.rs"]
mod deploy;
#[path = "cli/promql.rs"]
mod promql;

use std::process::{Command, Output};

fn forebay(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FOREBAY") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").current_dir(directory.path()).args(arguments).output().expect("the binary runs")
}

fn output_of(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Checks that `forebay ARGUMENTS` exits with `code`, and that its last line on stderr contains `part`.
fn check(arguments: &[&str], code: i32, part: &str) {
    let (status, stdout, stderr) = output_of(&forebay(arguments));
    assert_eq!(status, Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(stderr.contains(part), "{arguments:?}: {part} in\n{stderr}");
    assert_eq!(stdout, "", "{arguments:?}: errors go to stderr");
}

const NOBODY: [&str; 4] = ["--nats", "nats://127.0.0.1:1", "--url", "http://127.0.0.1:1"];

#[test]
fn help_tells_a_newcomer_what_there_is() {
    let (code, stdout, _) = output_of(&forebay(&["--help"]));
    assert_eq!(code, Some(0));
    for word in [
        "serve",
        "run",
        "follow",
        "cancel",
        "jobs",
        "costs",
        "models",
        "check",
        "schema",
        "key",
        "Exit codes",
        "FOREBAY_NATS",
    ] {
        assert!(stdout.contains(word), "{word} in\n{stdout}");
    }
    assert!(output_of(&forebay(&["run", "--help"])).1.contains("--tag <KEY=VALUE>"));
    assert!(output_of(&forebay(&["--version"])).1.starts_with("forebay "));
}

#[test]
fn help_lists_the_guides_and_prints_one() {
    let (code, listed, _) = output_of(&forebay(&["help"]));
    assert_eq!(code, Some(0));
    for guide in forebay::guide::ALL {
        let line = format!("\n  {}  ", guide.name);
        assert!(listed.contains(line.trim_end()), "{} in\n{listed}", guide.name);
        let (code, printed, _) = output_of(&forebay(&["help", guide.name]));
        assert!(code == Some(0) && printed.contains(guide.text.trim_end()), "{}:\n{printed}", guide.name);
    }
    assert!(listed.contains("--nats <URL>") && listed.contains("Idempotency: "), "commands and titles:\n{listed}");
    assert!(output_of(&forebay(&["help", "Durable", "Streams"])).1.starts_with("# Durable Streams"));
    assert!(output_of(&forebay(&["help", "run"])).1.contains("--tag <KEY=VALUE>"));
    assert!(output_of(&forebay(&["help", "key", "new"])).1.contains("forebay key new"));
    let models = output_of(&forebay(&["help", "models"])).1;
    assert!(models.contains("--provider <NAME>") && models.contains("\n# Models"), "a command and a guide:\n{models}");
    check(&["help", "webhok"], 2, "near it: webhooks");
    check(&["help", "xylophone"], 2, "`forebay help` lists them");
}

#[test]
fn wrong_arguments_are_usage() {
    check(&["fly"], 2, "fly");
    check(&["run"], 2, "MODEL");
    check(&["run", "m", "Hi", "--tag", "novalue"], 2, "KEY=VALUE");
    check(&["run", "m", "--input", "[]"], 2, "must be a JSON object");
    check(&["run", "m", "Hi", "--task", "sing"], 2, "unknown variant");
    check(&["jobs", "--state", "asleep"], 2, "unknown variant");
    check(&["follow", "a b"], 2, "must be 1 to 64 characters");
    check(&["follow", "a", "--cursor", "yesterday"], 2, "cursor");
    check(&["cancel", "a.b"], 2, "must be 1 to 64 characters");
    check(&["costs", "--by", "task"], 2, "metadata.KEY");
    check(&["costs", "--since", "2026-11-01T09:30:00Z"], 2, "summed per hour");
    check(&["schema", "nope"], 2, "there are");
    check(&["follow", "a", "--url", "127.0.0.1:8087"], 2, "is not an address");
}

#[test]
fn a_broker_that_cannot_be_reached_is_reported_in_one_line() {
    for command in [
        &["run", "m", "Hi"][..],
        &["follow", "a"],
        &["cancel", "a"],
        &["jobs"],
        &["costs", "--by", "teamId"],
        &["models"],
    ] {
        let arguments = [command, &NOBODY].concat();
        check(&arguments, 3, "cannot");
        let lines = output_of(&forebay(&arguments)).2.lines().count();
        assert_eq!(lines, 1, "{command:?}");
    }
}

#[test]
fn check_names_every_problem_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.toml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "[server]\ndrain_s = 7\n").unwrap();
    let (code, stdout, _) = output_of(&forebay(&["check", "--config", path]));
    assert_eq!((code, stdout.trim_end().ends_with("forebay.toml: ok")), (Some(0), true), "{stdout}");
    assert_eq!(output_of(&forebay(&["check"])).0, Some(0), "no file is needed");

    std::fs::write(path, "[server]\nlissen = 7\n[log]\nretention_s = 0\n").unwrap();
    check(&["check", "--config", path], 2, "forebay.toml:2: server.lissen: unknown key");
    std::fs::write(path, "[log]\nretention_s = 0\n[providers.x]\napi_key = \"env:FOREBAY_TEST_UNSET\"\n").unwrap();
    check(&["check", "--config", path], 2, "forebay.toml:2: log.retention_s: must be");
    check(&["check", "--config", path], 2, "forebay.toml:4: providers.x.api_key: the environment variable");
    check(&["serve", "--config", path], 2, "forebay: the configuration has 2 problems");
    check(&["check", "--config", "no-such.toml"], 2, "no-such.toml: cannot be read");
}

#[test]
fn schema_prints_what_is_committed() {
    let (code, names, _) = output_of(&forebay(&["schema"]));
    assert_eq!(code, Some(0));
    for name in names.lines() {
        let committed = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let (code, printed, _) = output_of(&forebay(&["schema", name]));
        assert_eq!((code, printed), (Some(0), std::fs::read_to_string(committed).unwrap()), "{name}");
    }
    assert!(names.lines().count() >= 4, "{names}");
}

#[test]
fn a_key_is_not_shown_by_help_or_errors() {
    let (_, stdout, _) = output_of(&forebay(&["--help", "--token", "sk-secret"]));
    assert!(!stdout.contains("sk-secret"));
    let arguments = [&["jobs", "--token", "sk-secret"][..], &["--url", "http://user:sk-secret@127.0.0.1:1"]].concat();
    let (code, _, stderr) = output_of(&forebay(&arguments));
    assert_eq!(code, Some(3));
    assert!(!stderr.contains("sk-secret"), "{stderr}");
}

#[test]
fn a_new_key_is_shown_once_and_its_block_lets_it_in() {
    let (code, block, key) =
        output_of(&forebay(&["key", "new", "--name", "agents", "--gateway", "team", "--scope", "run"]));
    assert_eq!(code, Some(0), "{key}");
    let key = key.lines().last().unwrap();
    assert!(key.starts_with("fb_") && !block.contains(key), "only the block goes into the file");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.toml");
    std::fs::write(&path, "[server]\ndrain_s = 7".to_owned() + &block).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(output_of(&forebay(&["check", "--config", path])).0, Some(0), "{block}");

    let (_, json, stderr) = output_of(&forebay(&["key", "new", "--json"]));
    let made: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&made["gateways"], &made["scopes"]),
        (&serde_json::json!(["default"]), &serde_json::json!(["run", "read"]))
    );
    assert!(made["key"].as_str().unwrap() != key && stderr.is_empty(), "no two are alike");
    check(&["key"], 2, "new");
    check(&["key", "new", "--scope", "fly"], 2, "unknown variant");
    check(&["key", "new", "--gateway", "a/b"], 2, "must be");
    check(&["key", "new", "--name", ""], 2, "--name");
}

#[test]
fn an_address_that_others_reach_needs_keys_or_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.toml");
    let path = path.to_str().unwrap();
    for (listen, settings, fine) in [
        ("0.0.0.0:0", "", false),
        ("[::]:0", "", false),
        ("192.0.2.1:8087", "", false),
        ("broker.example:8087", "", false),
        ("0.0.0.0:0", "allow_anonymous = true", true),
        ("127.0.0.2:0", "", true),
        ("[::1]:0", "", true),
        ("localhost:0", "", true),
    ] {
        std::fs::write(path, format!("[server]\nlisten = {listen:?}\n{settings}\n")).unwrap();
        if fine {
            assert_eq!(output_of(&forebay(&["check", "--config", path])).0, Some(0), "{listen} {settings}");
        } else {
            let wanted = "forebay.toml:2: server.listen: is not loopback: add [[keys]]";
            check(&["check", "--config", path], 2, wanted);
            check(&["serve", "--config", path], 2, wanted);
        }
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_named_before_anything_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs) = (certificate(), certificate());
    for (name, text) in [("cert", &ours.0), ("key", &ours.1), ("other", &theirs.1)] {
        std::fs::write(at(name), text).unwrap();
    }
    std::fs::write(at("both"), ours.0.clone() + &ours.1).unwrap();
    std::fs::write(at("torn"), &ours.0[..ours.0.len() / 2]).unwrap();
    for (cert, key, wrong) in [
        ("cert", "key", ""),
        ("both", "both", ""),
        ("nowhere", "key", "forebay.toml:2: server.tls.cert: "),
        ("cert", "nowhere", "forebay.toml:3: server.tls.key: "),
        ("key", "key", "forebay.toml:2: server.tls.cert: holds no certificate in PEM"),
        ("torn", "key", "forebay.toml:2: server.tls.cert: "),
        ("cert", "cert", "forebay.toml:3: server.tls.key: holds no private key in PEM"),
        ("cert", "other", "forebay.toml:2: server.tls.cert: and server.tls.key do not go together"),
    ] {
        let path = at("forebay.toml");
        std::fs::write(&path, format!("[server.tls]\ncert = {:?}\nkey = {:?}\n", at(cert), at(key))).unwrap();
        match wrong {
            "" => assert_eq!(output_of(&forebay(&["check", "--config", &path])).0, Some(0), "{cert} {key}"),
            _ => {
                check(&["check", "--config", &path], 2, wrong);
                check(&["serve", "--config", &path], 2, wrong);
            }
        }
    }
}

/// Makes a certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
