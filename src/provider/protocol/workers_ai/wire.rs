//! Cloudflare's envelope and its native answers as they stand on the wire.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::protocol::emit::count;

/// `{"result", "success", "errors", "messages"}`, or whatever else came: then nothing of it is there.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) errors: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) output: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<&'a RawValue>,
}

impl Envelope<'_> {
    /// Whether it says that something went wrong.
    pub(super) fn is_error(&self) -> bool {
        let has_errors = self.errors.is_some_and(|errors| !matches!(errors.get(), "null" | "[]"));
        let has_error = self.error.is_some_and(|error| error.get() != "null");
        self.success == Some(false) || has_errors || has_error
    }
}

/// A native chunk, or a native answer. `p` is padding.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Native<'a> {
    /// A text; now and then a number, null, or, where JSON was asked for, any JSON.
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    pub(super) finish_reason: Option<Box<str>>,
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) errors: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

impl Native<'_> {
    /// Whether it says that something went wrong.
    pub(super) fn is_error(&self) -> bool {
        Envelope { success: self.success, errors: self.errors, error: self.error, ..Envelope::default() }.is_error()
    }

    /// Whether it says anything that we know.
    pub(super) fn is_known(&self) -> bool {
        let says = self.response.is_some() || self.reasoning_content.is_some() || self.tool_calls.is_some();
        says || self.usage.is_some() || self.finish_reason.is_some()
    }
}

/// A call or a piece of one: flat as Cloudflare writes it, or in OpenAI's form.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Call<'a> {
    #[serde(deserialize_with = "count")]
    pub(super) index: Option<u64>,
    pub(super) id: Option<Box<str>>,
    name: Option<Box<str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Function<'a> {
    name: Option<Box<str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> Call<'a> {
    /// The tool's name, and a piece of the arguments.
    pub(super) fn parts(&mut self) -> (Option<Box<str>>, Option<&'a RawValue>) {
        let function = self.function.take().unwrap_or_default();
        let name = function.name.or(self.name.take()).filter(|name| !name.is_empty());
        let arguments = function.arguments.or(self.arguments);
        (name, arguments.filter(|arguments| !matches!(arguments.get(), "null" | "\"\"")))
    }
}
