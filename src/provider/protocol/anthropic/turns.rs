//! Messages as turns of two: what is merged, and in which order.

use std::borrow::Cow;

use super::blocks::{self, Block};
use super::{Form, Model};
use crate::job::Failure;
use crate::provider::chat::{Body, Call, Message, Part, Role, Thought};

/// What a person is taken to have said where a chat begins with the model: a first turn of theirs is
/// required.
const FIRST_WORDS: &str = "Begin.";

/// A turn of the conversation.
#[derive(PartialEq, Debug)]
pub(super) struct Turn<'a> {
    is_user: bool,
    /// Results of tools: they come first.
    results: Vec<Block<'a>>,
    blocks: Vec<Block<'a>>,
}

/// The rules and the turns of a chat.
pub(super) struct Turns<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
}

/// Reads the messages: rules go to the top, turns of the same side become one.
pub(super) fn read<'a>(messages: &[Message<'a>], model: Model<'_>, form: Form) -> Result<Turns<'a>, Failure> {
    let mut system = Vec::new();
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in messages {
        let mut blocks = blocks::of_parts(&message.parts, &message.param, form)?;
        match message.role {
            Role::System => {
                mark(&mut blocks, message);
                if let Some(at) = message.parts.iter().position(|part| !matches!(part, Part::Text { .. })) {
                    let param = format!("{}.content[{at}]", message.param);
                    return Err(Failure::unsupported(&param, "rules are text here").of_the_target());
                }
                system.extend(blocks);
            }
            Role::User => {
                mark(&mut blocks, message);
                add(&mut turns, true, Vec::new(), blocks);
            }
            Role::Tool => {
                let mut result = vec![tool_result(message, blocks)?];
                mark(&mut result, message);
                add(&mut turns, true, result, Vec::new());
            }
            Role::Assistant => {
                let mut all = own_thoughts(message, model);
                all.append(&mut blocks);
                for call in &message.calls {
                    all.push(tool_use(call, &message.param)?);
                }
                mark(&mut all, message);
                add(&mut turns, false, Vec::new(), all);
            }
        }
    }
    if turns.is_empty() {
        // Rules alone are the question then.
        add(&mut turns, true, Vec::new(), std::mem::take(&mut system));
    }
    if !turns.first().is_some_and(|first| first.is_user) {
        let first = vec![Block::Text(FIRST_WORDS.into())];
        turns.insert(0, Turn { is_user: true, results: Vec::new(), blocks: first });
    }
    trim_prefill(&mut turns);
    Ok(Turns { system, turns })
}

impl Turn<'_> {
    pub(super) fn into_json(self) -> String {
        let Turn { is_user, mut results, mut blocks } = self;
        results.append(&mut blocks);
        let mut turn = Body::default();
        turn.put("role", if is_user { "user" } else { "assistant" });
        turn.put_json("content", &blocks::content(results));
        turn.into_json()
    }
}

/// Adds to the last turn if it is of that side, else begins one.
fn add<'a>(turns: &mut Vec<Turn<'a>>, is_user: bool, results: Vec<Block<'a>>, blocks: Vec<Block<'a>>) {
    if results.is_empty() && blocks.is_empty() {
        return;
    }
    match turns.last_mut() {
        Some(last) if last.is_user == is_user => {
            last.results.extend(results);
            last.blocks.extend(blocks);
        }
        _ => turns.push(Turn { is_user, results, blocks }),
    }
}

/// A mark on a message is one on its last block.
fn mark<'a>(blocks: &mut Vec<Block<'a>>, message: &Message<'a>) {
    if let Some(cache_control) = message.cache_control
        && let Some(last) = blocks.pop()
    {
        blocks.push(last.cached(cache_control));
    }
}

fn tool_result<'a>(message: &Message<'a>, content: Vec<Block<'a>>) -> Result<Block<'a>, Failure> {
    let param = || format!("{}.tool_call_id", message.param);
    let id = message.call_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Failure::invalid(&param(), "is missing: which call is this the result of?"))?;
    let mut result = Body::default();
    result.put("type", "tool_result").put("tool_use_id", &*plain_id(id));
    if !content.is_empty() {
        result.put_json("content", &blocks::content(content));
    }
    if message.is_error {
        result.put("is_error", &true);
    }
    Ok(Block::Json(result.into_json()))
}

fn tool_use<'a>(call: &Call<'a>, param: &str) -> Result<Block<'a>, Failure> {
    if call.id.is_empty() {
        return Err(Failure::invalid(&format!("{param}.tool_calls"), "each call needs an id"));
    }
    let input = call.object(param)?;
    let mut block = Body::default();
    block.put("type", "tool_use").put("id", &*plain_id(&call.id)).put("name", &*call.name);
    block.put_json("input", input.get());
    Ok(Block::Json(block.into_json()))
}

/// An id as this API takes it: other providers' ids may hold what is refused here.
fn plain_id(id: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.chars().all(is_plain) {
        return Cow::Borrowed(id);
    }
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>().into()
}

/// Returns what this model thought before, sealed by itself. It cannot read the thoughts of others.
fn own_thoughts<'a>(message: &Message<'a>, model: Model<'_>) -> Vec<Block<'a>> {
    message.thoughts.iter().filter_map(|thought| own_thought(thought, model)).map(Block::Json).collect()
}

fn own_thought(thought: &Thought<'_>, model: Model<'_>) -> Option<String> {
    if thought.format.as_deref() != Some(model.reasoning_format()) {
        return None;
    }
    let mut block = Body::default();
    if let Some(signature) = &thought.signature {
        let text = thought.text.as_deref().unwrap_or("");
        block.put("type", "thinking").put("thinking", text).put("signature", &**signature);
    } else {
        block.put("type", "redacted_thinking").put("data", &**thought.data.as_ref()?);
    }
    Some(block.into_json())
}

/// Whether the chat waits for the model to go on after results of tools whose calls come without the
/// thoughts that led to them.
pub(super) fn lacks_thoughts(messages: &[Message<'_>], model: Model<'_>) -> bool {
    let is_in_loop = messages.last().is_some_and(|last| last.role == Role::Tool);
    let caller = messages.iter().rev().find(|message| message.role == Role::Assistant);
    is_in_loop && caller.is_some_and(|caller| own_thoughts(caller, model).is_empty())
}

/// A beginning of the answer must not end in white space.
fn trim_prefill(turns: &mut [Turn<'_>]) {
    if let Some(Turn { is_user: false, blocks, .. }) = turns.last_mut()
        && let Some(Block::Text(text)) = blocks.last_mut()
    {
        let end = text.trim_end().len();
        match text {
            Cow::Borrowed(text) => *text = &text[..end],
            Cow::Owned(text) => text.truncate(end),
        }
    }
}
