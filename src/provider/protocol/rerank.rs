//! Rerank: documents ordered by a query, at every provider that serves it.
//!
//! Owns the one input (`{"query", "documents": […], "top_n"?}`) and the one `output` event
//! (`{"results": [{"index", "relevance_score", "document"?}]}`, best first as the provider gave
//! them). The formats differ by the name of a field: Cohere, Jina, vLLM and Together say `top_n` and
//! `results`, Voyage says `top_k` and `data`; [`Names`] holds that. Usage: tokens where the provider
//! counts them, `requests` where it bills searches (Cohere: a query with up to 100 documents).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::whole::{WholeAnswer, WholeDecoder};
use super::{embeddings, emit, error, send, whole};
use crate::job::{Bill, Failure, Usage, UsageSource};
use crate::provider::chat::{Body, Params, unsupported};
use crate::provider::{Decoder, Framing, ModelCall, Outbound};

/// Names of the fields at a provider.
pub struct Names {
    /// How many results are wanted.
    top: &'static str,
    /// Whether documents come back, where it can be asked.
    documents: Option<&'static str>,
    /// Whether a document may be an object.
    objects: bool,
    /// Fields of its own that are handed on.
    own: &'static [&'static str],
}

/// Names at Cohere v2, where documents are texts and do not come back.
pub const COHERE: Names =
    Names { top: "top_n", documents: None, objects: false, own: &["max_tokens_per_doc", "priority"] };
/// Names of the fields at Voyage.
pub const VOYAGE: Names =
    Names { top: "top_k", documents: Some("return_documents"), objects: false, own: &["truncation"] };
/// Names of the fields at Jina.
pub const JINA: Names = Names {
    top: "top_n",
    documents: Some("return_documents"),
    objects: true,
    own: &["truncation", "max_doc_length", "max_query_length", "return_embeddings"],
};
/// Names of the common form, `POST /rerank`: vLLM, Together, llama.cpp and others.
pub const COMMON: Names = Names {
    top: "top_n",
    documents: Some("return_documents"),
    objects: true,
    own: &["rank_fields", "truncate_prompt_tokens", "max_tokens_per_doc"],
};

/// Builds the request for a job to a provider that serves `POST /rerank` in the common form.
///
/// # Errors
/// As [`encode`].
pub fn encode_common(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    encode(model_call, format!("{}/rerank", model_call.endpoint.base_url).into(), &COMMON)
}

/// The request for a job.
///
/// # Errors
/// `invalid` or `unsupported`, naming the field.
pub fn encode(model_call: ModelCall<'_>, url: Box<str>, names: &Names) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let mut params = Params::read(&model_call.job.input)?;
    let need = |name: &str| Failure::invalid(&format!("input.{name}"), "is missing");
    let query = params.take("query").ok_or_else(|| need("query"))?;
    let documents = params.take("documents").ok_or_else(|| need("documents"))?;
    check_documents(documents, names, provider)?;
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 64);
    body.put("model", &*model_call.target.model).put_json("query", query.get()).put_json("documents", documents.get());
    let newer: Option<u64> = params.take_as("top_n")?;
    let older: Option<u64> = params.take_as("top_k")?;
    body.put_some(names.top, newer.or(older));
    params.take("model");
    if let Some(name) = names.documents
        && let Some(wanted) = params.take_as::<bool>("return_documents")?
    {
        body.put(name, &wanted);
    }
    for (name, value) in params.take_all(names.own) {
        body.put_json(&name, value.get());
    }
    let dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    Ok(Outbound { dropped, ..send::post(model_call, url, body, Framing::Whole) })
}

fn check_documents(documents: &RawValue, names: &Names, provider: &str) -> Result<(), Failure> {
    let wrong = || Failure::invalid("input.documents", "must be a list of texts");
    let list: Vec<&RawValue> = serde_json::from_str(documents.get()).map_err(|_| wrong())?;
    if list.is_empty() {
        return Err(Failure::invalid("input.documents", "must not be empty"));
    }
    for (at, document) in list.iter().enumerate() {
        match document.get().as_bytes().first() {
            Some(b'"') => {}
            Some(b'{') if names.objects => {}
            Some(b'{') => return Err(unsupported(&format!("input.documents[{at}]"), provider)),
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, alias = "data", default)]
    results: Option<Vec<Ranked<'a>>>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Ranked<'a> {
    index: u64,
    /// vLLM's older servers and text-embeddings-inference say `score`.
    #[serde(borrow, alias = "score")]
    relevance_score: &'a RawValue,
    #[serde(borrow, default)]
    document: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    #[serde(deserialize_with = "emit::count")]
    total_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    prompt_tokens: Option<u64>,
}

/// The field `meta`, in which Cohere counts.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    billed_units: Option<Billed>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Billed {
    #[serde(deserialize_with = "emit::count")]
    search_units: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    input_tokens: Option<u64>,
}

/// Builds the decoder for the answer to a job.
#[must_use]
pub fn decoder() -> Box<dyn Decoder> {
    Box::new(WholeDecoder::new(read_answer))
}

fn read_answer(body: &[u8]) -> Result<WholeAnswer, Failure> {
    let answer: Answer<'_> = whole::read(body)?;
    let Some(results) = answer.results else { return Err(error::in_reply(body)) };
    let billed = answer.meta.and_then(|meta| meta.billed_units).unwrap_or_default();
    let counts = answer.usage.unwrap_or_default();
    let usage = Usage {
        input_tokens: counts.total_tokens.or(counts.prompt_tokens).or(billed.input_tokens),
        requests: billed.search_units,
        source: UsageSource::Provider,
        ..Usage::default()
    };
    let usage = (usage.input_tokens.is_some() || usage.requests.is_some()).then_some(usage);
    let results: Vec<String> = results.iter().map(written).collect();
    let output = embeddings::output(format!("{{\"results\":[{}]}}", results.join(",")));
    Ok(WholeAnswer { output, usage, bill: Bill::default() })
}

fn written(ranked: &Ranked<'_>) -> String {
    let mut body = Body::default();
    body.put("index", &ranked.index).put_json("relevance_score", ranked.relevance_score.get());
    if let Some(document) = ranked.document.filter(|document| document.get() != "null") {
        body.put_json("document", document.get());
    }
    body.into_json()
}
