//! Tests of the choice of this protocol, and of which models reason.

use super::*;
use crate::job::{Job, Target, for_tests};
use crate::provider::Endpoint;

fn site(rules: &'static Rules) -> Site {
    Site { kind: "not-in-the-catalog", rules }
}

fn job(input: &str) -> Job {
    for_tests::job("p/m").input(input).build()
}

#[test]
fn models_that_reason_are_known_by_their_names() {
    for (model, expected) in [
        ("o1", true),
        ("o3-mini-2025-01-31", true),
        ("gpt-5", true),
        ("openai/gpt-5.1-codex", true),
        ("openai.gpt-5.6-luna", true),
        ("gpt-oss-20b", true),
        ("codex-mini-latest", true),
        ("gpt-5-chat-latest", false),
        ("gpt-4o", false),
        ("gpt-4.1-nano", false),
        ("omni-moderation", false),
        ("llama-3", false),
    ] {
        assert_eq!(thinks("not-in-the-catalog", model), expected, "{model}");
    }
}

#[test]
fn an_input_of_items_goes_out_as_responses() {
    for (input, api, expected) in [
        (r#"{"input":[{"role":"user","content":"x"}]}"#, None, true),
        (r#"{"messages":[],"instructions":"be brief"}"#, None, true),
        (r#"{"messages":[],"background":true}"#, None, true),
        (r#"{"messages":[]}"#, Some("responses"), true),
        (r#"{"messages":[]}"#, Some("chat"), false),
        (r#"{"messages":[],"input":[]}"#, None, false),
        (r#"{"messages":[],"max_tokens":3}"#, None, false),
    ] {
        let mut job = job(input);
        let target = Target { provider: "p".into(), model: "gpt-4o".into() };
        let mut endpoint = Endpoint::plain("p", "http://h");
        endpoint.settings.extend(api.map(|api| ("api".into(), api.into())));
        assert_eq!(
            is_wanted(
                ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false },
                site(&Rules::PLAIN)
            ),
            expected,
            "{input}"
        );
        job.task = Task::Embedding;
        assert!(!is_wanted(
            ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false },
            site(&Rules::PLAIN)
        ));
    }
}

#[test]
fn what_came_in_this_dialect_goes_out_in_it_where_that_is_better_or_the_only_way() {
    let search = r#"{"messages":[],"tools":[{"type":"function"},{"type":"web_search"}]}"#;
    let function = r#"{"messages":[],"tools":[{"type":"function"}]}"#;
    const PREFERRED: &Rules = &Rules { is_preferred: true, ..Rules::PLAIN };
    for (input, came_so, rules, api, expected) in [
        (function, true, PREFERRED, None, true),
        (function, true, PREFERRED, Some("chat"), false),
        (function, false, PREFERRED, None, false),
        (function, true, &Rules::PLAIN, None, false),
        (search, true, &Rules::PLAIN, None, true),
        (search, false, &Rules::PLAIN, None, false),
    ] {
        let mut job = job(input);
        job.echo = came_so.then(|| RawValue::from_string("{}".to_owned()).expect("JSON"));
        let target = Target { provider: "p".into(), model: "gpt-4o".into() };
        let mut endpoint = Endpoint::plain("p", "http://h");
        endpoint.settings.extend(api.map(|api| ("api".into(), api.into())));
        let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
        assert_eq!(is_wanted(model_call, site(rules)), expected, "{input} {came_so} {rules:?} {api:?}");
    }
}
