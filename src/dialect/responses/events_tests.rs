//! Records as the events of a response: this grammar, these bytes, at every reading.

use super::*;
use crate::job::{
    AttemptMode, AttemptStarted, Blob, Cancelled, Completed, Cost, Failed, Lost, Output, OutputBody, Record, Restarted,
    Timestamp, Usage,
};
use serde_json::value::RawValue;

const AT: Timestamp = Timestamp(1_790_000_000_123);

fn about(echo: Option<&str>) -> ResponseMeta {
    let echo = echo.map(|echo| RawValue::from_string(echo.to_owned()).expect("JSON"));
    ResponseMeta { job: "j".parse().expect("an id"), submitted_at: AT, echo, is_kept: true }
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

fn beside(text: &str, extra: Value) -> Event {
    Event::Delta(Delta { text: text.into(), extra: Some(Box::new(extra)), ..Delta::default() })
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Event {
    let call_id = name.map(|name| format!("call_{name}").into());
    Event::ToolCall(ToolCall { index, call_id, name: name.map(Into::into), arguments: arguments.into() })
}

fn completed(reason: &str) -> Event {
    Event::Completed(Completed {
        finish_reason: reason.into(),
        native_finish_reason: None,
        usage: Usage { input_tokens: Some(3), output_tokens: Some(2), ..Usage::default() },
        cost: Cost::FREE,
        timing: Default::default(),
        attempts: 1,
    })
}

fn failed(code: Code) -> Event {
    let error = Failure::new(code, "it broke");
    Event::Failed(Failed { error, usage: Usage::default(), cost: Cost::FREE, attempts: 1 })
}

fn restarted() -> Vec<Event> {
    let error = Failure::new(Code::ProviderTruncated, "cut");
    let lost = Event::Lost(Lost { attempt: 1, error, emitted: true });
    vec![lost, Event::Restarted(Restarted { attempt: 2 }), attempt(2)]
}

fn job(events: Vec<Event>) -> Vec<Event> {
    let accepted = json!({"accepted": {"model": "smart", "task": "chat", "gateway": "default", "metadata": {}}});
    let accepted = serde_json::from_value(accepted).expect("an event");
    [accepted, attempt(1)].into_iter().chain(events).collect()
}

fn render(mut events: Events, records: &[Event]) -> (String, Option<RenderState>, Events) {
    let (mut out, mut end) = (Vec::new(), None);
    for (seq, event) in (0..).zip(records) {
        assert!(end.is_none(), "nothing follows the end");
        match events.push(Record { seq, at: AT, event: event.clone() }.into(), &mut out) {
            RenderState::More => {}
            rendered => end = Some(rendered),
        }
    }
    (String::from_utf8(out).expect("UTF-8"), end, events)
}

/// An event in short: its kind, its place, and the text that it brings.
fn short(event: &Value) -> String {
    let kind = event["type"].as_str().expect("a type").trim_start_matches("response.");
    let part = event.get("content_index").or(event.get("summary_index"));
    let place = match (event.get("output_index"), part) {
        (None, _) => String::new(),
        (Some(at), None) => format!(" @{at}"),
        (Some(at), Some(part)) => format!(" @{at}.{part}"),
    };
    let request = ["delta", "text", "refusal", "arguments"].iter().find_map(|name| event[name].as_str());
    let request = request.or(event["item"]["type"].as_str()).or(event["response"]["status"].as_str());
    format!("{kind}{place} {}", request.or(event["part"]["type"].as_str()).unwrap_or_default())
}

/// What is true of every stream; the events in short.
fn check(records: Vec<Event>, expected: &[&str]) -> Vec<Value> {
    let records = job(records);
    let (whole, ..) = render(Events::of_reader(about(None), None), &records);
    let blocks: Vec<&str> = whole.split_inclusive("\n\n").collect();
    let mut events = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let (kind, data) = block.trim_end().split_once('\n').expect("two lines");
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(kind.strip_prefix("event: "), event["type"].as_str());
        assert_eq!(event["sequence_number"], number);
        events.push(event);
    }
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), expected);
    for seen in 0..=blocks.len() {
        let after = (seen as u64).checked_sub(1);
        let (rest, _, reader) = render(Events::of_reader(about(None), after), &records);
        assert_eq!((rest, reader.count()), (blocks[seen..].concat(), blocks.len() as u64), "after {after:?}");
    }
    for read in 0..records.len() {
        let (beginning, ..) = render(Events::of_reader(about(None), None), &records[..read]);
        assert!(whole.starts_with(&beginning), "after {read} records");
    }
    let (held, ..) = render(Events::of_submitter(about(None)), &records);
    assert_eq!(held, whole, "who waits reads the same");
    let (rendered, _, object) = render(Events::of_whole(about(None)), &records);
    let object: Value = serde_json::from_slice(&object.object()).expect("JSON");
    assert_eq!((rendered.as_str(), &object), ("", &events.last().expect("an end")["response"]));
    for event in events.iter().filter(|event| event["type"] == "response.output_item.done") {
        let at = usize::try_from(event["output_index"].as_u64().expect("a place")).expect("small");
        assert_eq!(event["item"], object["output"][at], "an item ends as it stands in the output");
    }
    events
}

const BEGUN: [&str; 2] = ["created in_progress", "in_progress in_progress"];

fn with_begun<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&BEGUN[..], rest].concat()
}

#[test]
fn records_are_events_to_the_byte() {
    let records = job(vec![text("Hel"), text(""), text("lo\n\"🦀\""), completed("stop")]);
    let echo = r#"{"instructions":"be brief","tools":[{"z":1,"a":2}],"background":false,"metadata":{"k":"v"}}"#;
    let (rendered, end, _) = render(Events::of_reader(about(Some(echo)), None), &records);
    assert!(matches!(end, Some(RenderState::Done)));
    let response = |status: &str, model: &str, output: &str, usage: &str| {
        format!(
            r#""response":{{"id":"resp_j","object":"response","created_at":1790000000,"status":"{status}","error":null,"incomplete_details":null,"model":"{model}","output":[{output}],"usage":{usage},"background":false,"instructions":"be brief","max_output_tokens":null,"metadata":{{"k":"v"}},"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":null,"summary":null}},"store":true,"temperature":null,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[{{"z":1,"a":2}}],"top_p":null,"truncation":"disabled"}}"#
        )
    };
    let message = |content: &str, status: &str| {
        format!(r#"{{"content":[{content}],"id":"msg_j_0","role":"assistant","status":"{status}","type":"message"}}"#)
    };
    let part = |text: &str| format!(r#"{{"annotations":[],"logprobs":[],"text":"{text}","type":"output_text"}}"#);
    let place = r#""item_id":"msg_j_0","output_index":0,"content_index":0"#;
    let request = r#"Hello\n\"🦀\""#;
    let usage = r#"{"input_tokens":3,"input_tokens_details":{"cache_write_tokens":0,"cached_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":5}"#;
    let done = message(&part(request), "completed");
    let expected = [
        ("response.created", response("in_progress", "smart", "", "null")),
        ("response.in_progress", response("in_progress", "m-1", "", "null")),
        ("response.output_item.added", format!(r#""output_index":0,"item":{}"#, message("", "in_progress"))),
        ("response.content_part.added", format!(r#"{place},"part":{}"#, part(""))),
        ("response.output_text.delta", format!(r#"{place},"delta":"Hel","logprobs":[]"#)),
        ("response.output_text.delta", format!(r#"{place},"delta":"lo\n\"🦀\"","logprobs":[]"#)),
        ("response.output_text.done", format!(r#"{place},"text":"{request}","logprobs":[]"#)),
        ("response.content_part.done", format!(r#"{place},"part":{}"#, part(request))),
        ("response.output_item.done", format!(r#""output_index":0,"item":{done}"#)),
        ("response.completed", response("completed", "m-1", &done, usage)),
    ];
    let expected: Vec<String> = expected
        .iter()
        .enumerate()
        .map(|(number, (kind, fields))| {
            format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{fields},\"sequence_number\":{number}}}\n\n")
        })
        .collect();
    for (rendered, expected) in rendered.split_inclusive("\n\n").zip(&expected) {
        assert_eq!(rendered, expected);
    }
    assert_eq!(rendered, expected.concat());
}

#[test]
fn an_item_closes_before_one_of_another_kind_opens() {
    let sealed = json!({"delta": {"reasoning_details": [{"signature": "s"}]}});
    let events = check(
        vec![
            delta(Part::Reasoning, 0, "hm"),
            beside("", sealed),
            text("Let me see."),
            delta(Part::Refusal, 0, "No."),
            call(0, Some("a"), "{\"x\":"),
            call(0, None, "1}"),
            call(1, Some("b"), "{}"),
            call(1, None, "\n"),
            text("Done."),
            completed("tool_calls"),
        ],
        &with_begun(&[
            "output_item.added @0 reasoning",
            "reasoning_summary_part.added @0.0 summary_text",
            "reasoning_summary_text.delta @0.0 hm",
            "reasoning_summary_text.done @0.0 hm",
            "reasoning_summary_part.done @0.0 summary_text",
            "output_item.done @0 reasoning",
            "output_item.added @1 message",
            "content_part.added @1.0 output_text",
            "output_text.delta @1.0 Let me see.",
            "output_text.done @1.0 Let me see.",
            "content_part.done @1.0 output_text",
            "content_part.added @1.1 refusal",
            "refusal.delta @1.1 No.",
            "refusal.done @1.1 No.",
            "content_part.done @1.1 refusal",
            "output_item.done @1 message",
            "output_item.added @2 function_call",
            "function_call_arguments.delta @2 {\"x\":",
            "function_call_arguments.delta @2 1}",
            "function_call_arguments.done @2 {\"x\":1}",
            "output_item.done @2 function_call",
            "output_item.added @3 function_call",
            "function_call_arguments.delta @3 {}",
            "function_call_arguments.delta @3 \n",
            "output_item.added @4 message",
            "content_part.added @4.0 output_text",
            "output_text.delta @4.0 Done.",
            "function_call_arguments.done @3 {}\n",
            "output_item.done @3 function_call",
            "output_text.done @4.0 Done.",
            "content_part.done @4.0 output_text",
            "output_item.done @4 message",
            "completed completed",
        ]),
    );
    let output = &events.last().expect("an end")["response"]["output"];
    assert!(output[0]["encrypted_content"].as_str().expect("a seal").starts_with("forebay.1."));
    let called = json!({"type": "function_call", "id": "fc_j_2", "call_id": "call_a", "name": "a",
        "arguments": "{\"x\":1}", "status": "completed"});
    assert_eq!(output[2], called);
}

#[test]
fn calls_that_come_mixed_stay_open_and_several_answers_are_several_messages() {
    check(
        vec![call(0, Some("a"), "{"), call(1, Some("b"), "{"), call(0, None, "}"), call(1, None, "}"), completed("x")],
        &with_begun(&[
            "output_item.added @0 function_call",
            "function_call_arguments.delta @0 {",
            "output_item.added @1 function_call",
            "function_call_arguments.delta @1 {",
            "function_call_arguments.delta @0 }",
            "function_call_arguments.delta @1 }",
            "function_call_arguments.done @0 {}",
            "output_item.done @0 function_call",
            "function_call_arguments.done @1 {}",
            "output_item.done @1 function_call",
            "completed completed",
        ]),
    );
    check(
        vec![text("a"), delta(Part::Text, 1, "x"), text("b"), completed("stop")],
        &with_begun(&[
            "output_item.added @0 message",
            "content_part.added @0.0 output_text",
            "output_text.delta @0.0 a",
            "output_item.added @1 message",
            "content_part.added @1.0 output_text",
            "output_text.delta @1.0 x",
            "output_text.delta @0.0 b",
            "output_text.done @0.0 ab",
            "content_part.done @0.0 output_text",
            "output_item.done @0 message",
            "output_text.done @1.0 x",
            "content_part.done @1.0 output_text",
            "output_item.done @1 message",
            "completed completed",
        ]),
    );
}

#[test]
fn what_a_provider_says_beside_the_answer_is_told_where_it_belongs() {
    let citation = json!({"type": "url_citation", "url_citation": {"url": "u", "title": "t"}});
    let logprob = json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []});
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"});
    let png = OutputBody::Data(Blob(vec![1, 2, 3].into()));
    let events = check(
        vec![
            beside("", json!({"delta": {"output": [search]}})),
            beside("a", json!({"choice": {"logprobs": {"content": [logprob]}}, "delta": {"phase": "commentary"}})),
            beside("", json!({"delta": {"annotations": [citation], "reasoning_details": [{"data": "late"}]}})),
            Event::Output(Output { index: 0, mime: "image/png".into(), sha256: None, body: png }),
            beside("", json!({"delta": {"tool_calls": [{"index": 0, "extra_content": {"google": 1}}]}})),
            call(0, Some("f"), "{}"),
            completed("stop"),
        ],
        &with_begun(&[
            "output_item.added @0 web_search_call",
            "output_item.done @0 web_search_call",
            "output_item.added @1 message",
            "content_part.added @1.0 output_text",
            "output_text.delta @1.0 a",
            "output_text.annotation.added @1.0 ",
            "output_text.done @1.0 a",
            "content_part.done @1.0 output_text",
            "output_item.done @1 message",
            "output_item.added @2 image_generation_call",
            "output_item.done @2 image_generation_call",
            "output_item.added @3 function_call",
            "function_call_arguments.delta @3 {}",
            "function_call_arguments.done @3 {}",
            "output_item.done @3 function_call",
            "output_item.added @4 reasoning",
            "output_item.done @4 reasoning",
            "completed completed",
        ]),
    );
    let output = &events.last().expect("an end")["response"]["output"];
    let annotation = json!({"type": "url_citation", "url": "u", "title": "t"});
    assert_eq!((&events[7]["annotation"], &events[7]["annotation_index"]), (&annotation, &json!(0)));
    let part = json!({"type": "output_text", "text": "a", "annotations": [annotation], "logprobs": [logprob]});
    assert_eq!((&output[1]["content"][0], &output[1]["phase"]), (&part, &json!("commentary")));
    assert_eq!((&output[0]["id"], &output[2]["result"]), (&json!("ws_1"), &json!("AQID")));
    assert_eq!(output[3]["extra_content"], json!({"google": 1}));
}

#[test]
fn a_response_ends_in_exactly_one_way() {
    let open = ["output_item.added @0 message", "content_part.added @0.0 output_text", "output_text.delta @0.0 a"];
    let closed = ["output_text.done @0.0 a", "content_part.done @0.0 output_text", "output_item.done @0 message"];
    for (reason, why) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let expected = with_begun(&[&open[..], &closed, &["incomplete incomplete"]].concat());
        let events = check(vec![text("a"), completed(reason)], &expected);
        let response = &events.last().expect("an end")["response"];
        assert_eq!(
            (&response["incomplete_details"]["reason"], &response["output"][0]["status"]),
            (&json!(why), &json!("incomplete"))
        );
    }
    let events = check(
        vec![text("a"), failed(Code::ProviderUnavailable)],
        &with_begun(&[&open[..], &["failed failed"]].concat()),
    );
    let error = json!({"code": "server_error", "message": "it broke", "type": "provider_unavailable"});
    let response = &events.last().expect("an end")["response"];
    assert_eq!((&response["error"], &response["output"][0]["status"]), (&error, &json!("incomplete")));
    let cancelled = Event::Cancelled(Cancelled { by: "client".into(), usage: Usage::default(), cost: Cost::FREE });
    check(vec![text("a"), cancelled], &with_begun(&[&open[..], &["failed cancelled"]].concat()));
    check(vec![completed("stop")], &with_begun(&["completed completed"]));
}

#[test]
fn who_waits_for_the_answer_is_told_nothing_before_there_is_some() {
    let (rendered, end, events) = render(Events::of_submitter(about(None)), &job(vec![failed(Code::OverBudget)]));
    assert_eq!((rendered.as_str(), events.has_begun()), ("", false));
    assert!(matches!(end, Some(RenderState::Broken(failure)) if failure.code == Code::OverBudget));
    let mut events = Events::of_submitter(about(None));
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let records = job(vec![failed(Code::OverBudget)]);
    let push = |events: &mut Events, seq: usize, out: &mut Vec<u8>| {
        events.push(Record { seq: seq as u64, at: AT, event: records[seq].clone() }.into(), out)
    };
    push(&mut events, 0, &mut first);
    assert!(first.is_empty());
    events.begin(&mut first);
    assert!(first.starts_with(b"event: response.created\n") && events.has_begun(), "the head has left");
    push(&mut events, 1, &mut rest);
    assert!(matches!(push(&mut events, 2, &mut rest), RenderState::Done), "so the failure is an event");
    assert!(String::from_utf8(rest).expect("UTF-8").contains("event: response.failed\n"));
}

#[test]
fn an_answer_that_begins_anew_breaks_its_stream_and_is_whole_in_the_object() {
    let anew = |before: Vec<Event>| job([before, restarted(), vec![text("new"), completed("stop")]].concat());
    let (rendered, end, _) = render(Events::of_reader(about(None), None), &anew(vec![text("old")])[..5]);
    assert!(matches!(end, Some(RenderState::Broken(failure)) if failure.code == Code::ProviderTruncated));
    assert!(
        rendered.trim_end().rsplit("\n\n").next().is_some_and(|last| last.starts_with(r#"data: {"error":{"#)),
        "{rendered}"
    );
    let (_, _, whole) = render(Events::of_whole(about(None)), &anew(vec![text("old"), call(0, Some("a"), "{")]));
    let object: Value = serde_json::from_slice(&whole.object()).expect("JSON");
    assert_eq!((&object["status"], object["output"].as_array().map(Vec::len)), (&json!("completed"), Some(1)));
    assert_eq!(object["output"][0]["content"][0]["text"], "new");
    let (rendered, end, _) = render(Events::of_reader(about(None), None), &anew(Vec::new()));
    assert!(matches!(end, Some(RenderState::Done)) && rendered.contains("response.completed"), "nothing was told");
}

#[test]
fn one_in_the_background_says_that_it_waits() {
    let about = || about(Some(r#"{"background":true}"#));
    let (rendered, ..) = render(Events::of_reader(about(), None), &job(Vec::new()));
    let kinds: Vec<&str> = rendered.lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    assert_eq!(kinds, ["created", "queued", "in_progress"]);
    for (read, status) in [(1, "queued"), (2, "in_progress")] {
        let (_, _, whole) = render(Events::of_whole(about()), &job(Vec::new())[..read]);
        let object: Value = serde_json::from_slice(&whole.object()).expect("JSON");
        assert_eq!((&object["status"], &object["background"]), (&json!(status), &json!(true)));
    }
}
