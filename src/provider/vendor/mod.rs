//! One small file per vendor.
//!
//! To add one: write `vendor/NAME.rs` with a unit struct that implements [`Provider`] (its card, and
//! a family's `encode`, decoder and `classify`; oddities are named constants, each with its reason),
//! add `mod NAME;` and `&NAME::NAME` here, and put exchanges that you wrote from the vendor's
//! documents into `tests/fixtures/text/NAME/` (tests/providers.rs says how they look). A vendor whose
//! card names a key variable is on when that variable is set; one with a base URL and no key is
//! always on; one without a base URL is a `kind` for `[providers.NAME]`. Somebody who speaks the
//! OpenAI dialect without oddities needs no file at all: `kind = "openai-compatible"`.

mod alibaba;
mod anthropic;
mod anthropic_compatible;
mod azure_openai;
mod bytedance;
mod cerebras;
mod deepinfra;
mod deepseek;
mod fireworks;
mod groq;
mod huggingface;
mod llamacpp;
mod local;
mod minimax;
mod mistral;
mod moonshot;
mod nebius;
mod novita;
mod nvidia;
mod openai;
mod openai_compatible;
mod openrouter;
mod perplexity;
mod sambanova;
mod scripted;
mod together;
mod vllm;
mod xai;
mod zai;

use super::Provider;
use super::family::openai_chat::{ReplyRules, Rules};

/// Open models behind somebody's vLLM or the like: what a server does not take out of the text
/// comes as `<think>` in it.
const THINKING_ALOUD: Rules = Rules { reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN }, ..Rules::USUAL };

/// Every vendor, in the order of the documentation.
pub const ALL: &[&dyn Provider] = &[
    &openai::OPENAI,
    &anthropic::Anthropic,
    &azure_openai::AzureOpenAi,
    &alibaba::ALIBABA,
    &bytedance::BYTEDANCE,
    &minimax::MiniMax,
    &mistral::MISTRAL,
    &groq::GROQ,
    &deepseek::DEEPSEEK,
    &xai::XAI,
    &openrouter::OPENROUTER,
    &perplexity::PERPLEXITY,
    &together::TOGETHER,
    &fireworks::FIREWORKS,
    &cerebras::CEREBRAS,
    &moonshot::MOONSHOT,
    &zai::ZAI,
    &deepinfra::DEEPINFRA,
    &sambanova::SAMBANOVA,
    &nebius::NEBIUS,
    &novita::NOVITA,
    &nvidia::NVIDIA,
    &huggingface::HUGGINGFACE,
    &vllm::VLLM,
    &llamacpp::LLAMACPP,
    &local::LOCAL,
    &openai_compatible::OPENAI_COMPATIBLE,
    &anthropic_compatible::AnthropicCompatible,
    &scripted::Scripted,
];
