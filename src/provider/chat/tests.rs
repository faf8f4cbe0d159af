//! Reading chats: what is understood, and what is refused by name.

use super::*;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

#[test]
fn a_chat_is_read_whole() {
    let input = raw(r#"{"messages":[{"role":"developer","content":"be brief"},
        {"role":"user","content":[{"type":"text","text":"what is this"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
        {"role":"assistant","content":null,"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","signature":"S","format":"anthropic-claude-v1"}],
         "tool_calls":[{"id":"c1","type":"function","function":{"name":"look","arguments":""},"extra_content":{"google":{"thought_signature":"G"}}}]},
        {"role":"tool","tool_call_id":"c1","content":"a cat"}],
        "tools":[{"type":"function","function":{"name":"look","parameters":{"z":1,"a":2}}}],"tool_choice":"required","max_tokens":5,"stop":"x","seed":null}"#);
    let mut chat = Chat::read(&input).expect("a chat");
    assert_eq!(
        chat.messages.iter().map(|message| message.role).collect::<Vec<_>>(),
        [Role::System, Role::User, Role::Assistant, Role::Tool]
    );
    let Part::Image { source: Source::Data { mime, base64 }, .. } = &chat.messages[1].parts[1] else { panic!("data") };
    assert_eq!((&**mime, &**base64), ("image/png", "AAAA"));
    let assistant = &chat.messages[2];
    assert_eq!(assistant.thoughts[0].text.as_deref(), Some("hm"));
    assert_eq!((&*assistant.calls[0].arguments, assistant.calls[0].signature.as_deref()), ("{}", Some("G")));
    assert_eq!(chat.tools[0].parameters.map(RawValue::get), Some(r#"{"z":1,"a":2}"#));
    assert_eq!(chat.tool_choice, Some(Choice::Required));
    assert_eq!(chat.params.take_max_tokens().expect("a number"), Some(5));
    assert_eq!(chat.params.take_stop().expect("a text"), ["x"]);
    assert!(chat.params.finish("p", false).expect("nothing is left").is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    for (input, param) in [
        (r#"{"messages":[]}"#, "input.messages"),
        (r#"{}"#, "input.messages"),
        (r#"{"messages":[{"role":"king","content":"x"}]}"#, "input.messages[0].role"),
        (r#"{"messages":[{"role":"user","content":7}]}"#, "input.messages[0].content"),
        (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "input.messages[0].content[0].text"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{}}]}]}"#,
            "input.messages[0].content[0].file",
        ),
        (r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}"#, "input.tools[0].function"),
        (r#"{"messages":[{"role":"user","content":"x"}],"tool_choice":"maybe"}"#, "input.tool_choice"),
        (
            r#"{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"xml"}}"#,
            "input.response_format.type",
        ),
    ] {
        let input = raw(input);
        let Err(failure) = Chat::read(&input) else { panic!("{input} is read") };
        assert_eq!(failure.param.as_deref(), Some(param), "{}", failure.message);
    }
}

#[test]
fn what_nobody_takes_is_refused_by_name_or_dropped_by_name() {
    let input =
        raw(r#"{"messages":[],"logit_bias":{"1":2},"n":1,"logprobs":false,"user":"u","top_logprobs":0,"seed":3}"#);
    let read = || {
        let mut params = Params::read(&input).expect("an object");
        params.take("messages");
        params
    };
    let refused = read().finish("p", false).expect_err("two are left");
    assert_eq!((refused.param.as_deref(), refused.belongs_to_target), (Some("input.logit_bias"), true));
    let dropped = read().finish("p", true).expect("dropped");
    assert_eq!(dropped, ["input.logit_bias".into(), "input.seed".into()] as [Box<str>; 2]);
}

#[test]
fn that_reasoning_is_told_asks_for_nothing() {
    for (parsed, expected) in [
        (r#"{"summary":"auto"}"#, false),
        (r#"{"summary":"auto","effort":null}"#, false),
        (r#"{"effort":"low"}"#, true),
        (r#"{"summary":"auto","max_tokens":9}"#, true),
    ] {
        assert_eq!(asks("reasoning", parsed), expected, "{parsed}");
    }
}
