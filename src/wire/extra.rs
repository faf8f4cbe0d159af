//! Extra fields that providers send beside the answer, gathered from its pieces.
//!
//! Owns the joining of `Delta.extra` over a job's records: objects are joined field by field, lists
//! one after the other, of anything else the last word counts. What a next turn must send back is
//! kept apart: `reasoning_details`, and `extra_content` of tool calls.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Extras of one answer.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Value of the field of the same name in the assistant message.
    pub(crate) reasoning_details: Vec<Value>,
    /// Extras of tool calls, by the index of the call.
    pub(crate) of_calls: BTreeMap<u32, Value>,
    rest: Map<String, Value>,
}

impl Extras {
    /// Adds the extra of one delta; of several answers only the first one's is kept beside what a
    /// next turn needs.
    pub(crate) fn push(&mut self, index: u32, extra: Value) {
        let Value::Object(mut levels) = extra else { return };
        if let Some(Value::Object(delta)) = levels.get_mut("delta") {
            if let Some(Value::Array(details)) = delta.remove("reasoning_details") {
                self.reasoning_details.extend(details);
            }
            if let Some(Value::Array(calls)) = delta.remove("tool_calls") {
                for mut call in calls {
                    let at = call["index"].as_u64().and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
                    let content = call.get_mut("extra_content").map(Value::take).unwrap_or_default();
                    join(self.of_calls.entry(at).or_default(), content);
                }
            }
        }
        levels.retain(|_, fields| fields.as_object().is_none_or(|fields| !fields.is_empty()));
        if index == 0 {
            for (level, fields) in levels {
                join(self.rest.entry(level).or_insert(Value::Null), fields);
            }
        }
    }

    /// Returns the remaining extras, by level; `None` if there are none.
    pub(crate) fn rest(self) -> Option<Value> {
        (!self.rest.is_empty()).then_some(Value::Object(self.rest))
    }
}

fn join(known: &mut Value, more: Value) {
    match (known, more) {
        (_, Value::Null) => {}
        (Value::Object(known), Value::Object(more)) => {
            for (name, value) in more {
                join(known.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(known), Value::Array(more)) => known.extend(more),
        (known, more) => *known = more,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_joined_and_what_a_next_turn_needs_is_kept_apart() {
        let mut extras = Extras::default();
        for (index, extra) in [
            (0, json!({"chunk": {"service_tier": "default"}, "choice": {"logprobs": {"content": [1]}}})),
            (0, json!({"delta": {"reasoning_details": [{"signature": "a", "index": 0}]}})),
            (0, json!({"choice": {"logprobs": {"content": [2], "refusal": null}}, "chunk": {"service_tier": "flex"}})),
            (
                1,
                json!({"choice": {"logprobs": {"content": [9]}}, "delta": {"reasoning_details": [{"signature": "b"}]}}),
            ),
            (
                0,
                json!({"delta": {"tool_calls": [{"index": 2, "extra_content": {"google": {"thought_signature": "s"}}}]}}),
            ),
            (0, json!("nothing of ours")),
        ] {
            extras.push(index, extra);
        }
        assert_eq!(extras.reasoning_details, [json!({"signature": "a", "index": 0}), json!({"signature": "b"})]);
        assert_eq!(extras.of_calls[&2], json!({"google": {"thought_signature": "s"}}));
        let rest = json!({"chunk": {"service_tier": "flex"}, "choice": {"logprobs": {"content": [1, 2]}}});
        let mut got = extras.rest().expect("something");
        got["choice"]["logprobs"].as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        assert_eq!(got, rest);
    }
}
