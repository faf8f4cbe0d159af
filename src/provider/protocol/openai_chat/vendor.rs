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

    /// Whether the job goes to the rerank endpoint.
    fn reranks(&self, ask: Ask<'_>) -> bool {
        self.chat.has_rerank && ask.job.task == Task::Rerank
    }

    /// Where the job goes out as Responses, if it does.
    pub fn responses_site(&self, ask: Ask<'_>) -> Option<responses::Site> {
        let site = responses::Site { kind: self.card.id, rules: self.chat.responses? };
        responses::is_wanted(ask, site).then_some(site)
    }

    /// Address of the Responses endpoint, if the job goes there.
    fn responses_url(&self, ask: Ask<'_>) -> Option<Box<str>> {
        self.responses_site(ask).map(|_| responses_url(ask))
    }
}

impl Provider for Vendor {
    fn card(&self) -> &'static Card {
        self.card
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        match self.embeds(ask) {
            Some(rules) => by_rules(rules, ask, embeddings::encode(ask)?),
            None if self.reranks(ask) => rerank::encode_common(ask),
            None => match self.responses_site(ask) {
                Some(site) => responses::encode(ask, responses_url(ask), site),
                None => encode_by(self.chat, ask),
            },
        }
    }

    fn wants_files_inside(&self, _ask: Ask<'_>) -> bool {
        self.chat.wants_files_inside
    }

    fn known_prefill(&self, ask: Ask<'_>) -> Prefill {
        let rules = &self.chat.prefill;
        (rules.takes)(ask, self.card.id).only_if(rules.in_responses || self.responses_site(ask).is_none())
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        match self.embeds(ask) {
            Some(_) => embeddings::decoder(ask, &self.chat.reply),
            None if self.reranks(ask) => rerank::decoder(),
            None => match self.responses_site(ask) {
                Some(site) => Box::new(ResponsesDecoder::new(site.rules, &self.chat.reply)),
                None => Box::new(ChatDecoder::by(self.chat).asked(ask.job)),
            },
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

fn responses_url(ask: Ask<'_>) -> Box<str> {
    format!("{}/responses", ask.endpoint.base_url).into()
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
