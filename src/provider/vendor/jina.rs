//! Jina: embeddings in nearly OpenAI's form, of images too, and rerank.

use crate::job::{Failure, Task};
use crate::provider::chat::{Body, Params};
use crate::provider::protocol::embeddings;
use crate::provider::protocol::openai_chat::ReplyRules;
use crate::provider::protocol::rerank;
use crate::provider::protocol::{error, send};
use crate::provider::{Ask, Card, Decoder, Framing, Headers, Outbound, Provider};

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

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        match ask.job.task {
            Task::Embedding => embed(ask),
            Task::Rerank => rerank::encode(ask, format!("{}/rerank", ask.endpoint.base_url).into(), &rerank::JINA),
            _ => Err(send::not_served(ask)),
        }
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        match ask.job.task {
            Task::Rerank => rerank::decoder(),
            _ => embeddings::decoder(ask, &ReplyRules::PLAIN),
        }
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify(status, headers, body)
    }
}

/// `input` goes through as it came: it may hold `{"image": …}` among its texts. Numbers are asked
/// for; whoever wants base64 gets it from our decoder.
fn embed(ask: Ask<'_>) -> Result<Outbound, Failure> {
    let mut params = Params::read(&ask.job.input)?;
    let input = params.take_first(&["input", "prompt"]);
    let input = input.filter(|input| input.get().starts_with(['"', '[']) && input.get().len() > 2);
    let missing = || Failure::invalid("input.input", "an embedding needs an input: a text, or a list");
    let mut body = Body::with_capacity(ask.job.input.get().len() + 64);
    body.put("model", &*ask.target.model).put_json("input", input.ok_or_else(missing)?.get());
    for (name, value) in params.take_all(NATIVE) {
        body.put_json(&name, value.get());
    }
    for name in ["model", "encoding_format"] {
        params.take(name);
    }
    let dropped = params.finish(&ask.endpoint.name, ask.job.options.drop_unsupported)?;
    let url = format!("{}/embeddings", ask.endpoint.base_url).into();
    Ok(Outbound { dropped, ..send::post(ask, url, body, Framing::Whole) })
}
