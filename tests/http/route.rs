//! Who serves a job, as its client sees it.

use serde_json::json;

use crate::broker::TestBroker;
use crate::client::Client;

const CONFIG: &str = r#"
[providers.other]
kind = "scripted"
[models.cheap]
targets = ["scripted/echo", "other/echo"]
strategy = "cheapest"
[models.sticky]
targets = ["scripted/echo", "other/echo"]
sticky = "metadata.userId"
[prices."scripted/echo"]
input_per_mtok_usd = 3
output_per_mtok_usd = 9
[prices."other/echo"]
input_per_mtok_usd = 1
output_per_mtok_usd = 3
"#;

/// Returns the provider that serves the model.
fn provider(client: &mut Client, model: &str, job: serde_json::Value) -> String {
    let mut job = job;
    (job["model"], job["input"]) = (json!(model), json!("Hi"));
    let answer = client.post("/v1/run", &job.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("forebay-provider").to_owned()
}

#[test]
fn a_job_is_served_by_whom_its_model_and_its_options_choose() {
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    for (model, options, expected) in [
        ("cheap", json!({}), "other"),
        ("cheap", json!({"provider": {"ignore": ["other"]}}), "scripted"),
        ("cheap", json!({"provider": {"order": ["nobody", "scripted"]}}), "scripted"),
        // By kind: both are `scripted`, and the cheaper one comes first.
        ("cheap", json!({"provider": {"only": ["scripted"]}}), "other"),
        ("scripted/echo", json!({"provider": {"only": ["other"]}, "fallbacks": ["other/echo"]}), "other"),
    ] {
        assert_eq!(provider(&mut client, model, json!({"options": options})), expected, "{model} {options}");
    }
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..20 {
        let job = json!({"metadata": {"userId": user}});
        let first = provider(&mut client, "sticky", job.clone());
        assert_eq!(first, provider(&mut client, "sticky", job), "user {user} stays");
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2, "users are spread");
}

#[test]
fn who_leaves_nobody_is_told_so_at_once() {
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    let job = json!({"model": "cheap", "input": "Hi", "options": {"provider": {"only": ["groq"]}}});
    let answer = client.post("/v1/run", &job.to_string());
    assert_eq!(answer.error(), (404, "unknown_model".into(), "options.provider".into()));
    assert!(answer.text().contains("`scripted`, `other`"), "{}", answer.text());
    let job = json!({"model": "cheap", "input": "Hi", "options": {"provider": {"only": [""]}}});
    let answer = client.post("/v1/run", &job.to_string());
    assert_eq!(answer.error(), (400, "invalid".into(), "options.provider.only[0]".into()));
}
