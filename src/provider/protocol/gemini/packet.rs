//! One response (whole, or a piece of a stream) as it stands on the wire, borrowed from it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::provider::protocol::openai_chat::chunk::{Rest, keep, lenient, object, raw, skip};

/// One response, or a piece of it.
#[derive(Default)]
pub(super) struct Response<'a> {
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    pub(super) feedback: Option<&'a RawValue>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) version: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

object!(Response);

impl<'a> Response<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "candidates" => self.candidates = map.next_value()?,
            "promptFeedback" => self.feedback = raw(map)?,
            "usageMetadata" => self.usage = raw(map)?,
            "error" => self.error = raw(map)?,
            // The only name that Google gives a request.
            "responseId" => self.id = raw(map)?,
            "modelVersion" => self.version = raw(map)?,
            "createTime" => skip(map)?,
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// One of several answers.
#[derive(Default)]
pub(super) struct Candidate<'a> {
    pub(super) index: Option<u32>,
    pub(super) content: Content<'a>,
    pub(super) finish_reason: Option<&'a RawValue>,
    pub(super) finish_message: Option<&'a RawValue>,
    pub(super) logprobs: Option<&'a RawValue>,
    pub(super) grounding: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

object!(Candidate);

impl<'a> Candidate<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "index" => self.index = lenient(raw(map)?),
            "content" => self.content = map.next_value()?,
            "finishReason" => self.finish_reason = raw(map)?,
            "finishMessage" => {
                self.finish_message = raw(map)?;
                self.rest.extend(self.finish_message.map(|message| (name, message)));
            }
            "logprobsResult" => self.logprobs = raw(map)?,
            "groundingMetadata" => {
                self.grounding = raw(map)?.filter(|grounding| grounding.get() != "{}");
                self.rest.extend(self.grounding.map(|grounding| (name, grounding)));
            }
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// What an answer holds.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) parts: Option<Vec<Part<'a>>>,
}

object!(Content);

impl<'a> Content<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "parts" => self.parts = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A piece of an answer.
#[derive(Default)]
pub(super) struct Part<'a> {
    pub(super) text: Option<&'a RawValue>,
    pub(super) is_thought: bool,
    pub(super) signature: Option<&'a RawValue>,
    pub(super) call: Option<Call<'a>>,
    pub(super) blob: Option<Blob<'a>>,
    pub(super) rest: Rest<'a>,
}

object!(Part);

impl<'a> Part<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "text" => self.text = raw(map)?,
            "thought" => self.is_thought = raw(map)?.is_some_and(|thought| thought.get() == "true"),
            "thoughtSignature" => self.signature = raw(map)?,
            "functionCall" => self.call = map.next_value()?,
            "inlineData" => self.blob = map.next_value()?,
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// A tool call: whole, or a piece if the caller asked for pieces.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) name: Option<&'a RawValue>,
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) pieces: Option<&'a RawValue>,
    pub(super) goes_on: bool,
}

object!(Call);

impl<'a> Call<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "id" => self.id = raw(map)?,
            "name" => self.name = raw(map)?,
            "args" => self.arguments = raw(map)?,
            "partialArgs" => self.pieces = raw(map)?,
            "willContinue" => self.goes_on = raw(map)?.is_some_and(|goes_on| goes_on.get() == "true"),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A file that the model made.
#[derive(Default)]
pub(super) struct Blob<'a> {
    pub(super) mime: Option<&'a RawValue>,
    pub(super) data: Option<&'a RawValue>,
}

object!(Blob);

impl<'a> Blob<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "mimeType" => self.mime = raw(map)?,
            "data" => self.data = raw(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}
