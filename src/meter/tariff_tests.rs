//! Worked examples: each sum was made by hand from the prices in the source of the catalog.

use crate::job::{Bill, Target, Task, Timestamp, Usage, Usd};
use crate::meter::{PriceBook, Sale};
use crate::wire::submit::{Entrance, from_json};

/// An attempt at a model of the catalog.
struct Case {
    task: Task,
    input: &'static str,
    region: Option<&'static str>,
    usage: Usage,
    bill: Bill,
    at: Timestamp,
}

fn check(target: &str, case: Case, expected: (&str, bool), why: &str) {
    let Case { task, input, region, usage, bill, at } = case;
    let input = if input == "{}" { r#"{"messages":[]}"# } else { input };
    let json = format!(r#"{{"model":"m","task":"{}","input":{input}}}"#, task.as_str());
    let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let (kind, model) = target.split_once('/').unwrap();
    let target = Target { provider: "any".into(), model: model.into() };
    let sale = Sale { job: &job, target: &target, kind, region, usage: &usage, bill: &bill, at };
    let cost = PriceBook::default().cost(&sale);
    assert_eq!((cost.usd.to_string().as_str(), cost.priced), expected, "{kind}/{model}: {why}");
}

fn chat(usage: Usage) -> Case {
    let input = r#"{"messages":[]}"#;
    Case { task: Task::Chat, input, region: None, usage, bill: Bill::default(), at: Timestamp(0) }
}

fn of_task(task: Task, input: &'static str, usage: Usage) -> Case {
    Case { task, input, ..chat(usage) }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn cached(input: u64, cached: u64, output: u64) -> Usage {
    Usage { cached_input_tokens: Some(cached), ..tokens(input, output) }
}

fn tier(name: &str) -> Bill {
    Bill { service_tier: Some(name.into()), ..Bill::default() }
}

#[test]
fn tokens_cost_what_the_catalog_says() {
    let cached_flash = || cached(1000, 400, 100);
    for (target, usage, expected, why) in [
        ("openai/gpt-5", tokens(1000, 100), ("0.00225", true), "1000 × 1.25 + 100 × 10 µ$"),
        ("openai/gpt-5", cached(1000, 600, 100), ("0.001575", true), "400 × 1.25 + 600 × 0.125 + 100 × 10 µ$"),
        ("openai/gpt-5.0", tokens(1, 1), ("0", false), "no such model"),
        ("azure-openai/gpt-5", cached(1000, 600, 100), ("0.001575", true), "the same elsewhere"),
        (
            "groq/openai/gpt-oss-120b",
            cached(1000, 600, 100),
            ("0.000165", true),
            "400 × 0.15 + 600 × 0.075 + 100 × 0.6",
        ),
        ("aws-bedrock/amazon.nova-pro-v1:0", tokens(1000, 100), ("0.00112", true), "1000 × 0.8 + 100 × 3.2 µ$"),
        ("ollama/llama3:70b", tokens(1000, 100), ("0", true), "free, and that is known"),
        ("deepseek/deepseek-chat", cached_flash(), ("0.0002212", true), "600 × 0.28 + 400 × 0.028 + 100 × 0.42 µ$"),
        ("together/deepseek-ai/DeepSeek-V3", cached_flash(), ("0.000875", false), "cached tokens without a price"),
        ("perplexity/sonar-deep-research", tokens(10, 10), ("0.0001", false), "cited tokens are not reported"),
        ("perplexity/sonar", tokens(10, 10), ("0.00002", false), "each answer has a fee for its search"),
        ("bytedance/doubao-embedding-large", tokens(10, 10), ("0", false), "an unknown price is not 0"),
    ] {
        check(target, chat(usage), expected, why);
    }
}

#[test]
fn a_longer_input_costs_more_as_a_whole() {
    let written = |input| Usage { cache_write_tokens: Some(1000), ..cached(input, 50_000, 100) };
    for (target, usage, expected, why) in [
        ("google-vertex-ai/claude-sonnet-4-5", tokens(200_000, 100), ("0.6015", true), "200000 × 3 + 100 × 15 µ$"),
        ("google-vertex-ai/claude-sonnet-4-5", tokens(200_001, 100), ("1.202256", true), "200001 × 6 + 100 × 22.5 µ$"),
        (
            "google-vertex-ai/claude-sonnet-4-5",
            written(250_001),
            ("1.233756", true),
            "199001 × 6 + 50000 × 0.6 + 1000 × 7.5 + 100 × 22.5 µ$",
        ),
        (
            "google-ai-studio/gemini-2.5-pro",
            cached(300_000, 100_000, 10),
            ("0.52515", true),
            "200000 × 2.5 + 100000 × 0.25 + 10 × 15",
        ),
        ("alibaba/qwen-flash", tokens(256_000, 10), ("0.012804", true), "256000 × 0.05 + 10 × 0.4 µ$"),
        ("alibaba/qwen-flash", tokens(256_001, 10), ("0.06402025", true), "256001 × 0.25 + 10 × 2 µ$"),
        ("minimax/MiniMax-M3", cached(512_001, 1, 10), ("0.30722412", true), "512000 × 0.6 + 1 × 0.12 + 10 × 2.4 µ$"),
        ("openai/gpt-6-luna", tokens(300_000, 1000), ("0.06075", true), "300000 × 0.2 + 1000 × 0.75 µ$"),
    ] {
        check(target, chat(usage), expected, why);
    }
}

#[test]
fn a_service_has_its_price() {
    let usage = || cached(1000, 600, 100);
    for (target, usage, bill, expected, why) in [
        ("openai/gpt-5", usage(), tier("flex"), ("0.0007875", true), "400 × 0.625 + 600 × 0.0625 + 100 × 5 µ$"),
        ("openai/gpt-5", usage(), tier("batch"), ("0.0007875", true), "the same"),
        ("openai/gpt-5", usage(), tier("priority"), ("0.00315", true), "400 × 2.5 + 600 × 0.25 + 100 × 20 µ$"),
        ("openai/gpt-5", usage(), tier("default"), ("0.001575", true), "the standard"),
        (
            "openai/gpt-6-luna",
            tokens(300_000, 1000),
            tier("priority"),
            ("0.1215", true),
            "300000 × 0.4 + 1000 × 1.5 µ$",
        ),
        (
            "google-ai-studio/gemini-2.5-flash",
            tokens(1000, 100),
            tier("FLEX"),
            ("0.000275", true),
            "1000 × 0.15 + 100 × 1.25",
        ),
        (
            "anthropic/claude-sonnet-4-5",
            tokens(1000, 100),
            tier("priority"),
            ("0.0045", false),
            "by contract: not known",
        ),
        (
            "anthropic/claude-sonnet-4-5",
            tokens(1000, 100),
            tier("standard"),
            ("0.0045", true),
            "1000 × 3 + 100 × 15 µ$",
        ),
        (
            "aws-bedrock/amazon.nova-pro-v1:0",
            tokens(1000, 100),
            tier("priority"),
            ("0.00196", true),
            "1000 × 1.4 + 100 × 5.6",
        ),
    ] {
        check(target, Case { bill, ..chat(usage) }, expected, why);
    }
    let input = r#"{"messages":[],"service_tier":"flex"}"#;
    check("openai/gpt-5", of_task(Task::Chat, input, usage()), ("0.0007875", true), "as the job asks");
    let served = Case { bill: tier("default"), ..of_task(Task::Chat, input, usage()) };
    check("openai/gpt-5", served, ("0.001575", true), "what was served counts");
}

#[test]
fn cache_writes_cost_by_how_long_they_are_kept() {
    let written = || Usage { cache_write_tokens: Some(800), ..cached(2000, 500, 100) };
    let an_hour = |tokens| Bill { cache_write_1h_tokens: Some(tokens), ..Bill::default() };
    for (target, input, bill, expected, why) in [
        (
            "anthropic/claude-sonnet-4-5",
            "{}",
            an_hour(0),
            ("0.00675", true),
            "700 × 3 + 500 × 0.3 + 800 × 3.75 + 100 × 15",
        ),
        ("anthropic/claude-sonnet-4-5", "{}", an_hour(300), ("0.007425", true), "… 500 × 3.75 + 300 × 6 …"),
        ("anthropic/claude-sonnet-4-5", "{}", an_hour(9999), ("0.00855", true), "no more than were written: 800 × 6"),
        (
            "openai/gpt-5",
            "{}",
            an_hour(0),
            ("0.0029375", true),
            "no price for writes: 1500 × 1.25 + 500 × 0.125 + 100 × 10",
        ),
        ("openai/gpt-5.6", "{}", an_hour(0), ("0.009", true), "700 × 4 + 500 × 0.4 + 800 × 5 + 100 × 20"),
        (
            "openai/gpt-5.6",
            r#"{"messages":[],"prompt_cache_retention":"24h"}"#,
            an_hour(0),
            ("0.013", true),
            "… 800 × 10 …",
        ),
    ] {
        check(target, Case { bill, ..of_task(Task::Chat, input, written()) }, expected, why);
    }
}

#[test]
fn a_token_is_paid_for_once_whatever_it_is() {
    let heard =
        |cached| Usage { cached_input_tokens: Some(cached), audio_input_tokens: Some(800), ..tokens(1000, 100) };
    let thought = Usage { reasoning_tokens: Some(300), ..tokens(1000, 500) };
    let spoken = Usage { audio_output_tokens: Some(80), ..heard(0) };
    let seen = Bill { image_input_tokens: Some(100), image_output_tokens: Some(1000), ..Bill::default() };
    for (target, usage, bill, expected, why) in [
        (
            "google-ai-studio/gemini-2.5-flash",
            heard(0),
            Bill::default(),
            ("0.00111", true),
            "200 × 0.3 + 800 × 1 + 100 × 2.5",
        ),
        (
            "google-ai-studio/gemini-2.5-flash",
            heard(200),
            Bill::default(),
            ("0.001056", true),
            "200 × 0.03 + 800 × 1 + 100 × 2.5",
        ),
        (
            "google-ai-studio/gemini-2.5-flash",
            heard(500),
            Bill::default(),
            ("0.000786", true),
            "200 × 0.03 + 500 × 1 + 300 × 0.1 + 250",
        ),
        (
            "azure-openai/gpt-audio",
            spoken,
            Bill::default(),
            ("0.0391", true),
            "200 × 2.5 + 800 × 40 + 20 × 10 + 80 × 80",
        ),
        (
            "alibaba/qwen-plus-2025-07-28",
            thought.clone(),
            Bill::default(),
            ("0.00184", true),
            "1000 × 0.4 + 200 × 1.2 + 300 × 4",
        ),
        ("openai/gpt-5", thought, Bill::default(), ("0.00625", true), "reasoning is output: 1000 × 1.25 + 500 × 10"),
        ("openai/gpt-image-1", tokens(150, 1000), seen, ("0.04125", true), "50 × 5 + 100 × 10 + 1000 × 40 µ$"),
    ] {
        check(target, Case { bill, ..chat(usage) }, expected, why);
    }
}

#[test]
fn places_speeds_and_hours_have_factors_and_prices() {
    let usage = || tokens(1000, 100);
    let fast = r#"{"messages":[],"speed":"fast"}"#;
    let here = r#"{"messages":[],"inference_geo":"us"}"#;
    for (target, input, region, expected, why) in [
        ("google-vertex-ai/claude-sonnet-4-5", "{}", Some("global"), ("0.0045", true), "1000 × 3 + 100 × 15 µ$"),
        ("google-vertex-ai/claude-sonnet-4-5", "{}", Some("us-east5"), ("0.00495", true), "the same × 1.1"),
        ("anthropic/claude-opus-5", "{}", None, ("0.0075", true), "1000 × 5 + 100 × 25 µ$"),
        ("anthropic/claude-opus-5", here, None, ("0.00825", true), "the same × 1.1"),
        ("anthropic/claude-opus-5", fast, None, ("0.015", true), "the same × 2"),
        ("anthropic/claude-sonnet-5", fast, None, ("0.003", false), "no price for fast"),
        ("azure-openai/gpt-5", "{}", Some("eu"), ("0.002475", true), "1000 × 1.375 + 100 × 11 µ$"),
        (
            "aws-bedrock/amazon.nova-pro-v1:0",
            "{}",
            Some("us-gov-east-1"),
            ("0.001344", true),
            "1000 × 0.96 + 100 × 3.84",
        ),
        ("aws-bedrock/amazon.nova-pro-v1:0", "{}", Some("us-west-2"), ("0.00112", true), "as everywhere"),
    ] {
        check(target, Case { region, ..of_task(Task::Chat, input, usage()) }, expected, why);
    }
    const HOUR: u64 = 3_600_000;
    for (at, expected, why) in [
        // The first of January 1970 was a Thursday.
        (2 * HOUR, "0.0003024", "600 × 0.3 + 400 × 0.006 + 100 × 1.2 µ$"),
        (4 * HOUR, "0.0001512", "half of it, at four on a weekday"),
        (50 * HOUR, "0.0001512", "half of it, at two on a Saturday"),
        (98 * HOUR, "0.0003024", "at two on a Monday"),
    ] {
        let case = Case { at: Timestamp(at), ..chat(cached(1000, 400, 100)) };
        check("deepseek/deepseek-flash", case, (expected, true), why);
    }
}

#[test]
fn what_is_not_text_is_paid_by_the_piece() {
    let images = Usage { images: Some(2), ..Usage::default() };
    let seconds = Usage { audio_seconds: Some(90.5), ..Usage::default() };
    let video = Usage { video_seconds: Some(8.0), ..Usage::default() };
    let characters = Usage { characters: Some(1000), ..Usage::default() };
    let queries = Usage { requests: Some(3), ..Usage::default() };
    let vector = Usage { input_tokens: Some(1000), ..Usage::default() };
    let hd = r#"{"prompt":"x","size":"1024x1024","quality":"hd"}"#;
    let large = r#"{"prompt":"x","size":"1920x1080"}"#;
    for (target, task, input, usage, expected, why) in [
        (
            "openai/gpt-image-1.5",
            Task::Image,
            r#"{"prompt":"x","size":"1024x1024","quality":"low"}"#,
            images.clone(),
            ("0.018", true),
            "2 × $0.009",
        ),
        (
            "openai/gpt-image-1.5",
            Task::Image,
            r#"{"prompt":"x","size":"1024x1536"}"#,
            images.clone(),
            ("0.026", true),
            "2 × $0.013",
        ),
        ("openai/gpt-image-1.5", Task::Image, r#"{"prompt":"x"}"#, images.clone(), ("0", false), "of which size?"),
        ("openai/gpt-image-1.5", Task::Image, "{}", tokens(100, 1000), ("0.0325", true), "100 × 5 + 1000 × 32 µ$"),
        ("azure-openai/dall-e-3", Task::Image, hd, images, ("0.175999916442", true), "2 × 1048576 px × $8.39233e-8"),
        ("openai/tts-1", Task::Speech, "{}", characters, ("0.015", true), "1000 × 15 µ$"),
        (
            "openai/gpt-4o-mini-tts",
            Task::Speech,
            "{}",
            tokens(100, 1000),
            ("0.01206", true),
            "100 × 0.6 + 1000 × 12 µ$",
        ),
        ("openai/whisper-1", Task::Transcription, "{}", seconds.clone(), ("0.00905", true), "90.5 s × 100 µ$"),
        (
            "openai/gpt-4o-transcribe",
            Task::Transcription,
            "{}",
            tokens(1000, 100),
            ("0.0035", true),
            "1000 × 2.5 + 100 × 10 µ$",
        ),
        ("openai/gpt-4o-transcribe", Task::Transcription, "{}", seconds, ("0.00905", true), "90.5 s × 100 µ$"),
        ("openai/sora-2", Task::Video, "{}", video.clone(), ("0.8", true), "8 s × $0.1"),
        (
            "fal/bytedance/seedance-2.0/text-to-video",
            Task::Video,
            large,
            video.clone(),
            ("5.456", true),
            "8 s × $0.682 at 1080p",
        ),
        ("fal/bytedance/seedance-2.0/text-to-video", Task::Video, "{}", video, ("2.4272", true), "8 s × $0.3034"),
        ("google-vertex-ai/lyria-002", Task::Music, "{}", Usage::default(), ("0.06", true), "a piece"),
        ("cohere/rerank-v3.5", Task::Rerank, "{}", queries, ("0.006", true), "3 × $0.002"),
        ("cohere/rerank-v3.5", Task::Rerank, "{}", Usage::default(), ("0.002", true), "one"),
        ("openai/text-embedding-3-small", Task::Embedding, "{}", vector, ("0.00002", true), "1000 × 0.02 µ$"),
    ] {
        check(target, of_task(task, input, usage), expected, why);
    }
}

#[test]
fn the_providers_own_word_comes_before_the_catalog_and_after_the_configuration() {
    let usd: Usd = "0.042".parse().unwrap();
    let own = || Bill { provider_usd: Some(usd), ..Bill::default() };
    check("openai/gpt-5", Case { bill: own(), ..chat(tokens(1, 1)) }, ("0.042", true), "its own word");
    check("openrouter/a/b", Case { bill: own(), ..chat(Usage::default()) }, ("0.042", true), "its own word");
    let searched = Bill { searches: Some(2), ..Bill::default() };
    let case = Case { bill: searched, ..chat(tokens(1000, 100)) };
    check("openai/gpt-5", case, ("0.00225", false), "searches without a price");
}
