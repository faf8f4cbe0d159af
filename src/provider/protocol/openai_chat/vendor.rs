//! A vendor of the dialect: its card and its rules, and nothing else.

use super::draft::Draft;
use super::{ChatDecoder, Rules, encode_by};
use crate::job::Fields;
use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::protocol::responses;
use crate::provider::protocol::responses::ResponsesDecoder;
use crate::provider::protocol::{embeddings, error, rerank};
use crate::provider::{Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider, Upstream};

/// A vendor of the dialect.
pub struct Vendor {
    /// Facts that are known before a request is made.
    pub card: &'static Card,
    /// What the vendor does otherwise in a chat.
    pub chat: &'static Rules,
    /// What it does otherwise with embeddings, if it makes any.
    pub embeddings: Option<&'static Rules>,
}

impl Vendor {
    /// The embeddings' rules, if that is what is asked for.
    fn embeds(&self, model_call: ModelCall<'_>) -> Option<&'static Rules> {
        self.embeddings.filter(|_| model_call.job.task == Task::Embedding)
    }

    /// Whether the job goes to the rerank endpoint.
    fn reranks(&self, model_call: ModelCall<'_>) -> bool {
        self.chat.has_rerank && model_call.job.task == Task::Rerank
    }

    /// Where the job goes out as Responses, if it does.
    pub fn responses_site(&self, model_call: ModelCall<'_>) -> Option<responses::Site> {
        let site = responses::Site { kind: self.card.id, rules: self.chat.responses? };
        responses::is_wanted(model_call, site).then_some(site)
    }

    /// Address of the Responses endpoint, if the job goes there.
    fn responses_url(&self, model_call: ModelCall<'_>) -> Option<Box<str>> {
        self.responses_site(model_call).map(|_| responses_url(model_call))
    }
}

impl Provider for Vendor {
    fn card(&self) -> &'static Card {
        self.card
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        match self.embeds(model_call) {
            Some(rules) => by_rules(rules, model_call, embeddings::encode(model_call)?),
            None if self.reranks(model_call) => rerank::encode_common(model_call),
            None => match self.responses_site(model_call) {
                Some(site) => responses::encode(model_call, responses_url(model_call), site),
                None => encode_by(self.chat, model_call),
            },
        }
    }

    fn wants_files_inside(&self, _ask: ModelCall<'_>) -> bool {
        self.chat.wants_files_inside
    }

    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        let rules = &self.chat.prefill;
        (rules.takes)(model_call, self.card.id).only_if(rules.in_responses || self.responses_site(model_call).is_none())
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        match self.embeds(model_call) {
            Some(_) => embeddings::decoder(model_call, &self.chat.reply),
            None if self.reranks(model_call) => rerank::decoder(),
            None => match self.responses_site(model_call) {
                Some(site) => Box::new(ResponsesDecoder::new(site.rules, &self.chat.reply)),
                None => Box::new(ChatDecoder::by(self.chat).for_job(model_call.job)),
            },
        }
    }

    fn resume(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(model_call).map(|url| responses::resume(model_call, &url, upstream))
    }

    fn fetch(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(model_call).map(|url| responses::fetch(model_call, &url, upstream))
    }

    fn cancel(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        self.responses_url(model_call).map(|url| responses::cancel(model_call, &url, upstream))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify_by(self.chat.errors, status, headers, body)
    }
}

fn responses_url(model_call: ModelCall<'_>) -> Box<str> {
    format!("{}/responses", model_call.endpoint.base_url).into()
}

/// A request for embeddings whose fields follow the rules.
fn by_rules(rules: &Rules, model_call: ModelCall<'_>, mut outbound: Outbound) -> Result<Outbound, Failure> {
    let fields: Fields<'_> =
        serde_json::from_slice(&outbound.body).map_err(|error| Failure::invalid("input", error))?;
    let mut draft = Draft::new(
        &model_call.target.model,
        &model_call.endpoint.name,
        rules.path,
        model_call.job.options.drop_unsupported,
    );
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
