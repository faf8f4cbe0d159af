//! From a job to the body of a Messages request.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::model::Model;
use super::own::NativeFields;
use super::thinking::{self, Plan};
use super::tools;
use super::turns::{self, Turns};
use super::{Form, Site, blocks, native};
use crate::job::Fields;
use crate::job::{Failure, Task};
use crate::provider::chat::{self, Body, Chat, Params, ResponseFormat, Role};
use crate::provider::protocol::openai_chat;
use crate::provider::{Endpoint, Framing, Headers, Method, ModelCall, Outbound, Route};

/// The version of the API that all of this is about.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The beta that knows files by their ids.
const FILES_BETA: &str = "files-api-2025-04-14";
/// Parameters of this API that a chat in OpenAI's dialect may have, handed on as they came.
const OWN_PARAMS: &[&str] =
    &["output_format", "cache_control", "mcp_servers", "container", "context_management", "inference_geo", "speed"];
/// The best that can be done about `json_object`, if the job takes less than it asked for.
const JSON_WISH: &str = "Answer with one JSON object and nothing else.";

/// What is sent, but for where to.
pub struct Request {
    /// Body of the request.
    pub body: Bytes,
    /// Betas that the job asks for; in the body already where they belong there (Bedrock).
    pub betas: Vec<String>,
    /// Fields of the input that were left out.
    pub dropped: Vec<Box<str>>,
}

/// The request for a job at a server that speaks this dialect under its `base_url`.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>, site: Site) -> Result<Outbound, Failure> {
    encode_at(model_call, site, url(&model_call.endpoint.base_url))
}

/// The request for a job at `url`.
///
/// # Errors
/// As [`encode`].
pub fn encode_at(model_call: ModelCall<'_>, site: Site, url: String) -> Result<Outbound, Failure> {
    let Request { body, betas, dropped } = request(model_call, site)?;
    let headers = headers(model_call.endpoint, &betas)?;
    let credential = model_call.endpoint.credential.clone();
    let route = Route::Http { method: Method::POST, url: url.into(), headers, credential };
    Ok(Outbound { route, body, framing: Framing::Sse, dropped })
}

/// Where messages go below `base_url`, which may or may not hold the version already: both are
/// customary.
#[must_use]
pub fn url(base_url: &str) -> String {
    let last = base_url.rsplit('/').next().unwrap_or("");
    let is_version = last.strip_prefix('v').is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
    match last {
        "messages" => base_url.to_owned(),
        _ if is_version => format!("{base_url}/messages"),
        _ => format!("{base_url}/v1/messages"),
    }
}

/// The headers of a call: the endpoint's, the version unless it is configured, and betas, which
/// join configured ones.
///
/// # Errors
/// `invalid` for a beta that cannot be in a header.
pub fn headers(endpoint: &Endpoint, betas: &[String]) -> Result<Headers, Failure> {
    let mut headers = endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.entry("anthropic-version").or_insert(VERSION);
    if !betas.is_empty() {
        let configured = headers.get("anthropic-beta").and_then(|value| value.to_str().ok());
        let all: Vec<&str> = configured.into_iter().chain(betas.iter().map(|beta| &**beta)).collect();
        let value = HeaderValue::from_str(&all.join(","));
        let value = value.map_err(|_| Failure::invalid("input.betas", "cannot be sent in a header"))?;
        headers.insert("anthropic-beta", value);
    }
    Ok(headers)
}

/// The body for a job, and what goes with it.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn request(model_call: ModelCall<'_>, site: Site) -> Result<Request, Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    if job.task != Task::Chat {
        let message = format!("{} serves chat, not {}", endpoint.name, job.task.as_str());
        return Err(Failure::unsupported("task", message));
    }
    let model = Model::of(site, &target.model);
    let fields = openai_chat::fields(&job.input)?;
    let mut body = Body::with_capacity(job.input.get().len() + 256);
    match site.form {
        Form::Api => _ = body.put("model", &*target.model).put("stream", &true),
        Form::Vertex => _ = body.put("anthropic_version", "vertex-2023-10-16").put("stream", &true),
        Form::Bedrock => _ = body.put("anthropic_version", "bedrock-2023-05-31"),
    }
    let (betas, dropped) = if native::is_native(&fields) {
        (as_it_is(&fields, model, &mut body)?, Vec::new())
    } else {
        let chat = Chat::read(&job.input)?;
        let refusals = Refusals { provider: &endpoint.name, drop: job.options.drop_unsupported, dropped: Vec::new() };
        translated(chat, model, site.form, refusals, &mut body)?
    };
    if site.form == Form::Bedrock && !betas.is_empty() {
        body.put("anthropic_beta", &betas);
    }
    Ok(Request { body: body.into_bytes(), betas, dropped })
}

/// Fields that are refused by name, or left out by name if the job says so.
pub(super) struct Refusals<'a> {
    provider: &'a str,
    drop: bool,
    dropped: Vec<Box<str>>,
}

impl Refusals<'_> {
    pub(super) fn refuse(&mut self, param: &str) -> Result<(), Failure> {
        if !self.drop {
            return Err(chat::unsupported(param, self.provider));
        }
        self.dropped.push(param.into());
        Ok(())
    }
}

/// Ours already: only what is ours to say is taken out, and what must be said put in.
fn as_it_is(fields: &Fields<'_>, model: Model<'_>, body: &mut Body) -> Result<Vec<String>, Failure> {
    let mut betas = Vec::new();
    let mut has_max_tokens = false;
    for (name, value) in &fields.0 {
        match &**name {
            "model" | "stream" | "anthropic_version" => continue,
            "betas" | "anthropic_beta" => betas.extend(read_betas(value)?),
            name => {
                has_max_tokens |= name == "max_tokens";
                body.put_json(name, value.get());
            }
        }
    }
    if !has_max_tokens {
        body.put("max_tokens", &model.output_tokens_max());
    }
    Ok(betas)
}

fn read_betas(value: &RawValue) -> Result<Vec<String>, Failure> {
    if value.get() == "null" {
        return Ok(Vec::new());
    }
    let one = serde_json::from_str::<String>(value.get()).map(|betas| vec![betas]);
    let several = one.or_else(|_| serde_json::from_str::<Vec<String>>(value.get()));
    several.map_err(|_| Failure::invalid("input.betas", "must be a list of strings"))
}

type Extras = (Vec<String>, Vec<Box<str>>);

fn translated(
    mut chat: Chat<'_>,
    model: Model<'_>,
    form: Form,
    mut refusals: Refusals<'_>,
    body: &mut Body,
) -> Result<Extras, Failure> {
    let max_tokens = chat.params.take_max_tokens()?.unwrap_or_else(|| model.output_tokens_max());
    body.put("max_tokens", &max_tokens);
    let mut own = NativeFields::take(&mut chat)?;
    let mut betas = own.as_mut().and_then(NativeFields::betas).map(read_betas).transpose()?.unwrap_or_default();
    for name in ["betas", "anthropic_beta"] {
        betas.extend(chat.params.take(name).map(read_betas).transpose()?.unwrap_or_default());
    }
    let plan = match &mut own {
        Some(own) => own.plan(),
        None => thinking::plan(&mut chat, model, max_tokens, &mut refusals)?,
    };
    messages(&mut chat, model, form, &mut refusals, body)?;
    if has_files(&chat) && !betas.iter().any(|beta| beta.contains("files-api")) {
        betas.push(FILES_BETA.into());
    }
    tools::put(&mut chat, model, &mut refusals, body)?;
    if own.is_none() {
        sampling(&mut chat.params, model, plan.is_on, &mut refusals, body)?;
    }
    stops(&mut chat.params, &mut refusals, body)?;
    output_config(&mut chat, model, &plan, &mut refusals, body)?;
    if let Some(thinking) = plan.thinking {
        body.put_json("thinking", &thinking);
    }
    account(&mut chat.params, &mut refusals, body)?;
    if let Some(own) = own {
        own.put(&mut chat, body);
    }
    for (name, value) in chat.params.take_all(OWN_PARAMS) {
        body.put(&name, value);
    }
    let mut dropped = refusals.dropped;
    dropped.extend(chat.params.finish(refusals.provider, refusals.drop)?);
    Ok((betas, dropped))
}

fn messages(
    chat: &mut Chat<'_>,
    model: Model<'_>,
    form: Form,
    refusals: &mut Refusals<'_>,
    body: &mut Body,
) -> Result<(), Failure> {
    let last = chat.messages.last().expect("a chat has messages");
    if last.role == Role::Assistant && !model.takes_prefill() {
        let message = "this model does not go on from the beginning of an answer";
        return Err(Failure::unsupported(&last.param, message).of_the_target());
    }
    let Turns { mut system, turns } = turns::read(&chat.messages, model, form)?;
    if matches!(chat.response_format, Some(ResponseFormat::JsonObject)) {
        // A wish is less than what was asked for.
        refusals.refuse("input.response_format")?;
        system.push(blocks::Block::Text(JSON_WISH.into()));
        chat.response_format = None;
    }
    match chat.params.take("system") {
        Some(_) if !system.is_empty() => refusals.refuse("input.system")?,
        Some(own) => _ = body.put("system", own),
        None => {}
    }
    if !system.is_empty() {
        body.put_json("system", &blocks::content(system));
    }
    let turns: Vec<String> = turns.into_iter().map(turns::Turn::into_json).collect();
    body.put_json("messages", &format!("[{}]", turns.join(",")));
    Ok(())
}

fn has_files(chat: &Chat<'_>) -> bool {
    use chat::{Part, Source};
    chat.messages.iter().flat_map(|message| &message.parts).any(|part| match part {
        Part::Image { source, .. } | Part::File { source, .. } => matches!(source, Source::Id(_)),
        Part::Native { raw, .. } => raw.get().contains("\"file_id\""),
        _ => false,
    })
}

/// Temperature is 0 to 1 here; new models take none, and a model that thinks hardly any.
fn sampling(
    params: &mut Params<'_>,
    model: Model<'_>,
    is_thinking: bool,
    refusals: &mut Refusals<'_>,
    body: &mut Body,
) -> Result<(), Failure> {
    let number = |value: &RawValue| serde_json::from_str::<f64>(value.get()).unwrap_or_default();
    if let Some(temperature) = params.take_number("temperature")? {
        let value = number(temperature);
        let is_in_range = (0.0..=1.0).contains(&value) && (value > 0.0 || model.takes_zero());
        if value == 1.0 && !model.samples() {
            // What every provider does anyway.
        } else if !is_in_range || !model.samples() || (is_thinking && value != 1.0) {
            refusals.refuse("input.temperature")?;
        } else {
            body.put("temperature", temperature);
        }
    }
    if let Some(top_p) = params.take_number("top_p")? {
        let value = number(top_p);
        if value == 1.0 {
            // All of them: what every provider does anyway, and some models refuse it beside temperature.
        } else if !model.samples() || (is_thinking && value < 0.95) {
            refusals.refuse("input.top_p")?;
        } else {
            body.put("top_p", top_p);
        }
    }
    match params.take_number("top_k")? {
        Some(_) if !model.samples() || is_thinking => refusals.refuse("input.top_k"),
        top_k => {
            body.put_some("top_k", top_k);
            Ok(())
        }
    }
}

fn stops(params: &mut Params<'_>, refusals: &mut Refusals<'_>, body: &mut Body) -> Result<(), Failure> {
    let stops = params.take_stop()?;
    match params.take("stop_sequences") {
        Some(_) if !stops.is_empty() => refusals.refuse("input.stop_sequences")?,
        Some(own) => _ = body.put("stop_sequences", own),
        None => {}
    }
    if !stops.is_empty() {
        body.put("stop_sequences", &stops);
    }
    Ok(())
}

/// The shape of the answer and the effort, beside what the job says itself.
fn output_config(
    chat: &mut Chat<'_>,
    model: Model<'_>,
    plan: &Plan,
    refusals: &mut Refusals<'_>,
    body: &mut Body,
) -> Result<(), Failure> {
    let mut config = Body::default();
    let own = chat.params.take("output_config");
    let own = own.map(openai_chat::fields).transpose()?.map(|fields| fields.0).unwrap_or_default();
    let says = |name: &str| own.iter().any(|(known, _)| known == name);
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = chat.response_format.take() {
        if model.takes_schema() && !says("format") {
            let mut format = Body::with_capacity(schema.get().len() + 64);
            format.put("type", "json_schema").put("schema", schema);
            config.put_json("format", &format.into_json());
        } else {
            refusals.refuse("input.response_format")?;
        }
    }
    if let Some(effort) = plan.effort.as_ref().filter(|_| !says("effort")) {
        config.put("effort", effort);
    }
    for (name, value) in &own {
        config.put(name, value);
    }
    if !config.is_empty() {
        body.put_json("output_config", &config.into_json());
    }
    Ok(())
}

/// Writes the user and the service tier.
fn account(params: &mut Params<'_>, refusals: &mut Refusals<'_>, body: &mut Body) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metadata {
        user_id: String,
    }
    let own = params.peek("metadata").and_then(|own| serde_json::from_str::<Metadata>(own.get()).ok());
    let user: Option<String> = params.take_as("user")?;
    let user = user.or(params.take_as("safety_identifier")?);
    if let Some(user) = own.map(|own| own.user_id).or(user) {
        params.take("metadata");
        body.put("metadata", &serde_json::json!({"user_id": user}));
    }
    match params.take_as::<String>("service_tier")?.as_deref() {
        None => {}
        Some(tier @ ("auto" | "standard_only")) => _ = body.put("service_tier", tier),
        Some("default" | "standard") => _ = body.put("service_tier", "standard_only"),
        Some(_) => refusals.refuse("input.service_tier")?,
    }
    Ok(())
}
