//! Tools, and which of them must be called.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use super::config::Refusals;
use crate::job::Failure;
use crate::provider::chat::{Body, Choice, Tool};

/// Google's own tools: the name of the API, and that of a job's `type`.
const OWN: &[(&str, &str)] = &[
    ("googleSearch", "google_search"),
    ("googleSearchRetrieval", "google_search_retrieval"),
    ("enterpriseWebSearch", "enterprise_web_search"),
    ("googleMaps", "google_maps"),
    ("urlContext", "url_context"),
    ("codeExecution", "code_execution"),
    ("fileSearch", "file_search"),
    ("computerUse", "computer_use"),
    ("retrieval", "retrieval"),
    ("mcpServers", "mcp_servers"),
    ("functionDeclarations", "function_declarations"),
];

/// The list of tools as JSON, or nothing if there are none.
///
/// # Errors
/// `unsupported`, naming a tool that is neither a function nor Google's.
pub(super) fn write(tools: &[Tool<'_>], refusals: &mut Refusals<'_>) -> Result<Option<String>, Failure> {
    let mut functions = Vec::new();
    let mut own = Vec::new();
    for (at, tool) in tools.iter().enumerate() {
        match tool.native {
            Some(raw) => match native(raw) {
                Some(tool) => own.push(tool),
                None => refusals.refuse(&format!("input.tools[{at}]"))?,
            },
            None => functions.push(function(tool)),
        }
    }
    if !functions.is_empty() {
        own.insert(0, format!("{{\"functionDeclarations\":[{}]}}", functions.join(",")));
    }
    Ok((!own.is_empty()).then(|| format!("[{}]", own.join(","))))
}

/// The schema goes as it is: `strict` is what Google does anyway.
fn function(tool: &Tool<'_>) -> String {
    let mut body = Body::default();
    body.put("name", &tool.name).put_some("description", tool.description.as_deref());
    if let Some(schema) = tool.parameters {
        body.put_json("parametersJsonSchema", schema.get());
    }
    body.into_json()
}

/// `{"googleSearch": {}}` as it is; `{"type": "google_search"}` with its settings, if any, beside it.
/// `None` for a tool that is not Google's.
fn native(raw: &RawValue) -> Option<String> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(raw.get()).ok()?;
    let Some(kind) = fields.get("type") else {
        let is_own = |name: &str| OWN.iter().any(|(own, parsed)| name == *own || name == *parsed);
        let all_own = !fields.is_empty() && fields.keys().all(|name| is_own(name));
        return all_own.then(|| raw.get().to_owned());
    };
    let kind: String = serde_json::from_str(kind.get()).ok()?;
    let (own, parsed) = OWN.iter().find(|(own, parsed)| kind == *own || kind == *parsed)?;
    let settings = fields.get(*own).or(fields.get(*parsed)).map_or("{}", |settings| settings.get());
    Some(format!("{{\"{own}\":{settings}}}"))
}

/// Whether the model must call.
pub(super) fn config(choice: &Choice<'_>) -> String {
    let config = match choice {
        Choice::None => json!({"mode": "NONE"}),
        Choice::Auto => json!({"mode": "AUTO"}),
        Choice::Required => json!({"mode": "ANY"}),
        Choice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    json!({ "functionCallingConfig": config }).to_string()
}
