//! From the bytes of a reply, streamed or whole, to the events of a job.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::extra::{Extras, logprobs, values};
use super::packet::{self, Response};
use super::partial::{Partial, compact, push_arguments};
use super::{error, finish, model, usage};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Bill, Blob, Delta, Event, Failure, Output, OutputBody, Part, ToolCall, Usage};
use crate::provider::protocol::emit;
use crate::provider::protocol::openai_chat::chunk::{some_text, text};
use crate::provider::{Decoder, Finish, ModelCall, Packet, Step};

/// Answers that one reply may hold.
const CANDIDATES_MAX: usize = 128;
/// Calls that one reply may make; more is no tool loop.
const CALLS_MAX: u32 = 1024;
/// Bytes of a signature that fit a record; Google's are a few hundred to some thousand.
const SIGNATURE_BYTES_MAX: usize = 32 * 1024;

/// Decodes one reply, streamed or whole.
#[derive(Default)]
pub struct GeminiDecoder {
    bills_each_search: bool,
    candidates: Vec<Candidate>,
    calls: u32,
    partial: Option<Partial>,
    outputs: u32,
    /// Newest value; it comes with every packet and is read only when it is needed.
    usage: String,
    searches: Option<u64>,
    extras: Extras,
    done: bool,
}

#[derive(Default)]
struct Candidate {
    index: u32,
    finish: Option<Box<str>>,
    message: Option<Box<str>>,
    makes_calls: bool,
    /// Reasoning details told so far.
    details: u32,
}

impl GeminiDecoder {
    /// Builds a decoder for the reply to this call.
    #[must_use]
    pub fn new(model_call: ModelCall<'_>) -> GeminiDecoder {
        GeminiDecoder {
            bills_each_search: model::is_third_generation(&model_call.target.model),
            ..GeminiDecoder::default()
        }
    }
}

impl Decoder for GeminiDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        if self.done {
            return Ok(Step::Done);
        }
        match packet {
            Packet::Sse { data, .. } => self.on_event(data.trim_ascii(), out),
            Packet::Line(body) | Packet::Whole(body) | Packet::Frame { data: body, .. } => {
                self.on_whole(body.trim_ascii(), out)
            }
        }
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let all_finished = !self.candidates.is_empty() && self.candidates.iter().all(|one| one.finish.is_some());
        if !all_finished {
            return Err(emit::truncated());
        }
        self.end_partial(out);
        let mut answer = None;
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_by_key(|candidate| candidate.index);
        for candidate in candidates {
            let native = candidate.finish.unwrap_or_default();
            if answer.is_some() {
                // Our finish is the first answer's; those of the others are kept.
                let fields = Map::from_iter([("finish_reason".to_owned(), Value::from(&*native))]);
                self.extras.attach(candidate.index, "choice", fields, &mut []);
                continue;
            }
            let reason = match finish::meaning(&native, candidate.message.as_deref())? {
                "stop" if candidate.makes_calls => "tool_calls",
                reason => reason,
            };
            answer = Some((reason, (!native.eq_ignore_ascii_case(reason)).then_some(native)));
        }
        self.extras.flush(out);
        let (reason, native) = answer.ok_or_else(emit::truncated)?;
        Ok(Finish { reason: reason.into(), native, usage: self.usage_so_far() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        usage::read(&self.usage).map(|(usage, _)| usage)
    }

    fn bill(&self) -> Bill {
        let bill = usage::read(&self.usage).map(|(_, bill)| bill).unwrap_or_default();
        Bill { searches: self.searches, ..bill }
    }
}

impl GeminiDecoder {
    fn on_event(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        match data {
            b"" => Ok(Step::More),
            // Not Google's, but that of some who speak its dialect.
            b"[DONE]" => {
                self.done = true;
                Ok(Step::Done)
            }
            _ => self.on_body(data, out).map(|()| Step::More),
        }
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if body.is_empty() {
            return Err(emit::broken("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(error::in_reply(body));
        }
        self.on_body(body, out)?;
        self.done = true;
        Ok(Step::Done)
    }

    /// One response, or the list of them that a stream without `alt=sse` is.
    fn on_body(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        if !body.starts_with(b"[") {
            return self.on_response(body, out);
        }
        let responses: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| emit::malformed())?;
        responses.into_iter().try_for_each(|response| self.on_response(response.get().as_bytes(), out))
    }

    fn on_response(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        let response: Response<'_> = serde_json::from_slice(data).map_err(|_| emit::malformed())?;
        if let Some(usage) = response.usage.filter(|usage| usage.get().contains("TokenCount\"")) {
            self.usage.clear();
            self.usage.push_str(usage.get());
        }
        if response.error.is_some() {
            return Err(error::in_reply(data));
        }
        let candidates = response.candidates.as_deref().unwrap_or_default();
        if let Some(feedback) = response.feedback {
            if let Some(failure) = finish::blocked(feedback) {
                return Err(failure);
            }
            let fields = values(&vec![("promptFeedback".into(), feedback)]);
            self.extras.attach(0, "chunk", fields, &mut []);
        }
        if candidates.is_empty() && response.usage.is_none() && response.feedback.is_none() {
            crate::telemetry::skipped_packet();
            return Ok(());
        }
        let before = out.len();
        for (position, candidate) in candidates.iter().enumerate() {
            let index = candidate.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
            self.on_candidate(index, candidate, response.id, out)?;
        }
        let known = [("responseId", response.id), ("modelVersion", response.version)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let rest = response.rest.iter().map(|(name, value)| (&**name, *value));
        let news = values(&self.extras.news(known.chain(rest)));
        self.extras.attach(0, "chunk", news, &mut out[before..]);
        Ok(())
    }

    fn on_candidate(
        &mut self,
        index: u32,
        candidate: &packet::Candidate<'_>,
        response: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let place = self.place(index)?;
        let first = out.len();
        for part in candidate.content.parts.iter().flatten() {
            self.on_part(place, part, response, out)?;
        }
        let known = &mut self.candidates[place];
        if let Some(reason) = some_text(candidate.finish_reason).filter(|reason| reason != "FINISH_REASON_UNSPECIFIED")
        {
            known.finish = Some(reason.into());
            known.message = some_text(candidate.finish_message).map(Into::into);
        }
        if let Some(grounding) = candidate.grounding {
            self.count_searches(grounding);
        }
        let mut fields = values(&candidate.rest);
        fields.extend(candidate.logprobs.map(logprobs).unwrap_or_default());
        self.extras.attach(index, "choice", fields, &mut out[first..]);
        Ok(())
    }

    fn on_part(
        &mut self,
        place: usize,
        part: &packet::Part<'_>,
        response: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let index = self.candidates[place].index;
        let signature = some_text(part.signature).filter(|signature| signature.len() <= SIGNATURE_BYTES_MAX);
        if let Some(call) = &part.call {
            let number = self.on_call(place, call, response, out)?;
            if let Some(signature) = signature {
                let google = json!({"google": {"thought_signature": signature}});
                push_extra(Part::Text, index, json!({"tool_calls": [{"index": number, "extra_content": google}]}), out);
            }
            return Ok(());
        }
        let text = some_text(part.text);
        let kind = if part.is_thought { Part::Reasoning } else { Part::Text };
        if let Some(text) = &text {
            self.push_text(kind, index, text, out);
        }
        match &part.blob {
            // A sketch on the way to the picture.
            Some(_) if part.is_thought => crate::telemetry::skipped_packet(),
            Some(blob) => self.on_blob(blob, out)?,
            None => {}
        }
        let fields = values(&part.rest);
        if !fields.is_empty() {
            self.extras.flush(out);
            push_extra(kind, index, Value::Object(fields), out);
        }
        if let Some(signature) = signature {
            let number = self.candidates[place].details;
            self.candidates[place].details += 1;
            let mut detail = json!({"type": "reasoning.encrypted", "format": "google-gemini-v1", "index": number});
            if part.is_thought {
                detail["type"] = "reasoning.text".into();
                detail["signature"] = signature.into();
                if let Some(text) = text.filter(|text| text.len() <= EVENT_TEXT_BYTES_MAX) {
                    detail["text"] = text.into();
                }
            } else {
                detail["data"] = signature.into();
            }
            push_extra(Part::Reasoning, index, json!({"reasoning_details": [detail]}), out);
        }
        Ok(())
    }

    /// A call, whole or a piece; its number.
    fn on_call(
        &mut self,
        place: usize,
        call: &packet::Call<'_>,
        response: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Result<u32, Failure> {
        let name = some_text(call.name);
        if name.is_none()
            && let Some(partial) = &mut self.partial
        {
            let number = partial.number;
            partial.take(call.pieces.map_or("[]", RawValue::get)).ok_or_else(emit::malformed)?;
            if !call.goes_on {
                self.end_partial(out);
            }
            return Ok(number);
        }
        self.end_partial(out);
        self.extras.flush(out);
        let number = self.calls;
        if number == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        self.calls += 1;
        self.candidates[place].makes_calls = true;
        // Google may leave the id out. Ours is the same however often the reply is read, and another
        // in every reply.
        let id = some_text(call.id).unwrap_or_else(|| match some_text(response) {
            Some(response) => format!("call_{response}_{number}").into(),
            None => format!("call_{number}").into(),
        });
        let name = Some(name.unwrap_or_default().into());
        out.push(Event::ToolCall(ToolCall { index: number, call_id: Some(id.into()), name, arguments: String::new() }));
        if call.goes_on || call.pieces.is_some() {
            let mut partial = Partial::new(number);
            partial.take(call.pieces.map_or("[]", RawValue::get)).ok_or_else(emit::malformed)?;
            self.partial = Some(partial);
            if !call.goes_on {
                self.end_partial(out);
            }
        } else {
            push_arguments(number, &call.arguments.map_or("{}".into(), |raw| compact(raw.get())), out);
        }
        Ok(number)
    }

    fn end_partial(&mut self, out: &mut Vec<Event>) {
        if let Some(partial) = self.partial.take() {
            push_arguments(partial.number, &partial.into_json(), out);
        }
    }

    fn on_blob(&mut self, blob: &packet::Blob<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let data = blob.data.and_then(text).unwrap_or_default();
        let bytes = STANDARD.decode(data.as_bytes()).map_err(|_| emit::malformed())?;
        self.extras.flush(out);
        out.push(Event::Output(Output {
            index: self.outputs,
            mime: some_text(blob.mime).unwrap_or("application/octet-stream".into()).into(),
            sha256: None,
            body: OutputBody::Data(Blob(bytes.into())),
        }));
        self.outputs += 1;
        Ok(())
    }

    fn push_text(&mut self, part: Part, index: u32, mut text: &str, out: &mut Vec<Event>) {
        let mut extra = self.extras.ride(index, out);
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            out.push(Event::Delta(Delta { part, index, text: piece.to_owned(), extra: extra.take() }));
            text = rest;
        }
    }

    /// Where a candidate is kept.
    fn place(&mut self, index: u32) -> Result<usize, Failure> {
        if let Some(place) = self.candidates.iter().position(|known| known.index == index) {
            return Ok(place);
        }
        if self.candidates.len() == CANDIDATES_MAX {
            return Err(emit::broken("the provider gives more answers than a job can ask for"));
        }
        self.candidates.push(Candidate { index, ..Candidate::default() });
        Ok(self.candidates.len() - 1)
    }

    /// From the third generation on Google bills each search; before, an answer that was searched for.
    fn count_searches(&mut self, grounding: &RawValue) {
        let parsed: Value = serde_json::from_str(grounding.get()).unwrap_or_default();
        let queries = parsed["webSearchQueries"].as_array().map_or(0, Vec::len) as u64;
        if queries > 0 {
            let billed = if self.bills_each_search { queries } else { 1 };
            self.searches = self.searches.max(Some(billed));
        }
    }
}

fn push_extra(part: Part, index: u32, delta: Value, out: &mut Vec<Event>) {
    let extra = Some(Box::new(json!({ "delta": delta })));
    out.push(Event::Delta(Delta { part, index, text: String::new(), extra }));
}
