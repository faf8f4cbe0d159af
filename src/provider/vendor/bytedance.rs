//! ByteDance Volcengine Ark (Doubao), Beijing: for ModelArk abroad `base_url` names its region.

use crate::job::Failure;
use crate::provider::prefill::{Thoughts, by_catalog};
use crate::provider::protocol::openai_chat::{Draft, MessageRules, PrefillRules, Reasoning, Rules, Vendor};
use crate::provider::protocol::responses;
use crate::provider::{Card, ModelCall, Prefill};

/// `max_tokens` limits the answer alone, `max_completion_tokens` the answer with its reasoning, and
/// both together are refused: what OpenAI means is the second.
fn one_limit(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if draft.has("max_completion_tokens") {
        draft.take("max_tokens");
    }
    Ok(())
}

/// Doubao goes on while it does not think, which its newer models (`seed`) do unless they are told.
fn doubao_goes_on(model_call: ModelCall<'_>, kind: &str) -> Prefill {
    let thoughts = Thoughts::of(&model_call.job.input);
    let may_think = ["seed", "thinking"].iter().any(|name| model_call.target.model.contains(name));
    match model_call.target.model.contains("doubao") {
        true if may_think => Prefill::Exact.only_if(thoughts == Thoughts::Unwanted),
        true => Prefill::Exact.only_if(thoughts != Thoughts::Wanted),
        false => by_catalog(kind, model_call),
    }
}

pub(super) static BYTEDANCE: Vendor = Vendor {
    card: &Card {
        id: "bytedance",
        base_url: "https://ark.cn-beijing.volces.com/api/v3",
        key_variables: &["ARK_API_KEY"],
        docs: "https://www.volcengine.com/docs/82379/1494384",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&responses::Rules::PLAIN),
        refuses: &[Rules::OPENAI_ONLY, &["n", "prediction", "seed", "web_search_options"]],
        words: &[
            Rules::ANY_IS_REQUIRED,
            ("reasoning_effort", "\"none\"", "\"minimal\""),
            ("reasoning_effort", "\"xhigh\"", "\"high\""),
        ],
        translate: Some(one_limit),
        prefill: PrefillRules { takes: doubao_goes_on, ..PrefillRules::ALWAYS },
        messages: MessageRules { reasoning: Reasoning::In("reasoning_content"), ..MessageRules::USUAL },
        ..Rules::USUAL
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
