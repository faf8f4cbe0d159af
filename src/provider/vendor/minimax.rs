//! MiniMax, on the surface that it recommends (Messages), or with `api = "chat"` on OpenAI's.
//!
//! Its oddities: errors come inside answers whose status is fine; the key is always a bearer; on the
//! chat surface thoughts stand between tags, and a last event may repeat the whole answer. Thoughts
//! of earlier turns, which its models want back, go back on Messages only.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::job::{Bill, Code, Event, Failure, Usage};
use crate::provider::protocol::anthropic;
use crate::provider::protocol::anthropic::{Form, MessagesDecoder, OtherModels, Site, Thinking};
use crate::provider::protocol::error;
use crate::provider::protocol::openai_chat;
use crate::provider::protocol::openai_chat::{ChatDecoder, MessageRules, ReplyRules, Rules};
use crate::provider::{Card, Decoder, Finish, Headers, ModelCall, Outbound, Packet, Provider, Route, Step};

pub(super) struct MiniMax;

static CARD: Card = Card {
    id: "minimax",
    base_url: "https://api.minimax.io",
    key_variables: &["MINIMAX_API_KEY"],
    docs: "https://platform.minimax.io/docs/api-reference/text-anthropic-api",
    ..Card::PLAIN
};

const SITE: Site = Site { others: &MODELS, ..super::anthropic::site(CARD.id, Form::Api) };

/// What its models do otherwise on Messages.
static MODELS: OtherModels = OtherModels {
    reasoning_format: "minimax-v1",
    thinking,
    // The temperature must be above 0, and there is no output format.
    takes_zero_temperature: false,
    takes_schema: false,
};

/// M2 always thinks and takes no word about it; M3 can be told not to.
fn thinking(model: &str) -> Thinking {
    if model.to_ascii_lowercase().contains("m2") { Thinking::Never } else { Thinking::OnOff }
}

/// Rules of the chat surface.
static CHAT: Rules = Rules {
    path: "/v1/chat/completions",
    renames: &[("max_tokens", "max_completion_tokens")],
    // The first three are ignored without a word, the others not known, says the documentation.
    refuses: &[&[
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "seed",
        "stop",
        "n",
        "reasoning_effort",
        "parallel_tool_calls",
    ]],
    most: &[("temperature", 1.0, "1.0")],
    messages: MessageRules { only_system: true, without_foreign: true, ..MessageRules::PLAIN },
    reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN },
    ..Rules::PLAIN
};

/// What the numbers of its errors mean: our code, whether another try may help, whether another
/// target may. Numbers that are not here pass, like most that are.
const ERRORS: &[(&[i64], Code, bool, bool)] = &[
    (&[1001], Code::ProviderTimeout, true, true),
    (&[1002, 1041, 2045], Code::ProviderRateLimited, true, true),
    (&[1004, 1008, 2049], Code::ProviderAuth, false, true),
    (&[1026, 1027], Code::ContentFiltered, false, false),
    (&[1042, 2013], Code::ProviderRejected, false, false),
    // The plan's window is used up; the model is not in the plan.
    (&[2056], Code::ProviderRateLimited, false, true),
    (&[2061], Code::ProviderRejected, false, true),
];
/// Tokens a minute, or tokens of one request: only the words tell.
const TOKEN_LIMIT: i64 = 1039;

impl Provider for MiniMax {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        let host = host(&model_call.endpoint.base_url);
        if !is_chat(model_call) {
            return anthropic::encode_at(model_call, SITE, format!("{host}/anthropic/v1/messages"));
        }
        let mut outbound = openai_chat::encode_by(&CHAT, model_call)?;
        if let Route::Http { url, .. } = &mut outbound.route {
            *url = format!("{host}{}", CHAT.path).into();
        }
        Ok(outbound)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        Box::new(MiniMaxDecoder {
            inner: match is_chat(model_call) {
                true => Box::new(ChatDecoder::by(&CHAT).for_job(model_call.job)),
                false => Box::new(MessagesDecoder::new(model_call, SITE)),
            },
            has_told: false,
        })
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        match base_resp(body) {
            Some(failure) => failure.with_status(status),
            None => anthropic::classify(status, headers, body),
        }
    }
}

fn is_chat(model_call: ModelCall<'_>) -> bool {
    model_call.endpoint.setting("api") == Some("chat")
}

/// The address without the surface that a configuration may have taken over from its documents.
fn host(base_url: &str) -> &str {
    let base_url = base_url.strip_suffix("/v1").unwrap_or(base_url);
    base_url.strip_suffix("/anthropic").unwrap_or(base_url)
}

/// Either surface's decoder, and an eye on what MiniMax puts beside its answers.
struct MiniMaxDecoder {
    inner: Box<dyn Decoder>,
    has_told: bool,
}

impl Decoder for MiniMaxDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        let (Packet::Sse { data, .. } | Packet::Line(data) | Packet::Frame { data, .. } | Packet::Whole(data)) = packet;
        if let Some(failure) = base_resp(data) {
            return Err(failure);
        }
        let before = out.len();
        let step = match packet {
            Packet::Sse { event, data } if self.has_told && repeats(data) => {
                let rest = without_messages(data);
                self.inner.on_packet(Packet::Sse { event, data: &rest }, out)
            }
            packet => self.inner.on_packet(packet, out),
        };
        self.has_told |= out.len() > before;
        step
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        self.inner.on_end(out)
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.inner.usage_so_far()
    }

    fn bill(&self) -> Bill {
        self.inner.bill()
    }
}

/// Whether this event of a stream is the whole answer once more.
fn repeats(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"\"chat.completion\"").is_some()
}

/// The event without the answer's text: its finish and its usage count.
fn without_messages(data: &[u8]) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Value>(data) else { return data.to_vec() };
    for choice in event["choices"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        choice.remove("message");
        choice.insert("delta".into(), json!({}));
    }
    event.to_string().into_bytes()
}

/// The error that stands in an answer, if one does.
fn base_resp(data: &[u8]) -> Option<Failure> {
    #[derive(Deserialize)]
    struct RawAnswer {
        base_resp: RawStatus,
    }
    #[derive(Deserialize)]
    struct RawStatus {
        status_code: i64,
        #[serde(default)]
        status_msg: Option<String>,
    }
    memchr::memmem::find(data, b"\"base_resp\"")?;
    let RawStatus { status_code, status_msg } = serde_json::from_slice::<RawAnswer>(data).ok()?.base_resp;
    if status_code == 0 {
        return None;
    }
    let words = status_msg.filter(|words| !words.is_empty()).unwrap_or_else(|| format!("error {status_code}"));
    // Cleaned of what looks like a key.
    let message = error::in_reply(json!({"message": words}).to_string().as_bytes()).message.clone();
    let is_too_long = status_code == TOKEN_LIMIT && ["context", "too long"].iter().any(|w| words.contains(w));
    let known = ERRORS.iter().find(|(numbers, ..)| numbers.contains(&status_code));
    let (code, retryable, of_the_target) = match known {
        _ if is_too_long => (Code::ProviderRejected, false, false),
        _ if status_code == TOKEN_LIMIT => (Code::ProviderRateLimited, true, true),
        Some((_, code, retryable, of_the_target)) => (*code, *retryable, *of_the_target),
        None => (Code::ProviderUnavailable, true, true),
    };
    let mut failure = Failure::new(code, message);
    failure.retryable = retryable;
    failure.belongs_to_target = of_the_target;
    failure.overflows = is_too_long;
    let number = status_code.to_string();
    failure.provider_code = Some(if is_too_long { "context_length_exceeded".into() } else { number.into() });
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_answer_means_what_its_number_says() {
        for (body, expected) in [
            (r#"{"base_resp":{"status_code":0,"status_msg":"success"}}"#, None),
            (r#"{"choices":[]}"#, None),
            (r#"{"base_resp":{"status_code":1002}}"#, Some((Code::ProviderRateLimited, true, "1002"))),
            (r#"{"base_resp":{"status_code":1008,"status_msg":"x"}}"#, Some((Code::ProviderAuth, false, "1008"))),
            (r#"{"base_resp":{"status_code":1026}}"#, Some((Code::ContentFiltered, false, "1026"))),
            (r#"{"base_resp":{"status_code":1033}}"#, Some((Code::ProviderUnavailable, true, "1033"))),
            (r#"{"base_resp":{"status_code":1039}}"#, Some((Code::ProviderRateLimited, true, "1039"))),
            (
                r#"{"base_resp":{"status_code":1039,"status_msg":"context window exceeded"}}"#,
                Some((Code::ProviderRejected, false, "context_length_exceeded")),
            ),
            (r#"{"base_resp":{"status_code":2056}}"#, Some((Code::ProviderRateLimited, false, "2056"))),
        ] {
            let failure = base_resp(body.as_bytes());
            let got = failure.as_ref().map(|f| (f.code, f.retryable, f.provider_code.as_deref().unwrap_or("")));
            assert_eq!(got, expected, "{body}");
            let overflows = expected.is_some_and(|(_, _, code)| code == "context_length_exceeded");
            assert_eq!(failure.is_some_and(|failure| failure.overflows), overflows, "{body}");
        }
    }

    #[test]
    fn the_surface_in_an_address_does_not_matter() {
        for base_url in ["https://h", "https://h/v1", "https://h/anthropic", "https://h/anthropic/v1"] {
            assert_eq!(host(base_url), "https://h");
        }
    }
}
