//! An answer that goes on at the provider ends as if it had never been cut, wherever it was.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::job::{
    AttemptMode, AttemptStarted, Output, OutputBody, Progress, ProgressState, Restarted, Target, UpstreamId, for_tests,
};
use crate::provider::{Decoder, Endpoint, Finish, ModelCall, Packet, Provider, vendor};

fn body(exchange: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text/openai").join(exchange);
    let exchange: Value = serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("JSON");
    serde_json::from_value(exchange["response"]["body"].clone()).expect("pieces")
}

/// The packets of the stream: the data of each.
fn stream() -> Vec<String> {
    let data = |packet: String| packet.split_once("data: ").expect("has data").1.trim().to_owned();
    body("responses_background_stream.json").into_iter().map(data).collect()
}

fn decoder() -> Box<dyn Decoder> {
    let provider: &dyn Provider = *vendor::ALL.iter().find(|one| one.card().id == "openai").expect("a vendor");
    let input = r#"{"input":[{"role":"user","content":"Hi"}],"background":true}"#;
    let job = for_tests::job("p/m").input(input).build();
    let target = Target { provider: "openai".into(), model: "gpt-9".into() };
    provider.decoder(ModelCall {
        job: &job,
        target: &target,
        endpoint: &Endpoint::plain("openai", "http://h/v1"),
        prefilled: false,
    })
}

fn next_events(decoder: &mut dyn Decoder, packets: &[String], events: &mut Vec<Event>) {
    for data in packets {
        decoder.on_packet(Packet::Sse { event: "", data: data.as_bytes() }, events).expect("well-formed");
    }
}

/// What a reader has in the end: texts by part, calls, what stands beside them.
fn joined(events: &[Event]) -> Value {
    let mut seen = json!({"texts": {}, "calls": [], "beside": [], "told": 0});
    for event in events {
        match event {
            Event::Delta(delta) => {
                let text = &mut seen["texts"][delta.part.as_str()];
                *text = json!(text.as_str().unwrap_or("").to_owned() + &delta.text);
                if let Some(extra) = &delta.extra {
                    seen["beside"].as_array_mut().expect("a list").push((**extra).clone());
                }
            }
            Event::ToolCall(call) => {
                let calls = seen["calls"].as_array_mut().expect("a list");
                if calls.len() == call.index as usize {
                    calls.push(json!({"id": call.call_id, "name": call.name, "arguments": ""}));
                } else {
                    assert!(call.call_id.is_none() && call.name.is_none(), "named once: {call:?}");
                }
                let arguments = &mut calls[call.index as usize]["arguments"];
                *arguments = json!(arguments.as_str().expect("a text").to_owned() + &call.arguments);
            }
            Event::Progress(_) => seen["told"] = json!(seen["told"].as_u64().expect("a number") + 1),
            other => panic!("{other:?}"),
        }
    }
    seen
}

fn end(decoder: &mut dyn Decoder, events: &mut Vec<Event>) -> Finish {
    decoder.on_end(events).expect("the provider's own end")
}

fn uncut() -> (Value, Finish) {
    let (mut decoder, mut events) = (decoder(), Vec::new());
    next_events(&mut *decoder, &stream(), &mut events);
    let finish = end(&mut *decoder, &mut events);
    (joined(&events), finish)
}

/// The first attempt as the log has it.
fn logged(events: &[Event]) -> Reattach {
    let mut rejoin = Reattach::default();
    rejoin.note(&BodyRef::Event(attempt(AttemptMode::Start)));
    for event in events {
        note(&mut rejoin, event);
    }
    rejoin
}

/// As it is read back: plain deltas are borrowed.
fn note(rejoin: &mut Reattach, event: &Event) {
    match event {
        Event::Delta(Delta { part, index, text, extra: None }) => {
            rejoin.note(&BodyRef::Delta { part: *part, index: *index, text: text.into() });
        }
        event => rejoin.note(&BodyRef::Event(event.clone())),
    }
}

fn attempt(mode: AttemptMode) -> Event {
    let (provider, model) = ("openai".into(), "gpt-9".into());
    Event::Attempt(AttemptStarted { attempt: 1, provider, model, mode, dropped: Vec::new() })
}

fn announced(id: &str) -> Event {
    let upstream = Some(UpstreamId { id: id.into() });
    Event::Progress(Progress { state: ProgressState::Running, fraction: None, note: None, upstream })
}

fn text(text: &str) -> Event {
    Event::Delta(Delta { text: text.into(), ..Delta::default() })
}

#[test]
fn a_cut_decoder_goes_on_with_the_packets_after_the_last_it_heard() {
    let (whole, finish) = uncut();
    let packets = stream();
    for cut in 1..packets.len() {
        let (mut decoder, mut events) = (decoder(), Vec::new());
        next_events(&mut *decoder, &packets[..cut], &mut events);
        assert!(decoder.on_end(&mut events).is_err(), "cut at {cut}");
        let sequence = decoder.upstream().expect("it goes on").sequence;
        assert_eq!(sequence, Some(cut as u64 - 1));
        next_events(&mut *decoder, &packets[cut..], &mut events);
        assert_eq!((end(&mut *decoder, &mut events), joined(&events)), (finish.clone(), whole.clone()), "cut at {cut}");
    }
}

#[test]
fn an_answer_that_is_heard_again_is_told_once_wherever_we_died() {
    let (whole, finish) = uncut();
    let packets = stream();
    for cut in 1..packets.len() {
        let mut had = Vec::new();
        next_events(&mut *decoder(), &packets[..cut], &mut had);
        let (upstream, mut skip) = logged(&had).found().expect("can be taken up");
        assert_eq!(upstream, Upstream { id: "resp_bg1".into(), sequence: None });
        let mut decoder = decoder();
        for packet in packets.chunks(1) {
            let mut events = Vec::new();
            next_events(&mut *decoder, packet, &mut events);
            skip.apply(&mut events).expect("the same answer");
            had.append(&mut events);
        }
        assert_eq!((end(&mut *decoder, &mut had), joined(&had)), (finish.clone(), whole.clone()), "died at {cut}");
        assert!(skip.is_done() && skip.end().is_ok(), "died at {cut}");
    }
}

#[test]
fn an_answer_that_is_fetched_whole_is_told_once_wherever_we_died() {
    let (mut whole, finish) = uncut();
    let beside = |seen: &mut Value| {
        let mut fields: Vec<String> =
            seen["beside"].as_array().expect("a list").iter().map(ToString::to_string).collect();
        fields.sort();
        seen["beside"] = json!(fields);
    };
    beside(&mut whole);
    let packets = stream();
    let fetched = body("responses_background_fetched.json").concat();
    for cut in 1..packets.len() {
        let mut had = Vec::new();
        next_events(&mut *decoder(), &packets[..cut], &mut had);
        let (_, mut skip) = logged(&had).found().expect("can be taken up");
        let (mut decoder, mut events) = (decoder(), Vec::new());
        decoder.on_packet(Packet::Whole(fetched.as_bytes()), &mut events).expect("well-formed");
        skip.apply(&mut events).expect("the same answer");
        skip.end().expect("nothing is missing");
        had.append(&mut events);
        let end = end(&mut *decoder, &mut had);
        let mut seen = joined(&had);
        beside(&mut seen);
        assert_eq!((end, seen), (finish.clone(), whole.clone()), "died at {cut}");
    }
}

/// What is let through of `again` after `had`, and whether the end agrees.
fn through(had: &[Event], mut again: Vec<Event>) -> Result<Vec<Event>, Failure> {
    let mut rejoin = logged(&[announced("r")]);
    had.iter().for_each(|event| note(&mut rejoin, event));
    let (_, mut skip) = rejoin.found().expect("can be taken up");
    skip.apply(&mut again)?;
    skip.end()?;
    Ok(again)
}

#[test]
fn pieces_are_cut_where_readers_stopped() {
    let call = |id: Option<&str>, arguments: &str| {
        let name = id.map(|_| "f".into());
        Event::ToolCall(ToolCall { index: 0, call_id: id.map(Into::into), name, arguments: arguments.into() })
    };
    let beside = |text: &str, extra: Value| {
        Event::Delta(Delta { text: text.into(), extra: Some(Box::new(extra)), ..Delta::default() })
    };
    let thought = |text: &str| Event::Delta(Delta { part: Part::Reasoning, text: text.into(), ..Delta::default() });
    let output =
        || Event::Output(Output { index: 0, mime: "a/b".into(), sha256: None, body: OutputBody::Url("u".into()) });
    let check = |had: &[Event], again: &[Event], expected: &[Event]| {
        assert_eq!(through(had, again.to_vec()).expect("the same"), expected, "{had:?} then {again:?}");
    };
    check(&[], &[text("ab")], &[text("ab")]);
    check(&[text("ab"), text("c")], &[text("a"), text("bcd"), text("e")], &[text("d"), text("e")]);
    check(&[text("ä🦀")], &[text("ä🦀ß")], &[text("ß")]);
    check(&[thought("x"), text("y")], &[thought("xx"), text("yy")], &[thought("x"), text("y")]);
    check(&[beside("a", json!(1))], &[beside("ab", json!(1))], &[text("b")]);
    check(&[text("a")], &[text("a"), beside("b", json!(1))], &[beside("b", json!(1))]);
    let twice = [beside("", json!({"k": 1})), beside("", json!({"k": 1})), beside("", json!({"k": 2}))];
    check(&twice[..1], &twice, &twice[1..]);
    check(&[text("")], &[beside("a", json!(1))], &[beside("a", json!(1))]);
    check(&[call(Some("c"), "")], &[call(Some("c"), ""), call(None, "{")], &[call(None, "{")]);
    check(&[call(Some("c"), ""), call(None, "{")], &[call(Some("c"), "{}")], &[call(None, "}")]);
    check(&[output()], &[output(), output()], &[output()]);
    check(&[], &[announced("r"), text("a")], &[text("a")]);
    for (had, again) in [("ab", "ac"), ("ab", "a"), ("a", "ä"), ("ä", "aä"), ("ab", "")] {
        let failure = through(&[text(had)], vec![text(again)]).expect_err("another answer");
        assert!(failure.code == Code::ProviderTruncated && failure.belongs_to_target, "{had} then {again}");
    }
}

#[test]
fn only_an_answer_that_the_last_attempt_listened_to_is_taken_up() {
    let start = || attempt(AttemptMode::Start);
    let go_on = || attempt(AttemptMode::Continue);
    let restarted = || Event::Restarted(Restarted { attempt: 2 });
    let check = |log: Vec<Event>, expected: Option<(&str, &str)>| {
        let mut rejoin = Reattach::default();
        log.iter().for_each(|event| note(&mut rejoin, event));
        let found = rejoin.found();
        assert_eq!(found.as_ref().map(|(upstream, _)| &*upstream.id), expected.map(|(id, _)| id), "{log:?}");
        if let (Some((_, mut skip)), Some((_, said))) = (found, expected) {
            let mut again = vec![text(said), text("new")];
            skip.apply(&mut again).expect("the same");
            assert_eq!(again, [text("new")], "{log:?}");
        }
    };
    check(vec![start(), text("a")], None);
    check(vec![start(), announced("r"), text("a"), text("b")], Some(("r", "ab")));
    check(vec![start(), announced("r"), text("a"), go_on(), announced("r"), text("b")], Some(("r", "ab")));
    check(vec![start(), announced("r"), text("a"), go_on(), text("b")], None);
    check(vec![start(), text("a"), go_on(), announced("r"), text("b")], Some(("r", "b")));
    check(vec![start(), announced("r"), text("a"), go_on(), announced("s"), text("b")], Some(("s", "b")));
    check(vec![start(), announced("r"), text("a"), restarted(), start(), announced("r"), text("b")], Some(("r", "b")));
    check(vec![start(), announced("r"), text("a"), restarted()], None);
}
