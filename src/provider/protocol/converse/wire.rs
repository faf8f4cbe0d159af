//! Converse as it stands on the wire, borrowed from it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::usage;

/// Fields that this adapter does not know, with their values as they came.
pub(super) type Rest<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// A text, borrowed unless it holds an escape; null is the empty one.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Payload of the event `contentBlockDelta`.
#[derive(Deserialize)]
pub(super) struct BlockDelta<'a> {
    #[serde(rename = "contentBlockIndex", default)]
    pub(super) index: u32,
    #[serde(borrow)]
    pub(super) delta: DeltaSaid<'a>,
}

/// Payload of the event `contentBlockStart`.
#[derive(Deserialize)]
pub(super) struct BlockStart<'a> {
    #[serde(rename = "contentBlockIndex", default)]
    pub(super) index: u32,
    #[serde(borrow)]
    pub(super) start: Start<'a>,
}

/// Payload of the event `contentBlockStop`.
#[derive(Deserialize)]
pub(super) struct BlockStop {
    #[serde(rename = "contentBlockIndex", default)]
    pub(super) index: u32,
}

/// Payload of the event `messageStop`.
#[derive(Deserialize)]
pub(super) struct Stop<'a> {
    #[serde(borrow, rename = "stopReason")]
    pub(super) reason: Text<'a>,
    #[serde(borrow, rename = "additionalModelResponseFields", default)]
    pub(super) additional: Option<&'a RawValue>,
}

/// `metadata`, and the same fields of a whole answer.
#[derive(Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(default)]
    pub(super) usage: Option<usage::RawUsage>,
    #[serde(borrow, default)]
    pub(super) trace: Option<&'a RawValue>,
    #[serde(borrow, rename = "performanceConfig", default)]
    pub(super) performance: Option<&'a RawValue>,
    #[serde(borrow, rename = "serviceTier", default)]
    pub(super) service_tier: Option<Tier<'a>>,
}

/// The tier that served the answer.
#[derive(Deserialize)]
pub(super) struct Tier<'a> {
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Text<'a>,
}

/// A piece of a call's input.
#[derive(Deserialize)]
pub(super) struct Input<'a> {
    #[serde(borrow, default)]
    pub(super) input: Text<'a>,
}

/// A tool call of an answer.
#[derive(Deserialize)]
pub(super) struct Call<'a> {
    #[serde(borrow, rename = "toolUseId", default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
}

impl Call<'_> {
    /// Whether Bedrock answers it itself.
    pub(super) fn is_own(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.0 == "server_tool_use")
    }
}

/// A piece of reasoning.
#[derive(Deserialize)]
pub(super) struct Reasoning<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) signature: Option<Text<'a>>,
    #[serde(borrow, rename = "redactedContent", default)]
    pub(super) redacted: Option<Text<'a>>,
}

/// Reasoning in a whole answer: one level deeper.
#[derive(Deserialize)]
pub(super) struct WholeReasoning<'a> {
    #[serde(borrow, rename = "reasoningText", default)]
    pub(super) inner: Option<Reasoning<'a>>,
    #[serde(borrow, rename = "redactedContent", default)]
    pub(super) redacted: Option<Text<'a>>,
}

/// Text with its sources, in a whole answer.
#[derive(Deserialize)]
pub(super) struct Cited<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<CitedText<'a>>,
    #[serde(borrow, default)]
    pub(super) citations: Vec<&'a RawValue>,
}

/// A piece of text that a citation quotes.
#[derive(Deserialize)]
pub(super) struct CitedText<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
}

/// An answer that is one JSON value.
#[derive(Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(borrow, default)]
    pub(super) output: Option<Output<'a>>,
    #[serde(borrow, rename = "stopReason", default)]
    pub(super) stop: Option<Text<'a>>,
    #[serde(borrow, rename = "additionalModelResponseFields", default)]
    pub(super) additional: Option<&'a RawValue>,
}

/// What it puts out.
#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: OutputMessage<'a>,
}

/// The model's turn of a whole answer.
#[derive(Deserialize)]
pub(super) struct OutputMessage<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<&'a RawValue>,
}

/// Reads objects field by field into `$name`: the known ones, and the rest as it came.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($wire:literal => $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'a> {
            $(pub(super) $field: Option<$kind>,)*
            pub(super) rest: Rest<'a>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(std::marker::PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'a>, A::Error> {
                        let mut object = $name::default();
                        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                            match &*name {
                                $($wire => object.$field = map.next_value()?,)*
                                // Padding.
                                "p" => drop(map.next_value::<IgnoredAny>()?),
                                _ => object.rest.push((name, map.next_value()?)),
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
            }
        }
    };
}

object! {
    /// What a `contentBlockDelta` brings.
    DeltaSaid {
        "text" => text: Text<'a>,
        "toolUse" => tool_use: Input<'a>,
        "reasoningContent" => reasoning: Reasoning<'a>,
    }
}

object! {
    /// What a `contentBlockStart` starts.
    Start { "toolUse" => tool_use: Call<'a>, }
}

object! {
    /// A block of a whole answer.
    Block {
        "text" => text: Text<'a>,
        "toolUse" => tool_use: Call<'a>,
        "reasoningContent" => reasoning: WholeReasoning<'a>,
        "citationsContent" => citations: Cited<'a>,
    }
}
