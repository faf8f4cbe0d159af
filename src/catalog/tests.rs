//! The embedded file as it stands: names, places, prices.

use super::*;

#[test]
fn every_line_of_the_file_is_read() {
    let lines = include_str!("models.tsv").lines().filter(|line| !line.starts_with('#'));
    let unread: Vec<&str> = lines.clone().filter(|line| read::entry(line).is_none()).collect();
    assert_eq!(unread, [""; 0]);
    assert!(all().len() >= 1500, "{} models", all().len());
    assert_eq!(all().len(), lines.count());
    assert!(date() >= "2026-11");
    for entry in all() {
        let texts = entry.prices.texts().count();
        assert_eq!(entry.prices.iter().count(), texts, "{}/{}: a price that is not read", entry.provider, entry.id);
    }
}

fn check(provider: &str, model: &str, expected: &str) {
    let found = find(provider, model).map_or("none", |entry| entry.id);
    assert_eq!(found, expected, "{model} at {provider}");
}

#[test]
fn a_model_is_found_by_any_spelling_of_its_name() {
    for model in ["claude-sonnet-4-5", "claude-sonnet-4.5", "Claude-Sonnet-4.5", "claude_sonnet_4_5"] {
        check("anthropic", model, "claude-sonnet-4-5");
    }
    for model in ["claude-sonnet-4-5-20250929", "claude-sonnet-4.5-20250929", "claude-sonnet-4.5@2025-09-29"] {
        check("anthropic", model, "claude-sonnet-4-5-20250929");
    }
    for (provider, model, expected) in [
        ("google-vertex-ai", "claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("google-vertex-ai", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929"),
        ("azure-openai", "claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openai", "gpt-5", "gpt-5"),
        ("openai", "GPT-5", "gpt-5"),
        ("openai", "gpt-5-2025-08-07", "gpt-5-2025-08-07"),
        ("openai", "gpt-5-20250807", "gpt-5-2025-08-07"),
        ("openai", "gpt-5-2031-01-01", "none"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", "ft:gpt-4o-mini-2024-07-18"),
        ("mistral", "mistral-large", "mistral-large-latest"),
        ("cohere", "command-a", "command-a-03-2025"),
        ("fireworks", "kimi-k2.7-code", "accounts/fireworks/models/kimi-k2p7-code"),
        ("groq", "gpt-oss-120b", "openai/gpt-oss-120b"),
        ("workers-ai", "@cf/openai/gpt-oss-20b", "@cf/openai/gpt-oss-20b"),
        ("workers-ai", "gpt-oss-20b", "@cf/openai/gpt-oss-20b"),
        ("openai", "claude-sonnet-4.5", "none"),
        ("nobody", "gpt-5", "none"),
        ("anthropic", "", "none"),
        ("anthropic", "claude", "none"),
    ] {
        check(provider, model, expected);
    }
}

#[test]
fn an_undated_name_means_the_newest_where_no_entry_is_without_date() {
    let same: Vec<_> =
        all().iter().filter(|e| e.provider == "aws-bedrock" && e.name.base == "claude-3-5-sonnet").collect();
    let newest = same.iter().map(|entry| entry.name.date).max().expect("there are some");
    assert!(same.iter().any(|entry| entry.name.date < newest), "there are two dates");
    assert_eq!(find("aws-bedrock", "claude-3.5-sonnet").map(|entry| entry.name.date), Some(newest));
}

#[test]
fn bedrock_has_an_id_per_place() {
    for (model, expected) in [
        ("claude-sonnet-4.5", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("anthropic.claude-sonnet-4-5", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("ca.anthropic.claude-sonnet-4-5-20250929-v1:0", "none"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("deepseek-v3.2", "deepseek.v3.2"),
    ] {
        check("aws-bedrock", model, expected);
    }
    assert_eq!(id_of("aws-bedrock", "us.anthropic.claude-next-v1:0"), None, "goes out as it is written");
    assert_eq!(id_of("aws-bedrock", "anthropic.claude-sonnet-4-5"), None, "goes out as it is written");
    assert!(id_of("aws-bedrock", "claude-sonnet-4.5").is_some_and(|id| id.starts_with("global.")));
}

#[test]
fn a_region_may_have_prices_of_its_own() {
    let input = |region| {
        let entry = find_in("azure-openai", "gpt-5", region).expect("it is known");
        entry.prices.texts().find(|(name, _)| *name == "in").map(|(_, usd)| usd)
    };
    assert_eq!((input(None), input(Some("eu")), input(Some("mars"))), (Some("1.25"), Some("1.375"), Some("1.25")));
}

#[test]
fn the_same_model_is_found_at_all_its_providers_its_maker_first() {
    let at = |model| resolve(model).iter().map(|entry| entry.provider).collect::<Vec<_>>();
    let claude = at("claude-sonnet-4.5");
    assert_eq!(claude[0], "anthropic");
    for provider in ["google-vertex-ai", "aws-bedrock", "azure-openai"] {
        assert!(claude.contains(&provider), "{claude:?}");
    }
    assert_eq!(at("gpt-5")[..2], ["openai", "azure-openai"]);
    assert_eq!(at("gpt-5-2025-08-07")[0], "openai");
    assert_eq!(at("gemini-2.5-pro")[..2], ["google-ai-studio", "google-vertex-ai"]);
    assert_eq!(at("no-such-model"), [""; 0]);
    let dated = find("anthropic", "claude-sonnet-4-5-20250929").expect("it is known");
    let targets = targets_of(dated);
    assert_eq!(targets[0].id, "claude-sonnet-4-5-20250929", "an entry is a target of itself");
    assert!(targets.iter().any(|entry| entry.provider == "aws-bedrock"));
}

#[test]
fn near_spellings_are_of_providers_that_are_on() {
    let near_openai = near("gpt5-mini", 3, |entry| entry.provider == "openai");
    assert!(!near_openai.is_empty(), "{near_openai:?}");
    let found = near("claude-sonet-4.5", 5, |entry| entry.provider == "anthropic");
    assert!(found.contains(&"claude-sonnet-4-5"), "{found:?}");
    assert_eq!(near("claude-sonet-4.5", 5, |_| false), [""; 0]);
}

#[test]
fn abilities_have_names() {
    let claude = find("anthropic", "claude-sonnet-4.5").expect("it is known");
    assert_eq!(
        (claude.task, claude.output_tokens_max, claude.input_tokens_max),
        (Task::Chat, Some(64_000), Some(200_000))
    );
    for (ability, expected) in
        [("tools", true), ("prefill", true), ("reasoning", true), ("responses_only", false), ("flying", false)]
    {
        assert_eq!(claude.abilities.has(ability), expected, "{ability}");
    }
    assert!(find("openai", "gpt-5-pro").is_some_and(|entry| entry.abilities.has("responses_only")));
    assert!(find("openai", "gpt-5").is_some_and(|entry| !entry.abilities.has("responses_only")));
    assert!(Abilities::known().iter().all(|name| Abilities::default().with(name).is_some_and(|set| set.has(name))));
}

#[test]
fn prices_are_exact() {
    for (provider, id, name, pico) in [
        ("anthropic", "claude-sonnet-4-5", "write_1h", 6_000_000_000_000),
        ("azure-openai", "gpt-image-1", "image@high/1024x1024", 167_000_000_168_000_000),
        ("deepseek", "deepseek-flash", "cached/off_peak", 3_000_000_000),
        ("openai", "gpt-6-luna", "out/priority>272000", 1_500_000_000_000),
    ] {
        let prices = find(provider, id).expect(id).prices;
        let at = prices.texts().position(|(text, _)| text == name).expect(name);
        assert_eq!(prices.iter().nth(at).map(|price| price.pico), Some(pico), "{id} {name}");
    }
    let flash = find("deepseek", "deepseek-flash").expect("it is known").prices;
    for (day, hour, expected) in [(0, 0, true), (0, 1, false), (0, 4, true), (0, 9, false), (4, 23, true), (5, 8, true)]
    {
        assert_eq!(flash.off_peak(day, hour), expected, "day {day}, {hour} o'clock");
    }
    assert!(!find("openai", "gpt-5").expect("it is known").prices.off_peak(0, 0));
}

#[test]
#[ignore = "prints figures of this machine: cargo test --lib catalog::tests::what_it_takes -- --ignored --nocapture"]
fn what_it_takes() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("no figure").to_owned()
    };
    println!("before: {}", resident());
    let before = std::time::Instant::now();
    let count = all().len();
    println!("{count} models read in {:?}: {}", before.elapsed(), resident());
    let before = std::time::Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(find("anthropic", std::hint::black_box("claude-sonnet-4-5")));
    }
    println!("1000 finds by id in {:?}", before.elapsed());
    let before = std::time::Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(find("anthropic", std::hint::black_box("claude-sonnet-4.5")));
    }
    println!("1000 finds by spelling in {:?}", before.elapsed());
}
