//! Voyage: embeddings in nearly OpenAI's form, and rerank.

use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::protocol::embeddings;
use crate::provider::protocol::embeddings::Wanted;
use crate::provider::protocol::openai_chat::ReplyRules;
use crate::provider::protocol::rerank;
use crate::provider::protocol::{error, send};
use crate::provider::{Card, Decoder, Framing, Headers, ModelCall, Outbound, Provider};

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

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        match model_call.job.task {
            Task::Embedding => embed(model_call),
            Task::Rerank => {
                rerank::encode(model_call, format!("{}/rerank", model_call.endpoint.base_url).into(), &rerank::VOYAGE)
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

/// `dimensions` is called `output_dimension` here. Numbers are asked for whatever the job wants: our
/// decoder packs them, and a `base64` of other numbers (`output_dtype`) would be no OpenAI's.
fn embed(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let Wanted { texts, dimensions, mut params, .. } = Wanted::read(&model_call.job.input, provider)?;
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 64);
    body.put("model", &*model_call.target.model).put("input", &texts).put_some("output_dimension", dimensions);
    for (name, value) in params.take_all(NATIVE) {
        if name != "output_dimension" || dimensions.is_none() {
            body.put_json(&name, value.get());
        }
    }
    let dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    let url = format!("{}/embeddings", model_call.endpoint.base_url).into();
    Ok(Outbound { dropped, ..send::post(model_call, url, body, Framing::Whole) })
}
