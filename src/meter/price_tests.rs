use super::*;
use crate::job::Timestamp;
use crate::wire::submit::{Entrance, from_json};

const CONFIG: &str = r#"
    [prices."openai/gpt"]
    input_per_mtok_usd = 2.5
    output_per_mtok_usd = 10
    cached_input_per_mtok_usd = "1.25"
    [prices."anthropic/claude"]
    input_per_mtok_usd = 3.0
    output_per_mtok_usd = 15.0
    cached_input_per_mtok_usd = 0.3
    cache_write_per_mtok_usd = 3.75
    [prices."tiny/model"]
    input_per_mtok_usd = "0.0000005"
    output_per_mtok_usd = "0.0000005"
    [prices."local/free"]
    input_per_mtok_usd = 0.0
    output_per_mtok_usd = 0.0
    [prices."embed/small"]
    input_per_mtok_usd = 0.02
    [prices."search/deep"]
    input_per_mtok_usd = 1.0
    output_per_mtok_usd = 1.0
    request_usd = 0.005
    [prices."image/flat"]
    request_usd = 0.04
    [prices."all/kinds"]
    input_per_mtok_usd = 1.0
    output_per_mtok_usd = 10.0
    cached_input_per_mtok_usd = 0.1
    cache_write_per_mtok_usd = 1.25
    reasoning_per_mtok_usd = 20.0
    audio_input_per_mtok_usd = 5.0
    audio_output_per_mtok_usd = 50.0
    search_usd = 0.01
    tiers = [{ above_input_tokens = 1000, input_per_mtok_usd = 2, output_per_mtok_usd = 20 }]
    [prices."@cf/meta/llama"]
    input_per_mtok_usd = 1.0
    output_per_mtok_usd = 1.0
"#;

fn cost(options: &str, target: &str, usage: Usage) -> (String, bool) {
    let task = if target.starts_with("embed/") { "embedding" } else { "chat" };
    let json = format!(r#"{{"model":"m","input":{{"messages":[]}},"task":"{task}","options":{options}}}"#);
    let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let (provider, model) = target.split_once('/').unwrap();
    let target = Target { provider: provider.into(), model: model.into() };
    let sale = Sale {
        job: &job,
        target: &target,
        kind: provider,
        region: None,
        usage: &usage,
        bill: &Bill::default(),
        at: Timestamp(0),
    };
    let cost = PriceBook::from_config(&toml::from_str(CONFIG).unwrap()).cost(&sale);
    (cost.usd.to_string(), cost.priced)
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

#[test]
fn worked_examples_come_out_to_the_last_digit() {
    let cached = |cached| Usage { cached_input_tokens: Some(cached), ..tokens(1000, 100) };
    let written = Usage { cached_input_tokens: Some(500), cache_write_tokens: Some(300), ..tokens(1000, 100) };
    let requests = |requests| Usage { requests: Some(requests), ..tokens(10, 10) };
    for (target, usage, expected, why) in [
        ("openai/gpt", tokens(1000, 100), ("0.0035", true), "1000 × 2.5 µ$ + 100 × 10 µ$"),
        ("openai/gpt", tokens(1, 0), ("0.0000025", true), "one token"),
        ("openai/gpt", cached(600), ("0.00275", true), "400 × 2.5 + 600 × 1.25 + 100 × 10 µ$"),
        ("openai/gpt", cached(5000), ("0.00225", true), "no more is cached than there is"),
        ("openai/gpt", written.clone(), ("0.002875", true), "no price for cache writes: as input"),
        ("anthropic/claude", written, ("0.003375", true), "200 × 3 + 500 × 0.3 + 300 × 3.75 + 100 × 15 µ$"),
        ("tiny/model", tokens(1, 0), ("0.000000000001", true), "half a pico-dollar rounds up"),
        ("tiny/model", tokens(1, 1), ("0.000000000001", true), "two halves are one: rounded once"),
        ("tiny/model", tokens(3, 0), ("0.000000000002", true), "one and a half rounds up"),
        ("local/free", tokens(1000, 1000), ("0", true), "a price of 0 is a price"),
        ("local/free", Usage::default(), ("0", true), "0 times anything is 0"),
        ("embed/small", Usage { input_tokens: Some(50), ..Usage::default() }, ("0.000001", true), "no output"),
        ("search/deep", tokens(10, 10), ("0.00502", true), "one request unless told"),
        ("search/deep", requests(3), ("0.01502", true), "three requests"),
        ("image/flat", tokens(10, 10), ("0.04", true), "a price per request includes the tokens"),
        (
            "all/kinds",
            Usage { reasoning_tokens: Some(60), ..tokens(1000, 100) },
            ("0.0026", true),
            "1000 + 40 × 10 + 60 × 20",
        ),
        (
            "all/kinds",
            Usage { audio_input_tokens: Some(500), ..tokens(1000, 100) },
            ("0.004", true),
            "500 + 500 × 5 + 1000",
        ),
        (
            "all/kinds",
            Usage { audio_output_tokens: Some(50), ..tokens(1000, 100) },
            ("0.004", true),
            "1000 + 500 + 50 × 50",
        ),
        ("all/kinds", tokens(1001, 100), ("0.004002", true), "above 1000: 1001 × 2 + 100 × 20"),
        (
            "all/kinds",
            Usage { cached_input_tokens: Some(1), ..tokens(1002, 0) },
            ("0.0020021", true),
            "cached is the same above",
        ),
        ("workers-ai/@cf/meta/llama", tokens(1, 1), ("0.000002", true), "a @cf name is workers-ai's"),
        ("openai/gpt", requests(0), ("0", true), "never taken on by the provider"),
        ("nobody/x", requests(0), ("0", true), "never taken on by the provider"),
    ] {
        assert_eq!(cost("{}", target, usage), (expected.0.to_owned(), expected.1), "{target}: {why}");
    }
}

#[test]
fn what_is_not_known_is_never_a_silent_zero() {
    let input_only = Usage { input_tokens: Some(1000), ..Usage::default() };
    for (target, usage, expected, why) in [
        ("nobody/x", tokens(1, 1), ("0", false), "no such provider"),
        ("openai/other", tokens(1, 1), ("0", false), "no such model"),
        ("scripted/any", tokens(1, 1), ("0", false), "not even the built-in player is free unless it is said"),
        ("openai/gpt", Usage::default(), ("0", false), "no counts"),
        ("openai/gpt", input_only, ("0.0025", false), "the known part is charged"),
        ("embed/small", tokens(50, 1), ("0.000001", false), "output without a price for it"),
    ] {
        assert_eq!(cost("{}", target, usage), (expected.0.to_owned(), expected.1), "{target}: {why}");
    }
}

#[test]
fn the_jobs_own_prices_win() {
    let own = r#"{"cost":{"per_token_in":0.000001,"per_token_out":"0.000002"}}"#;
    for target in ["openai/gpt", "nobody/x"] {
        assert_eq!(cost(own, target, tokens(1000, 100)), ("0.0012".to_owned(), true), "{target}");
    }
    let cached = Usage { cached_input_tokens: Some(600), ..tokens(1000, 100) };
    assert_eq!(cost(own, "openai/gpt", cached.clone()), ("0.0012".to_owned(), true), "cached tokens are input tokens");
    let cheaper = own.replace("0.000002\"}", "0.000002\",\"per_cache_read_token\":0.0000001}");
    assert_eq!(cost(&cheaper, "openai/gpt", cached), ("0.00066".to_owned(), true), "unless they have their own price");
    assert_eq!(cost(own, "openai/gpt", Usage::default()), ("0".to_owned(), false));
}

#[test]
fn absurd_numbers_saturate() {
    let own = r#"{"cost":{"per_token_in":"70000000000000","per_token_out":1}}"#;
    assert!(cost(own, "openai/gpt", tokens(u64::MAX, u64::MAX)).0.len() > 12);
}
