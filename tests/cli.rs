//! The binary as a shell meets it: exit codes, help, and where output goes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// `forebay ARGUMENTS` exits with `code`, and its last line on stderr contains `part`.
fn check(arguments: &[&str], code: i32, part: &str) {
    let (status, stdout, stderr) = said(&forebay(arguments));
    assert_eq!(status, Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(stderr.contains(part), "{arguments:?}: {part} in\n{stderr}");
    assert_eq!(stdout, "", "{arguments:?}: errors go to stderr");
}

const NOBODY: [&str; 4] = ["--nats", "nats://127.0.0.1:1", "--url", "http://127.0.0.1:1"];

#[test]
fn help_tells_a_newcomer_what_there_is() {
    let (code, stdout, _) = said(&forebay(&["--help"]));
    assert_eq!(code, Some(0));
    for word in
        ["serve", "run", "follow", "cancel", "jobs", "costs", "models", "check", "schema", "Exit codes", "FOREBAY_NATS"]
    {
        assert!(stdout.contains(word), "{word} in\n{stdout}");
    }
    assert!(said(&forebay(&["run", "--help"])).1.contains("--tag <KEY=VALUE>"));
    assert!(said(&forebay(&["--version"])).1.starts_with("forebay "));
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
fn a_broker_that_is_not_there_is_said_in_one_line() {
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
        let lines = said(&forebay(&arguments)).2.lines().count();
        assert_eq!(lines, 1, "{command:?}");
    }
}

#[test]
fn check_names_every_problem_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forebay.toml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "[server]\ndrain_s = 7\n").unwrap();
    let (code, stdout, _) = said(&forebay(&["check", "--config", path]));
    assert_eq!((code, stdout.trim_end().ends_with("forebay.toml: ok")), (Some(0), true), "{stdout}");
    assert_eq!(said(&forebay(&["check"])).0, Some(0), "no file is needed");

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
    let (code, names, _) = said(&forebay(&["schema"]));
    assert_eq!(code, Some(0));
    for name in names.lines() {
        let committed = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let (code, printed, _) = said(&forebay(&["schema", name]));
        assert_eq!((code, printed), (Some(0), std::fs::read_to_string(committed).unwrap()), "{name}");
    }
    assert!(names.lines().count() >= 4, "{names}");
}

#[test]
fn a_key_is_not_shown_by_help_or_errors() {
    let (_, stdout, _) = said(&forebay(&["--help", "--token", "sk-secret"]));
    assert!(!stdout.contains("sk-secret"));
    let arguments = [&["jobs", "--token", "sk-secret"][..], &["--url", "http://user:sk-secret@127.0.0.1:1"]].concat();
    let (code, _, stderr) = said(&forebay(&arguments));
    assert_eq!(code, Some(3));
    assert!(!stderr.contains("sk-secret"), "{stderr}");
}
