//! Embeddings and rerank at Workers AI.
//!
//! Embeddings go to the compatible API, or natively as `{"text": […]}` whose answer is a bare matrix.
//! Rerank is native only: its documents are `contexts`, its scores `response`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{failure, wire};
use crate::job::{Bill, Event, Failure, Task};
use crate::provider::chat::{Body, Params, unsupported};
use crate::provider::protocol::embeddings;
use crate::provider::protocol::embeddings::{Form, Vectors, Wanted};
use crate::provider::protocol::whole::{WholeAnswer, WholeDecoder};
use crate::provider::protocol::{emit, error, openai_chat, send};
use crate::provider::{Decoder, Framing, ModelCall, Outbound};

pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    embeddings::encode_to(model_call, format!("{}/v1/embeddings", super::base(model_call)).into())
}

pub(super) fn encode_native(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let url = super::run_address(model_call)?;
    let Wanted { texts, dimensions, mut params, .. } = Wanted::read(&model_call.job.input, provider)?;
    if dimensions.is_some() && !model_call.job.options.drop_unsupported {
        return Err(unsupported("input.dimensions", provider));
    }
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 32);
    body.put("text", &texts);
    for (name, value) in params.take_all(&["pooling", "truncate_inputs"]) {
        body.put_json(&name, value.get());
    }
    let mut dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    dropped.extend(dimensions.map(|_| "input.dimensions".into()));
    Ok(Outbound { dropped, ..send::post(model_call, url, body, Framing::Whole) })
}

pub(super) fn encode_rerank(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let url = super::run_address(model_call)?;
    let mut params = Params::read(&model_call.job.input)?;
    let need = |name: &str| Failure::invalid(&format!("input.{name}"), "is missing");
    let query = params.take("query").ok_or_else(|| need("query"))?;
    let documents: Vec<String> = params.take_as("documents")?.ok_or_else(|| need("documents"))?;
    let newer: Option<u64> = params.take_as("top_n")?;
    let older: Option<u64> = params.take_as("top_k")?;
    params.take("model");
    let contexts = documents.iter().map(|text| {
        let mut context = Body::default();
        context.put("text", text);
        context.into_json()
    });
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 64);
    body.put_json("query", query.get());
    body.put_json("contexts", &format!("[{}]", contexts.collect::<Vec<_>>().join(",")));
    body.put_some("top_k", newer.or(older));
    let dropped = params.finish(&model_call.endpoint.name, model_call.job.options.drop_unsupported)?;
    Ok(Outbound { dropped, ..send::post(model_call, url, body, Framing::Whole) })
}

/// A matrix, OpenAI's list, or scores.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
    response: Option<Vec<Score>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Datum<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    #[serde(default)]
    index: Option<usize>,
}

#[derive(Deserialize)]
struct Score {
    id: u64,
    score: f64,
}

/// Builds the decoder for the answer to a job.
pub(super) fn embed_decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    let (task, form) = (model_call.job.task, Form::of(&model_call.job.input));
    Box::new(WholeDecoder::new(move |body| read_answer(body, task, form)))
}

fn read_answer(body: &[u8], task: Task, form: Form) -> Result<WholeAnswer, Failure> {
    if body.starts_with(b"<") {
        return Err(error::in_reply(body));
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return Err(emit::truncated());
    }
    let Ok(envelope) = serde_json::from_slice::<wire::Envelope<'_>>(body) else {
        return Err(failure::in_reply(body));
    };
    if envelope.is_error() {
        return Err(failure::in_reply(body));
    }
    let inside = envelope.result.map(RawValue::get).filter(|result| result.starts_with('{'));
    let answer: Answer<'_> = match inside {
        Some(result) => serde_json::from_str(result),
        None => serde_json::from_slice(body),
    }
    .map_err(|_| failure::in_reply(body))?;
    let output = match (task, answer.response) {
        (Task::Rerank, Some(scores)) => Some(ranking(scores)),
        _ => vectors(answer.data.as_deref().unwrap_or_default(), form)?,
    };
    let output = output.ok_or_else(|| failure::in_reply(body))?;
    Ok(WholeAnswer { output, usage: answer.usage.and_then(openai_chat::usage_of), bill: Bill::default() })
}

/// Returns the output of a ranking, best first as other providers give it.
fn ranking(mut scores: Vec<Score>) -> Event {
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    let results = scores.iter().map(|Score { id, score }| {
        let mut result = Body::default();
        result.put("index", id).put("relevance_score", score);
        result.into_json()
    });
    let results = results.collect::<Vec<_>>().join(",");
    embeddings::output(format!("{{\"results\":[{results}]}}"))
}

fn vectors(data: &[&RawValue], form: Form) -> Result<Option<Event>, Failure> {
    let mut vectors = Vectors::new(form);
    for (at, datum) in data.iter().enumerate() {
        if datum.get().starts_with('{') {
            let datum: Datum<'_> = serde_json::from_str(datum.get()).map_err(|_| emit::malformed())?;
            vectors.push_at(datum.index.unwrap_or(at), datum.embedding)?;
        } else {
            vectors.push(datum)?;
        }
    }
    Ok((!vectors.is_empty()).then(|| vectors.into_event()))
}
