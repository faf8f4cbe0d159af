//! Jina: embeddings in nearly OpenAI's form, of images too, and rerank.

use crate::job::{Failure, Task};
use crate::provider::chat::{Body, Params};
use crate::provider::protocol::embeddings;
use crate::provider::protocol::openai_chat::ReplyRules;
use crate::provider::protocol::rerank;
use crate::provider::protocol::{error, send};
use crate::provider::{Card, Decoder, Framing, Headers, ModelCall, Outbound, Provider};

pub(super) struct Jina;

static CARD: Card = Card {
    id: "jina",
    base_url: "https://api.jina.ai/v1",
    key_variables: &["JINA_API_KEY"],
    docs: "https://api.jina.ai/docs",
    ..Card::PLAIN
};

/// Fields of its own, handed on as they came.
const NATIVE: &[&str] =
    &["task", "dimensions", "late_chunking", "normalized", "embedding_type", "truncate", "return_multivector"];

impl Provider for Jina {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        match model_call.job.task {
            Task::Embedding => embed(model_call),
            Task::Rerank => {
                rerank::encode(model_call, format!("{}/rerank", model_call.endpoint.base_url).into(), &rerank::JINA)
            }
            _ => Err(send::not_served(model_call)),
        }
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        match model_call.job.task {
            Task::Rerank => rerank::decoder(),
            _ => embeddings::decoder(model_call, &ReplyRules::PLAIN),
        }
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify(status, headers, body)
    }
}

/// `input` goes through as it came: it may hold `{"image": …}` among its texts. Numbers are asked
/// for; a job that wants base64 gets it from our decoder.
fn embed(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let mut params = Params::read(&model_call.job.input)?;
    let input = params.take_first(&["input", "prompt"]);
    let input = input.filter(|input| input.get().starts_with(['"', '[']) && input.get().len() > 2);
    let missing = || Failure::invalid("input.input", "an embedding needs an input: a text, or a list");
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 64);
    body.put("model", &*model_call.target.model).put_json("input", input.ok_or_else(missing)?.get());
    for (name, value) in params.take_all(NATIVE) {
        body.put_json(&name, value.get());
    }
    for name in ["model", "encoding_format"] {
        params.take(name);
    }
    let dropped = params.finish(&model_call.endpoint.name, model_call.job.options.drop_unsupported)?;
    let url = format!("{}/embeddings", model_call.endpoint.base_url).into();
    Ok(Outbound { dropped, ..send::post(model_call, url, body, Framing::Whole) })
}
