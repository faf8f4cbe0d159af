//! What is asked about a response that goes on without us, and when there is one.

use serde_json::{Value, json};

use super::*;
use crate::job::{Job, Target, for_tests};
use crate::provider::protocol::openai_chat::ReplyRules;
use crate::provider::protocol::responses::Rules;
use crate::provider::{Decoder, Endpoint, Packet, Provider, vendor};

fn job(input: &str) -> Job {
    for_tests::job("p/m").input(input).build()
}

/// What a provider of this kind at `endpoint` asks: to resume, to fetch, to cancel.
fn request(kind: &str, endpoint: &Endpoint, input: &str) -> Vec<Option<String>> {
    let provider: &dyn Provider = *vendor::ALL.iter().find(|one| one.card().id == kind).expect("a vendor");
    let (job, target) = (job(input), Target { provider: "here".into(), model: "gpt-5".into() });
    let model_call = ModelCall { job: &job, target: &target, endpoint, prefilled: false };
    let upstream = Upstream { id: "resp_1".into(), sequence: Some(7) };
    let from_start = Upstream { sequence: None, ..upstream.clone() };
    let request = [
        provider.resume(model_call, &upstream),
        provider.resume(model_call, &from_start),
        provider.fetch(model_call, &upstream),
        provider.cancel(model_call, &upstream),
    ];
    let line = |outbound: Outbound| {
        assert!(outbound.body.is_empty());
        let Route::Http { method, url, headers, .. } = outbound.route else { panic!("goes over HTTP") };
        assert!(!headers.contains_key("content-type"));
        format!("{method} {url}")
    };
    request.into_iter().map(|outbound| outbound.map(line)).collect()
}

#[test]
fn a_response_in_the_background_is_asked_for_by_its_id() {
    let check = |kind: &str, (base, version): (&str, &str), [root, query]: [&str; 2]| {
        let mut endpoint = Endpoint::plain("here", base);
        if !version.is_empty() {
            endpoint.settings.insert("api_version".into(), version.into());
        }
        let (first, more) =
            if query.is_empty() { (String::new(), "?".into()) } else { (format!("?{query}"), format!("?{query}&")) };
        let expected = [
            format!("GET {root}/responses/resp_1{more}stream=true&starting_after=7"),
            format!("GET {root}/responses/resp_1{more}stream=true"),
            format!("GET {root}/responses/resp_1{first}"),
            format!("POST {root}/responses/resp_1/cancel{first}"),
        ];
        let input = r#"{"messages":[{"role":"user","content":"x"}],"background":true}"#;
        assert_eq!(request(kind, &endpoint, input), expected.map(Some), "{kind} {version}");
    };
    check("openai", ("http://h/v1", ""), ["http://h/v1", ""]);
    check("openai-compatible", ("http://h/v1", ""), ["http://h/v1", ""]);
    check("azure-openai", ("http://h", ""), ["http://h/openai/v1", ""]);
    check("azure-openai", ("http://h", "preview"), ["http://h/openai/v1", "api-version=preview"]);
    check("azure-openai", ("http://h", "2025-04-01-preview"), ["http://h/openai", "api-version=2025-04-01-preview"]);
}

#[test]
fn who_is_asked_otherwise_has_nothing_to_resume() {
    let endpoint = Endpoint::plain("here", "http://h/v1");
    let chat = r#"{"messages":[{"role":"user","content":"x"}]}"#;
    for kind in ["openai", "azure-openai", "anthropic", "groq", "scripted"] {
        assert_eq!(request(kind, &endpoint, chat), [const { None }; 4], "{kind}");
    }
}

/// What is known to go on after these packets, and the progress that was told.
fn after(packets: &[Value]) -> (Option<Upstream>, Vec<Event>) {
    let mut decoder = ResponsesDecoder::new(&Rules::PLAIN, &ReplyRules::PLAIN);
    let mut events = Vec::new();
    for packet in packets {
        let data = packet.to_string();
        // An error ends it, as it ends a reply.
        let _ended = decoder.on_packet(Packet::Sse { event: "", data: data.as_bytes() }, &mut events);
    }
    events.retain(|event| matches!(event, Event::Progress(_)));
    (decoder.upstream(), events)
}

#[test]
fn a_response_goes_on_without_us_from_its_id_to_its_end() {
    let begun = |kind: &str, response: Value| json!({"type": kind, "sequence_number": 0, "response": response});
    let created = begun("response.created", json!({"id": "resp_1", "status": "queued", "background": true}));
    let queued = json!({"type": "response.queued", "sequence_number": 1, "response": created["response"]});
    let text = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "a", "sequence_number": 4});
    let unnumbered = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "a"});
    let malformed = json!({"type": "response.output_item.done", "sequence_number": 5});
    let error = json!({"type": "error", "sequence_number": 5, "error": {"message": "x"}});
    let ended = |kind: &str| json!({"type": format!("response.{kind}"), "sequence_number": 6, "response": {"id": "resp_1", "status": kind, "output": []}});
    let check = |packets: &[&Value], expected: Option<Option<u64>>| {
        let packets: Vec<Value> = packets.iter().map(|&packet| packet.clone()).collect();
        let (upstream, events) = after(&packets);
        assert_eq!(upstream, expected.map(|sequence| Upstream { id: "resp_1".into(), sequence }), "{packets:?}");
        assert!(events.len() <= 1, "told once: {events:?}");
        events
    };
    let events = check(&[&created, &queued, &text], Some(Some(4)));
    let upstream = Some(UpstreamId { id: "resp_1".into() });
    let progress = Progress { state: ProgressState::Queued, fraction: None, note: None, upstream };
    assert_eq!(events, [Event::Progress(progress)]);
    check(&[&created], Some(Some(0)));
    check(&[&created, &text, &unnumbered], Some(Some(4)));
    check(&[&created, &text, &malformed], Some(Some(4)));
    check(&[&created, &text, &error], None);
    for kind in ["completed", "incomplete", "failed", "cancelled"] {
        check(&[&created, &text, &ended(kind)], None);
    }
    check(&[&begun("response.created", json!({"id": "resp_1", "background": false})), &text], None);
    check(&[&begun("response.created", json!({"id": "resp_1"})), &text], None);
    let mut unnumbered_from_the_start = created.clone();
    unnumbered_from_the_start.as_object_mut().expect("an object").remove("sequence_number");
    check(&[&unnumbered_from_the_start, &unnumbered], None);
    for id in ["", "a/../b", "a?b", "ä"] {
        check(&[&begun("response.created", json!({"id": id, "background": true})), &text], None);
    }
}

#[test]
fn the_whole_of_a_response_says_whether_it_is_there_yet() {
    let check = |status: &str, expected: Option<&str>| {
        let whole = json!({"id": "resp_1", "status": status, "background": true, "output": [], "error": null});
        let mut decoder = ResponsesDecoder::new(&Rules::PLAIN, &ReplyRules::PLAIN);
        let mut events = Vec::new();
        let step = decoder.on_packet(Packet::Whole(whole.to_string().as_bytes()), &mut events);
        let expected = expected.map(|id| Upstream { id: id.into(), sequence: None });
        assert_eq!((step.is_ok(), decoder.upstream()), (status == "completed", expected), "{status}");
        assert_eq!(events, [], "{status}");
    };
    check("queued", Some("resp_1"));
    check("in_progress", Some("resp_1"));
    for over in ["completed", "failed", "cancelled"] {
        check(over, None);
    }
}
