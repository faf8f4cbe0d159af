use std::time::Duration;

use super::*;
use crate::job::Timestamp;
use crate::wire::submit::{Entrance, from_json};

/// Checks with `local` and these providers on.
fn check_on(on: &[(&str, &'static str)], model: &str, fallbacks: &str, expected: Result<&[&str], &str>) {
    let config: Config = toml::from_str(
        r#"
        [models.smart]
        targets = ["gone/x", "local/a", "openai/b/c"]
        [models.spelled]
        targets = ["anthropic/claude-sonnet-4.5"]
        [models.orphan]
        targets = ["gone/x"]
        "#,
    )
    .unwrap();
    let json = format!(r#"{{"model":"{model}","input":"x","options":{{"fallbacks":{fallbacks}}}}}"#);
    let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let mut all: Vec<(Box<str>, &'static str)> = on.iter().map(|(name, kind)| ((*name).into(), *kind)).collect();
    all.push(("local".into(), "openai-compatible"));
    all.sort();
    let found = targets(&job, &config, &all);
    let names = found.map(|all| all.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect::<Vec<_>>());
    let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
    assert_eq!(names.map_err(|f| f.param.clone().unwrap_or_default().into_string()), expected.map_err(String::from));
}

fn check(model: &str, fallbacks: &str, expected: Result<&[&str], &str>) {
    check_on(&[("openai", "openai")], model, fallbacks, expected);
}

#[test]
fn a_route_is_the_models_targets_and_then_its_fallbacks() {
    check("local/x/y", "[]", Ok(&["local/x/y"]));
    check("smart", r#"["openai/z","local/a"]"#, Ok(&["local/a", "openai/b/c", "openai/z"]));
    check("nobody/x", "[]", Err("model"));
    check("alias", "[]", Err("model"));
    check("local/", "[]", Err("model"));
    check("orphan", "[]", Err("model"));
    check("local/x", r#"["nobody/x"]"#, Err("options.fallbacks"));
}

#[test]
fn a_spelling_becomes_the_providers_own_id() {
    let on = &[("anthropic", "anthropic"), ("aws", "aws-bedrock"), ("work", "anthropic")];
    for (model, expected) in [
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"),
        ("anthropic/claude-of-tomorrow-1.0", "anthropic/claude-of-tomorrow-1.0"),
        ("work/Claude-Sonnet-4.5", "work/claude-sonnet-4-5"),
        ("aws/claude-sonnet-4.5", "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws/us.anthropic.claude-sonnet-4-5", "aws/us.anthropic.claude-sonnet-4-5"),
        ("local/claude-sonnet-4.5", "local/claude-sonnet-4.5"),
        ("spelled", "anthropic/claude-sonnet-4-5"),
    ] {
        check_on(on, model, "[]", Ok(&[expected]));
    }
}

#[test]
fn a_bare_name_is_a_model_wherever_it_is_served() {
    let on = &[("anthropic", "anthropic"), ("aws", "aws-bedrock"), ("a-friend", "anthropic")];
    let expected = [
        "anthropic/claude-sonnet-4-5",
        "a-friend/claude-sonnet-4-5",
        "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ];
    check_on(on, "claude-sonnet-4.5", "[]", Ok(&expected));
    check_on(&[], "claude-sonnet-4.5", "[]", Err("model"));
}

#[test]
fn who_asks_for_an_unknown_model_is_told_what_is_near() {
    let raw = |model: &str, on: &EnabledProviders| {
        let failure = of_model(&model.parse().unwrap(), &Config::default(), on).unwrap_err();
        assert_eq!(failure.code, Code::UnknownModel);
        failure.message.to_string()
    };
    let on: &EnabledProviders = &[("anthropic".into(), "anthropic")];
    assert!(raw("claude-sonet-4.5", on).contains("near: `claude-sonnet-4-"), "{}", raw("claude-sonet-4.5", on));
    assert!(raw("claude-sonnet-4.5", &[]).contains("is at anthropic, google-vertex-ai"));
    assert!(!raw("claude-sonet-4.5", &[]).contains("near"));
}

/// What `model` with these options is served by, where these providers are on.
fn plan_of(on: &[(&str, &'static str)], model: &str, options: &str) -> Result<Vec<String>, Failure> {
    let config: Config = toml::from_str(
        r#"
        [models.smart]
        targets = ["local/a", "openai/b", "work/c", "aws/d"]
        [models.dice]
        targets = ["gone/x", "local/a", "openai/b"]
        strategy = "weighted"
        weights = [1, 1, 1000000]
        [models.quick]
        targets = ["local/slow", "local/quick"]
        strategy = "fastest"
        "#,
    )
    .unwrap();
    let json = format!(r#"{{"model":"{model}","input":"x","options":{options}}}"#);
    let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
    let mut all: Vec<(Box<str>, &'static str)> = on.iter().map(|(name, kind)| ((*name).into(), *kind)).collect();
    all.sort();
    let first_token = |target: &Target| Some(Duration::from_millis(if &*target.model == "quick" { 1 } else { 9 }));
    let measures = &mut Measures { random: &mut || 0.5, first_token: &first_token, price: &|_| None };
    let found = plan(&job, &config, &all, measures);
    let unordered = targets(&job, &config, &all);
    assert_eq!(found.as_ref().map(Vec::len), unordered.as_ref().map(Vec::len), "{model} {options}");
    found.map(|all| all.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect())
}

const MANY: &[(&str, &str)] = &[
    ("local", "openai-compatible"),
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("work", "anthropic"),
    ("aws", "aws-bedrock"),
];

#[test]
fn each_models_targets_are_in_the_order_of_its_strategy() {
    for (model, options, expected) in [
        ("dice", "{}", &["openai/b", "local/a"][..]),
        ("smart", "{}", &["local/a", "openai/b", "work/c", "aws/d"]),
        (
            "quick",
            r#"{"fallbacks":["dice","local/a","local/slow"]}"#,
            &["local/quick", "local/slow", "openai/b", "local/a"],
        ),
    ] {
        assert_eq!(plan_of(MANY, model, options).unwrap(), expected, "{model} {options}");
    }
}

#[test]
fn a_job_says_which_providers_may_serve_it() {
    const SONNET: &str = "anthropic/claude-sonnet-4-5";
    const AT_AWS: &str = "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0";
    const AT_WORK: &str = "work/claude-sonnet-4-5";
    for (model, provider, expected) in [
        // By name or by kind.
        ("smart", r#"{"only":["openai","aws"]}"#, &["openai/b", "aws/d"][..]),
        ("smart", r#"{"ignore":["anthropic","openai-compatible"]}"#, &["openai/b", "aws/d"]),
        ("smart", r#"{"order":["aws","work"]}"#, &["aws/d", "work/c", "local/a", "openai/b"]),
        ("smart", r#"{"order":["anthropic","openai-compatible"]}"#, &["work/c", "local/a", "openai/b", "aws/d"]),
        ("work/claude-sonnet-4-5", r#"{"order":["anthropic"]}"#, &[SONNET, AT_WORK, AT_AWS]),
        ("smart", r#"{"only":["local","aws"],"ignore":["local"],"order":["openai"]}"#, &["aws/d"]),
        ("dice", r#"{"order":["local"]}"#, &["local/a", "openai/b"]),
        ("claude-sonnet-4.5", r#"{"only":["work"]}"#, &[AT_WORK]),
        // A model named at one provider may be served by the others once its job speaks of them.
        ("anthropic/claude-sonnet-4.5", "{}", &[SONNET, AT_WORK, AT_AWS]),
        (
            "aws/claude-sonnet-4.5",
            r#"{"order":["aws","work"]}"#,
            // Bedrock's id has a date, and so has the one that is the same elsewhere.
            &[AT_AWS, "work/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"],
        ),
        ("anthropic/claude-sonnet-4.5", r#"{"order":["aws"]}"#, &[AT_AWS, SONNET, AT_WORK]),
        ("anthropic/claude-sonnet-4.5", r#"{"ignore":["anthropic"]}"#, &[AT_AWS]),
        ("local/of-my-own", r#"{"order":["aws"]}"#, &["local/of-my-own"]),
        // Also where the one that is named is off.
        ("google-vertex-ai/claude-sonnet-4.5", r#"{"only":["aws"]}"#, &[AT_AWS]),
    ] {
        let options = format!(r#"{{"provider":{provider}}}"#);
        assert_eq!(plan_of(MANY, model, &options).unwrap(), expected, "{model} {provider}");
    }
    assert_eq!(plan_of(MANY, "anthropic/claude-sonnet-4.5", "{}").unwrap(), [SONNET], "no other provider unasked");
    // A fallback of which nothing is left is passed over.
    for (fallbacks, only, expected) in [
        (r#"["openai/b","local/y"]"#, "local", &["local/x", "local/y"][..]),
        (r#"["openai/b"]"#, "openai", &["openai/b"]),
        (r#"["claude-sonnet-4.5"]"#, "aws", &[AT_AWS]),
    ] {
        let options = format!(r#"{{"fallbacks":{fallbacks},"provider":{{"only":["{only}"]}}}}"#);
        assert_eq!(plan_of(MANY, "local/x", &options).unwrap(), expected, "{options}");
    }
}

#[test]
fn who_leaves_nobody_is_told_who_would_serve() {
    for (model, options, param, words) in [
        ("smart", r#"{"provider":{"only":["groq"]}}"#, "options.provider", "`local`, `openai`, `work`, `aws`"),
        ("local/x", r#"{"provider":{"ignore":["local"]}}"#, "options.provider", "`local`"),
        (
            "local/x",
            r#"{"fallbacks":["openai/b"],"provider":{"only":["aws"]}}"#,
            "options.provider",
            "`local`, `openai`",
        ),
        ("nobody/x", r#"{"provider":{"only":["local"]}}"#, "model", "no provider `nobody`"),
        ("local/x", r#"{"fallbacks":["x"],"provider":{"only":["local"]}}"#, "options.fallbacks", "neither"),
    ] {
        let failure = plan_of(MANY, model, options).unwrap_err();
        assert_eq!((failure.code, failure.param.as_deref()), (Code::UnknownModel, Some(param)), "{options}");
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[test]
fn a_longer_prompt_goes_where_the_catalog_allows_it() {
    let on: &EnabledProviders = &[
        ("anthropic".into(), "anthropic"),
        ("local".into(), "openai-compatible"),
        ("openai".into(), "openai"),
        ("work".into(), "anthropic"),
    ];
    let target = |name: &str| {
        let (provider, model) = name.split_once('/').unwrap();
        Target { provider: provider.into(), model: model.into() }
    };
    for (than, of, expected) in [
        ("openai/gpt-4o", "openai/gpt-4.1", true),
        ("openai/gpt-4.1", "openai/gpt-4o", false),
        ("openai/gpt-4o", "openai/gpt-4o", false),
        ("openai/gpt-4o", "anthropic/claude-sonnet-4-5", true),
        // The same model has the same window, wherever it is served.
        ("anthropic/claude-sonnet-4-5", "work/claude-sonnet-4-5", false),
        // Where it is not known, another model may.
        ("openai/gpt-4o", "local/mine", true),
        ("local/mine", "openai/gpt-4o", true),
        ("local/mine", "local/other", true),
        ("local/mine", "work/mine", false),
        ("gone/mine", "local/other", true),
    ] {
        assert_eq!(larger_window(&target(than), &target(of), on), expected, "{of} after {than}");
    }
}
