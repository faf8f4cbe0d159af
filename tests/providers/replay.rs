//! Replays one exchange through framing and decoder, cut as the caller likes.

use std::collections::HashMap;

use base64::Engine as _;
use bytes::Bytes;
use forebay::job::{Bill, Event, Failure, Job, OutputBody, Part, Usage};
use forebay::provider::framing::Framer;
use forebay::provider::{Decoder, Finish, Framing, Headers, Step, Target};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The answer of an exchange.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// How it came in pieces, if that was recorded.
    pub(crate) piece_bytes: Vec<usize>,
}

impl Reply {
    pub(crate) fn of(exchange: &Value) -> Reply {
        let response = &exchange["response"];
        let headers: HashMap<String, String> = serde_json::from_value(response["headers"].clone()).unwrap_or_default();
        let headers = Headers::try_from(&headers).expect("headers");
        let body = match &response["body"] {
            Value::String(text) => text.clone(),
            lines @ Value::Array(_) => lines.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
            other => other.to_string(),
        };
        let body = match response["body_encoding"].as_str() {
            Some("base64") => base64::engine::general_purpose::STANDARD.decode(body.as_bytes()).expect("base64"),
            _ => body.into_bytes(),
        };
        Reply {
            status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status"),
            headers,
            body,
            piece_bytes: response["chunk_bytes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|bytes| usize::try_from(bytes.as_u64()?).ok())
                .collect(),
        }
    }

    /// The body in the pieces in which it was recorded, else in one.
    pub(crate) fn pieces(&self) -> Vec<&[u8]> {
        let mut rest = &self.body[..];
        let mut pieces = Vec::new();
        for bytes in &self.piece_bytes {
            let (piece, more) = rest.split_at((*bytes).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces.push(rest);
        pieces
    }
}

/// What became of an exchange.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    pub(crate) end: Result<Finish, Failure>,
    pub(crate) usage_so_far: Option<Usage>,
}

/// What understands a reply.
pub(crate) struct Adapter<'a> {
    pub(crate) framing: Framing,
    pub(crate) decoder: &'a dyn Fn() -> Box<dyn Decoder>,
    pub(crate) classify: &'a dyn Fn(u16, &Headers, &[u8]) -> Failure,
}

/// Replays a reply whose body comes in `pieces` and then ends.
pub(crate) fn replay<'a>(adapter: &Adapter<'_>, reply: &Reply, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    if !(200..300).contains(&reply.status) {
        let body: Vec<u8> = pieces.into_iter().flatten().copied().collect();
        let failure = (adapter.classify)(reply.status, &reply.headers, &body);
        return Outcome { events: Vec::new(), end: Err(failure), usage_so_far: None };
    }
    let mut decoder = (adapter.decoder)();
    decoder.on_headers(&reply.headers);
    let mut framer = Framer::new(adapter.framing, &reply.headers);
    let mut events = Vec::new();
    let end = decode(&mut *decoder, &mut framer, pieces, &mut events);
    Outcome { events, end, usage_so_far: decoder.usage_so_far() }
}

/// What else a price depends on, after the whole reply.
pub(crate) fn bill_of(adapter: &Adapter<'_>, reply: &Reply) -> Bill {
    let mut decoder = (adapter.decoder)();
    let mut framer = Framer::new(adapter.framing, &reply.headers);
    // How it ended was asked before.
    drop(decode(&mut *decoder, &mut framer, [&reply.body[..]], &mut Vec::new()));
    decoder.bill()
}

/// What the driver does, without its policies.
fn decode<'a>(
    decoder: &mut dyn Decoder,
    framer: &mut Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    events: &mut Vec<Event>,
) -> Result<Finish, Failure> {
    for piece in pieces {
        framer.feed(Bytes::copy_from_slice(piece));
        while let Some(packet) = framer.next()? {
            if decoder.on_packet(packet, events)? == Step::Done {
                return decoder.on_end(events);
            }
        }
    }
    if let Some(packet) = framer.finish()? {
        decoder.on_packet(packet, events)?;
    }
    decoder.on_end(events)
}

/// A target of that model.
pub(crate) fn target(model: &str) -> Target {
    Target { provider: "p".into(), model: model.into() }
}

/// A chat job with this input.
pub(crate) fn job(input: &str) -> Job {
    crate::job::job("p/m").input(input).build()
}

/// What an answer says, whatever its pieces: what the oracle and a recording's digest speak of.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Gist {
    /// Per answer (`n`): text, reasoning, refusal.
    pub(crate) texts: Vec<[String; 3]>,
    /// Id, name and arguments of each call.
    pub(crate) tools: Vec<(String, String, String)>,
    /// Whole outputs, as JSON.
    pub(crate) outputs: Vec<Value>,
    pub(crate) finish: String,
    pub(crate) usage: Value,
}

impl Gist {
    pub(crate) fn of(events: &[Event], finish: &Finish) -> Gist {
        let mut gist =
            Gist { finish: finish.reason.to_string(), usage: usage_json(finish.usage.as_ref()), ..Gist::default() };
        for event in events {
            match event {
                Event::Delta(delta) => {
                    let part = match delta.part {
                        Part::Text => 0,
                        Part::Reasoning => 1,
                        Part::Refusal => 2,
                        Part::AudioTranscript => continue,
                    };
                    gist.choice(delta.index as usize)[part].push_str(&delta.text);
                }
                Event::ToolCall(call) => {
                    let at = call.index as usize;
                    assert!(at <= gist.tools.len(), "calls are numbered in order");
                    if at == gist.tools.len() {
                        gist.tools.push(Default::default());
                    }
                    let (id, name, arguments) = &mut gist.tools[at];
                    id.push_str(call.call_id.as_deref().unwrap_or(""));
                    name.push_str(call.name.as_deref().unwrap_or(""));
                    arguments.push_str(&call.arguments);
                }
                Event::Output(output) => match &output.body {
                    OutputBody::Value(value) => gist.outputs.push(value.clone()),
                    OutputBody::Data(blob) if &*output.mime == "application/json" => {
                        gist.outputs.push(serde_json::from_slice(&blob.0).expect("JSON"));
                    }
                    OutputBody::Data(blob) => gist.outputs.push(json!({"mime": output.mime, "bytes": blob.0.len()})),
                    OutputBody::Url(url) => panic!("{url} is no output of text"),
                },
                Event::Progress(_) => {}
                other => panic!("{} is no part of a chat", other.kind()),
            }
        }
        while gist.texts.last().is_some_and(|texts| texts.iter().all(String::is_empty)) {
            gist.texts.pop();
        }
        gist
    }

    pub(crate) fn choice(&mut self, index: usize) -> &mut [String; 3] {
        if self.texts.len() <= index {
            self.texts.resize_with(index + 1, Default::default);
        }
        &mut self.texts[index]
    }

    /// What is committed of a recording: nothing that could be read.
    pub(crate) fn digest(&self) -> Value {
        let sha = |text: &str| {
            let digest = Sha256::digest(text.as_bytes());
            digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let mut digest = json!({
            "texts_sha256": self.texts.iter().map(|texts| texts.each_ref().map(|text| {
                if text.is_empty() { String::new() } else { format!("{}:{}", text.len(), sha(text)) }
            })).collect::<Vec<_>>(),
            "tools_sha256": self.tools.iter().map(|(id, name, arguments)| {
                sha(&format!("{id}\n{name}\n{arguments}"))
            }).collect::<Vec<_>>(),
            "finish": self.finish,
            "usage": self.usage,
        });
        if !self.outputs.is_empty() {
            let outputs = self.outputs.iter().map(|output| sha(&output.to_string()));
            digest["outputs_sha256"] = outputs.collect::<Vec<_>>().into();
        }
        digest
    }
}

pub(crate) fn usage_json(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return Value::Null };
    let mut value = serde_json::to_value(usage).expect("usage is JSON");
    value.as_object_mut().expect("an object").remove("source");
    value
}

/// A failure as it is committed: the message may quote the provider, so only our own parts.
pub(crate) fn failure_json(failure: &Failure) -> Value {
    let mut raw = json!({
        "code": failure.code,
        "retryable": failure.retryable,
        "belongs_to_target": failure.belongs_to_target,
        "retry_after_ms": failure.retry_after_ms,
        "provider_code": failure.provider_code,
        "type": failure.kind,
        "param": failure.param,
    });
    if failure.overflows {
        raw["overflows"] = true.into();
    }
    raw
}
