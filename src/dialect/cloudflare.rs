//! Cloudflare's `ai/run`: requests of its clients and the answers that they read.
//!
//! Owns their envelope and the numbers in it. An answer is OpenAI's with the plain text beside it as
//! `response`, which clients of Workers AI's older models read. Pure, as every rendering.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::openai::Chunks;
use super::render::{Render, RenderState, Served};
use crate::job::{Code, Event, Failure, JobId, ModelName, Part};
use crate::wire::record::{BodyRef, RecordRef};
use crate::wire::submit::JobRequest;
use crate::wire::{header_options, submit};

/// Reads the body of `POST …/ai/run`.
///
/// # Errors
/// `invalid`, naming the field; `unsupported` for a form of webhook that is not ours.
pub fn run(body: &[u8]) -> Result<JobRequest, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        model: ModelName,
        #[serde(borrow)]
        input: &'a RawValue,
        #[serde(default)]
        options: Settings,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct Settings {
        background: bool,
        webhook_url: Option<Box<str>>,
        webhook_format: Option<Box<str>>,
        reject_if_busy: bool,
    }
    let Body { model, input, options } = submit::read_object(body)?;
    let mut request = header_options::of_input(model, input.get().as_bytes())?;
    if options.webhook_url.is_some() || options.webhook_format.is_some() {
        return Err(Failure::unsupported("options.webhookUrl", "read the job's events, or ask /v1/jobs/{id}"));
    }
    if options.reject_if_busy {
        // The shortest wait there is.
        request.options.timeouts.queue_ms = Some(1);
    }
    request.options.background = options.background;
    Ok(request)
}

/// The input of Workers AI's models that embed: they call it `text`.
#[must_use]
pub fn texts(input: Box<RawValue>) -> Box<RawValue> {
    let Ok(mut fields) = serde_json::from_str::<serde_json::Map<String, Value>>(input.get()) else { return input };
    match fields.remove("text") {
        Some(text) if !fields.contains_key("input") => {
            fields.insert("input".into(), text);
            serde_json::value::to_raw_value(&fields).unwrap_or(input)
        }
        _ => input,
    }
}

/// A result in their envelope.
#[must_use]
pub fn success(result: Value) -> Value {
    json!({"result": result, "success": true, "errors": [], "messages": []})
}

/// A failure in their envelope; ours stands beside it as `error`.
#[must_use]
pub fn failure(failure: &Failure) -> Value {
    json!({
        "result": null, "success": false, "messages": [],
        "errors": [{"code": number(failure), "message": failure.message}],
        "error": failure,
    })
}

/// The number that their clients know for a failure: Workers AI's list of errors
/// (developers.cloudflare.com/workers-ai/platform/errors/), and 10000 of their API for a missing permission.
fn number(failure: &Failure) -> u32 {
    match failure.code {
        Code::Unauthenticated | Code::Forbidden => 10_000,
        Code::UnknownModel | Code::NotFound => 5007,
        Code::TooLarge => 3006,
        Code::ProviderTimeout => 3007,
        Code::Cancelled => 3008,
        Code::RateLimited | Code::OverBudget => 3036,
        Code::ProviderRateLimited => 3040,
        _ if failure.http_status() < 500 => 5004,
        _ => 3040,
    }
}

/// A whole chat answer: a `chat.completion`, with its text as `response` too.
#[must_use]
pub fn chat(mut completion: Value) -> Value {
    let response = completion["choices"][0]["message"]["content"].clone();
    completion["response"] = if response.is_null() { "".into() } else { response };
    completion
}

/// A list of vectors in OpenAI's shape as Workers AI's own models give it.
#[must_use]
pub fn vectors(mut list: Value) -> Value {
    let data: Vec<Value> =
        list["data"].as_array_mut().into_iter().flatten().map(|one| one["embedding"].take()).collect();
    let width = data.first().and_then(Value::as_array).map_or(0, Vec::len);
    json!({"shape": [data.len(), width], "data": data, "usage": list["usage"]})
}

/// Chunks as OpenAI's, each with its piece of text as `response` too.
#[derive(Debug)]
pub struct ResponseChunks(Chunks);

impl ResponseChunks {
    /// Begins a rendering at record 0.
    #[must_use]
    pub fn new(job: &JobId) -> ResponseChunks {
        ResponseChunks(Chunks::new(job, true))
    }
}

impl Render for ResponseChunks {
    const KEEP_ALIVE: &'static [u8] = Chunks::KEEP_ALIVE;

    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> RenderState {
        let text = match &record.body {
            BodyRef::Delta { part: Part::Text, index: 0, text } => quoted(text),
            BodyRef::Event(Event::Delta(delta)) if delta.part == Part::Text && delta.index == 0 => quoted(&delta.text),
            _ => None,
        };
        let start = out.len();
        let told = self.0.push(record, out);
        if let Some(text) = text {
            add_response(&text, start, out);
        }
        told
    }

    fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    fn served(&self) -> &Served {
        self.0.served()
    }

    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.0.error(failure, out);
    }
}

fn quoted(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| Value::from(text).to_string())
}

/// Puts the text into the last chunk after `start`: one before it only begins the answer.
fn add_response(text: &str, start: usize, out: &mut Vec<u8>) {
    const BETWEEN: &[u8] = b"\n\ndata: {";
    const FIRST: &[u8] = b"data: {";
    let written = &out[start..];
    let end = match memchr::memmem::rfind(written, BETWEEN) {
        Some(at) => at + BETWEEN.len(),
        None if written.starts_with(FIRST) => FIRST.len(),
        None => return,
    };
    let field = format!("\"response\":{text},");
    out.splice(start + end..start + end, field.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Accepted, Tags, Task, Timestamp};
    use crate::wire::record;

    #[test]
    fn a_body_of_theirs_is_a_job() {
        let request =
            run(br#"{"model":"openai/gpt-5","input":{"messages":[],"stream":true},"options":{"background":true}}"#)
                .unwrap();
        assert_eq!((request.input.get(), request.stream), (r#"{"messages":[]}"#, Some(true)));
        assert!(request.options.background);
        for (body, param) in [
            (&b"{"[..], None),
            (br#"{"input":{}}"#, Some("model")),
            (br#"{"model":"m"}"#, Some("input")),
            (br#"{"model":"m","input":{},"nope":1}"#, Some("nope")),
            (br#"{"model":"m","input":{},"options":{"nope":1}}"#, Some("options.nope")),
            (br#"{"model":"m","input":{},"options":{"webhookFormat":"chat"}}"#, Some("options.webhookUrl")),
        ] {
            let failure = run(body).expect_err(&String::from_utf8_lossy(body));
            assert_eq!(failure.param.as_deref(), param, "{failure}");
        }
    }

    #[test]
    fn each_chunk_holds_its_text_once_more() {
        let id: JobId = "j".parse().unwrap();
        let mut pieces = ResponseChunks::new(&id);
        let mut out = Vec::new();
        let accepted = Event::Accepted(Accepted {
            model: "m".parse().unwrap(),
            task: Task::Chat,
            gateway: "default".parse().unwrap(),
            metadata: Tags::default(),
        });
        let text = |text: &str| Event::Delta(crate::job::Delta { text: text.into(), ..Default::default() });
        for (seq, event) in (0..).zip([accepted, text("a \"b\"\n\ndata: {"), text("c")]) {
            let mut stored = Vec::new();
            record::encode(Timestamp(0), &event, &mut stored).unwrap();
            pieces.push(record::decode(seq, &stored).unwrap(), &mut out);
        }
        let chunks: Vec<Value> = String::from_utf8(out)
            .unwrap()
            .split_terminator("\n\n")
            .map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let request: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["response"]).filter(|request| !request.is_null()).collect();
        assert_eq!(request, [&json!("a \"b\"\n\ndata: {"), &json!("c")]);
        for chunk in chunks.iter().filter(|chunk| !chunk["response"].is_null()) {
            assert_eq!(chunk["response"], chunk["choices"][0]["delta"]["content"]);
        }
    }

    #[test]
    fn vectors_are_a_matrix() {
        let list =
            json!({"data": [{"embedding": [1.0, 2.0]}, {"embedding": [3.0, 4.0]}], "usage": {"total_tokens": 3}});
        let matrix = vectors(list);
        assert_eq!(matrix["shape"], json!([2, 2]));
        assert_eq!(matrix["data"], json!([[1.0, 2.0], [3.0, 4.0]]));
    }
}
