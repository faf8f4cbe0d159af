//! Requests as jobs: what becomes a chat's, what stays, what is refused by name.

use serde_json::json;

use super::*;
use crate::dialect::responses::{in_request_terms, input_items, item_of, jobs_of, turns};
use crate::job::{Job, Timestamp};
use crate::wire::submit::Entrance;

fn request(body: &Value) -> Result<JobRequest, Failure> {
    ResponseRequest::read(body.to_string().as_bytes())?.into_job_request(&[], &BTreeMap::new())
}

fn input_of(body: Value) -> Value {
    let request = request(&body).unwrap_or_else(|failure| panic!("{body}: {failure}"));
    serde_json::from_str(request.input.get()).expect("JSON")
}

fn check(mut body: Value, expected: Value) {
    body["model"] = "m".into();
    assert_eq!(input_of(body.clone()), expected, "{body}");
}

fn check_items(items: Value, messages: Value) {
    check(json!({"input": items}), json!({"messages": messages}));
}

#[test]
fn fields_become_a_chats_or_stay() {
    let user = json!([{"role": "user", "content": "Hi"}]);
    for (fields, expected) in [
        (json!({}), json!({})),
        (
            json!({"temperature": 0.5, "user": "u", "metadata": {"a": "b"}, "max_tool_calls": 3, "odd": [1], "top_p": null}),
            json!({"temperature": 0.5, "user": "u", "metadata": {"a": "b"}, "max_tool_calls": 3, "odd": [1]}),
        ),
        (
            json!({"stream": true, "store": true, "background": true, "previous_response_id": "x",
                "stream_options": {"include_obfuscation": false}, "truncation": "disabled", "max_output_tokens": 9}),
            json!({"max_completion_tokens": 9}),
        ),
        (json!({"truncation": "auto"}), json!({"truncation": "auto"})),
        (json!({"text": {"format": {"type": "text"}, "verbosity": "low"}}), json!({"verbosity": "low"})),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object"}}}}),
            json!({"response_format": {"type": "json_schema",
                "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}}}),
        ),
        (json!({"text": {"format": {"type": "json_object"}}}), json!({"response_format": {"type": "json_object"}})),
        (json!({"reasoning": {"effort": "low", "summary": null}}), json!({"reasoning_effort": "low"})),
        (
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
        ),
        (
            json!({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 2}),
            json!({"logprobs": true, "top_logprobs": 2}),
        ),
        (json!({"include": ["file_search_call.results"]}), json!({"include": ["file_search_call.results"]})),
        (
            json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true,
                "description": null}, {"type": "web_search", "search_context_size": "low"}],
                "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false}),
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"},
                "strict": true}}, {"type": "web_search", "search_context_size": "low"}],
                "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false}),
        ),
        (json!({"tool_choice": "required"}), json!({"tool_choice": "required"})),
    ] {
        let (mut body, mut wanted) = (fields, expected);
        body["input"] = "Hi".into();
        wanted["messages"] = user.clone();
        check(body, wanted);
    }
    let schema = r#"{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":{"z":1,"a":1.50}}]}"#;
    let request = ResponseRequest::read(schema.as_bytes())
        .and_then(|parsed| parsed.into_job_request(&[], &BTreeMap::new()))
        .expect("a job");
    assert!(request.input.get().contains(r#"{"z":1,"a":1.50}"#), "a schema stays to the byte");
}

#[test]
fn items_become_messages() {
    check_items(
        json!([
            {"role": "developer", "content": "rules"},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
                {"type": "input_image", "file_id": "file-1"},
            ]},
        ]),
        json!([
            {"role": "developer", "content": "rules"},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
                {"type": "input_image", "file_id": "file-1"},
            ]},
        ]),
    );
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let item = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}", "id": "fc"});
    let mut signed = item("c");
    signed["extra_content"] = json!({"google": 1});
    let mut signed_call = call("c");
    signed_call["extra_content"] = json!({"google": 1});
    check_items(
        json!([
            {"role": "user", "content": "Hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                "content": [{"type": "output_text", "text": "wait", "annotations": []}]},
            item("a"),
            item("b"),
            {"type": "web_search_call", "id": "ws_1"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
            signed,
            {"type": "reasoning", "id": "rs_2", "summary": []},
        ]),
        json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "wait", "tool_calls": [call("a"), call("b")], "reasoning_content": "hm"},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "assistant", "content": null, "tool_calls": [signed_call]},
        ]),
    );
    check_items(
        json!([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}, item("a")]),
        json!([{"role": "assistant", "content": null, "tool_calls": [call("a")], "reasoning_details": [
            {"type": "reasoning.encrypted", "data": "gAAA", "format": "openai-responses-v1", "index": 0, "id": "rs_1"}]}]),
    );
}

#[test]
fn what_is_wrong_is_named_as_it_was_said() {
    for (body, param) in [
        (json!({}), "model"),
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": 1}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (json!({"model": "m", "input": "x", "messages": []}), "messages"),
        (json!({"model": "m", "input": "x", "instructions": []}), "instructions"),
        (json!({"model": "m", "input": "x", "stream": 1}), "stream"),
        (json!({"model": "m", "input": "x", "background": "yes"}), "background"),
        (json!({"model": "m", "input": "x", "text": "y"}), "text"),
        (json!({"model": "m", "input": "x", "include": "y"}), "include"),
        (json!({"model": "m", "input": "x", "tools": {}}), "tools"),
        (json!({"model": "m", "input": "x", "tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"model": "m", "input": "x", "tools": [{"type": "custom", "name": "n"}]}), "tools[0].type"),
        (json!({"model": "m", "input": [{"role": "king", "content": "x"}]}), "input[0].role"),
        (json!({"model": "m", "input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
            "input[0].content[0]",
        ),
        (json!({"model": "m", "input": [{"type": "function_call_output", "output": "x"}]}), "input[0].call_id"),
        (json!({"model": "m", "input": [{"type": "computer_call"}]}), "input[0].type"),
        (json!({"model": "m", "input": [{"type": "item_reference", "id": "msg_x_0"}]}), "input[0].id"),
    ] {
        let failure = request(&body).expect_err(&body.to_string());
        assert_eq!(failure.param.as_deref(), Some(param), "{body}: {failure}");
    }
    assert!(
        ResponseRequest::read(b"[]").is_err()
            && ResponseRequest::read(b"\xff").is_err()
            && ResponseRequest::read(b"{").is_err()
    );
    assert!(ResponseRequest::read(br#"{"model":"m","input":"x","input":"y"}"#).is_err());
    for (ours, theirs) in [
        ("input.messages[3].content", "input"),
        ("input.max_completion_tokens", "max_output_tokens"),
        ("input.response_format.type", "text.format.type"),
        ("input.tools[0]", "input.tools[0]"),
    ] {
        let failure = in_request_terms(&Failure::invalid(ours, "is odd"));
        assert_eq!((failure.param.as_deref(), &*failure.message), (Some(theirs), &*format!("{theirs}: is odd")));
    }
}

#[test]
fn ids_name_jobs_and_items() {
    let names = |id: &str| jobs_of(id).iter().map(|job| job.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names("resp_a"), ["a", "resp_a"]);
    assert_eq!(names("a"), ["a"]);
    assert_eq!(names(&format!("resp_{}", "x".repeat(64))), ["x".repeat(64)]);
    assert!(names("resp_").len() == 1 && names("a b").is_empty());
    assert_eq!(item_of("msg_a_b_12"), Some(("a_b".parse().expect("an id"), 12)));
    for none in ["msg_1", "x", "item_j_in0", ""] {
        assert_eq!(item_of(none), None, "{none}");
    }
}

#[test]
fn a_conversation_goes_on_without_its_instructions() {
    let door = Entrance::default();
    let job = |body: Value, before: &[Box<RawValue>]| -> Job {
        let parsed = body.to_string();
        let parsed = ResponseRequest::read(parsed.as_bytes()).expect("a request");
        let request = parsed.into_job_request(before, &BTreeMap::new()).expect("a job");
        request.into_job(&door, Timestamp(0)).expect("a valid job")
    };
    let first = job(json!({"model": "m", "input": "one", "instructions": "rules"}), &[]);
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": "1", "refusal": null,
        "annotations": [1], "reasoning_details": [{"signature": "s"}], "reasoning_content": "hm"}}]});
    let before = turns(&first, answer).expect("a chat");
    let second = job(json!({"model": "m", "input": "two", "instructions": "other rules"}), &before);
    let input: Value = serde_json::from_str(second.input.get()).expect("JSON");
    let answered = json!({"role": "assistant", "content": "1", "reasoning_details": [{"signature": "s"}], "reasoning_content": "hm"});
    assert_eq!(
        input["messages"],
        json!([{"role": "system", "content": "other rules"}, {"role": "user", "content": "one"}, answered,
            {"role": "user", "content": "two"}])
    );
    let page = |limit, after: Option<&str>, order| input_items(&second, limit, after, order);
    let all = page(None, None, Some("asc")).expect("a page");
    let kinds: Vec<&str> =
        all["data"].as_array().expect("a list").iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!((kinds, &all["has_more"]), (vec!["message", "reasoning", "message", "message"], &json!(false)));
    assert_eq!(all["data"][2]["content"], json!([{"type": "output_text", "text": "1", "annotations": []}]));
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = page(Some("3"), after.as_deref(), None).expect("a page");
        seen.extend(page["data"].as_array().expect("a list").clone());
        after = page["last_id"].as_str().map(str::to_owned);
        if page["has_more"] == false {
            break;
        }
    }
    seen.reverse();
    assert_eq!(json!(seen), all["data"]);
    for (limit, after, order, param) in
        [(Some("0"), None, None, "limit"), (None, Some("x"), None, "after"), (None, None, Some("up"), "order")]
    {
        assert_eq!(page(limit, after, order).expect_err(param).param.as_deref(), Some(param));
    }
}
