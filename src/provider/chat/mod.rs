//! A chat as the job says it, read once into terms from which every other dialect is written.
//!
//! Owns the reading of the OpenAI chat body: messages, tools, and the parameters, which an encoder
//! takes one by one; what was not taken is refused by name, or left out if the job says so. Promises
//! that schemas and arguments keep the order of their fields (they are never taken apart), and that
//! an error names the field. Does not know any other dialect.

mod body;
mod message;
mod params;
mod thought;
mod tools;

pub use body::{Body, quoted};
pub use message::{Call, Message, Part, Role, Source};
pub use params::{ANTHROPIC, Params, asks, unsupported};
pub use thought::Thought;
pub use tools::{Choice, ResponseFormat, Tool};

use serde_json::value::RawValue;

use crate::job::Failure;
use crate::job::strict::typed;

/// A chat that was read from a job's input.
pub struct Chat<'a> {
    /// The messages, in order. Never empty.
    pub messages: Vec<Message<'a>>,
    /// The tools that the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Whether the model must call a tool.
    pub tool_choice: Option<Choice<'a>>,
    /// The shape that the answer must have.
    pub response_format: Option<ResponseFormat<'a>>,
    /// All other fields of the input.
    pub params: Params<'a>,
}

impl<'a> Chat<'a> {
    /// Reads a job's input.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn read(input: &'a RawValue) -> Result<Chat<'a>, Failure> {
        let mut params = Params::read(input)?;
        let messages =
            params.take("messages").ok_or_else(|| Failure::invalid("input.messages", "a chat needs messages"))?;
        let messages = message::read(messages)?;
        if messages.is_empty() {
            return Err(Failure::invalid("input.messages", "must not be empty"));
        }
        Ok(Chat {
            messages,
            tools: params.take("tools").map(tools::read).transpose()?.unwrap_or_default(),
            tool_choice: params.take("tool_choice").map(tools::read_choice).transpose()?,
            response_format: params.take("response_format").map(tools::read_format).transpose()?,
            params,
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
