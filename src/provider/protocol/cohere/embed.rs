//! Embeddings at Cohere: `/v2/embed`.
//!
//! A job in OpenAI's shape says texts; Cohere also wants to know what they are for, `input_type`:
//! `search_document` unless the job says otherwise (a query must say `search_query`). Images and
//! mixed inputs go through in Cohere's own fields `images` and `inputs`. What Cohere counts it bills:
//! there is no template here.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::job::{Bill, Failure};
use crate::provider::chat::{Body, Params, unsupported};
use crate::provider::protocol::embeddings::{Form, Vectors, Wanted};
use crate::provider::protocol::whole::{WholeAnswer, WholeDecoder};
use crate::provider::protocol::{emit, error, send, whole};
use crate::provider::{Decoder, Framing, ModelCall, Outbound};

/// Purpose of the texts where the job names none: they are stored to be found.
const INPUT_TYPE: &str = "search_document";

/// The request for a job.
///
/// # Errors
/// `invalid` or `unsupported`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 96);
    body.put("model", &*model_call.target.model);
    let mut params = Params::read(&model_call.job.input)?;
    let own = params.take_all(&["texts", "images", "inputs"]);
    if own.is_empty() {
        let wanted = Wanted::read(&model_call.job.input, provider)?;
        body.put("texts", &wanted.texts).put_some("output_dimension", wanted.dimensions);
        params = wanted.params;
    }
    for (name, value) in own {
        body.put_json(&name, value.get());
    }
    match params.take("input_type") {
        Some(raw) => drop(body.put_json("input_type", raw.get())),
        None => drop(body.put("input_type", INPUT_TYPE)),
    }
    match params.take_as::<Vec<String>>("embedding_types")?.as_deref() {
        None | Some([]) => drop(body.put("embedding_types", &["float"])),
        Some([one]) => drop(body.put("embedding_types", &[one])),
        // The output has one vector for each text.
        Some(_) => return Err(unsupported("input.embedding_types", provider)),
    }
    for (name, value) in params.take_all(&["truncate", "output_dimension", "max_tokens", "priority"]) {
        body.put_json(&name, value.get());
    }
    for name in ["model", "encoding_format"] {
        params.take(name);
    }
    let dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    Ok(Outbound { dropped, ..send::post(model_call, super::address(model_call, "embed"), body, Framing::Whole) })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Kinds<'a>,
    #[serde(default)]
    meta: Option<Meta>,
}

/// Vectors by their type; a job wants one type.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Kinds<'a> {
    #[serde(borrow)]
    float: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    base64: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    int8: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    uint8: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    binary: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    ubinary: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    billed_units: Option<Billed>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Billed {
    #[serde(deserialize_with = "emit::count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    image_tokens: Option<u64>,
}

/// Builds the decoder for the answer to a job.
pub(super) fn embed_decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    let form = Form::of(&model_call.job.input);
    Box::new(WholeDecoder::new(move |body| read_answer(body, form)))
}

fn read_answer(body: &[u8], form: Form) -> Result<WholeAnswer, Failure> {
    let answer: Answer<'_> = whole::read(body)?;
    let Kinds { float, base64, int8, uint8, binary, ubinary } = answer.embeddings;
    let kinds = [float, base64, int8, uint8, binary, ubinary];
    let mut vectors = Vectors::new(form);
    for vector in kinds.into_iter().flatten().find(|kind| !kind.is_empty()).into_iter().flatten() {
        vectors.push(vector)?;
    }
    if vectors.is_empty() {
        return Err(error::in_reply(body));
    }
    let billed = answer.meta.and_then(|meta| meta.billed_units).unwrap_or_default();
    let tokens = match (billed.input_tokens, billed.image_tokens) {
        (None, None) => None,
        (texts, images) => Some(texts.unwrap_or(0).saturating_add(images.unwrap_or(0))),
    };
    let bill = Bill { image_input_tokens: billed.image_tokens, ..Bill::default() };
    Ok(WholeAnswer { output: vectors.into_event(), usage: tokens.map(whole::input_usage), bill })
}
