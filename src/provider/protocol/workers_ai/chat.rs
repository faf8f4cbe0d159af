//! The compatible API: the job's input as it came, and what must be said besides.

use crate::job::Failure;
use crate::provider::chat::Params;
use crate::provider::protocol::openai_chat::{Draft, MessageRules, ReplyRules, Rules, encode_by};
use crate::provider::protocol::responses;
use crate::provider::{Endpoint, ModelCall, Outbound};

/// The dialect as it is spoken here. Models that think aloud do so in their text.
pub(super) static RULES: Rules = Rules {
    path: "/v1/chat/completions",
    renames: &[("max_completion_tokens", "max_tokens")],
    translate: Some(say_limit),
    messages: MessageRules::USUAL,
    reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN },
    ..Rules::PLAIN
};

pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let endpoint = Endpoint { base_url: super::base(model_call).into(), ..model_call.endpoint.clone() };
    let mut outbound = encode_by(&RULES, ModelCall { endpoint: &endpoint, ..model_call })?;
    super::keep_together(&mut Params::read(&model_call.job.input)?, &mut outbound)?;
    Ok(outbound)
}

/// Models that have it (gpt-oss) can be asked in the dialect of Responses.
pub(super) fn encode_responses(model_call: ModelCall<'_>, site: responses::Site) -> Result<Outbound, Failure> {
    let url = format!("{}/v1/responses", super::base(model_call)).into();
    let mut outbound = responses::encode(model_call, url, site)?;
    super::keep_together(&mut Params::read(&model_call.job.input)?, &mut outbound)?;
    Ok(outbound)
}

fn say_limit(draft: &mut Draft<'_>) -> Result<(), Failure> {
    // It goes as a header.
    draft.take("prompt_cache_key");
    if !draft.has("max_tokens") {
        draft.put("max_tokens", super::unsaid_limit(draft.model).to_string());
    }
    Ok(())
}
