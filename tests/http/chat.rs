//! Records in OpenAI's dialect: these bytes, at every reading.

use forebay::dialect::openai::{Chunks, Completion};
use forebay::dialect::render::Collect as _;
use forebay::dialect::render::{Render as _, RenderState};
use forebay::job::{
    AttemptMode, AttemptStarted, Cancelled, Code, Completed, Cost, Delta, Event, Failed, Failure, Lost, Output,
    OutputBody, Part, Record, Restarted, Timestamp, ToolCall, Usage,
};
use serde_json::{Value, json};

const AT: Timestamp = Timestamp(1_790_000_000_123);

fn accepted() -> Event {
    let job = json!({"model": "smart", "task": "chat", "gateway": "default", "metadata": {}});
    serde_json::from_value(json!({ "accepted": job })).unwrap()
}

fn attempt(attempt: u32) -> Event {
    let mode = AttemptMode::Start;
    Event::Attempt(AttemptStarted { attempt, provider: "p".into(), model: "m-1".into(), mode, dropped: Vec::new() })
}

fn delta(part: Part, index: u32, text: &str) -> Event {
    Event::Delta(Delta { part, index, text: text.into(), extra: None })
}

fn text(piece: &str) -> Event {
    delta(Part::Text, 0, piece)
}

fn beside(index: u32, text: &str, extra: Value) -> Event {
    Event::Delta(Delta { part: Part::Text, index, text: text.into(), extra: Some(Box::new(extra)) })
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
    let (call_id, name) = (id.map(Into::into), name.map(Into::into));
    Event::ToolCall(ToolCall { index, call_id, name, arguments: arguments.into() })
}

fn completed(reason: &str, usage: Usage) -> Event {
    let (cost, timing) = (Cost::FREE, Default::default());
    let (finish_reason, native_finish_reason) = (reason.into(), None);
    Event::Completed(Completed { finish_reason, native_finish_reason, usage, cost, timing, attempts: 1 })
}

fn failed(code: Code) -> Event {
    let error = Failure::new(code, "it broke");
    Event::Failed(Failed { error, usage: Usage::default(), cost: Cost::FREE, attempts: 1 })
}

fn restarted() -> Vec<Event> {
    let error = Failure::new(Code::ProviderTruncated, "cut");
    let lost = Lost { attempt: 1, error, emitted: true };
    vec![Event::Lost(lost), Event::Restarted(Restarted { attempt: 2 }), attempt(2)]
}

fn counted() -> Usage {
    let usage = json!({"input_tokens": 9, "output_tokens": 12, "cached_input_tokens": 4, "reasoning_tokens": 0,
        "source": "provider"});
    serde_json::from_value(usage).unwrap()
}

/// The rendered bytes, and whether it came to its own end.
fn render(events: &[Event], include_usage: bool) -> (String, bool) {
    let (mut chunks, mut out, mut done) = (Chunks::new(&"j".parse().unwrap(), include_usage), Vec::new(), false);
    for (seq, event) in (0..).zip(events) {
        match chunks.push(Record { seq, at: AT, event: event.clone() }.into(), &mut out) {
            RenderState::More => assert!(!done, "nothing follows the end"),
            RenderState::Done => done = true,
            RenderState::Broken(_) => return (String::from_utf8(out).unwrap(), false),
        }
    }
    (String::from_utf8(out).unwrap(), done)
}

/// A stream in short: each chunk's choices, or what is not a chunk, whole.
fn check(events: Vec<Event>, expected: &[&str]) {
    let head =
        r#"data: {"created":1790000000,"id":"chatcmpl-j","model":"m-1","object":"chat.completion.chunk","choices":["#;
    let mut whole = vec![accepted(), attempt(1)];
    whole.extend(events);
    let (text, _) = render(&whole, false);
    let short: Vec<&str> = text.split_terminator("\n\n").map(|one| one.strip_prefix(head).unwrap_or(one)).collect();
    assert_eq!(short, expected);
    assert_eq!(render(&whole, false).0, text, "the same records are the same bytes");
    // However the records are cut into readings, what was told is a beginning of the whole.
    for read in 0..whole.len() {
        assert!(text.starts_with(&render(&whole[..read], false).0), "after {read} records");
    }
}

const BEGUN: &str = r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const STOPPED: &str = r#"{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "data: [DONE]";

#[test]
fn records_are_chunks() {
    let end = || completed("stop", counted());
    check(vec![end()], &[BEGUN, STOPPED, DONE]);
    check(
        vec![text("Hel"), text(""), text("lo\n\n\"🦀\""), end()],
        &[
            BEGUN,
            r#"{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{"content":"lo\n\n\"🦀\""},"finish_reason":null}]}"#,
            STOPPED,
            DONE,
        ],
    );
    check(
        vec![delta(Part::Reasoning, 0, "hm"), delta(Part::Refusal, 0, "no"), end()],
        &[
            BEGUN,
            r#"{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{"refusal":"no"},"finish_reason":null}]}"#,
            STOPPED,
            DONE,
        ],
    );
    check(
        vec![
            call(0, Some("a"), Some("f"), ""),
            call(0, None, None, "{}"),
            call(1, None, Some("g"), "[]"),
            completed("tool_calls", Usage::default()),
        ],
        &[
            r#"{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"","name":"f"},"id":"a","index":0,"type":"function"}]},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{}"},"index":0}]},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"[]","name":"g"},"id":"call_j_1","index":1,"type":"function"}]},"finish_reason":null}]}"#,
            r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            DONE,
        ],
    );
}

#[test]
fn what_a_provider_says_beside_the_answer_is_told_where_it_stood() {
    let logprobs = json!({"choice": {"logprobs": {"content": []}, "index": 9}, "chunk": {"service_tier": "flex",
        "model": "theirs", "id": "theirs"}});
    let parts = json!({"delta": {"content": [{"type": "reference"}], "annotations": [1]}});
    check(
        vec![
            beside(0, "a", logprobs),
            beside(1, "b", json!({"odd": 1})),
            beside(1, "", json!({"choice": {"finish_reason": "length"}})),
            beside(0, "c", parts),
            completed("stop", Usage::default()),
        ],
        &[
            BEGUN,
            r#"{"index":0,"delta":{"content":"a"},"finish_reason":null,"logprobs":{"content":[]}}],"service_tier":"flex"}"#,
            r#"{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"index":1,"delta":{"content":"b"},"finish_reason":null}]}"#,
            r#"{"index":1,"delta":{},"finish_reason":"length"}]}"#,
            r#"{"index":0,"delta":{"annotations":[1],"content":"c","content_parts":[{"type":"reference"}]},"finish_reason":null}]}"#,
            STOPPED,
            DONE,
        ],
    );
    let body = OutputBody::Url("/v1/jobs/j/outputs/0".into());
    check(
        vec![
            Event::Output(Output { index: 0, mime: "image/png".into(), sha256: None, body }),
            completed("stop", Usage::default()),
        ],
        &[
            BEGUN,
            r#"{"index":0,"delta":{"images":[{"image_url":{"url":"/v1/jobs/j/outputs/0"},"index":0,"type":"image_url"}]},"finish_reason":null}]}"#,
            STOPPED,
            DONE,
        ],
    );
}

#[test]
fn a_stream_that_breaks_ends_with_its_error_and_without_its_end() {
    let error = |code: &str, kind: &str, fault: &str, message: &str, retryable: bool| {
        format!(
            r#"data: {{"error":{{"code":"{code}","message":"{message}","fault":"{fault}","retryable":{retryable},"type":"{kind}","param":null}}}}"#
        )
    };
    let piece = r#"{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    let unavailable = error("provider_unavailable", "server_error", "provider", "it broke", true);
    check(vec![text("a"), failed(Code::ProviderUnavailable)], &[BEGUN, piece, &unavailable]);
    let cancelled = Cancelled { by: "client".into(), usage: Usage::default(), cost: Cost::FREE };
    let by = error("cancelled", "invalid_request_error", "caller", "the job was cancelled by client", false);
    check(vec![text("a"), Event::Cancelled(cancelled)], &[BEGUN, piece, &by]);
    let mut anew = vec![text("a")];
    anew.extend(restarted());
    let message = "the answer begins anew, which this stream cannot tell: ask again, or read the job's own events";
    check(anew, &[BEGUN, piece, &error("provider_truncated", "server_error", "provider", message, true)]);
    let mut unseen = restarted();
    unseen.extend([text("a"), completed("stop", Usage::default())]);
    check(unseen, &[BEGUN, piece, STOPPED, DONE]);
}

#[test]
fn the_usage_comes_last_and_only_if_it_is_asked_for() {
    let events = [accepted(), attempt(1), text("a"), completed("stop", counted())];
    let (chunks, done) = render(&events, true);
    let chunks: Vec<&str> = chunks.split_terminator("\n\n").collect();
    assert!(done && chunks[..3].iter().all(|chunk| chunk.ends_with(r#","usage":null}"#)), "{chunks:?}");
    let usage = r#""choices":[],"usage":{"completion_tokens":12,"completion_tokens_details":{"reasoning_tokens":0},"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4},"total_tokens":21}}"#;
    assert!(chunks[3].ends_with(usage), "{}", chunks[3]);
    assert_eq!(chunks[4], DONE);
    let unknown = [accepted(), completed("stop", Usage::default())];
    assert!(!render(&unknown, true).0.contains(r#""choices":[]"#), "what is not known is not told");
}

#[test]
fn records_are_a_completion() {
    let whole = |events: Vec<Event>| {
        let mut completion = Completion::default();
        for (seq, event) in (0..).zip([accepted(), attempt(1)].into_iter().chain(events)) {
            completion.push(Record { seq, at: AT, event }.into());
        }
        completion.finish(&"j".parse().unwrap())
    };
    let signed = json!({"delta": {"reasoning_details": [{"signature": "s"}], "annotations": [1],
        "tool_calls": [{"index": 0, "extra_content": {"google": 1}}]}, "chunk": {"service_tier": "flex"}});
    let answer = whole(vec![
        delta(Part::Reasoning, 0, "hm"),
        call(0, Some("a"), Some("f"), "{\"x\":"),
        call(0, None, None, "1}"),
        beside(0, "", signed),
        delta(Part::Text, 1, "second"),
        beside(1, "", json!({"choice": {"finish_reason": "length"}})),
        completed("tool_calls", counted()),
    ]);
    assert_eq!(
        answer.unwrap(),
        json!({
            "id": "chatcmpl-j", "object": "chat.completion", "created": 1_790_000_000, "model": "m-1",
            "service_tier": "flex",
            "choices": [
                {"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
                    "role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm",
                    "reasoning_details": [{"signature": "s"}], "annotations": [1],
                    "tool_calls": [{"id": "a", "type": "function", "extra_content": {"google": 1},
                        "function": {"name": "f", "arguments": "{\"x\":1}"}}]}},
                {"index": 1, "finish_reason": "length", "logprobs": null, "message": {
                    "role": "assistant", "content": "second", "refusal": null}},
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 0}},
        })
    );
    let mut anew = vec![text("old"), call(0, Some("a"), None, "")];
    anew.extend(restarted());
    anew.extend([text("new"), completed("stop", Usage::default())]);
    let answer = whole(anew).unwrap();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "new", "refusal": null}));
    assert!(answer.get("usage").is_none());
    assert_eq!(whole(vec![text("a"), failed(Code::OverBudget)]).unwrap_err().code, Code::OverBudget);
    assert_eq!(whole(vec![text("a")]).unwrap_err().code, Code::Internal);
}
