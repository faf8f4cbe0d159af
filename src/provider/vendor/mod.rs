//! One small file per vendor.
//!
//! To add one: write `vendor/NAME.rs` with what implements [`Provider`] (for the OpenAI dialect a
//! `Vendor`, its card and its rules; else a unit struct with a family's functions; oddities are
//! named constants, each with its reason), add `mod NAME;` and its line in [`ALL`] here, and put
//! exchanges that you wrote from the vendor's documents into `tests/fixtures/text/NAME/`
//! (tests/providers.rs says how they look). A vendor whose card names a key variable is on when that
//! variable is set; one with a base URL and no key is always on; one without a base URL is a `kind`
//! for `[providers.NAME]`. Somebody who speaks the OpenAI dialect without oddities needs no file at
//! all: `kind = "openai-compatible"`.

mod alibaba;
mod anthropic;
mod anthropic_compatible;
mod aws_bedrock;
mod azure_openai;
mod bytedance;
mod cerebras;
mod cohere;
mod deepinfra;
mod deepseek;
mod fireworks;
mod gemini_compatible;
mod google_ai_studio;
mod google_vertex_ai;
mod groq;
mod huggingface;
mod jina;
mod llamacpp;
mod local;
mod minimax;
mod mistral;
mod moonshot;
mod nebius;
mod novita;
mod nvidia;
mod ollama;
mod openai;
mod openai_compatible;
mod openrouter;
mod perplexity;
mod sambanova;
mod scripted;
mod together;
mod vllm;
mod voyage;
mod workers_ai;
mod xai;
mod zai;

use super::Provider;
use super::protocol::openai_chat::{ReplyRules, Rules};

/// Open models behind somebody's vLLM or the like: what a server does not take out of the text
/// comes as `<think>` in it.
const THINKING_ALOUD: Rules = Rules { reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN }, ..Rules::USUAL };

/// Every vendor, in the order of the documentation.
pub const ALL: &[&dyn Provider] = &[
    &openai::OPENAI,
    &anthropic::Anthropic,
    &google_ai_studio::GoogleAiStudio,
    &google_vertex_ai::GoogleVertexAi,
    &azure_openai::AzureOpenAi,
    &aws_bedrock::AwsBedrock,
    &workers_ai::WorkersAi,
    &alibaba::ALIBABA,
    &bytedance::BYTEDANCE,
    &minimax::MiniMax,
    &mistral::MISTRAL,
    &groq::GROQ,
    &deepseek::DEEPSEEK,
    &xai::XAI,
    &cohere::Cohere,
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
    &ollama::Ollama,
    &vllm::VLLM,
    &llamacpp::LLAMACPP,
    &voyage::Voyage,
    &jina::Jina,
    &local::LOCAL,
    &openai_compatible::OPENAI_COMPATIBLE,
    &anthropic_compatible::AnthropicCompatible,
    &gemini_compatible::GeminiCompatible,
    &scripted::Scripted,
];
