//! One chunk (or whole answer) as it stands on the wire, borrowed from it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Fields that this adapter does not know, with their values as they came.
pub(crate) type Rest<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Reads objects field by field into `$name`: `take` gets each field that is not null.
macro_rules! object {
    ($name:ident) => {
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(std::marker::PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_unit<E: Error>(self) -> Result<$name<'a>, E> {
                        Ok($name::default())
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'a>, A::Error> {
                        let mut object = $name::default();
                        while let Some($crate::job::FieldName(name)) = map.next_key::<$crate::job::FieldName<'de>>()? {
                            object.take(name, &mut map)?;
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_any(ObjectVisitor(std::marker::PhantomData))
            }
        }
    };
}
pub(crate) use object;

/// A value that is not null.
pub(crate) fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de RawValue>, A::Error> {
    let value: &RawValue = map.next_value()?;
    Ok((value.get() != "null").then_some(value))
}

pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// Keeps a value that says something.
pub(crate) fn keep<'a, 'de: 'a, A: MapAccess<'de>>(
    rest: &mut Rest<'a>,
    name: Cow<'a, str>,
    map: &mut A,
) -> Result<(), A::Error> {
    let value: &RawValue = map.next_value()?;
    if !matches!(value.get(), "null" | "[]" | "{}" | "\"\"") {
        rest.push((name, value));
    }
    Ok(())
}

/// One chunk or whole answer.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) groq: Option<Groq<'a>>,
    pub(super) error: Option<&'a RawValue>,
    /// `object` is `error`: the whole packet is one.
    pub(super) is_error: bool,
    pub(super) rest: Rest<'a>,
}

object!(Chunk);

impl<'a> Chunk<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "choices" => self.choices = map.next_value()?,
            "usage" => self.usage = raw(map)?,
            "x_groq" => self.groq = map.next_value()?,
            "error" => self.error = raw(map)?,
            "object" => self.is_error = raw(map)?.is_some_and(|object| object.get() == "\"error\""),
            // Who and when: the job has its own. `timings` are llama.cpp's, beside its usage; two names
            // are of padding (`p` is Mistral's).
            "id" | "created" | "obfuscation" | "p" | "timings" => skip(map)?,
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// Groq's own place for usage.
#[derive(Default)]
pub(super) struct Groq<'a> {
    pub(super) usage: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
}

object!(Groq);

impl<'a> Groq<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "usage" => self.usage = raw(map)?,
            "error" => self.error = raw(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// One of several answers.
#[derive(Default)]
pub(super) struct Choice<'a> {
    pub(super) index: Option<u32>,
    /// `delta` of a chunk, `message` of a whole answer.
    pub(super) delta: Option<Delta<'a>>,
    /// Whether it was `message`: all of the answer so far.
    pub(super) is_message: bool,
    /// Old completions; Together sends it beside the delta.
    pub(super) text: Option<&'a RawValue>,
    pub(super) finish_reason: Option<&'a RawValue>,
    /// The place in which Moonshot reports usage.
    pub(super) usage: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

object!(Choice);

impl<'a> Choice<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "index" => self.index = number(raw(map)?),
            "delta" => (self.delta, self.is_message) = (map.next_value()?, false),
            // Perplexity repeats everything so far as `message` beside each delta.
            "message" if self.delta.is_none() => (self.delta, self.is_message) = (map.next_value()?, true),
            "message" | "seed" => skip(map)?,
            "text" => self.text = raw(map)?,
            "finish_reason" => self.finish_reason = raw(map)?,
            "usage" => self.usage = raw(map)?,
            "error" => self.error = raw(map)?,
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// The new piece of an answer.
#[derive(Default)]
pub(super) struct Delta<'a> {
    pub(super) content: Option<&'a RawValue>,
    pub(super) refusal: Option<&'a RawValue>,
    pub(super) reasoning_content: Option<&'a RawValue>,
    pub(super) reasoning: Option<&'a RawValue>,
    pub(super) reasoning_details: Option<&'a RawValue>,
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    pub(super) function_call: Option<Function<'a>>,
    pub(super) rest: Rest<'a>,
}

object!(Delta);

impl<'a> Delta<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "content" => self.content = raw(map)?,
            "refusal" => self.refusal = raw(map)?,
            "reasoning_content" => self.reasoning_content = raw(map)?,
            "reasoning" => self.reasoning = raw(map)?,
            "reasoning_details" => self.reasoning_details = raw(map)?,
            "tool_calls" => self.tool_calls = map.next_value()?,
            "function_call" => self.function_call = map.next_value()?,
            // Groq's channel says again that it is reasoning; Together numbers its tokens.
            "role" | "channel" | "token_id" => skip(map)?,
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// A piece of a tool call, or all of it.
#[derive(Default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: Option<u32>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) function: Option<Function<'a>>,
    pub(super) rest: Rest<'a>,
}

object!(ToolCall);

impl<'a> ToolCall<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "index" => self.index = number(raw(map)?),
            "id" => self.id = raw(map)?,
            "function" | "custom" => self.function = map.next_value()?,
            "type" => match raw(map)? {
                Some(kind) if !matches!(kind.get(), "\"function\"" | "\"\"") => self.rest.push((name, kind)),
                _ => {}
            },
            _ => keep(&mut self.rest, name, map)?,
        }
        Ok(())
    }
}

/// Which tool, and a piece of what it is called with.
#[derive(Default)]
pub(super) struct Function<'a> {
    pub(super) name: Option<&'a RawValue>,
    pub(super) arguments: Option<&'a RawValue>,
}

object!(Function);

impl<'a> Function<'a> {
    fn take<'de: 'a, A: MapAccess<'de>>(&mut self, name: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*name {
            "name" => self.name = raw(map)?,
            "arguments" | "input" => self.arguments = raw(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// The text of a JSON string; `None` for anything else, and for a string that is broken.
#[must_use]
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(value.get()).ok().map(Cow::Owned)
}

/// The text of a JSON string that says something.
pub(crate) fn some_text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    value.and_then(text).filter(|text| !text.is_empty())
}

fn number(value: Option<&RawValue>) -> Option<u32> {
    lenient(value)
}

/// A value of that shape, or nothing.
pub(crate) fn lenient<T: DeserializeOwned>(value: Option<&RawValue>) -> Option<T> {
    value.and_then(|value| serde_json::from_str(value.get()).ok())
}
