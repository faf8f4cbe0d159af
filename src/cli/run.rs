//! `forebay run` and `forebay follow`: a job's answer on the terminal.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::args::{Reach, RunArguments};
use super::nats::{Broker, Seen};
use super::show::Printer;
use super::{Trouble, show};
use crate::job::{JobId, State};
use crate::wire::Cursor;

/// Bytes of a prompt from stdin: more is refused by every broker's default.
const PROMPT_BYTES_MAX: u64 = crate::job::caps::JOB_BYTES_DEFAULT as u64;

/// `forebay run MODEL [PROMPT]`. Ctrl-C leaves the job running and says how to come back.
pub(super) async fn run(reach: &Reach, said: RunArguments) -> Result<(), Trouble> {
    let as_json = said.json;
    let job = job(said, prompt_of_stdin)?;
    let broker = Broker::connect(&reach.nats, &reach.prefix, None).await?;
    let mut printer = Printer::new(as_json);
    let mut id = None;
    let state = {
        let mut seen = |seen: Seen<'_>| match seen {
            Seen::Taken(taken) => {
                id = Some(taken.id.clone());
                printer.id(&taken.id);
            }
            Seen::Record(record) => printer.record(record),
            Seen::Away => show::complain("forebay: the broker is away; waiting for it"),
        };
        tokio::select! {
            state = broker.run(job, &mut seen) => Some(state?),
            _ = tokio::signal::ctrl_c() => None,
        }
    };
    finish(&mut printer, state, id.as_deref())
}

/// `forebay follow ID`.
pub(super) async fn follow(reach: &Reach, id: &str, cursor: &str, as_json: bool) -> Result<(), Trouble> {
    let id: JobId = id.parse()?;
    let cursor: Cursor = cursor.parse()?;
    let mut printer = Printer::new(as_json);
    printer.id(id.as_str());
    let state = tokio::select! {
        state = super::socket::follow(reach, &id, cursor, |record| printer.record(record)) => Some(state?),
        _ = tokio::signal::ctrl_c() => None,
    };
    finish(&mut printer, state, Some(id.as_str()))
}

fn finish(printer: &mut Printer, state: Option<State>, id: Option<&str>) -> Result<(), Trouble> {
    printer.finish()?;
    match (state, id) {
        (Some(State::Completed), _) => Ok(()),
        (Some(_), _) => Err(Trouble::Failed(None)),
        (None, Some(id)) => Err(Trouble::Failed(Some(format!("the job goes on: forebay follow {id}")))),
        (None, None) => Err(Trouble::Failed(Some("interrupted before the broker answered".to_owned()))),
    }
}

fn prompt_of_stdin() -> Result<String, Trouble> {
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        show::complain("forebay: reading the prompt from the keyboard; Ctrl-D ends it");
    }
    let mut prompt = String::new();
    let read = std::io::stdin().take(PROMPT_BYTES_MAX + 1).read_to_string(&mut prompt);
    let size = read.map_err(|error| Trouble::Usage(format!("the prompt on stdin cannot be read: {error}")))?;
    if size as u64 > PROMPT_BYTES_MAX {
        return Err(Trouble::Usage(format!("the prompt on stdin is over {PROMPT_BYTES_MAX} bytes")));
    }
    match prompt.trim_end() {
        "" => Err(Trouble::Usage("the prompt is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

/// The job as JSON.
fn job(said: RunArguments, stdin: impl FnOnce() -> Result<String, Trouble>) -> Result<Value, Trouble> {
    let input = match (said.input, said.prompt) {
        (Some(input), _) => input,
        (None, Some(prompt)) if prompt != "-" => body(prompt, said.system, said.max_tokens, said.task),
        (None, _) => body(stdin()?, said.system, said.max_tokens, said.task),
    };
    let metadata: Map<String, Value> = said.tags.into_iter().map(|(key, value)| (key, tag(value))).collect();
    let mut job = json!({"model": said.model, "input": input, "metadata": metadata});
    let optional = [
        ("id", said.id.map(Value::from)),
        ("gateway", said.gateway.map(Value::from)),
        ("idempotency_key", said.idempotency_key.map(Value::from)),
        ("task", said.task.map(|task| task.as_str().into())),
        ("options", said.options),
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

/// `12345` and `true` mean what they mean in JSON, so that a tag is the same through every door.
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
        let Command::Run(said) = Arguments::try_parse_from(all).unwrap().command else { panic!("not run") };
        let made = job(said, || Ok("from stdin".to_owned())).unwrap();
        assert_eq!(made, expected, "{arguments:?}");
        let bytes = made.to_string();
        let said = crate::wire::submit::from_json(bytes.as_bytes()).unwrap();
        said.into_job(&crate::wire::submit::Door::default(), crate::job::Timestamp(0)).expect("the broker takes it");
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
