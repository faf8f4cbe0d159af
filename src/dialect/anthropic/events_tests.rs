//! Answers: golden streams, and that a whole answer equals the stream of the same records.

use serde_json::{Map, json};

use super::*;
use crate::dialect::anthropic::{MessageCollector, status};
use crate::dialect::render::Collect as _;
use crate::job::{
    Accepted, AttemptMode, AttemptStarted, Cost, Delta, Failed, Gateway, Lost, Part, Record, Restarted, Tags, Task,
    Timestamp, ToolCall, Usage,
};

fn accepted() -> Event {
    let (gateway, metadata) = (Gateway::default(), Tags::default());
    Event::Accepted(Accepted { model: "alias".parse().unwrap(), task: Task::Chat, gateway, metadata })
}

fn attempt(model: &str) -> Event {
    let (attempt, mode) = (1, AttemptMode::Start);
    Event::Attempt(AttemptStarted { attempt, provider: "p".into(), model: model.into(), mode, dropped: Vec::new() })
}

fn say(part: Part, text: &str) -> Event {
    Event::Delta(Delta { part, text: text.into(), ..Delta::default() })
}

fn beside(extra: Value) -> Event {
    Event::Delta(Delta { extra: Some(Box::new(extra)), ..Delta::default() })
}

fn detail(fields: Value) -> Event {
    beside(json!({"delta": {"reasoning_details": [fields]}}))
}

fn call(index: u32, id: &str, arguments: &str) -> Event {
    let request = |text: &str| (!text.is_empty()).then(|| text.into());
    Event::ToolCall(ToolCall { index, call_id: request(id), name: request(id), arguments: arguments.into() })
}

fn done(finish: &str, native: &str) -> Event {
    let usage = Usage {
        input_tokens: Some(30),
        cached_input_tokens: Some(20),
        cache_write_tokens: Some(4),
        output_tokens: Some(7),
        reasoning_tokens: Some(2),
        ..Usage::default()
    };
    Event::Completed(Completed {
        finish_reason: finish.into(),
        native_finish_reason: (!native.is_empty()).then(|| native.into()),
        usage,
        cost: Cost::FREE,
        timing: Default::default(),
        attempts: 1,
    })
}

fn records(events: &[Event]) -> impl Iterator<Item = RecordRef<'static>> {
    let begin = [accepted(), attempt("claude")];
    (0..)
        .zip(begin.into_iter().chain(events.to_vec()))
        .map(|(seq, event)| Record { seq, at: Timestamp(5), event }.into())
}

fn job() -> JobId {
    "j1".parse().unwrap()
}

/// The events of the stream, and how it ended.
fn streamed(events: &[Event]) -> (Vec<Value>, RenderState) {
    let (mut render, mut out, mut last) = (Events::new(&job()), Vec::new(), RenderState::More);
    for record in records(events) {
        assert!(matches!(last, RenderState::More), "nothing follows an end");
        last = render.push(record, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let read = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    (text.split_terminator("\n\n").map(read).collect(), last)
}

fn whole(events: &[Event]) -> Result<Value, Failure> {
    let mut whole = MessageCollector::new(&job());
    records(events).for_each(|record| whole.push(record));
    whole.finish().map(|message| serde_json::to_value(message).unwrap())
}

/// A stream put together as Anthropic's libraries do it.
fn collected(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut inputs = std::collections::BTreeMap::<usize, String>::new();
    let mut open = None;
    for event in &events[1..] {
        let at = event["index"].as_u64().map(|at| usize::try_from(at).unwrap());
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(
                    (open, at),
                    (None, Some(message["content"].as_array().unwrap().len())),
                    "one after the other"
                );
                open = at;
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, at);
                let (block, delta) = (&mut message["content"][at.unwrap()], &event["delta"]);
                let add = |place: &mut Value, text: &Value| {
                    *place = format!("{}{}", place.as_str().unwrap_or(""), text.as_str().unwrap()).into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add(&mut block["text"], &delta["text"]),
                    "thinking_delta" => add(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "input_json_delta" => {
                        inputs.entry(at.unwrap()).or_default().push_str(delta["partial_json"].as_str().unwrap())
                    }
                    "citations_delta" => match &mut block["citations"] {
                        Value::Array(known) => known.push(delta["citation"].clone()),
                        none => *none = json!([delta["citation"]]),
                    },
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => assert_eq!(open.take(), at),
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                message["usage"] = event["usage"].clone();
                if let Some(request) = event.get("context_management") {
                    message["context_management"] = request.clone();
                }
            }
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    for (at, input) in inputs {
        message["content"][at]["input"] = serde_json::from_str(&input).unwrap_or(json!({"INVALID_JSON": input}));
    }
    message
}

/// That a stream and a whole answer hold these blocks and end for this reason.
fn check(events: &[Event], stop_reason: &str, blocks: Value) {
    let (stream, rendered) = streamed(events);
    assert!(matches!(rendered, RenderState::Done), "{stream:?}");
    let message = collected(&stream);
    assert_eq!(whole(events).unwrap(), message, "whole = stream");
    assert_eq!((&message["stop_reason"], &message["content"]), (&stop_reason.into(), &blocks));
    assert_eq!(streamed(events).0, stream, "the same every time");
}

#[test]
fn a_stream_is_written_to_the_byte() {
    let mut out = Vec::new();
    let mut render = Events::new(&job());
    let events = [say(Part::Text, "Hé\n"), call(0, "f", "{\"a\":1}"), done("tool_calls", "tool_use")];
    for record in records(&events) {
        render.push(record, &mut out);
    }
    let expected = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_j1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé\n"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"f","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":6,"cache_creation_input_tokens":4,"cache_read_input_tokens":20,"output_tokens":7,"output_tokens_details":{"thinking_tokens":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(Events::KEEP_ALIVE, b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

#[test]
fn blocks_stand_in_the_order_in_which_they_were_said() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let tool = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": id, "input": input});
    let hi = || say(Part::Text, "Hi");
    check(&[done("stop", "")], "end_turn", json!([]));
    check(&[hi(), say(Part::Text, " you"), done("length", "")], "max_tokens", json!([text("Hi you")]));
    check(&[say(Part::Refusal, "No"), done("stop", "")], "refusal", json!([text("No")]));
    check(&[hi(), done("content_filter", "")], "refusal", json!([text("Hi")]));
    check(&[hi(), done("pause_turn", "")], "pause_turn", json!([text("Hi")]));
    check(&[hi(), done("tool_calls", "end_turn")], "end_turn", json!([text("Hi")]));
    let claude =
        json!({"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "signature": "S", "text": "hm"});
    let more = json!({"type": "reasoning.text", "index": 0, "signature": "T"});
    let sealed = json!({"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "index": 1, "data": "D"});
    check(
        &[say(Part::Reasoning, "hm"), detail(claude.clone()), detail(more), detail(sealed), hi(), done("stop", "")],
        "end_turn",
        json!([{"type": "thinking", "thinking": "hm", "signature": "ST"}, {"type": "redacted_thinking", "data": "D"}, text("Hi")]),
    );
    check(
        &[detail(claude), say(Part::Reasoning, "and"), hi(), done("stop", "")],
        "end_turn",
        json!([{"type": "thinking", "thinking": "", "signature": "S"}, {"type": "thinking", "thinking": "and", "signature": ""}, text("Hi")]),
    );
    check(
        &[hi(), call(0, "f", "{\"a\":"), call(0, "", "\"}\"}"), call(1, "g", ""), done("tool_calls", "")],
        "tool_use",
        json!([text("Hi"), tool("f", json!({"a": "}"})), tool("g", json!({}))]),
    );
    // Pieces of two calls, and a text, in each other's way.
    check(
        &[
            call(0, "f", "{\"a\""),
            call(1, "g", "{\"b\""),
            hi(),
            call(1, "", ":2}"),
            call(0, "", ":1}"),
            call(2, "h", "{"),
            done("tool_calls", ""),
        ],
        "tool_use",
        json!([
            tool("f", json!({"a": 1})),
            tool("g", json!({"b": 2})),
            text("Hi"),
            tool("h", json!({"INVALID_JSON": "{"}))
        ]),
    );
    let unnamed = Event::ToolCall(ToolCall { index: 3, name: Some("f".into()), ..ToolCall::default() });
    let named = json!({"type": "tool_use", "id": "toolu_j1_3", "name": "f", "input": {}});
    check(&[unnamed, done("tool_calls", "")], "tool_use", json!([named]));
}

#[test]
fn what_stands_beside_the_text_finds_its_place() {
    let hi = || say(Part::Text, "Hi");
    let google = json!({"type": "reasoning.text", "format": "google-gemini-v1", "signature": "G", "text": "hm"});
    let alone = json!({"type": "reasoning.encrypted", "format": "google-gemini-v1", "data": "E"});
    let plain = json!({"type": "reasoning.text", "text": "nobody's"});
    let wrap = |value: &Value, without: &str| {
        let mut fields = value.as_object().unwrap().clone();
        fields.remove(without);
        crate::dialect::anthropic::signature::wrap(&fields)
    };
    check(
        &[
            say(Part::Reasoning, "hm"),
            detail(google.clone()),
            detail(alone.clone()),
            detail(plain),
            hi(),
            done("stop", ""),
        ],
        "end_turn",
        json!([{"type": "thinking", "thinking": "hm", "signature": wrap(&google, "text")},
               {"type": "redacted_thinking", "data": wrap(&alone, "")}, {"type": "text", "text": "Hi"}]),
    );
    let own = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []});
    let citation = json!({"type": "char_location", "cited_text": "c"});
    let (events, message) = (
        [
            beside(json!({"delta": {"content": [own]}})),
            beside(json!({"delta": {"content": [result, {"type": "image"}]}})),
            beside(json!({"delta": {"citations": [citation, "https://not.theirs"]}})),
            hi(),
            beside(
                json!({"choice": {"stop_sequence": "X", "stop_details": null}, "chunk": {"container": {"id": "c"}}}),
            ),
            done("stop", "stop_sequence"),
        ],
        json!([own, result, {"type": "text", "text": "Hi", "citations": [citation]}]),
    );
    check(&events, "stop_sequence", message);
    let whole = whole(&events).unwrap();
    assert_eq!((&whole["stop_sequence"], &whole["container"]), (&"X".into(), &json!({"id": "c"})));
    let other = Event::Delta(Delta { index: 1, text: "another answer".into(), ..Delta::default() });
    check(&[hi(), other, done("stop", "")], "end_turn", json!([{"type": "text", "text": "Hi"}]));
}

#[test]
fn a_stream_that_breaks_says_so_and_has_no_end() {
    let lost = || Event::Lost(Lost { attempt: 1, error: Failure::internal("x"), emitted: true });
    let restarted = || Event::Restarted(Restarted { attempt: 2 });
    let failed = |failure: Failure| {
        Event::Failed(Failed { error: failure, usage: Usage::default(), cost: Cost::FREE, attempts: 1 })
    };
    let hi = || say(Part::Text, "Hi");
    for (events, code, begun) in [
        (vec![failed(Failure::new(Code::Overloaded, "full"))], "overloaded", false),
        (vec![hi(), lost(), restarted()], "provider_truncated", true),
        (vec![hi(), failed(Failure::new(Code::ProviderTimeout, "slow"))], "provider_timeout", true),
        (vec![call(0, "f", "{}"), call(1, "g", "{}"), call(0, "", "{}")], "provider_truncated", true),
    ] {
        let (stream, rendered) = streamed(&events);
        let RenderState::Broken(failure) = rendered else { panic!("{rendered:?}") };
        assert_eq!(failure.code.as_str(), code);
        let last = stream.last().unwrap();
        assert_eq!((&last["type"], &last["error"]["code"]), (&"error".into(), &code.into()));
        assert_eq!(stream.iter().any(|event| event["type"] == "message_start"), begun);
        assert!(last["error"]["type"].as_str().unwrap().ends_with("_error"), "{last}");
    }
    let anew = [hi(), lost(), restarted(), attempt("other"), say(Part::Text, "anew"), done("stop", "")];
    let message = whole(&anew).unwrap();
    assert_eq!((&message["content"][0]["text"], &message["model"]), (&"anew".into(), &"other".into()));
    let unseen = [lost(), restarted(), hi(), done("stop", "")];
    check(&unseen, "end_turn", json!([{"type": "text", "text": "Hi"}]));
    let held: Vec<Event> =
        std::iter::once(call(0, "f", "{")).chain((0..400).map(|_| say(Part::Text, &"x".repeat(16 * 1024)))).collect();
    assert!(matches!(streamed(&held[..40]).1, RenderState::More));
    let (mut render, mut out) = (Events::new(&job()), Vec::new());
    let broke = records(&held)
        .map(|record| render.push(record, &mut out))
        .any(|rendered| matches!(rendered, RenderState::Broken(_)));
    assert!(broke, "what is held back has a limit");
}

#[test]
fn an_error_is_of_their_family_and_names_their_field() {
    for &code in Code::ALL {
        let failure = Failure::new(code, "no");
        let request = serde_json::to_value(Envelope::new(&failure, Some("r1"))).unwrap();
        assert_eq!(
            (&request["type"], &request["request_id"], &request["error"]["code"]),
            (&"error".into(), &"r1".into(), &code.as_str().into())
        );
        let kind = request["error"]["type"].as_str().unwrap();
        let expected = match status(&failure) {
            401 => "authentication_error",
            403 => "permission_error",
            404 | 410 => "not_found_error",
            413 => "request_too_large",
            429 if code == Code::OverBudget => "billing_error",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            499..=502 => "api_error",
            400 | 409 => "invalid_request_error",
            other => panic!("{other}"),
        };
        assert_eq!(kind, expected, "{code:?}");
    }
    let busy = Failure::new(Code::ProviderUnavailable, "busy").with_status(529);
    assert_eq!((status(&busy), crate::dialect::anthropic::family(&busy)), (529, "overloaded_error"));
    for (param, message, field, request) in [
        ("input.stop", "input.stop: no", "stop_sequences", "stop_sequences: no"),
        ("input.messages[3].content[1]", "input.messages[3].content[1]: no", "messages", "messages: no"),
        ("input.top_k", "no", "top_k", "no"),
        ("options.x", "no", "options.x", "no"),
    ] {
        let said_error =
            serde_json::to_value(Envelope::new(&Failure::new(Code::Invalid, message).with_param(param), None)).unwrap();
        let error: &Map<String, Value> = said_error["error"].as_object().unwrap();
        assert_eq!((&error["param"], &error["message"]), (&field.into(), &request.into()));
    }
}
