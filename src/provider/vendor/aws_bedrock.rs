//! AWS Bedrock: the models of many makers behind one form, Converse.
//!
//! A Bedrock API key (`api_key`, or its variable) travels as it is; without one each request is
//! signed with what AWS's own tools would use: see `credential/aws.rs`.

use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::prefill::{self, Thoughts};
use crate::provider::protocol::converse;
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider, Setting};

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

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        converse::encode(model_call)
    }

    fn wants_files_inside(&self, _ask: ModelCall<'_>) -> bool {
        true
    }

    /// Continues as the model behind it does.
    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        prefill::by_catalog(CARD.id, model_call).only_if(Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        converse::decoder(model_call)
    }

    fn reads(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        converse::reads(request)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        converse::classify(status, headers, body)
    }
}
