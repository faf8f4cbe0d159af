//! The arguments of a tool call: whole, or in pieces by path, as Vertex sends them on request.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Event, ToolCall};

/// Bytes of texts that the pieces of one call may bring.
const BYTES_MAX: usize = 1024 * 1024;
/// The longest list in an argument.
const ITEMS_MAX: usize = 4096;
/// Depth of the deepest path that is read.
const DEPTH_MAX: usize = 32;

/// The arguments of a call so far.
pub(super) struct Partial {
    /// The number of the call.
    pub(super) number: u32,
    arguments: Value,
    bytes: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    json_path: String,
    #[serde(default)]
    string_value: Option<String>,
    #[serde(default)]
    number_value: Option<Value>,
    #[serde(default)]
    bool_value: Option<bool>,
}

impl Partial {
    /// A call without arguments yet.
    pub(super) fn new(number: u32) -> Partial {
        Partial { number, arguments: Value::Object(Map::new()), bytes: 0 }
    }

    /// Takes a list of pieces. `None` if it is not one, or too much.
    pub(super) fn take(&mut self, pieces: &str) -> Option<()> {
        for piece in serde_json::from_str::<Vec<Piece>>(pieces).ok()? {
            self.bytes += piece.json_path.len() + piece.string_value.as_ref().map_or(0, String::len);
            if self.bytes > BYTES_MAX {
                return None;
            }
            let place = place(&mut self.arguments, &piece.json_path)?;
            match (piece.string_value, piece.number_value, piece.bool_value) {
                (Some(more), ..) => match place {
                    Value::String(text) => text.push_str(&more),
                    place => *place = Value::String(more),
                },
                (_, Some(number), _) => *place = number,
                (_, _, Some(truth)) => *place = Value::Bool(truth),
                _ => *place = Value::Null,
            }
        }
        Some(())
    }

    /// The JSON text of the arguments.
    pub(super) fn into_json(self) -> String {
        self.arguments.to_string()
    }
}

/// The place that `$.a.b[0]` names, made if it is not there.
fn place<'v>(root: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let mut value = root;
    let steps = path.strip_prefix('$')?.split(['.', '[']).filter(|step| !step.is_empty());
    for (depth, step) in steps.enumerate() {
        if depth == DEPTH_MAX {
            return None;
        }
        let name = step.trim_end_matches(']');
        match name.parse::<usize>() {
            Ok(at) if step.ends_with(']') => {
                if !value.is_array() {
                    *value = Value::Array(Vec::new());
                }
                let list = value.as_array_mut()?;
                if at >= ITEMS_MAX {
                    return None;
                }
                if list.len() <= at {
                    list.resize(at + 1, Value::Null);
                }
                value = &mut list[at];
            }
            _ => {
                if !value.is_object() {
                    *value = Value::Object(Map::new());
                }
                value = value.as_object_mut()?.entry(name.trim_matches(['\'', '"'])).or_insert(Value::Null);
            }
        }
    }
    Some(value)
}

/// The arguments of the call that was just pushed: its own event takes the first piece.
pub(super) fn push_arguments(number: u32, mut arguments: &str, out: &mut Vec<Event>) {
    while !arguments.is_empty() {
        let (piece, rest) = arguments.split_at(arguments.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        match out.last_mut() {
            Some(Event::ToolCall(call)) if call.index == number && call.arguments.is_empty() => {
                piece.clone_into(&mut call.arguments);
            }
            _ => out.push(Event::ToolCall(ToolCall { index: number, arguments: piece.into(), ..ToolCall::default() })),
        }
        arguments = rest;
    }
}

/// JSON without the blanks between its parts.
pub(super) fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keep = |c: &char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '"' if !was_escaped => in_text = !in_text,
            '\\' if in_text && !was_escaped => escaped = true,
            _ => {}
        }
        in_text || !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_where_they_belong() {
        for (pieces, expected) in [
            (
                &[
                    r#"[{"jsonPath":"$.city","stringValue":"New","willContinue":true}]"#,
                    r#"[{"jsonPath":"$.city","stringValue":" Delhi"}]"#,
                ][..],
                Some(r#"{"city":"New Delhi"}"#),
            ),
            (
                &[r#"[{"jsonPath":"$.a[1].b","numberValue":2},{"jsonPath":"$.t","boolValue":true}]"#],
                Some(r#"{"a":[null,{"b":2}],"t":true}"#),
            ),
            (&[r#"[{"jsonPath":"$.n","nullValue":"NULL_VALUE"}]"#], Some(r#"{"n":null}"#)),
            (&[], Some("{}")),
            (&[r#"[{"jsonPath":"$.a[4000000000]","numberValue":2}]"#], None),
            (&["{}"], None),
        ] {
            let mut call = Partial::new(0);
            let taken = pieces.iter().try_for_each(|pieces| call.take(pieces));
            assert_eq!(taken.map(|()| call.into_json()).as_deref(), expected, "{pieces:?}");
        }
    }
}
