//! From a job to a Converse request.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::message::{self, Conversation};
use super::model::{self, Maker};
use crate::job::Failure;
use crate::provider::chat::{Body, Chat, Choice, Params, ResponseFormat, Tool, quoted, unsupported};
use crate::provider::protocol::openai_chat;
use crate::provider::{Framing, Method, ModelCall, Outbound, Route};

/// Converse's own fields, handed on as they came.
const OWN: &[&str] = &[
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];
/// Claude's own parameters, which travel beside Converse's.
const OF_CLAUDE: &[&str] = &["anthropic_beta", "thinking", "output_config", "context_management"];

pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let (body, dropped) = match native(&model_call.job.input)? {
        Some(body) => (body, Vec::new()),
        None => of_chat(model_call)?,
    };
    Ok(Outbound {
        route: route(model_call, "converse-stream", "application/vnd.amazon.eventstream"),
        body,
        framing: Framing::AwsFrames,
        dropped,
    })
}

/// Returns the route of a request to this model.
pub(super) fn route(model_call: ModelCall<'_>, operation: &str, accept: &'static str) -> Route {
    let mut headers = model_call.endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let model = model::segment(&model_call.target.model);
    Route::Http {
        method: Method::POST,
        url: format!("{}/model/{model}/{operation}", model_call.endpoint.base_url).into(),
        headers,
        credential: model_call.endpoint.credential.clone(),
    }
}

/// Whether these messages are Converse's own: the module doc says how that is seen.
#[must_use]
pub fn are_native(messages: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Message<'a> {
        role: String,
        #[serde(borrow)]
        content: Vec<Block<'a>>,
    }
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let all = serde_json::from_str::<Vec<Message<'_>>>(messages.get()).unwrap_or_default();
    let is_own = |message: &Message<'_>| {
        matches!(&*message.role, "user" | "assistant") && message.content.iter().all(|block| block.kind.is_none())
    };
    !all.is_empty() && all.iter().all(is_own)
}

/// The input as it came, if it is a Converse request.
fn native(input: &RawValue) -> Result<Option<Bytes>, Failure> {
    let fields = openai_chat::fields(input)?;
    let messages = fields.0.iter().find(|(name, _)| name == "messages");
    if !messages.is_some_and(|(_, messages)| are_native(messages)) {
        return Ok(None);
    }
    let mut body = Body::with_capacity(input.get().len());
    for (name, value) in &fields.0 {
        if !matches!(&**name, "model" | "modelId" | "stream") {
            body.put_json(name, value.get());
        }
    }
    Ok(Some(body.into_bytes()))
}

/// What is refused, or left out if the job says so.
pub(super) struct Refusals<'a> {
    provider: &'a str,
    drop: bool,
    dropped: Vec<Box<str>>,
}

impl Refusals<'_> {
    fn add(&mut self, param: &str) -> Result<(), Failure> {
        if !self.drop {
            return Err(unsupported(param, self.provider));
        }
        self.dropped.push(param.into());
        Ok(())
    }
}

fn of_chat(model_call: ModelCall<'_>) -> Result<(Bytes, Vec<Box<str>>), Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    let mut chat = Chat::read(&job.input)?;
    let maker = Maker::of(&target.model);
    let mut refusals = Refusals { provider: &endpoint.name, drop: job.options.drop_unsupported, dropped: Vec::new() };
    let Conversation { system, messages, has_calls } = message::conversation(&chat.messages, maker, &endpoint.name)?;
    let mut body = Body::with_capacity(job.input.get().len() + 64);
    body.put_json("messages", &messages);
    if !system.is_empty() {
        body.put_json("system", &system);
    }
    let tools = tools(&mut chat, has_calls, &mut refusals)?;
    let format = chat.response_format.take();
    let params = &mut chat.params;
    let additional = additional(params, maker, &target.model, &mut refusals)?;
    inference(params, &mut refusals, &mut body)?;
    if let Some(tools) = tools {
        body.put_json("toolConfig", &tools);
    }
    if !additional.is_empty() {
        body.put("additionalModelRequestFields", &additional);
    }
    if !params.has("serviceTier")
        && let Some(tier @ ("flex" | "priority" | "default")) =
            params.peek("service_tier").map(|tier| tier.get().trim_matches('"'))
    {
        params.take("service_tier");
        body.put("serviceTier", &json!({"type": tier}));
    }
    match format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => refusals.add("input.response_format")?,
        Some(ResponseFormat::JsonSchema { .. }) if params.has("outputConfig") => {}
        Some(ResponseFormat::JsonSchema { name, description, schema, .. }) => {
            // Converse wants the schema as a text, and is always strict.
            let mut inner = Body::default();
            inner.put_some("name", name).put_some("description", description).put("schema", schema.get());
            let format = format!(
                r#"{{"textFormat":{{"type":"json_schema","structure":{{"jsonSchema":{}}}}}}}"#,
                inner.into_json()
            );
            body.put_json("outputConfig", &format);
        }
    }
    for (name, value) in params.take_all(OWN) {
        body.put_json(&name, value.get());
    }
    let mut dropped = refusals.dropped;
    dropped.extend(chat.params.finish(&endpoint.name, job.options.drop_unsupported)?);
    Ok((body.into_bytes(), dropped))
}

fn inference(params: &mut Params<'_>, refusals: &mut Refusals<'_>, body: &mut Body) -> Result<(), Failure> {
    let mut config = Body::default();
    config.put_some("maxTokens", params.take_max_tokens()?);
    if let Some(temperature) = params.take_number("temperature")? {
        // Converse's range ends at 1; what another model means by 1.5 is not what this one does by 1.
        if temperature.get().parse::<f64>().is_ok_and(|temperature| temperature > 1.0) {
            refusals.add("input.temperature")?;
        } else {
            config.put_json("temperature", temperature.get());
        }
    }
    if let Some(top_p) = params.take_number("top_p")? {
        config.put_json("topP", top_p.get());
    }
    let stop = params.take_stop()?;
    if !stop.is_empty() {
        config.put("stopSequences", &stop);
    }
    if !config.is_empty() {
        body.put_json("inferenceConfig", &config.into_json());
    }
    Ok(())
}

/// What goes to the model past Converse. What the caller put there counts before what is made here.
fn additional(
    params: &mut Params<'_>,
    maker: Maker,
    model: &str,
    refusals: &mut Refusals<'_>,
) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    if let Some(count) = params.take_as::<Value>("top_k")? {
        match maker.top_k(count) {
            Some((name, value)) => drop(fields.insert(name.to_owned(), value)),
            None => refusals.add("input.top_k")?,
        }
    }
    if let Some(effort) = params.take_effort()? {
        let tokens_max =
            ["max_completion_tokens", "max_tokens"].iter().find_map(|name| params.peek(name)?.get().parse().ok());
        match maker.reasoning(model, &effort, tokens_max) {
            Some(raw) => fields.extend(raw.into_iter().map(|(name, value)| (name.to_owned(), value))),
            None => refusals.add("input.reasoning_effort")?,
        }
    }
    if maker == Maker::Claude {
        for (name, value) in params.take_all(OF_CLAUDE) {
            fields.insert(name.into_owned(), serde_json::from_str(value.get()).unwrap_or_default());
        }
    }
    fields.extend(params.take_as::<Map<String, Value>>("additionalModelRequestFields")?.unwrap_or_default());
    Ok(fields)
}

/// The tools as a `toolConfig`. Converse has no word for "none": the tools are left out, unless
/// earlier turns called some, for then it wants them all.
fn tools(chat: &mut Chat<'_>, has_calls: bool, refusals: &mut Refusals<'_>) -> Result<Option<String>, Failure> {
    let tools = std::mem::take(&mut chat.tools);
    if tools.is_empty() {
        return Ok(None);
    }
    let choice = match chat.tool_choice.take() {
        None => None,
        Some(Choice::None) if !has_calls => return Ok(None),
        Some(Choice::None) => {
            refusals.add("input.tool_choice")?;
            None
        }
        Some(Choice::Auto) => Some(r#"{"auto":{}}"#.to_owned()),
        Some(Choice::Required) => Some(r#"{"any":{}}"#.to_owned()),
        Some(Choice::Named(name)) => Some(format!(r#"{{"tool":{{"name":{}}}}}"#, quoted(&name))),
    };
    if chat.params.take("parallel_tool_calls").is_some_and(|value| value.get() == "false") {
        refusals.add("input.parallel_tool_calls")?;
    }
    let mut list = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        match tool_json(tool) {
            Some(json) => list.push(json),
            None => refusals.add(&format!("input.tools[{at}]"))?,
        }
        if let Some(point) = tool.cache_control.map(message::cache_point) {
            list.push(point);
        }
    }
    let mut config = Body::default();
    config.put_json("tools", &format!("[{}]", list.join(",")));
    if let Some(choice) = choice {
        config.put_json("toolChoice", &choice);
    }
    Ok(Some(config.into_json()))
}

/// A tool; one that is no function only if it is Converse's own.
fn tool_json(tool: &Tool<'_>) -> Option<String> {
    if let Some(native) = tool.native {
        let fields: Map<String, Value> = serde_json::from_str(native.get()).ok()?;
        let is_own = ["toolSpec", "systemTool", "cachePoint"].iter().any(|name| fields.contains_key(*name));
        return is_own.then(|| native.get().to_owned());
    }
    let mut spec = Body::default();
    spec.put("name", &tool.name);
    spec.put_some("description", tool.description.as_ref().filter(|text| !text.is_empty()));
    let schema = tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get);
    spec.put_json("inputSchema", &format!(r#"{{"json":{schema}}}"#));
    spec.put_some("strict", tool.strict.filter(|strict| *strict));
    Some(format!(r#"{{"toolSpec":{}}}"#, spec.into_json()))
}
