//! Servers that speak Messages: a kind for the configuration.

use crate::egress::{AUTHORIZATION, HeaderValue};

use crate::job::Failure;
use crate::provider::protocol::anthropic;
use crate::provider::protocol::anthropic::{Form, MessagesDecoder, Site};
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider, Route};

pub(super) struct AnthropicCompatible;

static CARD: Card = Card {
    id: "anthropic-compatible",
    auth: Auth::Header("x-api-key"),
    docs: "https://docs.claude.com/en/api/messages",
    ..Card::PLAIN
};

const SITE: Site = super::anthropic::site(CARD.id, Form::Api);

impl Provider for AnthropicCompatible {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        let mut outbound = anthropic::encode(model_call, SITE)?;
        if let Route::Http { headers, .. } = &mut outbound.route {
            bear(headers);
        }
        Ok(outbound)
    }

    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        anthropic::prefill(model_call, SITE)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        Box::new(MessagesDecoder::new(model_call, SITE))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        anthropic::classify(status, headers, body)
    }
}

/// Half of these servers look for the key in `x-api-key`, half for a bearer, as Anthropic's own
/// clients send either: it goes in both, unless the configuration says what `authorization` is.
fn bear(headers: &mut Headers) {
    if headers.contains_key(AUTHORIZATION) {
        return;
    }
    let Some(key) = headers.get("x-api-key").and_then(|key| key.to_str().ok()) else { return };
    if let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {key}")) {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_in_both_headers_unless_one_is_configured() {
        let mut headers = Headers::new();
        bear(&mut headers);
        assert!(headers.is_empty(), "a server without a key");
        headers.insert("x-api-key", HeaderValue::from_static("k"));
        bear(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer k");
        assert!(headers[AUTHORIZATION].is_sensitive());
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic x"));
        bear(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Basic x");
    }
}
