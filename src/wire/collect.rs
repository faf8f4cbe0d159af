//! A whole answer, collected from a job's records.
//!
//! Owns the shape of the collected result. Pure: the same records give the same answer at every
//! entrance. Honours `restarted` (what came before is discarded) and never invents an end.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::extra::Extras;
use super::record::{BodyRef, RecordRef};
use crate::job::{Code, Cost, Event, Failure, JobId, Output, Part, State, ToolCall, Usage};

/// Answer of `POST /v1/run` to a request without a stream.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Answer {
    /// Id of the job.
    pub id: JobId,
    /// State in which the job ended.
    pub state: State,
    /// What the model said, as far as it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<AnswerBody>,
    /// Why there is no whole result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Summed over all attempts.
    pub usage: Usage,
    /// Summed over all attempts.
    pub cost: Cost,
    /// How many were made.
    pub attempts: u32,
    /// Who was asked last: provider and the provider's own id of the model.
    #[serde(skip)]
    pub target: Option<(Box<str>, Box<str>)>,
}

/// The content of an answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, JsonSchema)]
pub struct AnswerBody {
    /// The text; several answers one after the other, by index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The single texts, where there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub texts: Vec<String>,
    /// Reasoning of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The model's own refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the audio says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_transcript: Option<String>,
    /// What the assistant message of a next turn must carry so that the model can go on from its
    /// reasoning: to be sent back as it is, under this name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub reasoning_details: Vec<Value>,
    /// Tool calls, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub tool_calls: Vec<WholeCall>,
    /// Outputs of the job, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub outputs: Vec<Output>,
    /// `stop`, `length`, `tool_calls`, `content_filter`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<Box<str>>,
    /// The provider's own word for it, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_finish_reason: Option<Box<str>>,
    /// What the provider said beside the answer: citations, log probabilities and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// A tool call put together.
#[derive(Clone, PartialEq, Debug, Default, Serialize, JsonSchema)]
pub struct WholeCall {
    /// The provider's id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Box<str>>,
    /// Name of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Arguments as JSON text.
    pub arguments: String,
    /// What must be sent back with the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// Collects an answer, record by record.
#[derive(Debug, Default)]
pub struct Collector {
    texts: BTreeMap<u32, String>,
    others: [String; 3],
    tool_calls: BTreeMap<u32, WholeCall>,
    outputs: BTreeMap<u32, Output>,
    attempts: u32,
    target: Option<(Box<str>, Box<str>)>,
    extras: Extras,
    end: Option<Event>,
}

impl Collector {
    /// Adds the next record.
    pub fn push(&mut self, record: RecordRef<'_>) {
        match record.body {
            BodyRef::Delta { part, index, text } => self.text(part, index, &text),
            BodyRef::Event(event) => self.event(event),
        }
    }

    fn text(&mut self, part: Part, index: u32, piece: &str) {
        if piece.is_empty() {
            return;
        }
        let text = match part {
            Part::Text => self.texts.entry(index).or_default(),
            Part::Reasoning => &mut self.others[0],
            Part::Refusal => &mut self.others[1],
            Part::AudioTranscript => &mut self.others[2],
        };
        text.push_str(piece);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Delta(delta) => {
                self.text(delta.part, delta.index, &delta.text);
                if let Some(extra) = delta.extra {
                    self.extras.push(delta.index, *extra);
                }
            }
            Event::ToolCall(piece) => self.tool_call(piece),
            Event::Output(output) => {
                self.outputs.insert(output.index, output);
            }
            Event::Attempt(attempt) => {
                self.attempts = attempt.attempt;
                self.target = Some((attempt.provider, attempt.model));
            }
            Event::Restarted(_) => {
                let (attempts, target) = (self.attempts, self.target.take());
                *self = Collector { attempts, target, ..Collector::default() };
            }
            event if event.terminal().is_some() => self.end = Some(event),
            _ => {}
        }
    }

    fn tool_call(&mut self, piece: ToolCall) {
        let call = self.tool_calls.entry(piece.index).or_default();
        call.call_id = piece.call_id.or(call.call_id.take());
        call.name = piece.name.or(call.name.take());
        call.arguments.push_str(&piece.arguments);
    }

    /// Returns the answer, once the terminal was pushed.
    #[must_use]
    pub fn finish(mut self, id: JobId) -> Option<Answer> {
        let end = self.end.take()?;
        let state = end.terminal()?;
        let failure = failure_of(&end);
        let mut native = None;
        let (usage, cost, error, finish_reason) = match end {
            Event::Completed(end) => {
                native = end.native_finish_reason;
                (end.usage, end.cost, None, Some(end.finish_reason))
            }
            Event::Failed(end) => (end.usage, end.cost, failure, None),
            Event::Cancelled(end) => (end.usage, end.cost, failure, None),
            Event::Interrupted(end) => (end.usage, end.cost, failure, None),
            _ => return None,
        };
        let (attempts, target) = (self.attempts, self.target.take());
        let body = AnswerBody { native_finish_reason: native, ..self.body(finish_reason) };
        let result = (error.is_none() || body != AnswerBody::default()).then_some(body);
        Some(Answer { id, state, result, error, usage, cost, attempts, target })
    }

    fn body(mut self, finish_reason: Option<Box<str>>) -> AnswerBody {
        let non_empty = |text: String| (!text.is_empty()).then_some(text);
        let [reasoning, refusal, audio_transcript] = self.others.map(non_empty);
        let mut texts: Vec<String> = self.texts.into_values().collect();
        let text = match texts.len() {
            0 => None,
            1 => texts.pop(),
            _ => Some(texts.concat()),
        };
        for (index, content) in std::mem::take(&mut self.extras.of_calls) {
            if let Some(call) = self.tool_calls.get_mut(&index) {
                call.extra_content = Some(content);
            }
        }
        AnswerBody {
            text,
            texts,
            reasoning_details: std::mem::take(&mut self.extras.reasoning_details),
            reasoning,
            refusal,
            audio_transcript,
            tool_calls: self.tool_calls.into_values().collect(),
            outputs: self.outputs.into_values().collect(),
            finish_reason,
            native_finish_reason: None,
            extra: self.extras.rest(),
        }
    }
}

/// Returns the failure of a terminal event; `None` for one that completed, and for any other event.
#[must_use]
pub fn failure_of(end: &Event) -> Option<Failure> {
    match end {
        Event::Failed(end) => Some(end.error.clone()),
        Event::Cancelled(end) => Some(Failure::new(Code::Cancelled, format!("the job was cancelled by {}", end.by))),
        Event::Interrupted(_) => Some(Failure::new(Code::Overloaded, "Forebay went down with this job under way")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{AttemptMode, AttemptStarted, Cancelled, Completed, Delta, Record, Restarted, Timestamp};

    fn collect(events: Vec<Event>) -> Option<Value> {
        let mut collector = Collector::default();
        for (seq, event) in (0..).zip(events) {
            collector.push(Record { seq, at: Timestamp(1), event }.into());
        }
        let answer = collector.finish("j".parse().unwrap())?;
        Some(serde_json::to_value(answer).unwrap())
    }

    fn text(part: Part, index: u32, text: &str) -> Event {
        Event::Delta(Delta { part, index, text: text.into(), extra: None })
    }

    fn call(index: u32, name: Option<&str>, arguments: &str) -> Event {
        let name = name.map(Into::into);
        Event::ToolCall(ToolCall { index, call_id: name.clone(), name, arguments: arguments.into() })
    }

    fn attempt(attempt: u32) -> Event {
        let mode = AttemptMode::Start;
        Event::Attempt(AttemptStarted { attempt, provider: "p".into(), model: "m".into(), mode, dropped: Vec::new() })
    }

    fn done() -> Event {
        Event::Completed(Completed {
            finish_reason: "stop".into(),
            native_finish_reason: None,
            usage: Usage::default(),
            cost: Cost::FREE,
            timing: Default::default(),
            attempts: 1,
        })
    }

    #[test]
    fn pieces_come_together_by_kind_and_index() {
        let events = vec![
            attempt(1),
            text(Part::Reasoning, 0, "hm"),
            text(Part::Text, 0, "Hel"),
            call(1, Some("b"), "{"),
            call(0, Some("a"), "[]"),
            text(Part::Text, 0, "lo"),
            call(1, None, "}"),
            done(),
        ];
        let answer = collect(events).unwrap();
        assert_eq!(answer["attempts"], 1);
        assert_eq!(
            answer["result"],
            serde_json::json!({"text": "Hello", "reasoning": "hm", "finish_reason": "stop", "tool_calls": [
                {"call_id": "a", "name": "a", "arguments": "[]"}, {"call_id": "b", "name": "b", "arguments": "{}"}]})
        );
    }

    #[test]
    fn a_restart_discards_what_came_before() {
        let events = vec![
            attempt(1),
            text(Part::Text, 0, "old"),
            call(0, Some("old"), ""),
            Event::Restarted(Restarted { attempt: 2 }),
            attempt(2),
            text(Part::Text, 0, "new"),
            done(),
        ];
        let answer = collect(events).unwrap();
        assert_eq!(answer["result"], serde_json::json!({"text": "new", "finish_reason": "stop"}));
        assert_eq!(answer["attempts"], 2);
    }

    #[test]
    fn without_a_terminal_there_is_no_answer_and_a_cancelled_one_keeps_its_part() {
        assert_eq!(collect(vec![text(Part::Text, 0, "a")]), None);
        let end = Event::Cancelled(Cancelled { by: "client".into(), usage: Usage::default(), cost: Cost::FREE });
        let answer = collect(vec![text(Part::Text, 0, "a"), end]).unwrap();
        assert_eq!((&answer["state"], &answer["result"]["text"]), (&"cancelled".into(), &"a".into()));
        assert_eq!(answer["error"]["code"], "cancelled");
    }
}
