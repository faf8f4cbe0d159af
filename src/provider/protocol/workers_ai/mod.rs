//! Cloudflare Workers AI: its OpenAI-compatible API, and its native one.
//!
//! Owns both requests, and one decoder for whatever comes back, told apart by its shape: OpenAI
//! chunks, native ones (`response`, `tool_calls`), whole answers of three kinds in Cloudflare's
//! envelope or out of it. Promises that `max_tokens` is always sent (256 otherwise, silently), that a
//! last chunk whose usage is all zeros does not wipe out the usage before it, and that Cloudflare's
//! error numbers mean what its table says.
//! `api` in the configuration chooses: `chat` (the default, since only there an answer says why it
//! ended, calls have ids, and a tool can be demanded), `responses` for gpt-oss, or `run`, the native
//! one, for models, LoRAs and options that only it has.
//! Usage: as OpenAI counts; cached tokens are a part of the input.

mod chat;
mod decode;
mod embed;
mod failure;
mod native;
mod wire;

pub use decode::WorkersDecoder;
use embed::embed_decoder;
pub use failure::classify;

use crate::egress::HeaderValue;

use super::{responses, send};
use crate::job::{Failure, Task};
use crate::provider::chat::Params;
use crate::provider::{Decoder, ModelCall, Outbound, Route};

/// Tokens of an answer, where the job does not say how many: the default of 256 cuts most answers.
const MAX_TOKENS: u64 = 4096;
/// The same for models whose whole window is about so large: there a request for more is refused.
const MAX_TOKENS_SMALL: u64 = 512;
/// What the names of such models hold.
const SMALL: &[&str] = &["llama-2-", "-lora", "mistral-7b-instruct-v0.1", "@hf/", "phi-2", "tinyllama"];

/// Which of its formats is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Chat,
    Responses,
    Run,
}

impl Api {
    fn of(model_call: ModelCall<'_>, site: responses::Site) -> Result<Api, Failure> {
        match model_call.endpoint.setting("api") {
            Some("run") => Ok(Api::Run),
            None | Some("chat" | "responses") if responses::is_wanted(model_call, site) => Ok(Api::Responses),
            None | Some("chat" | "responses") => Ok(Api::Chat),
            Some(_) => {
                let param = format!("providers.{}.api", model_call.endpoint.name);
                Err(Failure::unsupported(&param, "must be `chat`, `responses` or `run`").of_the_target())
            }
        }
    }
}

/// Builds the request for a job. The catalog is searched under `kind`.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>, kind: &'static str) -> Result<Outbound, Failure> {
    let site = responses::Site { kind, rules: &responses::Rules::PLAIN };
    match (model_call.job.task, Api::of(model_call, site)?) {
        (Task::Chat, Api::Chat) => chat::encode(model_call),
        (Task::Chat, Api::Responses) => chat::encode_responses(model_call, site),
        (Task::Chat, Api::Run) => native::encode(model_call),
        (Task::Embedding, Api::Run) => embed::encode_native(model_call),
        (Task::Embedding, _) => embed::encode(model_call),
        (Task::Rerank, _) => embed::encode_rerank(model_call),
        _ => Err(send::not_served(model_call)),
    }
}

/// A decoder for the answer to a job.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    match model_call.job.task {
        Task::Embedding | Task::Rerank => embed_decoder(model_call),
        _ => Box::new(WorkersDecoder::new(model_call)),
    }
}

fn max_tokens(params: &mut Params<'_>, model: &str) -> Result<u64, Failure> {
    Ok(params.take_max_tokens()?.unwrap_or_else(|| unsaid_limit(model)))
}

fn unsaid_limit(model: &str) -> u64 {
    if SMALL.iter().any(|name| model.contains(name)) { MAX_TOKENS_SMALL } else { MAX_TOKENS }
}

/// Returns the base address; the configuration may give that of the compatible API.
fn base(model_call: ModelCall<'_>) -> &str {
    let base = &*model_call.endpoint.base_url;
    base.strip_suffix("/v1").unwrap_or(base)
}

/// Where a model is run. Its name becomes a part of the address, in which it must not lead anywhere
/// else: the same key opens all of Cloudflare's API.
fn run_address(model_call: ModelCall<'_>) -> Result<Box<str>, Failure> {
    let model = &*model_call.target.model;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    let is_segment = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(is_plain);
    if !model.split('/').all(is_segment) {
        return Err(Failure::invalid("model", "must be like `@cf/author/model`"));
    }
    Ok(format!("{}/run/{model}", base(model_call)).into())
}

/// Requests of one conversation go to where its prompt is cached, if they say that they belong
/// together; `prompt_cache_key` is OpenAI's name for that.
fn keep_together(params: &mut Params<'_>, outbound: &mut Outbound) -> Result<(), Failure> {
    let key: Option<String> = params.take_as("prompt_cache_key")?;
    if let (Some(key), Route::Http { headers, .. }) = (key, &mut outbound.route)
        && let Ok(key) = HeaderValue::from_str(&key)
    {
        headers.insert("x-session-affinity", key);
    }
    Ok(())
}
