//! AWS Bedrock: the models of many makers behind one form, Converse.
//!
//! A Bedrock API key (`api_key`, or its variable) travels as it is; without one each request is
//! signed with what AWS's own tools would use: see `credential/aws.rs`.

use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::prefill::{self, Thoughts};
use crate::provider::protocol::converse;
use crate::provider::{Ask, Auth, Card, Decoder, Headers, Outbound, Prefill, Provider, Setting};

pub(super) struct AwsBedrock;

static CARD: Card = Card {
    id: "aws-bedrock",
    base_url: "https://bedrock-runtime.{region}.amazonaws.com",
    key_variables: &["AWS_BEARER_TOKEN_BEDROCK"],
    auth: Auth::Aws,
    settings: &[
        Setting { name: "region", variables: &["AWS_REGION", "AWS_DEFAULT_REGION"], default: "" },
        Setting { name: "profile", variables: &[], default: "" },
    ],
    docs: "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html",
    ..Card::PLAIN
};

impl Provider for AwsBedrock {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        converse::encode(ask)
    }

    fn wants_files_inside(&self, _ask: Ask<'_>) -> bool {
        true
    }

    /// As the model behind.
    fn known_prefill(&self, ask: Ask<'_>) -> Prefill {
        prefill::by_catalog(CARD.id, ask).only_if(Thoughts::of(&ask.job.input) != Thoughts::Wanted)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        converse::decoder(ask)
    }

    fn reads(&self, asked: &PassthroughRequest<'_>) -> Option<Reading> {
        converse::reads(asked)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        converse::classify(status, headers, body)
    }
}
