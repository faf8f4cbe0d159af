//! Requests: what becomes of them as chats, what comes out again at Anthropic, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::job::{Target, Timestamp};
use crate::provider::protocol::anthropic::{Form, OtherModels, Site, request};
use crate::provider::{Endpoint, ModelCall};
use crate::wire::submit::Entrance;

/// A request with these fields beside what every request has.
fn body(more: Value) -> Value {
    let mut body =
        json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn parsed(body: &Value) -> JobRequest {
    message(body.to_string().as_bytes(), &[]).unwrap_or_else(|failure| panic!("{body}: {failure} {:?}", failure.param))
}

/// The chat, without what every chat here has.
fn chat(body: &Value) -> Value {
    let mut input: Value = serde_json::from_str(parsed(body).input.get()).unwrap();
    let fields = input.as_object_mut().unwrap();
    assert_eq!(fields.remove("max_tokens"), Some(9.into()));
    if fields[OWN_FIELD] == json!({}) {
        fields.remove(OWN_FIELD);
    }
    input
}

/// What Anthropic gets, without what every request to it has.
fn sent(body: &Value) -> Value {
    let job = parsed(body).into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let target = Target { provider: "p".into(), model: "claude-sonnet-4-5".into() };
    let endpoint = Endpoint::plain("p", "http://h");
    let ask = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
    let site = Site { kind: "anthropic", maker: "anthropic", form: Form::Api, others: &OtherModels::PLAIN };
    let sent = request(ask, site);
    let sent = sent.unwrap_or_else(|failure| panic!("{body}: {failure}"));
    let mut sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent.as_object_mut().unwrap().remove("stream"), Some(true.into()));
    sent
}

fn turns(messages: Value) -> Value {
    body(json!({ "messages": messages }))
}

#[test]
fn what_a_chat_has_a_word_for_gets_that_word() {
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let mark = json!({"type": "ephemeral"});
    for (more, expected) in [
        (
            json!({"temperature": 0.5, "top_k": 3, "system": null}),
            json!({"messages": hi, "temperature": 0.5, "top_k": 3}),
        ),
        (json!({"stop_sequences": ["a"]}), json!({"messages": hi, "stop": ["a"]})),
        (
            json!({"system": [{"type": "text", "text": "S", "cache_control": mark}]}),
            json!({"messages": [{"role": "system", "content": [{"type": "text", "text": "S", "cache_control": mark}]}, hi[0]]}),
        ),
        (
            json!({"system": [{"type": "text", "text": "S"}]}),
            json!({"messages": [{"role": "system", "content": "S"}, hi[0]]}),
        ),
        (
            json!({"tools": [{"name": "f", "description": "d", "input_schema": {"z": 1}, "cache_control": mark, "defer_loading": true}],
                   "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true}}),
            json!({"messages": hi, "parallel_tool_calls": false,
                   "tool_choice": {"type": "function", "function": {"name": "f"}},
                   "tools": [{"type": "function", "cache_control": mark, "anthropic": {"defer_loading": true},
                              "function": {"name": "f", "description": "d", "parameters": {"z": 1}}}]}),
        ),
        (json!({"tool_choice": {"type": "any"}}), json!({"messages": hi, "tool_choice": "required"})),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            json!({"messages": hi, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9000}}),
            json!({"messages": hi, "reasoning_effort": "medium",
                   "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 9000}}}),
        ),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            json!({"messages": hi, "reasoning_effort": "low",
                   "anthropic": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}}),
        ),
        (
            json!({"thinking": {"type": "disabled"}, "metadata": {"user_id": "u"}, "service_tier": "standard_only"}),
            json!({"messages": hi, "user": "u", "service_tier": "default",
                   "anthropic": {"thinking": {"type": "disabled"}, "metadata": {"user_id": "u"}}}),
        ),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            json!({"messages": hi,
                   "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
                   "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}}),
        ),
    ] {
        let body = body(more);
        assert_eq!(chat(&body), expected, "{body}");
    }
    let with_betas = message(body(json!({"stream": true})).to_string().as_bytes(), &["a-1", "b-2"]).unwrap();
    assert!(with_betas.input.get().ends_with(r#""anthropic":{"betas":["a-1","b-2"]}}"#), "{}", with_betas.input);
    assert_eq!((with_betas.stream, with_betas.model.as_str()), (Some(true), "claude-sonnet-4-5"));
}

#[test]
fn blocks_become_messages_and_parts() {
    let png = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let detail = |more: Value| {
        let mut detail = json!({"format": "anthropic-claude-v1", "index": 0});
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        detail
    };
    for (request, expected) in [
        (
            json!([{"role": "user", "content": [{"type": "image", "source": png},
                {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
                {"type": "document", "citations": {"enabled": true}, "source": {"type": "url", "url": "u"}},
                {"type": "document", "citations": {"enabled": false}, "source": {"type": "url", "url": "https://u"}}]}]),
            json!([{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "T"}},
                {"type": "document", "citations": {"enabled": true}, "source": {"type": "url", "url": "u"}},
                {"type": "file", "file": {"file_url": "https://u"}}]}]),
        ),
        (
            json!([{"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "S"},
                    {"type": "text", "text": "See"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1, "a": 2}, "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [{"type": "text", "text": "no"}, {"type": "image", "source": png}]},
                    {"type": "tool_result", "tool_use_id": "b", "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "and?"}]}]),
            json!([{"role": "assistant", "content": "See", "cache_control": {"type": "ephemeral"},
                    "reasoning_details": [detail(json!({"type": "reasoning.text", "text": "hm", "signature": "S"}))],
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\":2,\"z\":1}"}}]},
                {"role": "tool", "tool_call_id": "a", "is_error": true, "content": [
                    {"type": "text", "text": "no"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "tool", "tool_call_id": "b", "content": "", "cache_control": {"type": "ephemeral"}},
                {"role": "user", "content": "and?"}]),
        ),
        (
            json!([{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "D"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}]}]),
            json!([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                    "reasoning_details": [detail(json!({"type": "reasoning.encrypted", "data": "D"}))]},
                {"role": "assistant", "content": null, "reasoning_content": "hm",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]),
        ),
    ] {
        assert_eq!(chat(&turns(request.clone()))["messages"], expected, "{request}");
    }
}

#[test]
fn anthropic_gets_what_its_client_said() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let user = json!({"role": "user", "content": "Hi"});
    let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": true,
        "cache_control": mark, "eager_input_streaming": true});
    for request in [
        turns(json!([{"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": mark},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": mark},
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä"}, "title": "T"},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "context": "C"},
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}]}])),
        turns(json!([user,
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "S1"}, {"type": "redacted_thinking", "data": "D"},
                {"type": "text", "text": "a"}, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "thinking", "thinking": "then", "signature": "S2"}, {"type": "text", "text": "b"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"x": [1]}, "cache_control": mark}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": true, "cache_control": mark},
                {"type": "text", "text": "go on"}]}])),
        turns(json!([user, {"role": "assistant", "content": "The answer is"}])),
        body(json!({"tools": [tool], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}})),
        body(json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]})),
        body(json!({"thinking": {"type": "enabled", "budget_tokens": 5000}, "output_config": {"effort": "high"}})),
        body(json!({"temperature": 1.0, "top_p": 1.0, "top_k": 40, "thinking": {"type": "disabled"}})),
        body(json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": mark}]})),
        body(json!({"system": "S", "stop_sequences": ["x"], "metadata": {"user_id": "u".repeat(100)}})),
        body(json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}})),
        body(json!({"service_tier": "standard_only", "mcp_servers": [], "of_tomorrow": {"a": [1]}})),
    ] {
        assert_eq!(sent(&request), request);
    }
}

#[test]
fn what_others_need_back_comes_back_and_is_not_told_to_anthropic() {
    let wrap = |detail: Value| crate::dialect::anthropic::signature::wrap(detail.as_object().unwrap());
    let google = json!({"type": "reasoning.text", "format": "google-gemini-v1", "signature": "G", "index": 0});
    let openai = json!({"type": "reasoning.encrypted", "format": "openai-responses-v1", "id": "rs_1", "data": "E"});
    let of_call = json!({"data": "", "call": 0, "extra_content": {"google": {"thought_signature": "C"}}});
    let request = turns(json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": wrap(google.clone())},
        {"type": "redacted_thinking", "data": wrap(openai.clone())},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "redacted_thinking", "data": wrap(of_call)},
        {"type": "redacted_thinking", "data": "forebay-1:damaged"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}]));
    let mut with_text = google;
    with_text["text"] = "hm".into();
    let message = &chat(&request)["messages"][1];
    assert_eq!(message["reasoning_details"], json!([with_text, openai]));
    assert_eq!(message["tool_calls"][0]["extra_content"], json!({"google": {"thought_signature": "C"}}));
    let blocks = &sent(&request)["messages"][1]["content"];
    assert_eq!(blocks, &json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
}

#[test]
fn what_is_wrong_is_named_as_the_client_wrote_it() {
    for (more, param) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": "9"}), "max_tokens"),
        (json!({"model": null}), "model"),
        (json!({"model": " "}), "model"),
        (json!({"stream": 1}), "stream"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "Hi"}), "messages"),
        (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}), "messages[0].content[0].text"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}), "messages[0].content[0].source"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
            "messages[0].content[0].tool_use_id",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]}),
            "messages[0].content[0].name",
        ),
        (json!({"system": 7}), "system"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
        (json!({"tool_choice": 7}), "tool_choice"),
        (json!({"tool_choice": {"type": "maybe"}}), "tool_choice.type"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (json!({"stop_sequences": "x"}), "stop_sequences"),
        (json!({"thinking": {"budget_tokens": 5}}), "thinking"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": "x"}}), "thinking.budget_tokens"),
        (json!({"metadata": {"user_id": 7}}), "metadata.user_id"),
        (json!({"anthropic": {}}), "anthropic"),
    ] {
        let body = body(more);
        let failure = message(body.to_string().as_bytes(), &[]).expect_err(&body.to_string());
        assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, Some(param)), "{body}: {failure}");
    }
    for bad in [&b"\xff"[..], b"", b"[]", b"{"] {
        assert_eq!(message(bad, &[]).expect_err("no object").code, Code::Invalid);
    }
    let twice = r#"{"model":"m","model":"n","max_tokens":1,"messages":[]}"#;
    assert_eq!(message(twice.as_bytes(), &[]).expect_err("twice").param.as_deref(), Some("model"));
    assert!(count(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).is_ok(), "no answer, no limit");
}
