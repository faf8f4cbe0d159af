//! What a chat says to Anthropic alone, as a client of this dialect said it.
//!
//! Its fields go out as they came, and what the chat says of the same in common fields is put aside;
//! so do unknown fields. Such a client gets Anthropic's own error for a wrong value.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::thinking::Plan;
use crate::job::Failure;
use crate::provider::chat::{self, Body, Chat};
use crate::provider::protocol::openai_chat;

/// Fields of a chat that mean the same as fields of this protocol.
const DOUBLED_FIELDS: &[&str] = &["reasoning_effort", "user"];

/// Fields of this protocol that are not sent yet.
pub(super) struct NativeFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> NativeFields<'a> {
    /// Takes the fields of this protocol out of a chat that a client of this protocol sent.
    pub(super) fn take(chat: &mut Chat<'a>) -> Result<Option<NativeFields<'a>>, Failure> {
        let Some(own) = chat.params.take(chat::ANTHROPIC) else { return Ok(None) };
        let param = format!("input.{}", chat::ANTHROPIC);
        let own = openai_chat::fields(own).map_err(|_| Failure::invalid(&param, "must be an object"))?;
        chat.params.take_all(DOUBLED_FIELDS);
        chat.response_format = None;
        Ok(Some(NativeFields(own.0)))
    }

    pub(super) fn betas(&mut self) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(name, _)| name == "betas")?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn plan(&mut self) -> Plan {
        let at = self.0.iter().position(|(name, _)| name == "thinking");
        Plan { thinking: at.map(|at| self.0.remove(at).1.get().to_owned()), ..Plan::default() }
    }

    /// Writes the fields that are left, and those of the chat that were not taken.
    pub(super) fn put(self, chat: &mut Chat<'_>, body: &mut Body) {
        for (name, value) in self.0.into_iter().chain(chat.params.take_rest()) {
            body.put(&name, value);
        }
    }
}
