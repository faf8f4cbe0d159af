use super::*;
use crate::job::{ModelName, UsageSource};

fn query(pairs: &str) -> Result<CostQuery, Failure> {
    CostQuery::parse(pairs.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| pair.split_once('=')))
}

fn json(text: &str) -> Result<CostQuery, Failure> {
    CostQuery::from_json(&serde_json::from_str(text).unwrap())
}

fn at(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text)
}

/// Makes one hour's sums of one job that cost `pico` and had two attempts.
fn sums(hour: u32, model: &str, metadata: &str, pico: i128) -> (RollupKey, Sums) {
    let key = RollupKey {
        hour,
        gateway: if model.starts_with("team/") { "team" } else { "default" }.parse().unwrap(),
        model: model.parse::<ModelName>().unwrap(),
        provider: "openai".into(),
        provider_model: "gpt".into(),
        metadata: serde_json::from_str(metadata).unwrap(),
    };
    let usage = Usage { input_tokens: Some(10), source: UsageSource::Provider, ..Usage::default() };
    (key, Sums { usd: Usd::from_pico(pico), jobs: 1, unpriced_jobs: 0, attempts: 2, usage })
}

fn rows(pairs: &str) -> Vec<String> {
    let all = vec![
        sums(26, "b", r#"{"teamId":"AI","plan":"free"}"#, 4),
        sums(2, "a", r#"{"teamId":"AI","plan":"paid"}"#, 1),
        sums(3, "a", r#"{"teamId":12345,"plan":"free"}"#, 2),
        sums(2, "b", "{}", 8),
        sums(2, "team/c", r#"{"model":"tagged"}"#, 16),
    ];
    let answer = answer(&query(pairs).unwrap(), all).unwrap();
    let sum: Usd = answer.rows.iter().map(|row| row.sums.usd).sum();
    assert_eq!(sum, answer.total.usd, "the total is that of the rows");
    let line = |row: &CostRow| {
        let key = serde_json::to_string(&row.key).unwrap();
        format!("{}{key} {}", row.bucket.clone().unwrap_or_default(), row.sums.usd.pico())
    };
    answer.rows.iter().map(line).collect()
}

#[test]
fn a_query_reads_the_same_from_a_url_and_from_json() {
    let expected = CostQuery {
        by: vec![By::Tag("teamId".into()), By::Model],
        since: at("2026-11-01T00:00:00Z"),
        until: None,
        bucket: Some(Bucket::Day),
        tags: vec![("plan".into(), "free".into())],
        gateways: None,
    };
    for url in [
        "by=metadata.teamId&by=model&since=2026-11-01T00:00:00Z&until=&bucket=day&tag.plan=free",
        "by=teamId&by=model&since=2026-11-01&bucket=day&tag.plan=free",
        "by=teamId&by=model&since=2026-11-01T02:00:00+02:00&bucket=day&tag.plan=free",
    ] {
        assert_eq!(query(url).as_ref(), Ok(&expected), "{url}");
    }
    for text in [
        r#"{"by":["metadata.teamId","model"],"since":"2026-11-01","until":null,"bucket":"day","tag":{"plan":"free"}}"#,
        r#"{"by":["teamId","model"],"since":"2026-11-01T00:00:00Z","bucket":"day","tag.plan":"free"}"#,
    ] {
        assert_eq!(json(text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(json(r#"{"by":"model","tag":{"n":7,"b":true}}"#), query("by=model&tag.b=true&tag.n=7"));
    assert_eq!((query("").unwrap().hours(), json("{}").unwrap()), ((0, u32::MAX), CostQuery::default()));
    assert_eq!(query("since=1970-01-02&until=1970-01-02T03:00:00Z").unwrap().hours(), (24, 27));
}

#[test]
fn a_wrong_field_of_a_query_is_named() {
    let long = format!("by={}", "x".repeat(65));
    let many: String = (0..9).map(|n| format!("&by=k{n}")).collect();
    for (pairs, param) in [
        ("nope=1", "nope"),
        ("by=task", "by"),
        ("by=day", "by"),
        ("by=metadata.", "by"),
        ("by=model&by=model", "by"),
        ("by=teamId&by=metadata.teamId", "by"),
        (&long, "by"),
        (&many, "by"),
        ("since=yesterday", "since"),
        ("since=2026-11-01T09:30:00Z", "since"),
        ("until=2026-11-01T09:00:00.001Z", "until"),
        ("since=2026-11-01&since=2026-11-01", "since"),
        ("since=2026-11-02&until=2026-11-01", "until"),
        ("since=2026-11-01&until=2026-11-01", "until"),
        ("bucket=week", "bucket"),
        ("tag.=x", "tag."),
        ("tag.a=x&tag.a=y", "tag.a"),
        ("tag=x", "tag"),
    ] {
        let failure = query(pairs).expect_err(pairs);
        assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, Some(param)), "{pairs}: {failure}");
    }
    for (text, param) in [
        ("[]", None),
        (r#"{"by":7}"#, Some("by")),
        (r#"{"by":[7]}"#, Some("by")),
        (r#"{"since":7}"#, Some("since")),
        (r#"{"tag":"plan"}"#, Some("tag")),
        (r#"{"tag":{"plan":[1]}}"#, Some("plan")),
        (r#"{"tag":{"plan":"x"},"tag.plan":"y"}"#, Some("tag.plan")),
        (r#"{"gateways":["other"]}"#, Some("gateways")),
    ] {
        let failure = json(text).expect_err(text);
        assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, param), "{text}: {failure}");
    }
    let half_past = query("since=2026-11-01T09:30:00Z").expect_err("half past");
    assert!(half_past.message.contains("2026-11-01T09:00:00.000Z or 2026-11-01T10:00:00.000Z"), "{half_past}");
}

#[test]
fn rows_are_grouped_and_in_order() {
    for (pairs, expected) in [
        ("", &["{} 31"][..]),
        ("by=model", &[r#"{"model":"a"} 3"#, r#"{"model":"b"} 12"#, r#"{"model":"team/c"} 16"#]),
        ("by=teamId", &[r#"{"teamId":"AI"} 5"#, r#"{"teamId":12345} 2"#, r#"{"teamId":null} 24"#]),
        ("by=provider&by=gateway&tag.teamId=12345", &[r#"{"gateway":"default","provider":"openai"} 2"#]),
        ("by=plan&since=1970-01-02", &[r#"{"plan":"free"} 4"#]),
        ("until=1970-01-01T03:00:00Z", &["{} 25"]),
        ("bucket=day", &["1970-01-01T00:00:00.000Z{} 27", "1970-01-02T00:00:00.000Z{} 4"]),
        ("bucket=hour&tag.plan=free", &["1970-01-01T03:00:00.000Z{} 2", "1970-01-02T02:00:00.000Z{} 4"]),
        ("tag.plan=gold", &[]),
    ] {
        assert_eq!(rows(pairs), expected, "{pairs}");
    }
}

#[test]
fn a_tag_named_like_a_column_is_told_apart_from_it() {
    let mut both = query("by=model&tag.model=tagged").unwrap();
    both.by.push(By::Tag("model".into()));
    let answer = answer(&both, vec![sums(2, "m", r#"{"model":"tagged"}"#, 16)]).unwrap();
    let key = serde_json::to_value(&answer.rows[0].key).unwrap();
    assert_eq!(key, serde_json::json!({"model": "m", "metadata.model": "tagged"}));
}

#[test]
fn a_gateway_that_the_asker_may_not_see_is_not_summed() {
    let all = || vec![sums(2, "a", "{}", 1), sums(2, "team/c", "{}", 16)];
    let allowed = CostQuery { gateways: Some(vec!["team".parse().unwrap()]), ..CostQuery::default() };
    assert_eq!(answer(&allowed, all()).unwrap().total.usd, Usd::from_pico(16));
    let nothing = CostQuery { gateways: Some(Vec::new()), ..CostQuery::default() };
    assert_eq!(answer(&nothing, all()).unwrap(), CostAnswer::default());
}

#[test]
fn the_answer_has_the_documented_shape() {
    let answer =
        answer(&query("by=teamId&bucket=day").unwrap(), vec![sums(1, "a", r#"{"teamId":"AI"}"#, 1_204_000_000_000)]);
    let sums = serde_json::json!({
        "usd": "1.204", "unpriced_jobs": 0, "jobs": 1, "attempts": 2, "input_tokens": 10, "source": "provider"
    });
    let mut row = sums.clone();
    row["key"] = serde_json::json!({"teamId": "AI"});
    row["bucket"] = "1970-01-01T00:00:00.000Z".into();
    let shown = serde_json::to_value(answer.unwrap()).unwrap();
    assert_eq!(shown, serde_json::json!({"rows": [row], "total": sums}));
}

#[test]
fn an_answer_over_the_limit_says_how_to_narrow_it() {
    let many = |count: usize| {
        let row = |n| sums(2, &format!("m{n}"), "{}", 1);
        answer(&query("by=model").unwrap(), (0..count).map(row).collect())
    };
    assert_eq!(many(COST_ROWS_MAX).unwrap().rows.len(), COST_ROWS_MAX);
    let failure = many(COST_ROWS_MAX + 1).expect_err("one more");
    assert_eq!(failure.code, Code::TooLarge);
    assert!(failure.message.contains("shorter time"), "{failure}");
}
