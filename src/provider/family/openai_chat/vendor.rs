//! A vendor of the dialect: its card and its rules, and nothing else.

use super::{ChatDecoder, Rules, encode_by};
use crate::job::Failure;
use crate::provider::family::error;
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

/// A vendor of the dialect.
pub struct Vendor {
    /// What the outside needs to know.
    pub card: &'static Card,
    /// What it does otherwise.
    pub rules: &'static Rules,
}

impl Provider for Vendor {
    fn card(&self) -> &'static Card {
        self.card
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        encode_by(self.rules, ask)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::by(self.rules).asked(ask.job))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify_by(self.rules.errors, status, headers, body)
    }
}
