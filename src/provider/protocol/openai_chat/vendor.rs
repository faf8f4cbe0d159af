//! A vendor of the dialect: its card and its rules, and nothing else.

use super::draft::Draft;
use super::{ChatDecoder, Rules, encode_by};
use crate::job::Fields;
use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::protocol::responses;
use crate::provider::protocol::responses::ResponsesDecoder;
use crate::provider::protocol::{embeddings, error, rerank};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Prefill, Provider, Upstream};

/// A vendor of the dialect.
pub struct Vendor {
    /// What the outside needs to know.
    pub card: &'static Card,
    /// What it does otherwise in a chat.
    pub chat: &'static Rules,
    /// What it does otherwise with embeddings, if it makes any.
    pub embeddings: Option<&'static Rules>,
}

impl Vendor {
    /// The embeddings' rules, if that is what is asked for.
    fn embeds(&self, ask: Ask<'_>) -> Option<&'static Rules> {
        self.embeddings.filter(|_| ask.job.task == Task::Embedding)
    }

    /// Whether this is asked as a Response.
    fn responds(&self, ask: Ask<'_>) -> bool {
        self.chat.has_responses && responses::is_wanted(ask, self.card.id)
    }

    /// Where Responses are, if this is asked as one.
    fn responses_url(&self, ask: Ask<'_>) -> Option<Box<str>> {
        self.responds(ask).then(|| format!("{}/responses", ask.endpoint.base_url).into())
    }
}

impl Provider for Vendor {
    fn card(&self) -> &'static Card {
        self.card
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        match self.embeds(ask) {
            Some(rules) => by_rules(rules, ask, embeddings::encode(ask)?),
            None if rerank::is_wanted(ask, self.card.id) => rerank::encode_common(ask),
            None => match self.responses_url(ask) {
                Some(url) => responses::encode(ask, url, &responses::Rules::of(self.card.id)),
                None => encode_by(self.chat, ask),
            },
        }
    }

    fn wants_files_inside(&self, _ask: Ask<'_>) -> bool {
        self.chat.wants_files_inside
    }

    fn known_prefill(&self, ask: Ask<'_>) -> Prefill {
        let rules = &self.chat.prefill;
        (rules.takes)(ask, self.card.id).only_if(rules.in_responses || !self.responds(ask))
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        match self.embeds(ask) {
            Some(_) => Box::new(embeddings::EmbeddingsDecoder::new(ask).told_by(&self.chat.reply)),
            None if rerank::is_wanted(ask, self.card.id) => Box::<rerank::RerankDecoder>::default(),
            None if self.responds(ask) => {
                Box::new(ResponsesDecoder::new(&responses::Rules::of(self.card.id), &self.chat.reply))
            }
            None => Box::new(ChatDecoder::by(self.chat).asked(ask.job)),
        }
    }

    fn resume(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(ask).map(|url| responses::resume(ask, &url, upstream))
    }

    fn fetch(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(ask).map(|url| responses::fetch(ask, &url, upstream))
    }

    fn cancel(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(ask).map(|url| responses::cancel(ask, &url, upstream))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify_by(self.chat.errors, status, headers, body)
    }
}

/// A request for embeddings whose fields follow the rules.
fn by_rules(rules: &Rules, ask: Ask<'_>, mut outbound: Outbound) -> Result<Outbound, Failure> {
    let fields: Fields<'_> =
        serde_json::from_slice(&outbound.body).map_err(|error| Failure::invalid("input", error))?;
    let mut draft = Draft::new(&ask.target.model, &ask.endpoint.name, rules.path, ask.job.options.drop_unsupported);
    draft.fill(rules, fields.0.into_iter().map(|(name, value)| (name, value.get())).collect())?;
    if let Some(translate) = rules.translate {
        translate(&mut draft)?;
    }
    let (fields, dropped) = draft.into_parts();
    let mut body = Body::default();
    for (name, value) in &fields {
        body.put_json(name, value);
    }
    let body = body.into_bytes();
    outbound.body = body;
    outbound.dropped = dropped;
    Ok(outbound)
}
