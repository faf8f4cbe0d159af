//! Which tool call a fragment belongs to.
//!
//! By `index`; where that is left out by id, else by order. An empty id says nothing. A fragment
//! that brings a new id and a name under an index in use is a call of its own: some backends number
//! every whole call 0.

use super::chunk::{self, Function};
use crate::job::ToolCall;

/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: usize = 1024;

/// The calls of one reply so far.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    choice: u32,
    index: Option<u32>,
    id: Option<Box<str>>,
    named: bool,
}

impl Calls {
    /// Whether there are any in this choice.
    pub(super) fn any(&self, choice: u32) -> bool {
        self.0.iter().any(|call| call.choice == choice)
    }

    /// The event that a fragment makes, and the number of its call; no event if nothing is new.
    /// `None` for a call too many.
    pub(super) fn take(&mut self, choice: u32, fragment: &chunk::ToolCall<'_>) -> Option<(u32, Option<ToolCall>)> {
        let id = chunk::some_text(fragment.id);
        let function = fragment.function.as_ref();
        let name = function.and_then(|function| chunk::some_text(function.name));
        let found = self.find(choice, fragment.index, id.as_deref(), name.is_some());
        let is_new = found.is_none();
        let at = match found {
            Some(at) => at,
            None if self.0.len() == CALLS_MAX => return None,
            None => {
                self.0.push(Call { choice, index: fragment.index, id: None, named: false });
                self.0.len() - 1
            }
        };
        let number = u32::try_from(at).expect("at most CALLS_MAX");
        let call = &mut self.0[at];
        let call_id: Option<Box<str>> = id.filter(|_| call.id.is_none()).map(|id| id.into());
        let name: Option<Box<str>> = name.filter(|_| !call.named).map(|name| name.into());
        call.id = call.id.take().or_else(|| call_id.clone());
        call.named |= name.is_some();
        let arguments = function.map(arguments).unwrap_or_default();
        let says_something = is_new || call_id.is_some() || name.is_some() || !arguments.is_empty();
        let event = says_something.then_some(ToolCall { index: number, call_id, name, arguments });
        Some((number, event))
    }

    fn find(&self, choice: u32, index: Option<u32>, id: Option<&str>, has_name: bool) -> Option<usize> {
        let last = |test: &dyn Fn(&Call) -> bool| self.0.iter().rposition(|call| call.choice == choice && test(call));
        match (index, id) {
            (Some(index), id) => {
                let at = last(&|call| call.index == Some(index))?;
                let other_id = id.is_some_and(|id| self.0[at].id.as_deref().is_some_and(|known| known != id));
                (!(other_id && has_name)).then_some(at)
            }
            (None, Some(id)) => last(&|call| call.id.as_deref() == Some(id)),
            (None, None) if has_name => None,
            (None, None) => last(&|_| true),
        }
    }
}

/// A piece of the JSON text. Some models give the object itself.
fn arguments(function: &Function<'_>) -> String {
    match function.arguments {
        None => String::new(),
        Some(value) => chunk::text(value).map_or_else(|| value.get().to_owned(), std::borrow::Cow::into_owned),
    }
}
