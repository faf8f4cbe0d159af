//! Vectors as OpenAI's clients read them.
//!
//! Owns the answer of `/v1/embeddings`, and that vectors are in the form asked for, whichever provider wrote
//! them. They are copied as text where they already are.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::dialect::render::{Collect, Served};
use crate::job::{Code, Event, Failure, Output, Usage};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Finds the vectors and what they cost, record by record.
#[derive(Debug, Default)]
pub struct Embeddings {
    model: Box<str>,
    served: Served,
    output: Option<Output>,
    end: Option<Event>,
}

impl Collect for Embeddings {
    fn push(&mut self, record: RecordRef<'_>) {
        let BodyRef::Event(event) = record.body else { return };
        self.served.take(&event);
        match event {
            Event::Accepted(accepted) => self.model = accepted.model.as_str().into(),
            Event::Attempt(attempt) => self.model = attempt.model,
            Event::Output(output) => self.output = Some(output),
            Event::Restarted(_) => self.output = None,
            event if event.terminal().is_some() => self.end = Some(event),
            _ => {}
        }
    }

    fn served(&self) -> &Served {
        &self.served
    }
}

impl Embeddings {
    /// Where the vectors are, once the job is done.
    ///
    /// # Errors
    /// What the job failed with; `provider_truncated` without vectors.
    pub fn output(&mut self) -> Result<Output, Failure> {
        if let Some(failure) = self.end.as_ref().and_then(collect::failure_of) {
            return Err(failure);
        }
        let missing = || Failure::new(Code::ProviderTruncated, "the provider's answer holds no vectors");
        self.output.take().ok_or_else(missing)
    }

    /// Makes the answer from the vectors' bytes and the input of the job.
    ///
    /// # Errors
    /// `internal` when they are no vectors.
    pub fn finish(self, vectors: &[u8], input: &RawValue) -> Result<Vec<u8>, Failure> {
        let none = || Failure::internal("the job's output is not a list of vectors");
        let list: List<'_> = serde_json::from_slice(vectors).map_err(|_| none())?;
        let form = Form::of(input);
        let mut out = String::with_capacity(vectors.len() + 256);
        out.push_str(r#"{"object":"list","data":["#);
        for (at, one) in list.data.iter().enumerate() {
            let before = if at == 0 { "" } else { "," };
            let index = one.index.unwrap_or(at);
            out.push_str(&format!(r#"{before}{{"object":"embedding","index":{index},"embedding":"#));
            form.write(one.embedding, &mut out).ok_or_else(none)?;
            out.push('}');
        }
        let model = serde_json::Value::from(&*self.model);
        let used = match &self.end {
            Some(Event::Completed(end)) => end.usage.clone(),
            _ => Usage::default(),
        };
        // Its counts are never left out.
        let tokens = usage(&used).map_or(0.into(), |usage| usage["prompt_tokens"].clone());
        out.push_str(&format!(r#"],"model":{model},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#));
        Ok(out.into_bytes())
    }
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<One<'a>>,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Numbers,
    /// Base64 of little-endian 32-bit floats: the form that OpenAI's own libraries request.
    Base64,
}

impl Form {
    fn of(input: &RawValue) -> Form {
        #[derive(Deserialize)]
        struct FormatField<'a> {
            #[serde(borrow, default)]
            encoding_format: Option<Cow<'a, str>>,
        }
        match serde_json::from_str::<FormatField<'_>>(input.get()) {
            Ok(FormatField { encoding_format: Some(form) }) if form == "base64" => Form::Base64,
            _ => Form::Numbers,
        }
    }

    /// Writes one vector; `None` if it is none.
    fn write(self, vector: &RawValue, out: &mut String) -> Option<()> {
        let text = vector.get();
        match (text.as_bytes().first()?, self) {
            (b'[', Form::Numbers) | (b'"', Form::Base64) => out.push_str(text),
            (b'[', Form::Base64) => {
                let numbers: Vec<f32> = serde_json::from_str(text).ok()?;
                let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
                out.push('"');
                STANDARD.encode_string(bytes, out);
                out.push('"');
            }
            (b'"', Form::Numbers) => {
                let packed: Cow<'_, str> = serde_json::from_str(text).ok()?;
                let bytes = STANDARD.decode(packed.as_bytes()).ok()?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                out.push_str(&serde_json::to_string(&numbers).ok().filter(|_| rest.is_empty())?);
            }
            _ => return None,
        }
        Some(())
    }
}
