//! Vendors, one small file each.
//!
//! To add one: write `vendor/NAME.rs` with what implements [`Provider`] (for OpenAI's chat completions a
//! `Vendor`, its card and its rules; else a unit struct that calls a protocol's functions; oddities are
//! named constants, each with its reason), add its line in the list here, and put exchanges that you
//! wrote from the vendor's documents into `tests/fixtures/text/NAME/`. The guide `adding-a-provider.md`
//! shows all three. A vendor whose card names a key variable is on when that variable is set; one with a
//! base URL and no key is always on; one without a base URL is a `kind` for `[providers.NAME]`. A server
//! that speaks OpenAI's chat completions without oddities needs no file: `kind = "openai-compatible"`.

use super::Provider;
use super::protocol::openai_chat::{ReplyRules, Rules};

/// Declares the module of each vendor and lists them all in [`ALL`], so that a vendor is one line here.
/// `cargo fmt` does not see modules that a macro declares: `make check` names their files to it.
macro_rules! vendors {
    ($($module:ident::$vendor:ident,)*) => {
        $(mod $module;)*

        /// Every vendor, in the order of the documentation.
        pub const ALL: &[&dyn Provider] = &[$(&$module::$vendor,)*];
    };
}

vendors! {
    openai::OPENAI,
    anthropic::Anthropic,
    google_ai_studio::GoogleAiStudio,
    google_vertex_ai::GoogleVertexAi,
    azure_openai::AzureOpenAi,
    aws_bedrock::AwsBedrock,
    workers_ai::WorkersAi,
    alibaba::ALIBABA,
    bytedance::BYTEDANCE,
    minimax::MiniMax,
    mistral::MISTRAL,
    groq::GROQ,
    deepseek::DEEPSEEK,
    xai::XAI,
    cohere::Cohere,
    openrouter::OPENROUTER,
    perplexity::PERPLEXITY,
    together::TOGETHER,
    fireworks::FIREWORKS,
    cerebras::CEREBRAS,
    moonshot::MOONSHOT,
    zai::ZAI,
    deepinfra::DEEPINFRA,
    sambanova::SAMBANOVA,
    nebius::NEBIUS,
    novita::NOVITA,
    nvidia::NVIDIA,
    huggingface::HUGGINGFACE,
    ollama::Ollama,
    vllm::VLLM,
    llamacpp::LLAMACPP,
    voyage::Voyage,
    jina::Jina,
    local::LOCAL,
    openai_compatible::OPENAI_COMPATIBLE,
    anthropic_compatible::AnthropicCompatible,
    gemini_compatible::GeminiCompatible,
    scripted::Scripted,
}

/// Rules of servers that run open models: reasoning that a server does not take out of the text comes
/// as `<think>` in it.
const THINKING_ALOUD: Rules = Rules { reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN }, ..Rules::USUAL };
