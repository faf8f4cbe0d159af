//! Embeddings through `invoke`: each maker's own form, from and to OpenAI's.
//!
//! Titan and Nova take one text a request, Cohere many. An input without `input` that is in the
//! model's own form is taken as it is. The tokens are in a header; Titan says them in the body too.

use std::borrow::Cow;

use base64::Engine;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::encode::route;
use super::error;
use crate::job::{Bill, Code, Event, Failure, Output, OutputBody, Usage};
use crate::provider::chat::{Body, Params, quoted, unsupported};
use crate::provider::protocol::embeddings;
use crate::provider::protocol::whole;
use crate::provider::protocol::whole::{WholeAnswer, WholeDecoder};
use crate::provider::{Decoder, Framing, Headers, ModelCall, Outbound};

/// Fields by which a maker's own form is known.
const OWN: &[&str] = &["inputText", "inputImage", "texts", "images", "inputs", "taskType"];

/// Whose form a model takes.
enum Form {
    Titan,
    /// Titan's for images and texts, which has another name for the dimensions.
    TitanImage,
    Cohere,
    Nova,
}

impl Form {
    fn of(model: &str) -> Option<Form> {
        let forms = [
            ("titan-embed-image", Form::TitanImage),
            ("titan-embed", Form::Titan),
            ("cohere.embed", Form::Cohere),
            ("amazon.nova", Form::Nova),
        ];
        forms.into_iter().find(|(name, _)| model.contains(name)).map(|(_, form)| form)
    }
}

pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    let mut params = Params::read(&job.input)?;
    let (body, dropped) = if !params.has("input") && OWN.iter().any(|name| params.has(name)) {
        (Bytes::copy_from_slice(job.input.get().as_bytes()), Vec::new())
    } else {
        let form = Form::of(&target.model).ok_or_else(|| {
            let message = format!("{} cannot embed with {}", endpoint.name, target.model);
            Failure::unsupported("model", message).of_the_target()
        })?;
        let texts = texts(&mut params)?;
        params.take("encoding_format");
        let body = body(&form, &texts, &mut params, &endpoint.name)?;
        (body.into_bytes(), params.finish(&endpoint.name, job.options.drop_unsupported)?)
    };
    Ok(Outbound { route: route(model_call, "invoke", "application/json"), body, framing: Framing::Whole, dropped })
}

fn texts<'a>(params: &mut Params<'a>) -> Result<Vec<Cow<'a, str>>, Failure> {
    let wrong = || Failure::invalid("input.input", "must be a string or a list of strings");
    let input = params.take("input").ok_or_else(|| Failure::invalid("input.input", "is missing"))?;
    let texts: Vec<Cow<'a, str>> = match input.get().as_bytes().first() {
        Some(b'"') => vec![serde_json::from_str(input.get()).map_err(|_| wrong())?],
        _ => serde_json::from_str(input.get()).map_err(|_| wrong())?,
    };
    if texts.is_empty() { Err(wrong()) } else { Ok(texts) }
}

fn body(form: &Form, texts: &[Cow<'_, str>], params: &mut Params<'_>, provider: &str) -> Result<Body, Failure> {
    let dimensions: Option<u64> = params.take_as("dimensions")?;
    let mut body = Body::default();
    let only = || match texts {
        [only] => Ok(only),
        _ => {
            let message = format!("{provider} embeds one text a request with this model");
            Err(Failure::unsupported("input.input", message).of_the_target())
        }
    };
    match form {
        Form::Titan => {
            body.put("inputText", only()?).put_some("dimensions", dimensions);
            for (name, value) in params.take_all(&["normalize", "embeddingTypes"]) {
                body.put_json(&name, value.get());
            }
        }
        Form::TitanImage => {
            body.put("inputText", only()?);
            body.put_some("embeddingConfig", dimensions.map(|count| json!({"outputEmbeddingLength": count})));
        }
        Form::Cohere => {
            body.put("texts", texts);
            // Cohere wants to know what for; what is stored is the common case.
            body.put_json("input_type", params.take("input_type").map_or(r#""search_document""#, RawValue::get));
            body.put_some("output_dimension", dimensions);
            for (name, value) in params.take_all(&["truncate", "embedding_types", "max_tokens"]) {
                body.put_json(&name, value.get());
            }
        }
        Form::Nova => {
            let purpose = params.take("embeddingPurpose").map_or(r#""GENERIC_INDEX""#, RawValue::get);
            let mut single = Body::default();
            single.put_json("embeddingPurpose", purpose).put_some("embeddingDimension", dimensions);
            single.put_json("text", &format!(r#"{{"truncationMode":"END","value":{}}}"#, quoted(only()?)));
            body.put("taskType", "SINGLE_EMBEDDING").put_json("singleEmbeddingParams", &single.into_json());
        }
    }
    if params.has("images") {
        return Err(unsupported("input.images", provider));
    }
    Ok(body)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    embedding: Option<Vec<f64>>,
    #[serde(default)]
    embeddings: Option<Many>,
    #[serde(default)]
    input_text_token_count: Option<u64>,
}

/// Cohere's lists, the same by type, and Nova's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Many {
    Plain(Vec<Vec<f64>>),
    Typed { float: Vec<Vec<f64>> },
    Wrapped(Vec<Wrapped>),
}

#[derive(Deserialize)]
struct Wrapped {
    embedding: Vec<f64>,
}

/// Builds the decoder for the answer of any of these models.
pub(super) fn embed_decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    let form = embeddings::Form::of(&model_call.job.input);
    Box::new(WholeDecoder::new(move |body| read_answer(body, form)).with_headers(counted))
}

/// Reads the tokens of the input from the header that has them for every model.
fn counted(headers: &Headers) -> Option<Usage> {
    let count = headers.get("x-amzn-bedrock-input-token-count")?;
    Some(whole::input_usage(count.to_str().ok()?.parse().ok()?))
}

fn read_answer(body: &[u8], form: embeddings::Form) -> Result<WholeAnswer, Failure> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| truncated())?;
    let vectors = match (answer.embedding, answer.embeddings) {
        (_, Some(Many::Plain(vectors) | Many::Typed { float: vectors })) => vectors,
        (_, Some(Many::Wrapped(wrapped))) => wrapped.into_iter().map(|one| one.embedding).collect(),
        (Some(vector), None) => vec![vector],
        (None, None) => return Err(error::in_body(body)),
    };
    let data = vectors
        .iter()
        .enumerate()
        .map(|(at, vector)| json!({"object": "embedding", "index": at, "embedding": written(vector, form)}));
    let value = json!({"object": "list", "data": data.collect::<Vec<_>>()});
    let output = Output { index: 0, mime: "application/json".into(), sha256: None, body: OutputBody::Value(value) };
    let usage = answer.input_text_token_count.map(whole::input_usage);
    Ok(WholeAnswer { output: Event::Output(output), usage, bill: Bill::default() })
}

fn written(numbers: &[f64], form: embeddings::Form) -> Value {
    match form {
        embeddings::Form::Numbers => json!(numbers),
        embeddings::Form::Base64 => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
    }
}

fn truncated() -> Failure {
    Failure::new(Code::ProviderTruncated, "the provider's answer is no embedding").of_the_target()
}
