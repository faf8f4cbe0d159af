//! `forebay run` and `forebay follow`: a job's answer on the terminal.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::args::{BrokerAddress, RunArguments};
use super::nats::{NatsClient, Progress};
use super::show::Printer;
use super::{CommandError, show};
use crate::job::{JobId, State};
use crate::wire::Cursor;

/// Bytes of a prompt from stdin: more is refused by every broker's default.
const PROMPT_BYTES_MAX: u64 = crate::job::caps::JOB_BYTES_DEFAULT as u64;

/// Carries out `forebay run MODEL [PROMPT]`. Ctrl-C leaves the job running and prints how to follow it.
pub(super) async fn run(address: &BrokerAddress, arguments: RunArguments) -> Result<(), CommandError> {
    let as_json = arguments.json;
    let job = job(arguments, prompt_of_stdin)?;
    let broker = NatsClient::connect(&address.nats, &address.prefix, None).await?;
    let mut printer = Printer::new(as_json);
    let mut id = None;
    let state = {
        let mut on_progress = |progress: Progress<'_>| match progress {
            Progress::Accepted(accepted) => {
                id = Some(accepted.id.clone());
                printer.id(&accepted.id);
            }
            Progress::Record(record) => printer.record(record),
            Progress::Unreachable => show::stderr_line("forebay: the broker cannot be reached; waiting for it"),
        };
        tokio::select! {
            state = broker.run(job, &mut on_progress) => Some(state?),
            _ = tokio::signal::ctrl_c() => None,
        }
    };
    finish(&mut printer, state, id.as_deref())
}

/// Carries out `forebay follow ID`.
pub(super) async fn follow(address: &BrokerAddress, id: &str, cursor: &str, as_json: bool) -> Result<(), CommandError> {
    let id: JobId = id.parse()?;
    let cursor: Cursor = cursor.parse()?;
    let mut printer = Printer::new(as_json);
    printer.id(id.as_str());
    let state = tokio::select! {
        state = super::socket::follow(address, &id, cursor, |record| printer.record(record)) => Some(state?),
        _ = tokio::signal::ctrl_c() => None,
    };
    finish(&mut printer, state, Some(id.as_str()))
}

fn finish(printer: &mut Printer, state: Option<State>, id: Option<&str>) -> Result<(), CommandError> {
    printer.finish()?;
    match (state, id) {
        (Some(State::Completed), _) => Ok(()),
        (Some(_), _) => Err(CommandError::Failed(None)),
        (None, Some(id)) => Err(CommandError::Failed(Some(format!("the job goes on: forebay follow {id}")))),
        (None, None) => Err(CommandError::Failed(Some("interrupted before the broker answered".to_owned()))),
    }
}

fn prompt_of_stdin() -> Result<String, CommandError> {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        show::stderr_line("forebay: reading the prompt from the keyboard; Ctrl-D ends it");
    }
    let mut prompt = String::new();
    let read = std::io::stdin().take(PROMPT_BYTES_MAX + 1).read_to_string(&mut prompt);
    let size = read.map_err(|error| CommandError::Usage(format!("the prompt on stdin cannot be read: {error}")))?;
    if size as u64 > PROMPT_BYTES_MAX {
        return Err(CommandError::Usage(format!("the prompt on stdin is over {PROMPT_BYTES_MAX} bytes")));
    }
    match prompt.trim_end() {
        "" => Err(CommandError::Usage("the prompt is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

/// Builds the job as JSON.
fn job(arguments: RunArguments, stdin: impl FnOnce() -> Result<String, CommandError>) -> Result<Value, CommandError> {
    let input = match (arguments.input, arguments.prompt) {
        (Some(input), _) => input,
        (None, Some(prompt)) if prompt != "-" => body(prompt, arguments.system, arguments.max_tokens, arguments.task),
        (None, _) => body(stdin()?, arguments.system, arguments.max_tokens, arguments.task),
    };
    let metadata: Map<String, Value> = arguments.tags.into_iter().map(|(key, value)| (key, tag(value))).collect();
    let mut job = json!({"model": arguments.model, "input": input, "metadata": metadata});
    let optional = [
        ("id", arguments.id.map(Value::from)),
        ("gateway", arguments.gateway.map(Value::from)),
        ("idempotency_key", arguments.idempotency_key.map(Value::from)),
        ("task", arguments.task.map(|task| task.as_str().into())),
        ("options", arguments.options),
    ];
    for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        job[name] = value;
    }
    Ok(job)
}

fn body(prompt: String, system: Option<String>, max_tokens: Option<u64>, task: Option<crate::job::Task>) -> Value {
    if task.is_some_and(|task| task != crate::job::Task::Chat) {
        return prompt.into();
    }
    let system = system.map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<Value> = system.into_iter().chain([json!({"role": "user", "content": prompt})]).collect();
    let mut body = json!({"messages": messages});
    if let Some(count) = max_tokens {
        body["max_tokens"] = count.into();
    }
    body
}

/// Reads `12345` and `true` as they are read in JSON, so that a tag is the same through every entrance.
fn tag(text: String) -> Value {
    match text.as_str() {
        "true" => true.into(),
        "false" => false.into(),
        _ => match text.parse::<i64>() {
            // 007 is a name, not a number.
            Ok(number) if number.to_string() == text => number.into(),
            _ => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Command};

    fn check(arguments: &[&str], expected: Value) {
        let all = ["forebay", "run"].iter().chain(arguments);
        let Command::Run(parsed) = Arguments::try_parse_from(all).unwrap().command else { panic!("not run") };
        let made = job(parsed, || Ok("from stdin".to_owned())).unwrap();
        assert_eq!(made, expected, "{arguments:?}");
        let bytes = made.to_string();
        let request = crate::wire::submit::from_json(bytes.as_bytes()).unwrap();
        request
            .into_job(&crate::wire::submit::Entrance::default(), crate::job::Timestamp(0))
            .expect("the broker takes it");
    }

    #[test]
    fn arguments_become_a_job_that_the_broker_takes() {
        let user = |text: &str| json!({"role": "user", "content": text});
        check(&["m", "Hi"], json!({"model": "m", "input": {"messages": [user("Hi")]}, "metadata": {}}));
        for stdin in [&["m"][..], &["m", "-"]] {
            check(stdin, json!({"model": "m", "input": {"messages": [user("from stdin")]}, "metadata": {}}));
        }
        check(
            &["m", "Hi", "--tag", "teamId=AI", "--tag", "userId=12345", "--tag", "paid=true", "--tag", "agent=007"],
            json!({"model": "m", "input": {"messages": [user("Hi")]},
                "metadata": {"teamId": "AI", "userId": 12345, "paid": true, "agent": "007"}}),
        );
        check(
            &["m", "Hi", "--system", "Be brief", "--max-tokens", "5", "--id", "a", "--options", r#"{"priority":1}"#],
            json!({"model": "m", "metadata": {}, "id": "a", "options": {"priority": 1}, "input":
                {"messages": [{"role": "system", "content": "Be brief"}, user("Hi")], "max_tokens": 5}}),
        );
        check(
            &["m", "--input", r#"{"messages":[],"seed":1}"#, "--gateway", "team", "--idempotency-key", "k"],
            json!({"model": "m", "input": {"messages": [], "seed": 1}, "metadata": {},
                "gateway": "team", "idempotency_key": "k"}),
        );
        check(
            &["m", "Hi", "--task", "embedding"],
            json!({"model": "m", "input": "Hi", "metadata": {}, "task": "embedding"}),
        );
    }
}
