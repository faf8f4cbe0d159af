//! An answer as Anthropic's stream of events, record by record.
//!
//! Owns the stream of `/v1/messages`. The usage is known at the end only: `message_start` reports
//! 0, `message_delta` all of it. An answer that restarts cannot be written once part of it was: then,
//! as after every failure, the stream ends with an `error` and without `message_stop`.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::blocks::{Block, Blocks, Piece, Sink};
use super::{Envelope, ErrorBody, Stop};
use crate::dialect::render::{Render, RenderState, Served};
use crate::job::{Code, Completed, Event, Failure, JobId};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Renders the records of one job as the events of a message.
#[derive(Debug)]
pub struct Events {
    blocks: Blocks,
    head: Head,
    served: Served,
}

/// Fields of the first event.
#[derive(Debug)]
struct Head {
    job: JobId,
    model: Box<str>,
    is_told: bool,
}

impl Render for Events {
    const KEEP_ALIVE: &'static [u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> RenderState {
        let rendered = match record.body {
            // Further answers have no place here.
            BodyRef::Delta { index, .. } if index > 0 => Ok(RenderState::More),
            BodyRef::Delta { part, text, .. } => {
                let mut sink = Stream { head: &mut self.head, out };
                self.blocks.text(part, &text, &mut sink).map(|()| RenderState::More)
            }
            BodyRef::Event(event) => {
                self.served.take(&event);
                self.event(event, out)
            }
        };
        rendered.unwrap_or_else(|failure| {
            write_error(&failure, out);
            RenderState::Broken(failure)
        })
    }

    fn has_begun(&self) -> bool {
        self.blocks.has_begun()
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        write_error(failure, out);
    }
}

impl Events {
    /// Begins a rendering at record 0.
    #[must_use]
    pub fn new(job: &JobId) -> Events {
        let head = Head { job: job.clone(), model: "".into(), is_told: false };
        Events { blocks: Blocks::new(job.clone()), head, served: Served::default() }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) -> Result<RenderState, Failure> {
        if let Some(failure) = collect::failure_of(&event) {
            return Err(failure);
        }
        let mut sink = Stream { head: &mut self.head, out };
        match event {
            Event::Accepted(accepted) => sink.head.model = accepted.model.as_str().into(),
            Event::Attempt(attempt) => sink.head.model = attempt.model,
            Event::Delta(piece) if piece.index == 0 => {
                self.blocks.text(piece.part, &piece.text, &mut sink)?;
                if let Some(extra) = piece.extra {
                    self.blocks.extra(*extra, &mut sink)?;
                }
            }
            Event::ToolCall(piece) => self.blocks.tool_call(piece, &mut sink)?,
            Event::Restarted(_) if self.blocks.has_begun() => return Err(begins_anew()),
            Event::Completed(end) => {
                self.blocks.finish(&mut sink)?;
                sink.begin();
                self.end(&end, out);
                return Ok(RenderState::Done);
            }
            _ => {}
        }
        Ok(RenderState::More)
    }

    fn end(&self, end: &Completed, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Delta<'a> {
            r#type: &'static str,
            delta: Stop<'a>,
            usage: ErrorBody,
            #[serde(skip_serializing_if = "Option::is_none")]
            context_management: Option<&'a Value>,
        }
        let beside = &self.blocks.beside;
        let delta = Delta {
            r#type: "message_delta",
            delta: Stop::of(end, beside),
            usage: ErrorBody::of(&end.usage),
            context_management: beside.context_management.as_ref(),
        };
        out.extend_from_slice(b"event: message_delta\ndata: ");
        write(&delta, out);
        out.extend_from_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}

/// Writes blocks as events.
struct Stream<'a> {
    head: &'a mut Head,
    out: &'a mut Vec<u8>,
}

impl Stream<'_> {
    fn begin(&mut self) {
        if std::mem::replace(&mut self.head.is_told, true) {
            return;
        }
        self.put("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_");
        self.out.extend_from_slice(self.head.job.as_str().as_bytes());
        self.put("\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        write(&self.head.model, self.out);
        self.put(",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
        write(&ErrorBody::default(), self.out);
        self.put("}}\n\n");
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u32) {
        write!(self.out, "{number}").expect("a Vec takes every byte");
    }
}

impl Sink for Stream<'_> {
    fn start(&mut self, index: u32, block: Block<'_>) {
        self.begin();
        self.put("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        self.number(index);
        self.put(",\"content_block\":");
        match block {
            Block::Text => self.put("{\"type\":\"text\",\"text\":\"\"}"),
            Block::Thinking => self.put("{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"),
            Block::Redacted(data) => {
                self.put("{\"type\":\"redacted_thinking\",\"data\":");
                write(data, self.out);
                self.put("}");
            }
            Block::Tool { id, name } => {
                self.put("{\"type\":\"tool_use\",\"id\":");
                write(id, self.out);
                self.put(",\"name\":");
                write(name, self.out);
                self.put(",\"input\":{}}");
            }
            Block::Own(block) => write(block, self.out),
        }
        self.put("}\n\n");
    }

    fn piece(&mut self, index: u32, piece: Piece<'_>) {
        self.put("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        self.number(index);
        let (before, text) = match piece {
            Piece::Text(text) => (",\"delta\":{\"type\":\"text_delta\",\"text\":", text),
            Piece::Thinking(text) => (",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":", text),
            Piece::Signature(text) => (",\"delta\":{\"type\":\"signature_delta\",\"signature\":", text),
            Piece::Input(text) => (",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":", text),
            Piece::Citation(citation) => {
                self.put(",\"delta\":{\"type\":\"citations_delta\",\"citation\":");
                write(citation, self.out);
                return self.put("}}\n\n");
            }
        };
        self.put(before);
        write(text, self.out);
        self.put("}}\n\n");
    }

    fn stop(&mut self, index: u32) {
        self.put("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        self.number(index);
        self.put("}\n\n");
    }
}

fn write_error(failure: &Failure, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: error\ndata: ");
    write(&Envelope::new(failure, None), out);
    out.extend_from_slice(b"\n\n");
}

fn begins_anew() -> Failure {
    let message = "the answer begins anew, which this stream cannot tell: ask again, or read the job's own events";
    Failure::new(Code::ProviderTruncated, message)
}

fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("plain data is JSON, and a Vec takes every byte");
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
