//! Which recordings are in which dialect, and who reads them.
//!
//! One file per dialect: how a recording of it is decoded, what a slow and plain reader that shares
//! no line with the decoder makes of it, and the job that its request must be rebuilt from.

pub(crate) mod chat;
pub(crate) mod cohere;
pub(crate) mod completions;
pub(crate) mod converse;
pub(crate) mod embeddings;
pub(crate) mod generate;
pub(crate) mod messages;
pub(crate) mod ollama;
pub(crate) mod responses;

use forebay::provider::{Decoder, Framing, Headers, Provider, vendor};
use serde_json::Value;

use super::replay::{Gist, Reply};

/// A protocol as the tests of recordings see it.
pub(crate) struct Dialect {
    /// Name of the protocol in the table.
    pub(crate) name: &'static str,
    /// Whether recordings of this provider and API are in it.
    pub(crate) speaks: fn(provider: &str, api: &str) -> bool,
    /// How a reply is cut.
    pub(crate) framing: Framing,
    /// A decoder for the reply of this exchange.
    pub(crate) decoder: fn(exchange: &Value) -> Box<dyn Decoder>,
    /// What an error means.
    pub(crate) classify: fn(u16, &Headers, &[u8]) -> forebay::job::Failure,
    /// What a good answer says, or `None` where there is an error in it or no end.
    pub(crate) oracle: fn(&Reply) -> Option<Gist>,
    /// The job that the recorded request came from, and what it must become; `None` for a request
    /// that no job makes.
    pub(crate) rebuild: fn(exchange: &Value) -> Option<Rebuild>,
}

/// A recorded request as a job, and back.
pub(crate) struct Rebuild {
    /// Vendor whose adapter is used.
    pub(crate) provider: &'static dyn Provider,
    /// The provider's id of the model.
    pub(crate) model: String,
    /// The task, `chat` unless said.
    pub(crate) task: forebay::job::Task,
    /// Input of the job.
    pub(crate) input: Value,
    /// The recorded body, up to the defaults that an adapter adds.
    pub(crate) becomes: Value,
}

/// Every protocol that has recordings.
pub(crate) const ALL: &[&Dialect] = &[
    &chat::DIALECT,
    &embeddings::DIALECT,
    &messages::DIALECT,
    &responses::DIALECT,
    &completions::DIALECT,
    &generate::DIALECT,
    &generate::EMBEDDINGS,
    &converse::STREAMED,
    &converse::WHOLE,
    &converse::EMBEDDINGS,
    &cohere::DIALECT,
    &cohere::EMBED,
    &ollama::DIALECT,
];

/// The dialect of a recording: a vendor's of its own, if there is one.
pub(crate) fn of(provider: &str, api: &str) -> Option<&'static Dialect> {
    chat::VENDORS.iter().chain(ALL).find(|dialect| (dialect.speaks)(provider, api)).copied()
}

/// Recordings that no job gives: all of an API, or one file.
pub(crate) const NO_JOB: &[(&str, &str)] = &[
    ("models", "lists models; no job asks for that"),
    ("count-tokens", "counts tokens; no job asks for that"),
    ("bedrock/invoke.max_tokens.be321c.json", "is Llama's own body; jobs for it go through Converse"),
];

/// The vendor of that id.
pub(crate) fn vendor_of(id: &str) -> &'static dyn Provider {
    *vendor::ALL.iter().find(|provider| provider.card().id == id).unwrap_or_else(|| panic!("{id} is listed"))
}

/// The data of the events of a server-sent body.
pub(crate) fn sse_data(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.split("\n\n")
        .filter_map(|event| {
            let lines: Vec<_> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        })
        .collect()
}
