use serde_json::{Value, json};

use super::*;
use crate::job::Timestamp;
use crate::wire::submit::{Entrance, from_json};

const TEXT: &str = "The river runs  ";

fn job_of(input: &str) -> Arc<Job> {
    let json = format!(r#"{{"model":"p/m","task":"chat","input":{input}}}"#);
    Arc::new(from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap())
}

async fn asked(input: &str, text: &str, way: ContinueBy) -> Continued {
    let partial = PartialAnswer { text: text.into(), ..PartialAnswer::default() };
    continued(&job_of(input), &partial, way, "gpt-4o").await
}

/// The input that is asked, or why none is.
async fn input_of(input: &str, text: &str, way: ContinueBy) -> Result<String, &'static str> {
    match asked(input, text, way).await {
        Continued::Ask { job, prefilled } => {
            assert_eq!(prefilled, matches!(way, ContinueBy::Prefill(_)) && !text.trim().is_empty());
            Ok(job.input.get().to_owned())
        }
        Continued::NothingLeft => Err("nothing left"),
        Continued::Cannot => Err("cannot"),
    }
}

#[tokio::test]
async fn the_text_so_far_is_the_last_message_and_no_other_byte_changes() {
    for (input, expected) in [
        (
            r#"{"messages" : [ {"role":"user","content":"\u00e4  "} ],"odd":  1.50e3}"#,
            Ok(concat!(
                r#"{"messages" : [ {"role":"user","content":"\u00e4  "} ,{"role":"assistant","content":"The river runs"}]"#,
                r#","odd":  1.50e3}"#
            )),
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"temperature":0}}"#,
            Ok(concat!(
                r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]},{"role":"assistant","content":"#,
                r#"[{"text":"The river runs"}]}],"inferenceConfig":{"temperature":0}}"#
            )),
        ),
        (
            r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
            Ok(concat!(
                r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]},"#,
                r#"{"role":"model","parts":[{"text":"The river runs"}]}]}"#
            )),
        ),
        (
            r#"{"input":[{"role":"user","content":"Hi"}]}"#,
            Ok(concat!(
                r#"{"input":[{"role":"user","content":"Hi"},{"type":"message","role":"assistant","content":"#,
                r#"[{"type":"output_text","text":"The river runs"}]}]}"#
            )),
        ),
        // The caller had begun it.
        (
            r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well: ","name":"x"}]}"#,
            Ok(concat!(
                r#"{"messages":[{"role":"user","content":"Hi"},"#,
                r#"{"role":"assistant","content":"Well: The river runs","name":"x"}]}"#
            )),
        ),
        (
            r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"The river"}]}"#,
            Ok(concat!(
                r#"{"messages":[{"role":"user","content":"Hi"},"#,
                r#"{"role":"assistant","content":"The river runs"}]}"#
            )),
        ),
        (r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"The"}]}]}"#, Err("cannot")),
        (r#"{"messages":[{"role":"assistant","content":"a","tool_calls":[]}]}"#, Err("cannot")),
        (r#"{"input":[{"role":"assistant","content":"a"}]}"#, Err("cannot")),
        (r#"{"messages":[]}"#, Ok(r#"{"messages":[{"role":"assistant","content":"The river runs"}]}"#)),
    ] {
        let got = input_of(input, TEXT, ContinueBy::Prefill(Prefill::Exact)).await;
        assert_eq!(got.as_deref(), expected.as_deref(), "{input}");
    }
    let begun = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well: "}]}"#;
    assert_eq!(input_of(begun, TEXT, ContinueBy::Prefill(Prefill::Repeats)).await, Err("cannot"));
}

#[tokio::test]
async fn where_there_is_no_text_the_same_is_asked_again() {
    let input = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}"#;
    for (text, way) in [("", ContinueBy::Prefill(Prefill::Exact)), (" \n", ContinueBy::Turn)] {
        assert_eq!(input_of(input, text, way).await.as_deref(), Ok(input));
    }
}

#[tokio::test]
async fn a_turn_says_the_text_and_asks_for_the_rest() {
    for (input, list, text_at) in [
        (r#"{"messages":[{"role":"user","content":"Hi"}]}"#, "messages", "/content"),
        (r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#, "messages", "/content/0/text"),
        (r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#, "contents", "/parts/0/text"),
        (r#"{"input":[{"role":"user","content":"Hi"}]}"#, "input", "/content/0/text"),
        (r#""Hi""#, "messages", "/content"),
    ] {
        let got = input_of(input, TEXT, ContinueBy::Turn).await.expect("asked");
        let got: Value = serde_json::from_str(&got).unwrap();
        let all = got[list].as_array().unwrap();
        let said = |at: usize| all[at].pointer(text_at).and_then(Value::as_str).unwrap_or_default();
        assert_eq!((all.len(), said(1)), (3, "The river runs"), "{input}");
        assert!(said(2).contains("«The river runs»") && all[2]["role"] == "user", "{input}: {}", all[2]);
    }
}

#[tokio::test]
async fn what_was_spent_is_taken_off_every_limit() {
    let spent = tokens::count("gpt-4o", TEXT.trim_end());
    assert!((3..=4).contains(&spent));
    let message = json!([{"role": "user", "content": "Hi"}]);
    for (limit, at, expected) in [
        (json!({"max_tokens": 10}), "/max_tokens", Some(10 - spent)),
        (json!({"max_completion_tokens": 10}), "/max_completion_tokens", Some(10 - spent)),
        (json!({"max_output_tokens": spent + 1}), "/max_output_tokens", Some(1)),
        (json!({"max_tokens": spent}), "", None),
        (json!({"max_tokens": 1}), "", None),
        (json!({"generationConfig": {"maxOutputTokens": 10}}), "/generationConfig/maxOutputTokens", Some(10 - spent)),
        (json!({"inferenceConfig": {"maxTokens": 10}}), "/inferenceConfig/maxTokens", Some(10 - spent)),
        (json!({"options": {"num_predict": 10}}), "/options/num_predict", Some(10 - spent)),
        (
            json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1999}}),
            "/max_tokens",
            Some(2000),
        ),
    ] {
        let mut input = limit.clone();
        input["messages"] = message.clone();
        match input_of(&input.to_string(), TEXT, ContinueBy::Turn).await {
            Ok(got) => {
                let got: Value = serde_json::from_str(&got).unwrap();
                assert_eq!(got.pointer(at).and_then(Value::as_u64), expected, "{limit}");
            }
            Err(why) => assert_eq!((why, expected), ("nothing left", None), "{limit}"),
        }
    }
    let endless = r#"{"messages":[{"role":"user","content":"Hi"}],"options":{"num_predict":-1}}"#;
    let got = input_of(endless, TEXT, ContinueBy::Prefill(Prefill::Exact)).await.expect("asked");
    assert!(got.ends_with(r#""options":{"num_predict":-1}}"#), "{got}");
}
