use proptest::prelude::*;

use super::*;

fn decode<'a>(packets: impl IntoIterator<Item = Packet<'a>>) -> (Vec<Event>, Result<Finish, Failure>) {
    let mut decoder = ConverseDecoder::default();
    let mut out = Vec::new();
    for packet in packets {
        match decoder.on_packet(packet, &mut out) {
            Ok(Step::More) => {}
            Ok(Step::Done) => break,
            Err(failure) => return (out, Err(failure)),
        }
    }
    let end = decoder.on_end(&mut out);
    (out, end)
}

fn event<'a>(event: &'a str, data: &'a str) -> Packet<'a> {
    Packet::Frame { message: "event", event, data: data.as_bytes() }
}

const STOP: &str = r#"{"stopReason":"end_turn"}"#;

#[test]
fn a_text_that_is_too_long_for_one_event_becomes_several() {
    let text = "\u{e4}".repeat(20_000);
    let delta = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#);
    let (events, end) = decode([event("contentBlockDelta", &delta), event("messageStop", STOP)]);
    let pieces: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Delta(delta) => &*delta.text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((pieces.len(), pieces.concat()), (3, text));
    assert_eq!(&*end.unwrap().reason, "stop");
}

#[test]
fn what_cannot_be_is_truncated() {
    let fragment = r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{}"}}}"#;
    let usage = r#"{"usage":{"inputTokens":1,"outputTokens":1}}"#;
    for packets in [
        vec![],
        vec![event("messageStart", "{}")],
        vec![event("contentBlockDelta", fragment)],
        vec![event("contentBlockDelta", "{")],
        vec![event("contentBlockDelta", r#"{"contentBlockIndex":-1,"delta":{}}"#)],
        vec![event("messageStop", "[]")],
        vec![event("metadata", usage)],
        vec![Packet::Whole(b" ")],
        vec![Packet::Whole(b"{\"output\":{\"message\":{\"content\":[1]}}}")],
    ] {
        let text = format!("{packets:?}");
        let (_, end) = decode(packets);
        assert_eq!(end.unwrap_err().code, Code::ProviderTruncated, "{text}");
    }
}

#[test]
fn a_field_that_is_too_large_is_named() {
    let trace = format!(r#"{{"stopReason":"end_turn","additionalModelResponseFields":"{}"}}"#, "x".repeat(9000));
    let (events, _) = decode([event("messageStop", &trace)]);
    let expected = Some(Box::new(json!({"chunk": {"dropped": ["additionalModelResponseFields"]}})));
    assert_eq!(events, [Event::Delta(crate::job::Delta { extra: expected, ..Default::default() })]);
}

#[test]
fn the_count_after_the_stop_ends_the_reading() {
    let mut decoder = ConverseDecoder::default();
    let mut out = Vec::new();
    let mut step = |name, data| decoder.on_packet(event(name, data), &mut out).unwrap();
    assert_eq!(step("messageStop", STOP), Step::More);
    assert_eq!(step("somethingNew", "not even JSON"), Step::More);
    assert_eq!(
        step(
            "metadata",
            r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheReadInputTokens":3,"cacheWriteInputTokens":9,"cacheDetails":[{"ttl":"1h","inputTokens":4},{"ttl":"5m","inputTokens":5}]},"serviceTier":{"type":"flex"}}"#
        ),
        Step::Done
    );
    let usage = decoder.usage_so_far().unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens), (Some(13), Some(3), Some(9)));
    let bill = decoder.bill();
    assert_eq!((bill.cache_write_1h_tokens, bill.service_tier.as_deref()), (Some(4), Some("flex")));
}

fn json_like() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("{}".to_owned()),
        any::<i32>().prop_map(|number| number.to_string()),
        "[a-z\u{e4}]{0,9}".prop_map(|text| format!("{text:?}")),
    ];
    let names = prop::sample::select(vec![
        "contentBlockIndex",
        "delta",
        "start",
        "text",
        "toolUse",
        "input",
        "reasoningContent",
        "reasoningText",
        "signature",
        "redactedContent",
        "toolUseId",
        "name",
        "type",
        "stopReason",
        "usage",
        "inputTokens",
        "output",
        "message",
        "content",
        "citation",
        "citationsContent",
        "trace",
        "serviceTier",
        "p",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((names.clone(), inner), 0..5).prop_map(|fields| {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_packets_make_it_panic(
        packets in prop::collection::vec((0usize..9, json_like(), prop::collection::vec(any::<u8>(), 0..20)), 0..12),
    ) {
        let names = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop",
                     "messageStop", "metadata", "throttlingException", "\u{e4}rger"];
        let whole = decode(packets.iter().map(|(_, data, _)| Packet::Whole(data.as_bytes())));
        drop(whole);
        let (_, _end) = decode(packets.iter().map(|(kind, data, noise)| Packet::Frame {
            message: if *kind < 7 { "event" } else { "exception" },
            event: names[*kind],
            data: if noise.len() == 1 { noise } else { data.as_bytes() },
        }));
    }
}
