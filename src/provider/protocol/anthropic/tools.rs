//! Tools, and whether they must be called.

use super::encode::Refusals;
use super::model::Model;
use super::native::is_versioned;
use crate::job::Failure;
use crate::provider::chat::{Body, Chat, Choice, Tool};
use crate::provider::protocol::openai_chat;

/// The schema of a tool without arguments: the field is required.
const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{}}"#;

/// Puts the tools and the choice among them.
pub(super) fn put(
    chat: &mut Chat<'_>,
    model: Model<'_>,
    refusals: &mut Refusals<'_>,
    body: &mut Body,
) -> Result<(), Failure> {
    let mut tools = Vec::with_capacity(chat.tools.len());
    for (at, tool) in chat.tools.iter().enumerate() {
        match one(tool) {
            Some(json) => tools.push(json),
            None => refusals.refuse(&format!("input.tools[{at}]"))?,
        }
    }
    let parallel: Option<bool> = chat.params.take_as("parallel_tool_calls")?;
    let mut choice = chat.tool_choice.take();
    if tools.is_empty() {
        return match choice {
            Some(Choice::Required | Choice::Named(_)) => refusals.refuse("input.tool_choice"),
            _ => Ok(()),
        };
    }
    body.put_json("tools", &format!("[{}]", tools.join(",")));
    if matches!(choice, Some(Choice::Required | Choice::Named(_))) && !model.can_be_forced() {
        refusals.refuse("input.tool_choice")?;
        choice = None;
    }
    let one_at_a_time = parallel == Some(false) && choice != Some(Choice::None);
    if choice.is_none() && !one_at_a_time {
        return Ok(());
    }
    let (kind, name) = match choice {
        Some(Choice::None) => ("none", None),
        None | Some(Choice::Auto) => ("auto", None),
        Some(Choice::Required) => ("any", None),
        Some(Choice::Named(name)) => ("tool", Some(name)),
    };
    let mut json = Body::default();
    json.put("type", kind).put_some("name", name);
    if one_at_a_time {
        json.put("disable_parallel_tool_use", &true);
    }
    body.put_json("tool_choice", &json.into_json());
    Ok(())
}

/// Writes a tool; `None` for a built-in tool of another provider.
fn one(tool: &Tool<'_>) -> Option<String> {
    if let Some(native) = tool.native {
        #[derive(serde::Deserialize)]
        struct RawTool {
            #[serde(rename = "type")]
            kind: String,
            input_schema: Option<serde::de::IgnoredAny>,
        }
        let raw: RawTool = serde_json::from_str(native.get()).ok()?;
        let is_known = is_versioned(&raw.kind) || raw.input_schema.is_some() || raw.kind == "mcp_toolset";
        return is_known.then(|| native.get().to_owned());
    }
    let mut json = Body::default();
    json.put("name", &*tool.name).put_some("description", tool.description.as_deref());
    let schema = tool.parameters.map_or(NO_ARGUMENTS, |schema| schema.get());
    json.put_json("input_schema", if schema == "{}" { NO_ARGUMENTS } else { schema });
    json.put_some("strict", tool.strict);
    json.put_some("cache_control", tool.cache_control);
    for (name, value) in tool.own.and_then(|own| openai_chat::fields(own).ok()).unwrap_or_default().0 {
        json.put(&name, value);
    }
    Some(json.into_json())
}
