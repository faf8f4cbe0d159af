//! What a job asks, and what becomes of vectors.

use serde_json::{Value, json};

use super::*;
use crate::provider::protocol::openai_chat;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn value(event: Event) -> Value {
    match event {
        Event::Output(Output { body: OutputBody::Value(value), .. }) => value,
        Event::Output(Output { body: OutputBody::Data(blob), .. }) => serde_json::from_slice(&blob.0).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    for (input, expected) in [
        (r#"{"input":"a"}"#, Ok(1)),
        (r#"{"prompt":"a"}"#, Ok(1)),
        (r#"{"input":["a","b"],"dimensions":3}"#, Ok(2)),
        (r#"{"input":[1,2]}"#, Err("input.input")),
        (r#"{"input":[[1],[2]]}"#, Err("input.input")),
        (r#"{"input":""}"#, Err("input.input")),
        (r#"{"input":[ ]}"#, Err("input.input")),
        (r#"{"input":7}"#, Err("input.input")),
        (r#"{"messages":[]}"#, Err("input.input")),
        (r#"{"input":"a","dimensions":"x"}"#, Err("input.dimensions")),
        (r#"{"input":"a","encoding_format":"hex"}"#, Err("input.encoding_format")),
    ] {
        let input = raw(input);
        let got = Wanted::read(&input, "p").map(|wanted| wanted.texts.len());
        let got = got.as_ref().map_err(|failure| failure.param.as_deref().expect("a field"));
        assert_eq!(got, expected.as_ref().map_err(|param| *param), "{input}");
    }
}

#[test]
fn vectors_come_in_the_form_asked_for() {
    let both = |form| {
        let mut vectors = Vectors::new(form);
        vectors.push(&raw("[1.0,\n  -0.5 ]")).expect("numbers");
        vectors.push_at(7, &raw(r#""AACAPw==""#)).expect("packed");
        value(vectors.into_event())
    };
    let expected = |first: Value| {
        json!({"object": "list", "data": [
            {"object": "embedding", "index": 0, "embedding": first},
            {"object": "embedding", "index": 7, "embedding": "AACAPw=="},
        ]})
    };
    assert_eq!(both(Form::Numbers), expected(json!([1.0, -0.5])));
    assert_eq!(both(Form::Base64), expected(json!("AACAPwAAAL8=")));
    for wrong in ["7", "null", r#"{"a":1}"#] {
        assert!(Vectors::new(Form::Numbers).push(&raw(wrong)).is_err(), "{wrong}");
    }
    assert!(Vectors::new(Form::Base64).push(&raw(r#"["a"]"#)).is_err());
}

#[test]
fn a_large_answer_is_never_a_tree() {
    let long = format!("[{}0]", "0.123456789,".repeat(4000));
    let mut vectors = Vectors::new(Form::Numbers);
    vectors.push(&raw(&long)).expect("numbers");
    let Event::Output(Output { body: OutputBody::Data(blob), mime, .. }) = vectors.into_event() else {
        panic!("its bytes");
    };
    assert_eq!((&*mime, blob.0.len() > OUTPUT_INLINE_BYTES_MAX), ("application/json", true));
}

#[test]
fn what_an_answer_cost_is_read_where_it_is_told() {
    static DOLLARS: ReplyRules = ReplyRules { money: openai_chat::Money::Dollars("cost"), ..ReplyRules::PLAIN };
    let body = br#"{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":3,"cost":{"total_cost":0.000000012}}}"#;
    let answer = read_answer(body, Form::Numbers, &DOLLARS).expect("an answer");
    assert_eq!(answer.bill.provider_usd.map(|usd| usd.to_string()).as_deref(), Some("0.000000012"));
}
