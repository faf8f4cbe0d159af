//! Voyage: embeddings in nearly OpenAI's form, and rerank.

use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::protocol::embeddings;
use crate::provider::protocol::embeddings::Wanted;
use crate::provider::protocol::openai_chat::ReplyRules;
use crate::provider::protocol::rerank;
use crate::provider::protocol::{error, send};
use crate::provider::{Ask, Card, Decoder, Framing, Headers, Outbound, Provider};

pub(super) struct Voyage;

static CARD: Card = Card {
    id: "voyage",
    base_url: "https://api.voyageai.com/v1",
    key_variables: &["VOYAGE_API_KEY"],
    docs: "https://docs.voyageai.com/reference/embeddings-api",
    ..Card::PLAIN
};

/// Fields of its own, handed on as they came.
const NATIVE: &[&str] = &["input_type", "truncation", "output_dtype", "output_dimension"];

impl Provider for Voyage {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        match ask.job.task {
            Task::Embedding => embed(ask),
            Task::Rerank => rerank::encode(ask, format!("{}/rerank", ask.endpoint.base_url).into(), &rerank::VOYAGE),
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

/// `dimensions` is called `output_dimension` here. Numbers are asked for whatever the job wants: our
/// decoder packs them, and a `base64` of other numbers (`output_dtype`) would be no OpenAI's.
fn embed(ask: Ask<'_>) -> Result<Outbound, Failure> {
    let provider = &*ask.endpoint.name;
    let Wanted { texts, dimensions, mut params, .. } = Wanted::read(&ask.job.input, provider)?;
    let mut body = Body::with_capacity(ask.job.input.get().len() + 64);
    body.put("model", &*ask.target.model).put("input", &texts).put_some("output_dimension", dimensions);
    for (name, value) in params.take_all(NATIVE) {
        if name != "output_dimension" || dimensions.is_none() {
            body.put_json(&name, value.get());
        }
    }
    let dropped = params.finish(provider, ask.job.options.drop_unsupported)?;
    let url = format!("{}/embeddings", ask.endpoint.base_url).into();
    Ok(Outbound { dropped, ..send::post(ask, url, body, Framing::Whole) })
}
