use super::*;
use crate::config::Config;
use crate::wire::submit::{Entrance, from_json};

fn live() -> ConfigSnapshot {
    let config: Config = toml::from_str(
        r#"
        [providers.openai]
        api_key = "x"
        [providers.local]
        kind = "openai-compatible"
        base_url = "http://127.0.0.1:1/v1"
        [prices."local/dear"]
        input_per_mtok_usd = 1
        output_per_mtok_usd = 100
        [prices."local/free"]
        input_per_mtok_usd = 0
        output_per_mtok_usd = 0
        "#,
    )
    .unwrap();
    ConfigSnapshot::build(config, &|_| None).unwrap()
}

/// What 400 bytes of `input` at `target` will cost, in dollars.
fn check(task: &str, body: &str, target: &str, expected: Option<&str>) {
    let mut input = format!(r#"{{"messages":[],"input":"x",{body}"user":""}}"#);
    let fill = "x".repeat(400 - input.len());
    input.insert_str(input.len() - 2, &fill);
    let json = format!(r#"{{"model":"m","task":"{task}","input":{input}}}"#);
    let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let snapshot = live();
    let (provider, model) = target.split_once('/').unwrap();
    let target = Target { provider: provider.into(), model: model.into() };
    let likely = Likely { job: &job, snapshot: &snapshot, usage: typical(&job), now: Timestamp(0) };
    let price = price(&likely, &PriceBook::from_config(&snapshot.config), &target);
    assert_eq!(price.map(|usd| usd.to_string()).as_deref(), expected, "{task} {body} {target:?}");
}

#[test]
fn a_job_is_priced_before_it_runs_by_its_length_and_its_limit() {
    // 100 tokens in, 500 or as many as it allows out.
    check("chat", "", "local/dear", Some("0.0501"));
    check("chat", r#""max_tokens":10,"#, "local/dear", Some("0.0011"));
    check("chat", r#""max_completion_tokens":10,"max_tokens":9000,"#, "local/dear", Some("0.0011"));
    check("chat", r#""max_tokens":"many","#, "local/dear", Some("0.0501"));
    check("chat", "", "openai/gpt-4.1", Some("0.0042"));
    // Nothing comes out of an embedding.
    check("embedding", "", "openai/text-embedding-3-small", Some("0.000002"));
}

#[test]
fn what_is_free_has_a_price_and_what_is_not_known_has_none() {
    check("chat", "", "local/free", Some("0"));
    check("chat", "", "local/unknown", None);
    check("chat", "", "nobody/dear", None);
}
