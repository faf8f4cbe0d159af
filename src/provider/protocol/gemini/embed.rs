//! Embeddings: `batchEmbedContents` of the Developer API, `predict` of Vertex AI.
//!
//! All texts of a job go in one request; how many Google takes at once is Google's to say. Only
//! Vertex, and the newest models elsewhere, tell usage.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{error, model, usage};
use crate::job::{Bill, Failure};
use crate::provider::chat::Body;
use crate::provider::protocol::embeddings::{Form, Vectors, Wanted};
use crate::provider::protocol::whole;
use crate::provider::protocol::whole::{WholeAnswer, WholeDecoder};
use crate::provider::{Decoder, Framing, Method, ModelCall, Outbound, Route};

/// The request to the Developer API.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn embed(model_call: ModelCall<'_>, root: &str) -> Result<Outbound, Failure> {
    let mut wanted = Wanted::read(&model_call.job.input, &model_call.endpoint.name)?;
    let path = model::path(&model_call.target.model)?;
    let task = wanted.params.take_first(&["taskType", "task_type"]);
    let title = wanted.params.take("title");
    let requests = wanted.texts.iter().map(|text| {
        let mut request = Body::with_capacity(text.len() + 128);
        request.put("model", &path).put("content", &json!({"parts": [{ "text": text }]}));
        request.put_some("taskType", task).put_some("title", title);
        request.put_some("outputDimensionality", wanted.dimensions);
        request.into_json()
    });
    let requests: Vec<String> = requests.collect();
    let body = format!("{{\"requests\":[{}]}}", requests.join(","));
    finish(model_call, wanted, format!("{root}/{path}:batchEmbedContents"), body)
}

/// The request to Vertex AI.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn predict(model_call: ModelCall<'_>, root: &str) -> Result<Outbound, Failure> {
    let mut wanted = Wanted::read(&model_call.job.input, &model_call.endpoint.name)?;
    let path = model::path(&model_call.target.model)?;
    let task = wanted.params.take_first(&["taskType", "task_type"]);
    let title = wanted.params.take("title");
    let truncate = wanted.params.take_first(&["autoTruncate", "auto_truncate"]);
    let instances = wanted.texts.iter().map(|text| {
        let mut instance = Body::with_capacity(text.len() + 64);
        instance.put("content", text).put_some("task_type", task).put_some("title", title);
        instance.into_json()
    });
    let instances: Vec<String> = instances.collect();
    let mut parameters = Body::default();
    parameters.put_some("outputDimensionality", wanted.dimensions).put_some("autoTruncate", truncate);
    let mut body = Body::default();
    body.put_json("instances", &format!("[{}]", instances.join(",")));
    if !parameters.is_empty() {
        body.put_json("parameters", &parameters.into_json());
    }
    finish(model_call, wanted, format!("{root}/{path}:predict"), body.into_json())
}

fn finish(model_call: ModelCall<'_>, wanted: Wanted<'_>, url: String, body: String) -> Result<Outbound, Failure> {
    let dropped = wanted.params.finish(&model_call.endpoint.name, model_call.job.options.drop_unsupported)?;
    let mut headers = model_call.endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let route = Route::Http {
        method: Method::POST,
        url: url.into(),
        headers,
        credential: model_call.endpoint.credential.clone(),
    };
    Ok(Outbound { route, body: body.into(), framing: Framing::Whole, dropped })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    embeddings: Vec<Embedding<'a>>,
    /// `embedContent`, for one text.
    #[serde(borrow, default)]
    embedding: Option<Embedding<'a>>,
    #[serde(borrow, default)]
    predictions: Vec<Prediction<'a>>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Embedding<'a>,
}

#[derive(Deserialize)]
struct Statistics {
    token_count: Option<f64>,
}

/// Builds the decoder for the answer to a job.
pub(super) fn embed_decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    let form = Form::of(&model_call.job.input);
    Box::new(WholeDecoder::new(move |body| read_answer(body, form)))
}

fn read_answer(body: &[u8], form: Form) -> Result<WholeAnswer, Failure> {
    let answer: Answer<'_> = whole::read(body)?;
    let embeddings = answer.embeddings.into_iter().chain(answer.embedding);
    let embeddings = embeddings.chain(answer.predictions.into_iter().map(|prediction| prediction.embeddings));
    let mut vectors = Vectors::new(form);
    let mut tokens: Option<u64> = None;
    for embedding in embeddings {
        vectors.push(embedding.values)?;
        if let Some(count) = embedding.statistics.and_then(|statistics| statistics.token_count) {
            tokens = Some(tokens.unwrap_or(0).saturating_add(count as u64));
        }
    }
    if vectors.is_empty() {
        return Err(error::in_reply(body));
    }
    let usage = answer.usage_metadata.and_then(|raw| usage::read(raw.get())).map(|(usage, _)| usage);
    let usage = usage.or(tokens.map(whole::input_usage));
    Ok(WholeAnswer { output: vectors.into_event(), usage, bill: Bill::default() })
}
