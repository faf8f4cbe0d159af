//! How providers are, as `GET /v1/providers` and the metrics tell it.

use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::Client;

const CONFIG: &str = r#"
[health]
failures_in_a_row = 2
[models.broken]
targets = ["scripted/broken"]
[providers.openai]
api_key = "secret"
"#;

fn ask(client: &mut Client, model: &str, script: Value, options: Value) -> Value {
    let job = json!({"model": model, "input": {"messages": [], "script": script}, "options": options});
    client.post("/v1/run", &job.to_string()).json()
}

#[test]
fn providers_are_listed_with_the_targets_that_were_asked_and_how_they_are() {
    forebay::telemetry::install();
    let broker = TestBroker::start(CONFIG);
    let mut client = Client::connect(broker.addr);
    let listed = client.get("/v1/providers").json();
    let provider = |listed: &Value, id: &str| {
        let all = listed["data"].as_array().unwrap().clone();
        all.into_iter().find(|provider| provider["id"] == id).unwrap_or_else(|| panic!("{id} is not in {listed}"))
    };
    assert_eq!(listed["object"], "list");
    assert_eq!(provider(&listed, "openai"), json!({"id": "openai", "kind": "openai", "targets": []}));

    assert_eq!(ask(&mut client, "echo", json!([{"text": "well"}]), json!({}))["state"], "completed");
    let once = json!({"retry": {"max_attempts": 1}});
    for _ in 0..2 {
        let failed = ask(&mut client, "broken", json!([{"status": {"status": 500}}]), once.clone());
        assert_eq!(failed["state"], "failed");
    }
    let targets = provider(&client.get("/v1/providers").json(), "scripted")["targets"].clone();
    let by_model = |model: &str| targets.as_array().unwrap().iter().find(|target| target["model"] == model).unwrap();
    let (broken, echo) = (by_model("broken"), by_model("echo"));
    let fields = ["state", "reason", "failures_in_a_row", "calls", "errors"];
    assert_eq!(
        fields.map(|field| &broken[field]),
        [&json!("open"), &json!("cooling"), &json!(2), &json!(2), &json!(2)]
    );
    assert!(broken["retry_after_ms"].as_u64().is_some_and(|ms| (1..=2000).contains(&ms)), "{broken}");
    assert_eq!(fields.map(|field| &echo[field]), [&json!("closed"), &Value::Null, &json!(0), &json!(1), &json!(0)]);
    assert!(echo["first_token_ms"].is_u64() && echo.get("retry_after_ms").is_none(), "{echo}");

    let metrics = client.get("/metrics").text();
    for line in [
        r#"forebay_provider_state{provider="scripted",model="broken"} 2"#,
        r#"forebay_provider_state{provider="scripted",model="echo"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let head = client.ask("HEAD", "/v1/providers", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client.get("/v1/providers?all=true").error().0, 400);
    assert_eq!(client.post("/v1/providers", "{}").status, 405);
}
