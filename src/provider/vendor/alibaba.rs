//! Alibaba Cloud Model Studio (Qwen), international: its keys are of one region; `base_url` names another.

use std::borrow::Cow;

use serde::Deserialize;

use crate::job::Failure;
use crate::provider::prefill::Thoughts;
use crate::provider::protocol::error;
use crate::provider::protocol::error::Meaning;
use crate::provider::protocol::openai_chat::{Draft, MessageRules, PrefillRules, Reasoning, Rules, Vendor};
use crate::provider::protocol::responses;
use crate::provider::{Card, ModelCall, Prefill};

/// The throttle of tokens a minute comes in OpenAI's words for an unpaid bill. Here it passes within
/// the minute.
const THROTTLES: &[error::Quirk] =
    &[("insufficient_quota", Meaning::Wait), ("Throttling.AllocationQuota", Meaning::Wait)];

/// Qwen thinks or does not; how much is said in tokens (`thinking_budget`), not in words.
fn effort_is_a_switch(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if let Some(effort) = draft.take("reasoning_effort")
        && !draft.has("enable_thinking")
    {
        let thinks = !matches!(&*effort, "\"none\"" | "\"minimal\"");
        draft.put("enable_thinking", if thinks { "true" } else { "false" });
    }
    Ok(())
}

/// Audio inside the request is a `data:` address, where OpenAI has plain base64.
fn audio_is_an_address(kind: &str, part: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        input_audio: Audio<'a>,
    }
    #[derive(Deserialize)]
    struct Audio<'a> {
        data: Cow<'a, str>,
        format: Cow<'a, str>,
    }
    let Part { input_audio: Audio { data, format } } =
        (kind == "input_audio").then(|| serde_json::from_str(part).ok()).flatten()?;
    let is_address = data.starts_with("data:") || data.starts_with("http");
    let audio = serde_json::json!({"data": format!("data:;base64,{data}"), "format": format});
    (!is_address).then(|| serde_json::json!({"type": "input_audio", "input_audio": audio}).to_string())
}

/// Its own models go on, unless they think.
fn qwen_goes_on(model_call: ModelCall<'_>, _kind: &str) -> Prefill {
    let is_qwen = model_call.target.model.contains("qwen") && !model_call.target.model.contains("thinking");
    Prefill::Exact.only_if(is_qwen && Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
}

pub(super) static ALIBABA: Vendor = Vendor {
    card: &Card {
        id: "alibaba",
        base_url: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_variables: &["DASHSCOPE_API_KEY"],
        docs: "https://www.alibabacloud.com/help/en/model-studio/use-qwen-by-calling-api",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&responses::Rules::PLAIN),
        renames: Rules::OLDER_MAX_TOKENS,
        refuses: &[&["logit_bias", "prediction", "verbosity", "web_search_options"]],
        translate: Some(effort_is_a_switch),
        messages: MessageRules {
            reasoning: Reasoning::In("reasoning_content"),
            rewrite_part: Some(audio_is_an_address),
            keeps: &["cache_control"],
            ..MessageRules::USUAL
        },
        prefill: PrefillRules { takes: qwen_goes_on, message: Some("partial"), ..PrefillRules::ALWAYS },
        errors: THROTTLES,
        ..Rules::USUAL
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
