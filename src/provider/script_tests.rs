use super::*;
use crate::job::Code;

fn wrong(json: &str) -> (String, String) {
    let failure = Script::parse(json, "input.script").expect_err(json);
    assert_eq!(failure.code, Code::Invalid);
    (failure.param.as_deref().unwrap_or("").to_owned(), failure.message.to_string())
}

#[test]
fn what_is_wrong_with_a_script_is_named() {
    for (json, place, words) in [
        (r#"[{"txt":"a"}]"#, "input.script[0]", "unknown variant `txt`"),
        (r#"[{"text":"a"},{"delay_ms":-1}]"#, "input.script[1]", "invalid value"),
        (r#"[{"text":"a"},{"delay_ms":86400001}]"#, "input.script[1]", "at most 86400000"),
        (r#"[{"text":"a"},"refuse"]"#, "input.script[1]", "refuse must come first"),
        (r#"[{"text":"a"},{"status":{"status":500}}]"#, "input.script[1]", "status must come first"),
        (r#"[{"status":{"status":99}}]"#, "input.script[0]", "100 to 599"),
        (r#"[{"status":{"status":429,"retry":1}}]"#, "input.script[0]", "unknown field `retry`"),
        (r#"[{"huge":99999999999}]"#, "input.script[0]", "at most 67108864"),
        (r#"{"attempts":[["cut"],[{"stal":1}]]}"#, "input.script.attempts[1][0]", "unknown variant `stal`"),
        (r#"{"attempts":["cut"]}"#, "input.script.attempts[0]", "a list of steps"),
        (r#"{"attempts":[]}"#, "input.script.attempts", "1 to 64"),
        (r#"{"attempt":[]}"#, "input.script", "unknown field `attempt`"),
        ("3", "input.script", "a list of steps"),
        ("[", "input.script", "EOF"),
    ] {
        let (param, message) = wrong(json);
        assert_eq!(param, place, "{json}");
        assert!(message.contains(words), "{json}: {message}");
        assert!(!message.contains(" line "), "{message}");
    }
}

#[test]
fn the_last_timeline_serves_all_later_attempts() {
    let mut script = Script::parse(r#"{"attempts":[["cut"],["stall"],["end"]]}"#, "script").unwrap();
    for (attempt, step) in
        [(0, ScriptStep::Cut), (1, ScriptStep::Cut), (2, ScriptStep::Stall), (3, ScriptStep::End), (9, ScriptStep::End)]
    {
        script.choose(attempt);
        assert_eq!(script.steps(), [step], "attempt {attempt}");
    }
}

#[test]
fn every_step_reads_as_it_is_written() {
    let json = r#"[{"text":"a"},{"reasoning":["b","c"]},{"refusal":"d"},{"repeat":{"text":"{n}","count":2,"interval_ms":1}},
        {"tool_call":{"index":0,"id":"x","name":"f","arguments":"{}"}},{"output":{"a":1}},{"usage":null},
        {"usage":{"input_tokens":1,"output_tokens":2}},{"finish":"length"},{"delay_ms":1},{"error":{"message":"m"}},
        {"packet":{}},{"raw":"r"},{"garbage":3},{"huge":3},{"split_bytes":1},"stall","cut","done","end"]"#;
    let steps: Vec<ScriptStep> = serde_json::from_str(json).unwrap();
    let again: Vec<ScriptStep> = serde_json::from_str(&serde_json::to_string(&steps).unwrap()).unwrap();
    assert_eq!(steps, again);
    assert!(Script::parse(json, "script").is_ok());
}

/// What a player gives: bytes with the milliseconds since the start, and how it ends.
async fn play(json: &str) -> (Vec<(u64, String)>, Result<(), Code>) {
    let script = Script::parse(json, "script").unwrap();
    let started = tokio::time::Instant::now();
    let mut player = Player::new(&script, b"four and twenty bytes ok");
    let mut seen = Vec::new();
    if let Err(failure) = player.head().await {
        return (seen, Err(failure.code));
    }
    loop {
        match tokio::time::timeout(std::time::Duration::from_secs(3600), player.chunk()).await {
            Err(_) => return (seen, Err(Code::ProviderTimeout)),
            Ok(Ok(None)) => return (seen, Ok(())),
            Ok(Err(failure)) => return (seen, Err(failure.code)),
            Ok(Ok(Some(bytes))) => {
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap();
                seen.push((ms, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeline_is_played_on_time() {
    let (seen, end) =
        play(r#"[{"delay_ms":100},{"text":"a"},{"repeat":{"text":"{n}","count":3,"interval_ms":20}},{"delay_ms":5}]"#)
            .await;
    let times: Vec<u64> = seen.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [100, 120, 140, 160, 165, 165, 165]);
    assert_eq!(end, Ok(()));
    assert!(seen[1].1.contains(r#""content":"0""#) && seen[3].1.contains(r#""content":"2""#));
    assert!(seen[4].1.contains(r#""finish_reason":"stop""#), "{}", seen[4].1);
    assert!(
        seen[5].1.contains(r#""prompt_tokens":6"#) && seen[5].1.contains(r#""completion_tokens":4"#),
        "{}",
        seen[5].1
    );
    assert_eq!(seen[6].1, "data: [DONE]\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_timeline_ends_as_it_says() {
    for (json, pieces, end) in [
        (r#"["refuse"]"#, 0, Err(Code::ProviderUnavailable)),
        (r#"[{"text":"a"},"cut"]"#, 1, Err(Code::ProviderTruncated)),
        (r#"[{"text":"a"},"stall"]"#, 1, Err(Code::ProviderTimeout)),
        (r#"[{"text":"a"},"end"]"#, 1, Ok(())),
        (r#"["done","done"]"#, 3, Ok(())),
        (r#"[{"usage":null},"done"]"#, 1, Ok(())),
        (r#"[{"split_bytes":5},{"raw":"0123456789ab"},"end"]"#, 3, Ok(())),
        (r#"[{"repeat":{"text":"x","count":1000}},"end"]"#, 1000, Ok(())),
        (r#"[{"status":{"status":503,"body":"no"}}]"#, 1, Ok(())),
        (r#"[]"#, 3, Ok(())),
    ] {
        let (seen, ended) = play(json).await;
        assert_eq!((seen.len(), ended), (pieces, end), "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_chunk_may_be_given_up_and_taken_up_again() {
    let script =
        Script::parse(r#"[{"delay_ms":1000},{"text":"a"},{"delay_ms":1000},{"text":"b"},"end"]"#, "script").unwrap();
    let mut player = Player::new(&script, b"");
    player.head().await.unwrap();
    let mut seen = Vec::new();
    let mut given_up = 0;
    loop {
        match tokio::time::timeout(std::time::Duration::from_millis(300), player.chunk()).await {
            Err(_) => given_up += 1,
            Ok(Ok(Some(bytes))) => seen.push(bytes),
            Ok(Ok(None)) => break,
            Ok(Err(failure)) => panic!("{failure}"),
        }
    }
    assert_eq!((seen.len(), given_up), (2, 3));
}

#[test]
fn a_prompt_is_said_back_word_by_word() {
    let Script { timelines, .. } = Script::echo("Grüß dich,  Welt");
    assert_eq!(
        *timelines,
        [vec![ScriptStep::Text(Pieces::Many(vec!["Grüß ".into(), "dich, ".into(), " ".into(), "Welt".into()]))]]
    );
}
