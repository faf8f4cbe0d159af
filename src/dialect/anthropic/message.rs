//! A whole answer as one `message`.
//!
//! Owns the collected answer of `/v1/messages`: the blocks that a stream of the same records has.
//! Honours `restarted`: what came before is discarded. Never invents an end.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::blocks::{Block, Blocks, Piece, Sink};
use super::{ErrorBody, Stop};
use crate::dialect::render::{Collect, Served};
use crate::job::{Event, Failure, JobId};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Collects a message, record by record.
#[derive(Debug)]
pub struct MessageCollector {
    job: JobId,
    model: Box<str>,
    blocks: Blocks,
    content: Content,
    served: Served,
    end: Option<Event>,
    broke: Option<Failure>,
}

/// The blocks, as they stand in the message.
#[derive(Debug, Default)]
struct Content(Vec<Built>);

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Built {
    Text {
        text: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Value>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(serialize_with = "object")]
        input: String,
    },
    #[serde(untagged)]
    Own(Map<String, Value>),
}

impl Collect for MessageCollector {
    fn push(&mut self, record: RecordRef<'_>) {
        let pushed = match record.body {
            BodyRef::Delta { index, .. } if index > 0 => Ok(()),
            BodyRef::Delta { part, text, .. } => self.blocks.text(part, &text, &mut self.content),
            BodyRef::Event(event) => {
                self.served.take(&event);
                self.event(event)
            }
        };
        if let Err(failure) = pushed {
            self.broke.get_or_insert(failure);
        }
    }

    fn served(&self) -> &Served {
        &self.served
    }
}

impl MessageCollector {
    /// Begins a message at record 0.
    #[must_use]
    pub fn new(job: &JobId) -> MessageCollector {
        MessageCollector {
            job: job.clone(),
            model: "".into(),
            blocks: Blocks::new(job.clone()),
            content: Content::default(),
            served: Served::default(),
            end: None,
            broke: None,
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Accepted(accepted) => self.model = accepted.model.as_str().into(),
            Event::Attempt(attempt) => self.model = attempt.model,
            Event::Delta(piece) if piece.index == 0 => {
                self.blocks.text(piece.part, &piece.text, &mut self.content)?;
                if let Some(extra) = piece.extra {
                    self.blocks.extra(*extra, &mut self.content)?;
                }
            }
            Event::ToolCall(piece) => self.blocks.tool_call(piece, &mut self.content)?,
            Event::Restarted(_) => {
                self.blocks = Blocks::new(self.job.clone());
                self.content = Content::default();
                self.broke = None;
            }
            event if event.terminal().is_some() => self.end = Some(event),
            _ => {}
        }
        Ok(())
    }

    /// Returns the whole message.
    ///
    /// # Errors
    /// What the job failed with; `internal` before its terminal.
    pub fn finish(mut self) -> Result<impl Serialize, Failure> {
        #[derive(Serialize)]
        struct Message {
            id: String,
            r#type: &'static str,
            role: &'static str,
            model: Box<str>,
            content: Vec<Built>,
            #[serde(flatten)]
            rest: Value,
            usage: ErrorBody,
        }
        let without_end = || Failure::internal("the job ended without a terminal");
        let end = match self.end.take() {
            Some(Event::Completed(end)) => end,
            Some(end) => return Err(collect::failure_of(&end).unwrap_or_else(without_end)),
            None => return Err(without_end()),
        };
        self.blocks.finish(&mut self.content)?;
        if let Some(failure) = self.broke {
            return Err(failure);
        }
        let mut rest = json!(Stop::of(&end, &self.blocks.beside));
        if let Some(value) = self.blocks.beside.context_management.take() {
            rest["context_management"] = value;
        }
        Ok(Message {
            id: format!("msg_{}", self.job),
            r#type: "message",
            role: "assistant",
            model: self.model,
            content: self.content.0,
            rest,
            usage: ErrorBody::of(&end.usage),
        })
    }
}

impl Sink for Content {
    fn start(&mut self, _index: u32, block: Block<'_>) {
        self.0.push(match block {
            Block::Text => Built::Text { text: String::new(), citations: Vec::new() },
            Block::Thinking => Built::Thinking { thinking: String::new(), signature: String::new() },
            Block::Redacted(data) => Built::RedactedThinking { data: data.to_owned() },
            Block::Tool { id, name } => {
                Built::ToolUse { id: id.to_owned(), name: name.to_owned(), input: String::new() }
            }
            Block::Own(block) => Built::Own(block.clone()),
        });
    }

    fn piece(&mut self, _index: u32, piece: Piece<'_>) {
        match (self.0.last_mut(), piece) {
            (Some(Built::Text { text, .. }), Piece::Text(more)) => text.push_str(more),
            (Some(Built::Text { citations, .. }), Piece::Citation(citation)) => citations.push(citation.clone()),
            (Some(Built::Thinking { thinking, .. }), Piece::Thinking(more)) => thinking.push_str(more),
            (Some(Built::Thinking { signature, .. }), Piece::Signature(seal)) => signature.push_str(seal),
            (Some(Built::ToolUse { input, .. }), Piece::Input(more)) => input.push_str(more),
            (Some(Built::Own(block)), Piece::Input(json)) => {
                block.insert("input".into(), serde_json::from_str(json).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn stop(&mut self, _index: u32) {}
}

/// Arguments as the object that they are the text of; those that are none are wrapped in one.
fn object<S: serde::Serializer>(arguments: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let text = arguments.trim_ascii();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => raw.serialize(serializer),
        _ if text.is_empty() => Map::new().serialize(serializer),
        _ => json!({"INVALID_JSON": arguments}).serialize(serializer),
    }
}
