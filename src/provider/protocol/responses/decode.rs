//! From the bytes of a response, streamed or whole, to the events of a job.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::item::Seen;
use super::packet::{Item, RawEvent, Response, is_lifecycle};
use super::rule::Rules;
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Bill, Code, Delta, Event, Failure, Part, ToolCall, Usage};
use crate::provider::protocol::openai_chat::{ReplyRules, read_usage, text};
use crate::provider::protocol::{emit, error};
use crate::provider::{Decoder, Finish, Packet, Step, Upstream};

/// Items that one answer may have; more is no answer.
const ITEMS_MAX: usize = 4096;

/// Decodes one reply, streamed or whole.
pub struct ResponsesDecoder {
    /// Whose reasoning this provider's items are.
    pub(super) format: &'static str,
    /// Rules that tell where the vendor says what an answer cost.
    cost_rules: &'static ReplyRules,
    pub(super) seen: Vec<Seen>,
    /// Tool calls, reasoning details and whole outputs so far.
    pub(super) calls: u32,
    pub(super) details: u32,
    pub(super) outputs: u32,
    /// The part of a summary that the last reasoning was of.
    pub(super) paragraph: Option<(Option<u32>, u32)>,
    /// What rides on the next text.
    pub(super) rider: Map<String, Value>,
    pub(super) refused: bool,
    pub(super) searches: u64,
    model_told: bool,
    usage: Option<Usage>,
    bill: Bill,
    pub(super) upstream: Option<Upstream>,
    /// It came whole, and before it was.
    is_under_way: bool,
    end: Option<Terminal>,
}

/// The provider's own terminal.
struct Terminal {
    status: Box<str>,
    /// Reason why the answer is incomplete.
    why: Option<Box<str>>,
}

impl Decoder for ResponsesDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        if self.end.is_some() {
            return Ok(Step::Done);
        }
        match packet {
            Packet::Sse { event, data } => self.on_event(event, data.trim_ascii(), out),
            Packet::Line(body) | Packet::Whole(body) | Packet::Frame { data: body, .. } => {
                self.on_whole(body.trim_ascii(), out)
            }
        }
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let Some(end) = self.end.take() else {
            return Err(emit::truncated());
        };
        let (reason, native): (Box<str>, _) = match (&*end.status, end.why) {
            ("incomplete", Some(why)) => match &*why {
                "max_output_tokens" | "max_tokens" => ("length".into(), why),
                _ => (why.clone(), why),
            },
            ("incomplete", None) => ("length".into(), end.status),
            _ if self.calls > 0 => ("tool_calls".into(), end.status),
            _ if self.refused => ("refusal".into(), end.status),
            _ => ("stop".into(), end.status),
        };
        if !self.rider.is_empty() {
            out.push(self.extra(Map::new()));
        }
        let native = (reason != native).then_some(native);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn upstream(&self) -> Option<Upstream> {
        // Where packets have no numbers it is not known where this decoder would go on.
        self.upstream.clone().filter(|upstream| upstream.sequence.is_some() || self.is_under_way)
    }

    fn bill(&self) -> Bill {
        let searches = (self.searches > 0).then_some(self.searches);
        Bill { searches: searches.or(self.bill.searches), ..self.bill.clone() }
    }
}

impl ResponsesDecoder {
    /// Builds a decoder for the reply of a vendor with these rules; `cost_rules` say where it tells the cost.
    #[must_use]
    pub fn new(rules: &Rules, cost_rules: &'static ReplyRules) -> ResponsesDecoder {
        ResponsesDecoder {
            format: rules.reasoning_format,
            cost_rules,
            seen: Vec::new(),
            calls: 0,
            details: 0,
            outputs: 0,
            paragraph: None,
            rider: Map::new(),
            refused: false,
            searches: 0,
            model_told: false,
            usage: None,
            bill: Bill::default(),
            upstream: None,
            is_under_way: false,
            end: None,
        }
    }

    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Step::More);
        }
        let raw: RawEvent<'_> = serde_json::from_slice(data).map_err(|_| emit::malformed())?;
        let kind = if raw.kind.is_empty() { event } else { &*raw.kind };
        match kind {
            "response.output_text.delta" => {
                self.log_probabilities(raw.logprobs);
                self.delta(&raw, Part::Text, out)?;
            }
            "response.refusal.delta" => self.delta(&raw, Part::Refusal, out)?,
            "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta" => {
                self.reasoning_delta(&raw, raw.summary_index, out)?;
            }
            "response.reasoning_text.delta" | "response.reasoning.delta" => {
                self.reasoning_delta(&raw, raw.content_index, out)?;
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                let at = self.seen_at(raw.output_index)?;
                self.arguments(at, raw.delta.and_then(text), out);
            }
            "response.function_call_arguments.done" => {
                let at = self.seen_at(raw.output_index)?;
                if !self.seen[at].is_emitted {
                    self.arguments(at, raw.arguments.and_then(text), out);
                }
            }
            "response.output_text.annotation.added" => {
                let at = self.seen_at(raw.output_index)?;
                self.annotation(at, raw.annotation, out);
            }
            "response.output_item.added" => {
                let next = || u32::try_from(self.seen.len()).ok();
                let at = self.seen_at(raw.output_index.or_else(next))?;
                self.item_added(at, &item(raw.item)?, out);
            }
            "response.output_item.done" => {
                let at = self.seen_at(raw.output_index)?;
                self.item_done(at, raw.item.ok_or_else(emit::malformed)?, out)?;
            }
            "response.created" | "response.queued" | "response.in_progress" => self.begun(raw.response, out),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let response = raw.response.ok_or_else(emit::malformed)?;
                let response = serde_json::from_str(response.get()).map_err(|_| emit::malformed())?;
                return self.ended(&response, kind.trim_start_matches("response."), out);
            }
            _ if kind == "error" || raw.error.is_some() => {
                self.upstream = None;
                return Err(failure(data));
            }
            _ if is_lifecycle(kind) => {}
            _ => crate::telemetry::skipped_packet(),
        }
        self.note_sequence(raw.sequence_number);
        Ok(Step::More)
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if body.is_empty() {
            return Err(emit::broken("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(error::in_reply(body));
        }
        match serde_json::from_slice::<Response<'_>>(body) {
            Ok(response) if response.status.is_some() && response.output.is_some() => self.ended(&response, "", out),
            Ok(_) => Err(failure(body)),
            Err(_) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => Err(failure(body)),
            Err(_) => Err(emit::malformed()),
        }
    }

    /// Which model it is, which rides on the first text, and whether it goes on without us.
    fn begun(&mut self, response: Option<&RawValue>, out: &mut Vec<Event>) {
        if self.model_told {
            return;
        }
        if let Some(response) = response.and_then(|response| serde_json::from_str(response.get()).ok()) {
            self.tell_model(&response);
            self.tell_upstream(&response, out);
        }
    }

    fn tell_model(&mut self, response: &Response<'_>) {
        self.model_told = true;
        self.bill.service_tier = tier(response);
        if let Some(model) = response.model.and_then(text) {
            self.rider.insert("chunk".into(), json!({"model": model}));
        }
    }

    fn ended(&mut self, response: &Response<'_>, kind: &str, out: &mut Vec<Event>) -> Result<Step, Failure> {
        self.upstream = None;
        self.usage = response.usage.and_then(|usage| read_usage(usage, self.cost_rules, &mut self.bill));
        self.bill.service_tier = tier(response).or(self.bill.service_tier.take());
        let status = response.status.and_then(text).unwrap_or_else(|| kind.to_owned().into());
        if response.error.is_some() || status == "failed" {
            return Err(match response.error {
                Some(error) => failure(format!(r#"{{"error":{}}}"#, error.get()).as_bytes()),
                None => {
                    Failure::new(Code::ProviderUnavailable, "the provider gave up without a reason").of_the_target()
                }
            });
        }
        if !matches!(&*status, "completed" | "incomplete") {
            if matches!(&*status, "queued" | "in_progress") {
                self.is_under_way = true;
                // A request for the whole by its id was reported before.
                self.tell_upstream(response, &mut Vec::new());
            }
            let message = format!("the provider's answer is {status}, not complete");
            return Err(Failure::new(Code::ProviderUnavailable, message).of_the_target());
        }
        if self.seen.is_empty() {
            if !self.model_told {
                self.tell_model(response);
            }
            for item in response.output.iter().flatten() {
                let at = self.seen_at(u32::try_from(self.seen.len()).ok())?;
                self.item_done(at, item, out)?;
            }
        }
        if let Some(count) = response.tool_usage.and_then(searches) {
            self.searches = count;
        }
        self.end = Some(Terminal { status: status.into(), why: response.incomplete_details.and_then(why) });
        Ok(Step::Done)
    }

    /// Where the state of an item is kept. Who gives no index means the last one.
    fn seen_at(&mut self, index: Option<u32>) -> Result<usize, Failure> {
        let found = match index {
            Some(index) => self.seen.iter().rposition(|seen| seen.index == Some(index)),
            None => self.seen.len().checked_sub(1),
        };
        if let Some(at) = found {
            return Ok(at);
        }
        if self.seen.len() == ITEMS_MAX {
            return Err(emit::broken("the provider's answer has more items than a client reads"));
        }
        self.seen.push(Seen::new(index));
        Ok(self.seen.len() - 1)
    }

    fn delta(&mut self, raw: &RawEvent<'_>, part: Part, out: &mut Vec<Event>) -> Result<(), Failure> {
        let at = self.seen_at(raw.output_index)?;
        if let Some(text) = raw.delta.and_then(text) {
            self.seen[at].is_emitted |= !text.is_empty();
            self.push_text(part, text, out);
        }
        Ok(())
    }

    fn reasoning_delta(
        &mut self,
        raw: &RawEvent<'_>,
        paragraph: Option<u32>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let at = self.seen_at(raw.output_index)?;
        if let Some(text) = raw.delta.and_then(text).filter(|text| !text.is_empty()) {
            self.reasoning(at, paragraph.unwrap_or(0), text, out);
        }
        Ok(())
    }

    pub(super) fn push_text(&mut self, part: Part, text: Cow<'_, str>, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        self.refused |= part == Part::Refusal;
        let mut extra = (!self.rider.is_empty()).then(|| Box::new(Value::Object(std::mem::take(&mut self.rider))));
        pieces(text, |text| out.push(Event::Delta(Delta { part, index: 0, text, extra: extra.take() })));
    }

    pub(super) fn arguments(&mut self, at: usize, arguments: Option<Cow<'_, str>>, out: &mut Vec<Event>) {
        let Some(index) = self.seen[at].call else { return };
        if let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) {
            self.seen[at].is_emitted = true;
            pieces(arguments, |arguments| {
                out.push(Event::ToolCall(ToolCall { index, arguments, ..ToolCall::default() }));
            });
        }
    }

    /// An event of no text with these fields, and those that wait for one.
    pub(super) fn extra(&mut self, fields: Map<String, Value>) -> Event {
        let mut extra = std::mem::take(&mut self.rider);
        merge(&mut extra, fields);
        Event::Delta(Delta { extra: Some(Box::new(Value::Object(extra))), ..Delta::default() })
    }
}

/// Adds fields level by level.
pub(super) fn merge(into: &mut Map<String, Value>, fields: Map<String, Value>) {
    for (level, fields) in fields {
        match (into.get_mut(&level), fields) {
            (Some(Value::Object(known)), Value::Object(fields)) => known.extend(fields),
            (_, fields) => drop(into.insert(level, fields)),
        }
    }
}

pub(super) fn item(item: Option<&RawValue>) -> Result<Item<'_>, Failure> {
    serde_json::from_str(item.ok_or_else(emit::malformed)?.get()).map_err(|_| emit::malformed())
}

/// Gives a text in pieces that fit an event.
fn pieces(text: Cow<'_, str>, mut each: impl FnMut(String)) {
    if text.len() <= EVENT_TEXT_BYTES_MAX {
        return each(text.into_owned());
    }
    let mut rest = &*text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        each(piece.to_owned());
        rest = more;
    }
}

/// The tier that is served; `auto` says that it is not known yet.
fn tier(response: &Response<'_>) -> Option<Box<str>> {
    response.service_tier.and_then(text).filter(|tier| tier != "auto").map(Into::into)
}

/// Reads why an answer is incomplete.
fn why(details: &RawValue) -> Option<Box<str>> {
    let details: Value = serde_json::from_str(details.get()).ok()?;
    details["reason"].as_str().map(Into::into)
}

/// How many searches the provider says it made.
fn searches(tool_usage: &RawValue) -> Option<u64> {
    let usage: Value = serde_json::from_str(tool_usage.get()).ok()?;
    usage["web_search"]["num_requests"].as_u64()
}

/// An error inside the reply. The older form has its fields beside `type: error`, which is no kind.
fn failure(data: &[u8]) -> Failure {
    let mut failure = error::in_reply(data);
    failure.kind = failure.kind.take().filter(|kind| &**kind != "error");
    failure
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
