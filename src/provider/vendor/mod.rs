//! One small file per vendor.
//!
//! To add one: write `vendor/NAME.rs` with a unit struct that implements [`Provider`] (its card, and
//! a family's `encode`, decoder and `classify`; oddities are named constants, each with its reason),
//! add `mod NAME;` and `&NAME::NAME` here, and put exchanges that you wrote from the vendor's
//! documents into `tests/fixtures/text/NAME/` (tests/providers.rs says how they look). A vendor whose
//! card names a key variable is on when that variable is set; one with a base URL and no key is
//! always on; one without a base URL is a `kind` for `[providers.NAME]`. Somebody who speaks the
//! OpenAI dialect without oddities needs no file at all: `kind = "openai-compatible"`.

mod aws_bedrock;
mod local;
mod openai;
mod openai_compatible;
mod scripted;

use super::Provider;

/// Every vendor, in the order of the documentation.
pub const ALL: &[&dyn Provider] = &[
    &openai::OpenAi,
    &aws_bedrock::AwsBedrock,
    &local::Local,
    &openai_compatible::OpenAiCompatible,
    &scripted::Scripted,
];

/// The provider of the OpenAI dialect in its plain form.
macro_rules! openai_chat {
    () => {
        fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
            openai_chat::encode(ask)
        }

        fn decoder(&self, _ask: Ask<'_>) -> Box<dyn Decoder> {
            Box::<openai_chat::ChatDecoder>::default()
        }

        fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
            error::classify(status, headers, body)
        }
    };
}
use openai_chat;
