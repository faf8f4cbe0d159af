use super::*;

fn job(json: &str) -> Result<Job, Failure> {
    from_json(json.as_bytes())?.into_job(&Entrance::default(), Timestamp(1))
}

fn input_of(json: &str) -> String {
    job(json).map(|job| job.input.get().to_owned()).unwrap_or_else(|failure| failure.to_string())
}

#[test]
fn every_way_to_say_a_prompt_means_the_same() {
    let meant = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(input_of(r#"{"model":"m","input":"Hi"}"#), meant);
    for request in [r#"{"prompt":"Hi"}"#, r#"{"input":"Hi"}"#] {
        let value: Value = serde_json::from_str(&input_of(&format!(r#"{{"model":"m","input":{request}}}"#))).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(meant).unwrap(), "{request}");
    }
    let body = r#"{ "messages": [], "odd":  1.50 }"#;
    assert_eq!(input_of(&format!(r#"{{"model":"m","input":{body}}}"#)), body, "a body is kept byte for byte");
}

#[test]
fn a_wrong_field_is_named() {
    let deep = format!(r#"{{"model":"m","input":{{"messages":{}}}}}"#, "[".repeat(200) + &"]".repeat(200));
    let providers = |field: &str, names: &str| {
        format!(r#"{{"model":"m","input":"x","options":{{"provider":{{"{field}":[{names}]}}}}}}"#)
    };
    let many_providers = providers("order", &vec!["\"a\""; 33].join(","));
    let long_provider = providers("ignore", &format!("\"a\",\"{}\"", "x".repeat(65)));
    for (json, param) in [
        (r#"{"input":"x"}"#, Some("model")),
        (r#"{"model":"m"}"#, Some("input")),
        (r#"{"model":"a b","input":"x"}"#, Some("model")),
        (r#"{"model":"m","input":"x","extra":1}"#, Some("extra")),
        (r#"{"model":"m","input":"x","id":"a b"}"#, Some("id")),
        (r#"{"model":"m","input":"x","options":{"nope":1}}"#, Some("options.nope")),
        (r#"{"model":"m","input":"x","options":{"retry":{"nope":1}}}"#, Some("options.retry.nope")),
        (r#"{"model":"m","input":"x","options":{"retry":{"max_attempts":"3"}}}"#, Some("options.retry.max_attempts")),
        (r#"{"model":"m","input":"x","options":{"retry":{"max_attempts":0}}}"#, Some("options.retry.max_attempts")),
        (r#"{"model":"m","input":"x","options":{"timeouts":{"idle_ms":0}}}"#, Some("options.timeouts.idle_ms")),
        (r#"{"model":"m","input":"x","options":{"hedge_ms":0}}"#, Some("options.hedge_ms")),
        (r#"{"model":"m","input":"x","options":{"cache":{"mode":"on"}}}"#, Some("options.cache.mode")),
        (r#"{"model":"m","input":"x","options":{"deliver":{"subject":"a.*"}}}"#, Some("options.deliver.subject")),
        (
            r#"{"model":"m","input":"x","options":{"cost":{"per_token_in":-1,"per_token_out":0}}}"#,
            Some("options.cost.per_token_in"),
        ),
        (r#"{"model":"m","input":"x","options":{"provider":{"only":[""]}}}"#, Some("options.provider.only[0]")),
        (many_providers.as_str(), Some("options.provider.order")),
        (long_provider.as_str(), Some("options.provider.ignore[1]")),
        (r#"{"model":"m","input":"x","options":{"provider":{"sort":"price"}}}"#, Some("options.provider.sort")),
        (r#"{"model":"m","input":"x","options":{"provider":{"only":"a"}}}"#, Some("options.provider.only")),
        (r#"{"model":"m","input":"x","metadata":{"a":null}}"#, Some("metadata.a")),
        (r#"{"model":"m","input":"x","idempotency_key":""}"#, Some("idempotency_key")),
        (r#"{"model":"m","input":7}"#, Some("input")),
        (r#"{"model":"m","input":{"messages":"x"}}"#, Some("input.messages")),
        (r#"{"model":"m","input":{"messages":[],"stream":true}}"#, Some("input.stream")),
        (r#"{"model":"m","input":{}}"#, Some("input.messages")),
        (deep.as_str(), Some("input")),
        ("[]", None),
        ("{", None),
        ("", None),
    ] {
        let failure = job(json).expect_err(json);
        assert_eq!(failure.param.as_deref(), param, "{json}: {failure}");
        assert!(matches!(failure.code, Code::Invalid | Code::Unsupported), "{json}: {failure}");
    }
    assert!(from_json(b"\xff\xfe").is_err());
    assert!(from_json(br#"{"model":"m","input":"x"} x"#).is_err());
}

#[test]
fn the_digest_sees_the_meaning_and_not_the_spelling() {
    let digest = |json: &str| job(json).unwrap().body_sha256;
    let first = digest(r#"{"id":"a","model":"m","input":{"messages":[],"n":1}}"#);
    assert!(first.is_some());
    assert_eq!(first, digest(r#"{"input":{"n":1,"messages":[]},"model":"m","id":"b","idempotency_key":"k"}"#));
    assert_ne!(first, digest(r#"{"id":"a","model":"m","input":{"messages":[],"n":2}}"#));
    assert_ne!(first, digest(r#"{"id":"a","model":"m","input":{"messages":[],"n":1},"metadata":{"a":1}}"#));
    assert_ne!(
        digest(r#"{"id":"a","model":"m","input":"x"}"#),
        digest(r#"{"id":"a","model":"m","input":"x","options":{"provider":{"only":["a"]}}}"#)
    );
    assert_eq!(digest(r#"{"model":"m","input":"x"}"#), None);
}

#[test]
fn msgpack_says_the_same_as_json() {
    let value =
        serde_json::json!({"id": "a", "model": "m", "input": {"messages": [], "n": 1.5}, "metadata": {"k": true}});
    let read =
        from_msgpack(&rmp_serde::to_vec_named(&value).unwrap()).unwrap().into_job(&Entrance::default(), Timestamp(1));
    assert_eq!(read.unwrap().body_sha256, job(&value.to_string()).unwrap().body_sha256);
    assert!(from_msgpack(&[0x91; 4096]).is_err());
    assert!(from_msgpack(b"garbage").is_err());
}

#[test]
fn the_door_and_the_body_must_agree() {
    let entrance = Entrance { gateway: Some("team".parse().unwrap()), idempotency_key: Some("k".into()), task: None };
    let request = |json: &str| from_json(json.as_bytes()).unwrap().into_job(&entrance, Timestamp(1));
    let job = request(r#"{"model":"m","input":"x"}"#).unwrap();
    assert_eq!((job.gateway.as_str(), job.idempotency_key.as_deref()), ("team", Some("k")));
    assert!(request(r#"{"model":"m","input":"x","gateway":"other"}"#).is_err());
    assert!(request(r#"{"model":"m","input":"x","idempotency_key":"other"}"#).is_err());
}
