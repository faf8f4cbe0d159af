//! Any valid job, at any vendor: what is sent follows the vendor's documented schema, or the job is
//! refused by the name of a field.
//!
//! The schemas in `schema/` are written by hand from the documented formats, strict (no field that
//! is not named), one per protocol; a vendor's is found by the address that is asked.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use forebay::job::{Code, Task};
use forebay::provider::{Endpoint, ModelCall, Provider, Route, Target, vendor};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::replay::job;

/// By the end of the path, the most telling first.
const SCHEMAS: &[(&str, &str, &str)] = &[
    ("/v2/chat", "cohere", include_str!("schema/cohere.json")),
    ("/api/chat", "ollama", include_str!("schema/ollama.json")),
    ("/messages", "messages", include_str!("schema/messages.json")),
    (":rawPredict", "messages", include_str!("schema/messages.json")),
    (":streamRawPredict", "messages", include_str!("schema/messages.json")),
    ("/chat/completions", "chat", include_str!("schema/chat.json")),
    ("/responses", "responses", include_str!("schema/responses.json")),
    ("/converse", "converse", include_str!("schema/converse.json")),
    ("/converse-stream", "converse", include_str!("schema/converse.json")),
    (":generateContent", "generate", include_str!("schema/generate.json")),
    (":streamGenerateContent", "generate", include_str!("schema/generate.json")),
];

/// Vendors whose format is their own, without a schema here, and those that do not chat.
const WITHOUT_SCHEMA: &[(&str, &str)] = &[
    ("scripted", "plays a script"),
    ("voyage", "embeds and ranks"),
    ("jina", "embeds and ranks"),
    ("workers-ai", "its native body is the chat body less what it does not take"),
];

static VALIDATORS: LazyLock<Vec<(&str, Validator)>> = LazyLock::new(|| {
    let compile = |schema: &str| {
        let schema: Value = serde_json::from_str(schema).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    };
    SCHEMAS.iter().map(|(end, _, schema)| (*end, compile(schema))).collect()
});

/// What a vendor makes of a job.
enum Encoded {
    /// The path that is asked, and the body.
    Sent(String, Value),
    Refused(Code, String),
}

fn encode(provider: &dyn Provider, model: &str, input: &Value, drop_unsupported: bool) -> Encoded {
    encode_with(provider, model, input, drop_unsupported, None)
}

/// `setting` is one of the endpoint's: `api`, `prefill`.
fn encode_with(
    provider: &dyn Provider,
    model: &str,
    input: &Value,
    drop_unsupported: bool,
    setting: Option<(&str, &str)>,
) -> Encoded {
    let mut job = job(&input.to_string());
    job.task = Task::Chat;
    job.options.drop_unsupported = drop_unsupported;
    let target = Target { provider: "p".into(), model: model.into() };
    let mut endpoint = Endpoint::plain("p", "http://here/v1");
    for setting in provider.card().settings {
        endpoint
            .settings
            .insert(setting.name.into(), if setting.default.is_empty() { "here" } else { setting.default }.into());
    }
    endpoint.settings.extend(setting.map(|(name, value)| (name.into(), value.into())));
    let prefilled = setting.is_some_and(|(name, _)| name == "prefill");
    match provider.encode(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled }) {
        Ok(outbound) => {
            let Route::Http { url, .. } = outbound.route else { panic!("goes over HTTP") };
            let path = url.split('?').next().unwrap_or_default().to_owned();
            Encoded::Sent(path, serde_json::from_slice(&outbound.body).expect("a body is JSON"))
        }
        Err(failure) => Encoded::Refused(failure.code, failure.param.as_deref().unwrap_or("").to_owned()),
    }
}

/// Whether the vendor's schema takes what was sent.
fn check(vendor: &str, path: &str, body: &Value) -> Result<(), String> {
    let Some((_, validator)) = VALIDATORS.iter().find(|(end, _)| path.ends_with(end)) else {
        return Err(format!("{vendor} asks {path}, which has no schema here"));
    };
    let wrong: Vec<String> =
        validator.iter_errors(body).take(3).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{vendor}: {}\n{body}", wrong.join("; "))) }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("Hi".to_owned()), Just("ä\u{1F600}\n\"q\" \\".to_owned()), "[a-zA-Z ,.]{1,20}[a-z]"]
}

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";

fn user() -> impl Strategy<Value = Value> {
    let parts = (text(), any::<bool>()).prop_map(|(text, with_detail)| {
        let mut image = json!({"url": PIXEL});
        if with_detail {
            image["detail"] = json!("low");
        }
        json!([{"type": "text", "text": text}, {"type": "image_url", "image_url": image}])
    });
    let content = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => text().prop_map(|text| json!([{"type": "text", "text": text}])),
        1 => parts,
    ];
    content.prop_map(|content| json!([{"role": "user", "content": content}]))
}

/// An answer of the model, or one that calls tools, with their results.
fn assistant() -> impl Strategy<Value = Value> {
    let raw = text().prop_map(|text| json!([{"role": "assistant", "content": text}]));
    let called = (proptest::option::of(text()), 1..3_usize, any::<bool>()).prop_map(|(content, calls, thought)| {
        let mut message = json!({"role": "assistant", "content": content, "tool_calls": []});
        if thought {
            message["reasoning_content"] = json!("first look, then say");
        }
        let mut turn = Vec::new();
        for call in 0..calls {
            let id = format!("call_{call}");
            message["tool_calls"].as_array_mut().expect("a list").push(json!(
                {"id": id, "type": "function", "function": {"name": "look", "arguments": "{\"place\":\"Bern\"}"}}
            ));
            turn.push(json!({"role": "tool", "tool_call_id": id, "content": "sunny"}));
        }
        turn.insert(0, message);
        Value::Array(turn)
    });
    prop_oneof![raw, called]
}

fn messages() -> impl Strategy<Value = Value> {
    let rules = proptest::option::of((prop_oneof![Just("system"), Just("developer")], text()));
    (rules, user(), proptest::collection::vec((assistant(), user()), 0..3)).prop_map(|(rules, first, turns)| {
        let mut all: Vec<Value> =
            rules.map(|(role, text)| json!({"role": role, "content": text})).into_iter().collect();
        let mut add = |messages: Value| {
            if let Value::Array(messages) = messages {
                all.extend(messages);
            }
        };
        add(first);
        for (answer, question) in turns {
            add(answer);
            add(question);
        }
        Value::Array(all)
    })
}

fn parameters() -> impl Strategy<Value = BTreeMap<&'static str, Value>> {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}},
        "required": ["z", "a"], "additionalProperties": false});
    let tool = json!({"type": "function", "function": {"name": "look", "description": "looks", "parameters": schema}});
    let bare = json!({"type": "function", "function": {"name": "bare"}});
    let formats = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}});
    let choice = json!({"type": "function", "function": {"name": "look"}});
    let all: Vec<(&'static str, Vec<Value>)> = vec![
        ("max_tokens", vec![json!(20_000), json!(100)]),
        ("max_completion_tokens", vec![json!(3000)]),
        ("temperature", vec![json!(0), json!(0.7), json!(1.0)]),
        ("top_p", vec![json!(0.9)]),
        ("stop", vec![json!("END"), json!(["a", "b"])]),
        ("seed", vec![json!(7)]),
        ("n", vec![json!(1), json!(2)]),
        ("presence_penalty", vec![json!(0), json!(0.5)]),
        ("logprobs", vec![json!(false), json!(true)]),
        ("user", vec![json!("user-1")]),
        ("reasoning_effort", vec![json!("low"), json!("high")]),
        ("parallel_tool_calls", vec![json!(true), json!(false)]),
        ("tools", vec![json!([tool]), json!([tool, bare])]),
        ("tool_choice", vec![json!("auto"), json!("none"), json!("required"), choice]),
        ("response_format", vec![json!({"type": "text"}), json!({"type": "json_object"}), formats]),
        ("service_tier", vec![json!("auto")]),
    ];
    let chosen: Vec<_> = all
        .into_iter()
        .map(|(name, values)| {
            proptest::option::weighted(0.25, proptest::sample::select(values)).prop_map(move |v| (name, v))
        })
        .collect();
    chosen.prop_map(|fields| {
        let mut fields: BTreeMap<_, _> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if !fields.contains_key("tools") {
            fields.remove("tool_choice");
            fields.remove("parallel_tool_calls");
        }
        fields
    })
}

/// A model whose name says something to the vendor, where names matter.
fn models(vendor: &str) -> &'static [&'static str] {
    match vendor {
        "anthropic" | "anthropic-compatible" => &["claude-sonnet-4-5", "claude-opus-4-7", "claude-3-5-haiku-20241022"],
        "google-ai-studio" | "gemini-compatible" => &["gemini-2.5-flash", "gemini-3-pro-preview"],
        "google-vertex-ai" => &["gemini-2.5-pro", "claude-sonnet-4-5@20250929"],
        "openai" | "azure-openai" => &["gpt-4.1", "gpt-5-mini", "o4-mini"],
        "aws-bedrock" => &["anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0"],
        _ => &["some-model"],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_job_becomes_what_the_vendors_schema_takes(
        messages in messages(),
        parameters in parameters(),
        drop_unsupported in any::<bool>(),
        pick in any::<proptest::sample::Index>(),
    ) {
        let mut input = json!({"messages": messages});
        for (name, value) in parameters {
            input[name] = value;
        }
        for provider in vendor::ALL {
            let vendor = provider.card().id;
            if WITHOUT_SCHEMA.iter().any(|(name, _)| *name == vendor) {
                continue;
            }
            let models = models(vendor);
            match encode(*provider, models[pick.index(models.len())], &input, drop_unsupported) {
                Encoded::Sent(path, body) => {
                    if let Err(wrong) = check(vendor, &path, &body) {
                        prop_assert!(false, "{wrong}\nfrom {input}");
                    }
                }
                Encoded::Refused(code, param) => {
                    prop_assert!(matches!(code, Code::Unsupported | Code::Invalid), "{vendor}: {code:?}");
                    prop_assert!(param.starts_with("input."), "{vendor} refuses `{param}`\nof {input}");
                }
            }
        }
    }

    #[test]
    fn any_job_becomes_what_responses_take(
        messages in messages(),
        parameters in parameters(),
        drop_unsupported in any::<bool>(),
        model in proptest::sample::select(vec!["gpt-4.1", "gpt-5-mini", "o4-mini", "some-model"]),
    ) {
        let mut input = json!({"messages": messages});
        for (name, value) in parameters {
            input[name] = value;
        }
        let others = ["openai", "openai-compatible", "xai"].map(super::dialect::vendor_of);
        for provider in others {
            let vendor = provider.card().id;
            match encode_with(provider, model, &input, drop_unsupported, Some(("api", "responses"))) {
                Encoded::Sent(path, body) => {
                    prop_assert!(path.ends_with("/responses"));
                    prop_assert_eq!(check(vendor, &path, &body), Ok(()), "from {}", input);
                }
                Encoded::Refused(code, param) => {
                    prop_assert!(code == Code::Unsupported && !drop_unsupported, "{vendor} refuses {param} of {input}");
                }
            }
        }
    }

    #[test]
    fn a_begun_answer_is_taken_by_everybody_but_models_that_refuse_it(question in text(), begun in text()) {
        let input = json!({"messages": [{"role": "user", "content": question},
            {"role": "assistant", "content": begun.trim_end()}], "max_tokens": 64});
        for provider in vendor::ALL {
            let vendor = provider.card().id;
            if WITHOUT_SCHEMA.iter().any(|(name, _)| *name == vendor) {
                continue;
            }
            for model in models(vendor) {
                match encode_with(*provider, model, &input, false, Some(("prefill", "exact"))) {
                    Encoded::Sent(path, body) => prop_assert_eq!(check(vendor, &path, &body), Ok(())),
                    Encoded::Refused(code, param) => {
                        prop_assert_eq!((code, &*param, *model), (Code::Unsupported, "input.messages[1]", "claude-opus-4-7"))
                    }
                }
            }
        }
    }

    #[test]
    fn a_plain_conversation_is_taken_by_everybody(first in text(), answer in text(), second in text()) {
        let input = json!({"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": first},
            {"role": "assistant", "content": answer}, {"role": "user", "content": second}], "max_tokens": 64});
        for provider in vendor::ALL {
            let vendor = provider.card().id;
            if WITHOUT_SCHEMA.iter().any(|(name, _)| *name == vendor) {
                continue;
            }
            for model in models(vendor) {
                match encode(*provider, model, &input, false) {
                    Encoded::Sent(path, body) => prop_assert_eq!(check(vendor, &path, &body), Ok(())),
                    Encoded::Refused(code, param) => prop_assert!(false, "{vendor} refuses {param}: {code:?}"),
                }
            }
        }
    }
}
