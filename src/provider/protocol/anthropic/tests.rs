//! What no exchange shows: other hosts of Claude, whose dialect an input is in, arbitrary packets.

use crate::egress::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::job::{Event, Job, caps, for_tests};
use crate::provider::protocol::openai_chat;
use crate::provider::{Decoder, Endpoint, ModelCall, Packet, Target};

fn job(input: &Value) -> Job {
    for_tests::job("p/m").input(input).build()
}

fn site(form: Form) -> Site {
    Site { kind: "anthropic", maker: "anthropic", form, others: &OtherModels::PLAIN }
}

fn sent(input: &Value, model: &str, form: Form) -> (Value, Vec<String>) {
    let (job, endpoint) = (job(input), Endpoint::plain("p", "http://h"));
    let target = Target { provider: "p".into(), model: model.into() };
    let site = site(form);
    let passthrough = request(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false }, site)
        .expect("a request");
    (serde_json::from_slice(&passthrough.body).expect("JSON"), passthrough.betas)
}

#[test]
fn the_body_says_what_its_host_wants_to_hear() {
    let input = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "betas": ["b-1"]});
    let common = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9});
    for (form, more) in [
        (Form::Api, json!({"model": "claude-opus-4-5", "stream": true})),
        (Form::Vertex, json!({"anthropic_version": "vertex-2023-10-16", "stream": true})),
        (Form::Bedrock, json!({"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b-1"]})),
    ] {
        let mut expected = common.clone();
        expected.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        assert_eq!(sent(&input, "claude-opus-4-5", form), (expected, vec!["b-1".to_owned()]), "{form:?}");
    }
}

#[test]
fn an_address_may_hold_the_version_or_not() {
    for (base_url, expected) in [
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://h/anthropic", "https://h/anthropic/v1/messages"),
        ("https://h/v1beta/messages", "https://h/v1beta/messages"),
        ("https://voice.example", "https://voice.example/v1/messages"),
    ] {
        assert_eq!(url(base_url), expected);
    }
}

#[test]
fn what_is_configured_stays_and_betas_join() {
    let mut endpoint = Endpoint::plain("p", "http://h");
    endpoint.headers.insert("anthropic-beta", HeaderValue::from_static("a-1"));
    endpoint.headers.insert("anthropic-version", HeaderValue::from_static("2099-01-01"));
    let made = headers(&endpoint, &["b-2".to_owned()]).expect("headers");
    assert_eq!(
        (&made["anthropic-beta"], &made["anthropic-version"]),
        (&"a-1,b-2".parse().unwrap(), &"2099-01-01".parse().unwrap())
    );
    let refused = headers(&endpoint, &["b\n".to_owned()]).expect_err("no header");
    assert_eq!(refused.param.as_deref(), Some("input.betas"));
}

#[test]
fn an_input_is_taken_as_it_is_only_when_nothing_in_it_is_openais() {
    let plain = json!([{"role": "user", "content": "Hi"}]);
    let tool = json!({"name": "look", "input_schema": {"type": "object"}});
    let function = json!({"type": "function", "function": {"name": "look"}});
    for (input, expected) in [
        (json!({"messages": plain}), false),
        (json!({"messages": plain, "max_tokens": 9, "top_k": 3}), false),
        (json!({"messages": plain, "system": "S"}), true),
        (json!({"messages": plain, "system": null}), false),
        (json!({"messages": plain, "system": "S", "stop": ["x"]}), false),
        (json!({"messages": plain, "system": "S", "reasoning_effort": "low"}), false),
        (json!({"messages": plain, "stop_sequences": ["x"]}), true),
        (json!({"messages": plain, "thinking": {"type": "adaptive"}}), false),
        (json!({"messages": plain, "tools": [tool]}), true),
        (json!({"messages": plain, "tools": [function, tool]}), false),
        (json!({"messages": plain, "tools": [function], "system": "S"}), false),
        (json!({"messages": plain, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}), true),
        (json!({"messages": plain, "tool_choice": {"type": "any"}}), true),
        (json!({"messages": plain, "tool_choice": "auto", "system": "S"}), false),
        (json!({"messages": [{"role": "system", "content": "S"}, plain[0]], "stop_sequences": ["x"]}), false),
        (json!({"messages": [plain[0], {"role": "system", "content": "S"}], "stop_sequences": ["x"]}), true),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]}),
            true,
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}], "system": "S"}),
            false,
        ),
        (json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]}), true),
        (json!({"messages": [{"role": "assistant", "tool_calls": []}], "system": "S"}), false),
        (json!({"messages": 7, "system": "S"}), true),
    ] {
        let raw = serde_json::value::RawValue::from_string(input.to_string()).expect("JSON");
        let fields = openai_chat::fields(&raw).expect("an object");
        assert_eq!(native::is_native(&fields), expected, "{input}");
    }
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
        "message",
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
        "text_delta",
        "thinking_delta",
        "input_json_delta",
        "signature_delta",
        "citations_delta",
        "compaction_delta",
        "end_turn",
        "tool_use",
        "{\"a\":",
        "ä\u{1F600}",
    ];
    proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => word().prop_map(Value::from),
        1 => any::<u32>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!(-1.5)),
        1 => any::<bool>().prop_map(Value::from),
    ];
    let names = [
        "type",
        "index",
        "delta",
        "content_block",
        "message",
        "usage",
        "text",
        "thinking",
        "partial_json",
        "signature",
        "data",
        "citation",
        "citations",
        "content",
        "stop_reason",
        "stop_sequence",
        "input",
        "id",
        "name",
        "input_tokens",
        "output_tokens",
        "iterations",
        "caller",
        "error",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map(proptest::sample::select(names.to_vec()), inner, 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_ends_somehow(
        packets in proptest::collection::vec((any::<bool>(), word(), value()), 0..12),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (job, endpoint) = (job(&json!("Hi")), Endpoint::plain("p", "http://h"));
        let target = Target { provider: "p".into(), model: "claude".into() };
        let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
        let mut decoder = MessagesDecoder::new(model_call, site(Form::Api));
        let mut out = Vec::new();
        for (is_whole, kind, mut value) in packets {
            if let Some(fields) = value.as_object_mut() {
                fields.insert("type".into(), kind.into());
            }
            let text = value.to_string();
            let packet = match is_whole {
                true => Packet::Whole(text.as_bytes()),
                false => Packet::Sse { event: "", data: text.as_bytes() },
            };
            let _ = decoder.on_packet(packet, &mut out);
        }
        let _ = decoder.on_packet(Packet::Sse { event: "x", data: &bytes }, &mut out);
        let _ = decoder.on_end(&mut out);
        let _ = (decoder.usage_so_far(), decoder.bill());
        for event in &out {
            if let Event::Delta(delta) = event {
                prop_assert!(delta.text.len() <= caps::EVENT_TEXT_BYTES_MAX);
            }
        }
    }
}
