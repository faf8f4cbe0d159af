//! The models that can be asked, and what is counted where a provider tells nothing.

use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::Client;

const CONFIG: &str = r#"
[models.smart]
targets = ["openai/gpt-5", "gone/x"]
[models.inhouse]
targets = ["scripted/inhouse"]
task = "embedding"
input_tokens_max = 1000
abilities = ["vision"]
[providers.openai]
api_key = "secret"
[providers.work]
kind = "openai"
api_key = "secret"
[prices."scripted/echo"]
input_per_mtok_usd = 1
output_per_mtok_usd = 10
"#;

fn ids(listed: &Value) -> Vec<&str> {
    listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

#[test]
fn models_are_listed_as_openais_clients_read_them_and_with_what_they_cost() {
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    let listed = client.get("/v1/models").json();
    assert_eq!((&listed["object"], &listed["prices_date"]), (&json!("list"), &json!(forebay::catalog::date())));
    let all = ids(&listed);
    assert_eq!(all[..3], ["echo", "inhouse", "smart"], "the configuration's come first");
    assert!(all.contains(&"openai/gpt-5") && all.contains(&"work/gpt-5"));
    assert!(all[3..].iter().all(|id| id.starts_with("openai/") || id.starts_with("work/")), "only who is on");

    let gpt = client.get("/v1/models/openai/gpt-5").json();
    for (field, expected) in [
        ("id", json!("openai/gpt-5")),
        ("object", json!("model")),
        ("owned_by", json!("openai")),
        ("task", json!("chat")),
        ("on", json!(true)),
        ("input_tokens_max", json!(272_000)),
        ("targets", json!(["openai/gpt-5", "work/gpt-5"])),
    ] {
        assert_eq!(gpt[field], expected, "{field}");
    }
    assert_eq!(gpt["prices"]["in"], "1.25");
    assert_eq!(gpt["prices"]["cached/priority"], "0.25");
    assert!(gpt["abilities"].as_array().unwrap().contains(&json!("tools")));
    for (name, id) in [
        ("work/GPT-5", "work/gpt-5"),
        ("gpt-5", "openai/gpt-5"),
        ("smart", "smart"),
        // As OpenAI's libraries write it.
        ("openai%2Fgpt-5", "openai/gpt-5"),
    ] {
        assert_eq!(client.get(&format!("/v1/models/{name}")).json()["id"], id, "{name}");
    }
    let inhouse = client.get("/v1/models/inhouse").json();
    assert_eq!((&inhouse["task"], &inhouse["input_tokens_max"]), (&json!("embedding"), &json!(1000)));
    let picture = client.get("/v1/models/openai%2Fgpt-image-1.5").json();
    assert_eq!(picture["prices"]["image@low/1024x1024"], "0.009", "what is no token is priced by the one");
    let off = client.get("/v1/models/anthropic/claude-sonnet-4.5").json();
    assert_eq!((&off["id"], &off["on"]), (&json!("anthropic/claude-sonnet-4-5"), &json!(false)));
    assert_eq!(client.get("/v1/models/nobody/knows").error().1, "unknown_model");
}

#[test]
fn a_listing_is_narrowed() {
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    let mut listed = |query: &str| {
        let answer = client.get(&format!("/v1/models?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        ids(&answer.json()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(listed("all=true").len() > 2_000);
    let dots = listed("q=claude-sonnet-4.5&all=true");
    assert!(dots.contains(&"anthropic/claude-sonnet-4-5".to_owned()), "{dots:?}");
    assert_eq!(dots, listed("q=Claude-Sonnet-4-5&all=true"));
    assert_eq!(listed("q=claude-sonnet-4.5"), [""; 0], "no provider that serves it is on");
    assert!(listed("provider=work&task=embedding").iter().all(|id| id.starts_with("work/text-embedding")));
    assert_eq!(listed("task=embedding&q=inhouse&provider="), ["inhouse"]);
    for (query, param) in [("task=dance", "task"), ("all=maybe", "all"), ("limit=3", "limit")] {
        let refused = client.get(&format!("/v1/models?{query}"));
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)));
    }
}

#[test]
fn the_task_and_the_spelling_come_from_the_catalog() {
    let broker = TestBroker::start(CONFIG);
    let task = |model: &str| broker.broker.snapshot.load().task_of(&model.parse().unwrap()).map(|task| task.as_str());
    for (model, expected) in [
        ("openai/text-embedding-3-small", Some("embedding")),
        ("text-embedding-3-small", Some("embedding")),
        ("openai/gpt-image-1", Some("image")),
        ("inhouse", Some("embedding")),
        ("smart", Some("chat")),
        ("openai/of-tomorrow", None),
    ] {
        assert_eq!(task(model), expected, "{model}");
    }
}

#[test]
fn what_a_provider_does_not_count_is_counted_and_marked() {
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    let text = "The quick brown fox jumps over the lazy dog.";
    let mut ask = |script: Value| {
        let messages = json!([{"role": "user", "content": text}]);
        let job = json!({"model": "echo", "input": {"messages": messages, "script": script}});
        client.post("/v1/run", &job.to_string()).json()
    };
    let untold = ask(json!([{"text": ["The quick brown fox ", "jumps over the lazy dog."]}, {"usage": null}]));
    // Ten tokens of the sentence, and what a message costs beside its text.
    assert_eq!(untold["usage"], json!({"input_tokens": 14, "output_tokens": 10, "source": "estimate"}));
    assert_eq!(untold["cost"], json!({"usd": "0.000114", "priced": true}));
    let calls =
        ask(json!([{"tool_call": {"name": "look", "arguments": "{\"at\": \"the lazy dog\"}"}}, {"usage": null}]));
    assert!(calls["usage"]["output_tokens"].as_u64().is_some_and(|count| (5..20).contains(&count)), "{calls}");
    let broken = ask(json!([{"text": "The quick brown fox"}, "cut"]));
    assert_eq!(broken["usage"]["output_tokens"], 4, "{broken}");
    assert_eq!(broken["usage"]["source"], "estimate");
    let received = ask(json!([{"text": text}, {"usage": {"input_tokens": 3, "output_tokens": 4}}]));
    assert_eq!((&received["usage"]["output_tokens"], &received["usage"]["source"]), (&json!(4), &json!("provider")));
}
