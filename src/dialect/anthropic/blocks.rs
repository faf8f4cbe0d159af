//! A job's records as content blocks, one after the other.
//!
//! Owns the order of an answer in this dialect: a block is closed before the next begins. Calls whose
//! pieces come interleaved are written one by one: what comes while another call's arguments are not
//! whole is held back, within a limit, until they are. Does not know how a block is written: that is the
//! [`Sink`]'s, so that a stream and a whole answer have the same content.

use serde_json::{Map, Value, json};

use super::scan::Scan;
use super::signature;
use crate::job::{Code, Failure, JobId, Part, ToolCall};

/// Bytes that are held back while a call is under way.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A block as it begins.
pub(super) enum Block<'a> {
    /// A block of text.
    Text,
    /// A block of thinking.
    Thinking,
    /// A thinking block that only Anthropic can read.
    Redacted(&'a str),
    /// A call of a tool of the client's.
    Tool { id: &'a str, name: &'a str },
    /// A block of Anthropic's own.
    Own(&'a Map<String, Value>),
}

/// A piece of the open block.
pub(super) enum Piece<'a> {
    /// A piece of a text.
    Text(&'a str),
    /// A piece of thinking.
    Thinking(&'a str),
    /// The whole signature of a thinking block.
    Signature(&'a str),
    /// A piece of a call's arguments.
    Input(&'a str),
    /// A source of a text.
    Citation(&'a Value),
}

/// Receiver of blocks: a stream or a whole message.
pub(super) trait Sink {
    /// Begins a block.
    fn start(&mut self, index: u32, block: Block<'_>);
    /// Adds a piece to the open block.
    fn piece(&mut self, index: u32, piece: Piece<'_>);
    /// Ends the open block.
    fn stop(&mut self, index: u32);
}

/// Fields of the message beside its blocks.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) stop_sequence: Option<String>,
    pub(super) stop_details: Option<Value>,
    pub(super) container: Option<Value>,
    pub(super) context_management: Option<Value>,
    /// Whether the model refused in words.
    pub(super) refused: bool,
}

/// The blocks so far.
#[derive(Debug)]
pub(super) struct Blocks {
    job: JobId,
    pub(super) beside: Beside,
    /// Number of blocks that were begun.
    count: u32,
    open: Open,
    /// Calls whose block was begun.
    calls: Vec<u32>,
    /// What a next turn needs of thoughts, while its pieces come.
    detail: Option<Map<String, Value>>,
    held: Vec<Held>,
    held_bytes: usize,
}

#[derive(PartialEq, Debug)]
enum Open {
    None,
    Text,
    Thinking,
    Tool { call: u32, input: Scan },
}

/// Records that wait until a call is whole.
#[derive(Debug)]
enum Held {
    Text(Part, String),
    Call(ToolCall),
    Extra(Value),
}

impl Blocks {
    pub(super) fn new(job: JobId) -> Blocks {
        Blocks {
            job,
            beside: Beside::default(),
            count: 0,
            open: Open::None,
            calls: Vec::new(),
            detail: None,
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    /// Whether part of the answer was written.
    pub(super) fn has_begun(&self) -> bool {
        self.count > 0
    }

    /// A piece of text or of thoughts.
    pub(super) fn text(&mut self, part: Part, text: &str, sink: &mut impl Sink) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if self.detail.is_some() {
            self.seal(sink);
        }
        if self.is_busy() {
            return self.hold_text(part, text);
        }
        let thinks = part == Part::Reasoning;
        self.beside.refused |= part == Part::Refusal;
        match (&self.open, thinks) {
            (Open::Thinking, true) | (Open::Text, false) => {}
            (_, true) => self.begin(Open::Thinking, Block::Thinking, sink),
            (_, false) => self.begin(Open::Text, Block::Text, sink),
        }
        sink.piece(self.at(), if thinks { Piece::Thinking(text) } else { Piece::Text(text) });
        Ok(())
    }

    /// A piece of a call.
    pub(super) fn tool_call(&mut self, piece: ToolCall, sink: &mut impl Sink) -> Result<(), Failure> {
        self.seal(sink);
        let at = self.at();
        if let Open::Tool { call, input } = &mut self.open
            && *call == piece.index
        {
            input.read(&piece.arguments);
            if !piece.arguments.is_empty() {
                sink.piece(at, Piece::Input(&piece.arguments));
            }
            return if self.is_busy() { Ok(()) } else { self.release(sink) };
        }
        if self.is_busy() {
            return self.hold_call(piece);
        }
        if self.calls.contains(&piece.index) {
            let is_nothing = piece.arguments.trim_ascii().is_empty();
            return if is_nothing { Ok(()) } else { Err(broken("a call goes on after its arguments were whole")) };
        }
        self.calls.push(piece.index);
        let id = piece.call_id.unwrap_or_else(|| format!("toolu_{}_{}", self.job, piece.index).into());
        let name = piece.name.unwrap_or_default();
        let mut input = Scan::default();
        input.read(&piece.arguments);
        self.begin(Open::Tool { call: piece.index, input }, Block::Tool { id: &id, name: &name }, sink);
        if !piece.arguments.is_empty() {
            sink.piece(self.at(), Piece::Input(&piece.arguments));
        }
        Ok(())
    }

    /// Handles the extra fields that a provider sent beside a piece of the answer.
    pub(super) fn extra(&mut self, mut extra: Value, sink: &mut impl Sink) -> Result<(), Failure> {
        if self.is_busy() && extra.get("delta").is_some() {
            self.held_bytes += extra.to_string().len();
            self.held.push(Held::Extra(extra));
            return self.check();
        }
        let mut take = |level: &str, name: &str| {
            let value = extra.get_mut(level)?.get_mut(name).map(Value::take);
            value.filter(|value| !value.is_null())
        };
        // vLLM has the text that stopped it under another name.
        let sequence = take("choice", "stop_sequence").or_else(|| take("choice", "stop_reason"));
        if let Some(Value::String(text)) = sequence {
            self.beside.stop_sequence = Some(text);
        }
        for (level, name, place) in [
            ("choice", "stop_details", &mut self.beside.stop_details),
            ("chunk", "container", &mut self.beside.container),
            ("chunk", "context_management", &mut self.beside.context_management),
        ] {
            *place = take(level, name).or(place.take());
        }
        let (details, calls) = (take("delta", "reasoning_details"), take("delta", "tool_calls"));
        let (citations, parts) = (take("delta", "citations"), take("delta", "content"));
        for detail in objects(details) {
            self.detail(detail, sink);
        }
        for mut call in objects(calls) {
            if let (Some(at), Some(content)) = (call.remove("index"), call.remove("extra_content")) {
                self.seal(sink);
                let detail = json!({"data": "", "call": at, "extra_content": content});
                self.detail = detail.as_object().cloned();
                self.seal(sink);
            }
        }
        for citation in objects(citations).filter(|citation| kind(citation).ends_with("_location")) {
            if self.open != Open::Text {
                self.seal(sink);
                self.begin(Open::Text, Block::Text, sink);
            }
            sink.piece(self.at(), Piece::Citation(&citation.into()));
        }
        for part in objects(parts).filter(|part| is_own(kind(part))) {
            self.seal(sink);
            self.own(part, sink);
        }
        Ok(())
    }

    /// Ends the block that is open.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        self.seal(sink);
        while !self.held.is_empty() {
            self.close(sink);
            self.release(sink)?;
        }
        self.close(sink);
        Ok(())
    }

    /// The place of the open block.
    fn at(&self) -> u32 {
        self.count.saturating_sub(1)
    }

    /// Whether a call is open whose arguments are not whole.
    fn is_busy(&self) -> bool {
        matches!(&self.open, Open::Tool { input, .. } if !input.is_whole())
    }

    fn begin(&mut self, open: Open, block: Block<'_>, sink: &mut impl Sink) {
        self.close(sink);
        self.open = open;
        self.count += 1;
        sink.start(self.at(), block);
    }

    fn close(&mut self, sink: &mut impl Sink) {
        if std::mem::replace(&mut self.open, Open::None) != Open::None {
            sink.stop(self.at());
        }
    }

    /// Writes a block that comes whole.
    fn whole(&mut self, block: Block<'_>, sink: &mut impl Sink) {
        self.begin(Open::None, block, sink);
    }

    fn own(&mut self, mut part: Map<String, Value>, sink: &mut impl Sink) {
        let input = part.get_mut("input").filter(|input| input.is_object()).map(Value::take);
        if input.is_some() {
            part.insert("input".into(), json!({}));
        }
        self.whole(Block::Own(&part), sink);
        if let Some(input) = input {
            sink.piece(self.at(), Piece::Input(&input.to_string()));
        }
        sink.stop(self.at());
    }

    /// Adds what the next turn needs of the reasoning, or a further piece of that.
    fn detail(&mut self, detail: Map<String, Value>, sink: &mut impl Sink) {
        if let Some(known) = &mut self.detail {
            let is_piece = detail.get("format").is_none_or(Value::is_null)
                && detail.get("index").is_some()
                && ["index", "type"].iter().all(|name| detail.get(*name) == known.get(*name));
            if is_piece {
                for name in ["signature", "data", "summary"] {
                    let Some(Value::String(more)) = detail.get(name) else { continue };
                    match known.entry(name).or_insert_with(|| Value::from("")) {
                        Value::String(text) => text.push_str(more),
                        other => *other = more.as_str().into(),
                    }
                }
                return;
            }
            self.seal(sink);
        }
        self.detail = Some(detail);
    }

    /// Writes what a next turn needs of thinking. Without a signature that is nothing: only what a provider
    /// can check or read is worth sending back.
    fn seal(&mut self, sink: &mut impl Sink) {
        let Some(mut detail) = self.detail.take() else { return };
        let text = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default();
        let (signature, data) = (text("signature"), text("data"));
        if signature.is_empty() && data.is_empty() && !detail.contains_key("extra_content") {
            return;
        }
        let is_theirs = text("format") == signature::FORMAT;
        if is_theirs && signature.is_empty() {
            self.whole(Block::Redacted(data), sink);
            return sink.stop(self.at());
        }
        if is_theirs {
            if self.open != Open::Thinking {
                self.begin(Open::Thinking, Block::Thinking, sink);
            }
            sink.piece(self.at(), Piece::Signature(signature));
            return self.close(sink);
        }
        if self.open == Open::Thinking {
            detail.remove("text");
            sink.piece(self.at(), Piece::Signature(&signature::wrap(&detail)));
            return self.close(sink);
        }
        self.whole(Block::Redacted(&signature::wrap(&detail)), sink);
        sink.stop(self.at());
    }

    fn hold_text(&mut self, part: Part, text: &str) -> Result<(), Failure> {
        self.held_bytes += text.len();
        match self.held.last_mut() {
            Some(Held::Text(known, all)) if *known == part => all.push_str(text),
            _ => self.held.push(Held::Text(part, text.to_owned())),
        }
        self.check()
    }

    fn hold_call(&mut self, piece: ToolCall) -> Result<(), Failure> {
        self.held_bytes += piece.arguments.len();
        let known = self.held.iter_mut().find_map(|held| match held {
            Held::Call(call) if call.index == piece.index => Some(call),
            _ => None,
        });
        match known {
            Some(call) => call.arguments.push_str(&piece.arguments),
            None => self.held.push(Held::Call(piece)),
        }
        self.check()
    }

    fn check(&self) -> Result<(), Failure> {
        let fits = self.held_bytes <= HELD_BYTES_MAX;
        if fits { Ok(()) } else { Err(broken("too much is told before a call's arguments are whole")) }
    }

    /// Writes what was held back, as far as no call is under way again.
    fn release(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        self.held_bytes = 0;
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Text(part, text) => self.text(part, &text, sink)?,
                Held::Call(call) => self.tool_call(call, sink)?,
                Held::Extra(extra) => self.extra(extra, sink)?,
            }
        }
        Ok(())
    }
}

fn objects(list: Option<Value>) -> impl Iterator<Item = Map<String, Value>> {
    let list = if let Some(Value::Array(list)) = list { list } else { Vec::new() };
    list.into_iter().filter_map(|value| if let Value::Object(fields) = value { Some(fields) } else { None })
}

fn kind(object: &Map<String, Value>) -> &str {
    object.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether this is the type of a block that only Anthropic has.
fn is_own(kind: &str) -> bool {
    matches!(kind, "server_tool_use" | "mcp_tool_use" | "compaction" | "container_upload")
        || (kind.ends_with("_tool_result") && kind != "tool_result")
}

fn broken(message: &'static str) -> Failure {
    Failure::new(Code::ProviderTruncated, message)
}
