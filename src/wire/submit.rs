//! A submitted job: a raw request becomes a valid job, once.
//!
//! Owns every rule about a job's fields. Promises an error that names the field. After this no code
//! validates again. Does not know which models or gateways exist.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::subject::is_subject;
use crate::job::caps::{
    ATTEMPTS_MAX, DURATION_MS_MAX, FALLBACKS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, JSON_DEPTH_MAX, PROVIDER_BYTES_MAX,
    PROVIDERS_NAMED_MAX, RETENTION_S_MAX, WEBHOOK_URL_BYTES_MAX,
};
use crate::job::strict::{self, ReadError};
use crate::job::{
    CacheMode, Code, Failure, Gateway, Job, JobId, ModelName, Options, ProviderChoice, StreamId, Tags, Task, Timestamp,
};

/// A job as a client sends it: the body of `POST /v1/run`, of a NATS request, of a WebSocket `run`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
// The name in `/openapi.json` is a public one.
#[schemars(rename = "Said", title = "Job")]
pub struct JobRequest {
    /// `provider/model`, `@cf/author/model`, or an alias.
    pub model: ModelName,
    /// A string, `{"prompt": …}`, `{"input": …}`, or the task's body.
    #[schemars(with = "JobInput")]
    pub input: Box<RawValue>,
    /// Id of the job: 1–64 of `[A-Za-z0-9_-]`. Default: a UUIDv7.
    #[serde(default)]
    pub id: Option<JobId>,
    /// Gateway of the job. Default: `default`, or the entrance's.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// Task of the job. Default: the model's.
    #[serde(default)]
    pub task: Option<Task>,
    /// What cost is broken down by.
    #[serde(default)]
    pub metadata: Tags,
    /// A repeat with the same body joins this job. Per gateway.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<Box<str>>,
    /// How it is to be done.
    #[serde(default)]
    pub options: Options,
    /// HTTP only: answer as server-sent events.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Set by an entrance, never read from a body: see [`Job::echo`].
    #[serde(skip)]
    #[schemars(skip)]
    pub echo: Option<Box<RawValue>>,
}

impl JobRequest {
    /// A request with nothing but a model and an input.
    #[must_use]
    pub fn new(model: ModelName, input: Box<RawValue>, stream: Option<bool>) -> JobRequest {
        JobRequest {
            model,
            input,
            id: None,
            gateway: None,
            task: None,
            metadata: Tags::default(),
            idempotency_key: None,
            options: Options::default(),
            stream,
            echo: None,
        }
    }
}

/// The forms of `input`, for the schema only.
#[derive(JsonSchema)]
#[schemars(rename = "SaidInput")]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum JobInput {
    /// A prompt as text.
    Text(String),
    /// The body of the task.
    Body(serde_json::Map<String, Value>),
}

/// Facts about a job that its entrance knows, so that the body may leave them out.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// From the path, the subject or a header; a body that names another is `invalid`.
    pub gateway: Option<Gateway>,
    /// `Idempotency-Key` or `Nats-Msg-Id`; a body that names another is `invalid`.
    pub idempotency_key: Option<String>,
    /// The task of the route, else the model's.
    pub task: Option<Task>,
}

/// Reads a job as JSON.
///
/// # Errors
/// `invalid`, naming the field.
pub fn from_json(bytes: &[u8]) -> Result<JobRequest, Failure> {
    read_object(bytes)
}

/// Reads a JSON object with named fields.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::new(Code::Invalid, "the body is not UTF-8"))?;
    // serde takes an array for a struct, field by field; a client that sends one has it wrong.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Failure::new(Code::Invalid, "the body is not a job: it must be an object"));
    }
    strict::json(serde_json::Deserializer::from_str(text)).map_err(|error| named(&error))
}

/// Reads a job as MessagePack.
///
/// # Errors
/// `invalid`, naming the field.
pub fn from_msgpack(bytes: &[u8]) -> Result<JobRequest, Failure> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(JSON_DEPTH_MAX);
    let value: Value = strict::read(&mut reader).map_err(|error| named(&error))?;
    from_value(value)
}

/// Reads a job that is part of something larger, for example of a WebSocket message.
///
/// # Errors
/// `invalid`, naming the field.
pub fn from_value(value: Value) -> Result<JobRequest, Failure> {
    let text = value.to_string();
    from_json(text.as_bytes())
}

fn named<E: std::fmt::Display>(error: &ReadError<E>) -> Failure {
    let (path, message) = (error.path(), error.to_string());
    if error.is_trailing() {
        return Failure::new(Code::Invalid, format!("after the job: {message}"));
    }
    // serde names an unknown or missing field in its message only; the path stops at its parent.
    let field = strict::quoted(&message)
        .filter(|_| message.starts_with("unknown field") || message.starts_with("missing field"));
    let param = match (path.as_str(), field) {
        ("." | "?", Some(field)) => field.to_owned(),
        ("." | "?", None) => return Failure::new(Code::Invalid, format!("the body is not a job: {message}")),
        // An unknown field is its own path; a missing one is not.
        (path, Some(field)) if path != field && !path.ends_with(&format!(".{field}")) => format!("{path}.{field}"),
        (path, _) => path.to_owned(),
    };
    let message = message.strip_prefix(&format!("invalid: {param}: ")).unwrap_or(&message).to_owned();
    Failure::invalid(&param, message)
}

impl JobRequest {
    /// Checks the request and makes the job.
    ///
    /// # Errors
    /// `invalid` or `unsupported`, naming the field.
    pub fn into_job(self, entrance: &Entrance, now: Timestamp) -> Result<Job, Failure> {
        check_options(&self.options)?;
        let gateway = one_of("gateway", entrance.gateway.clone(), self.gateway)?.unwrap_or_default();
        let key = one_of("idempotency_key", entrance.idempotency_key.clone().map(Into::into), self.idempotency_key)?;
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
            let message = format!("must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            return Err(Failure::invalid("idempotency_key", message));
        }
        let task = self.task.or(entrance.task).unwrap_or_default();
        let input = normal_input(&self.input, task)?;
        let mut job = Job {
            body_sha256: None,
            is_passed_on: false,
            id: self.id.clone().unwrap_or_else(|| StreamId::generate().to_job_id()),
            gateway,
            model: self.model,
            task,
            input,
            metadata: self.metadata,
            idempotency_key: key,
            options: self.options,
            submitted_at: now,
            echo: self.echo,
        };
        if self.id.is_some() || job.idempotency_key.is_some() {
            job.body_sha256 = Some(digest(&job));
        }
        Ok(job)
    }
}

/// Returns the entrance's value or the body's; both may be there only if they agree.
fn one_of<T: PartialEq>(field: &str, entrance: Option<T>, body: Option<T>) -> Result<Option<T>, Failure> {
    match (entrance, body) {
        (Some(entrance), Some(body)) if entrance != body => {
            Err(Failure::invalid(field, "the body and the address or header say different things"))
        }
        (entrance, body) => Ok(body.or(entrance)),
    }
}

fn check_options(options: &Options) -> Result<(), Failure> {
    let timeouts = options.timeouts;
    let durations = [
        ("options.timeouts.connect_ms", timeouts.connect_ms),
        ("options.timeouts.first_token_ms", timeouts.first_token_ms),
        ("options.timeouts.idle_ms", timeouts.idle_ms),
        ("options.timeouts.total_ms", timeouts.total_ms),
        ("options.timeouts.queue_ms", timeouts.queue_ms),
        ("options.hedge_ms", options.hedge_ms),
    ];
    for (field, value) in durations {
        if value.is_some_and(|ms| ms == 0 || ms > DURATION_MS_MAX) {
            return Err(Failure::invalid(field, format!("must be 1 to {DURATION_MS_MAX}")));
        }
    }
    for (field, value) in
        [("options.retry.delay_ms", options.retry.delay_ms), ("options.retry.max_delay_ms", options.retry.max_delay_ms)]
    {
        if value.is_some_and(|ms| ms > DURATION_MS_MAX) {
            return Err(Failure::invalid(field, format!("must be at most {DURATION_MS_MAX}")));
        }
    }
    if options.retry.max_attempts.is_some_and(|attempts| attempts == 0 || attempts > ATTEMPTS_MAX) {
        return Err(Failure::invalid("options.retry.max_attempts", format!("must be 1 to {ATTEMPTS_MAX}")));
    }
    if options.fallbacks.len() > FALLBACKS_MAX {
        return Err(Failure::invalid("options.fallbacks", format!("at most {FALLBACKS_MAX} models")));
    }
    if let Some(choice) = &options.provider {
        check_provider_choice(choice)?;
    }
    if options.priority > 9 {
        return Err(Failure::invalid("options.priority", "must be 0 to 9"));
    }
    if options.retention_s.is_some_and(|s| s > RETENTION_S_MAX) {
        return Err(Failure::invalid("options.retention_s", format!("must be at most {RETENTION_S_MAX}")));
    }
    if options.deliver.as_ref().is_some_and(|deliver| !is_subject(&deliver.subject)) {
        return Err(Failure::invalid("options.deliver.subject", "must be a NATS subject without wildcards"));
    }
    if let Some(webhook) = &options.webhook {
        let is_address = (1..=WEBHOOK_URL_BYTES_MAX).contains(&webhook.url.len())
            && webhook.url.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_address {
            let message = format!("must be an https address of at most {WEBHOOK_URL_BYTES_MAX} bytes");
            return Err(Failure::invalid("options.webhook.url", message));
        }
    }
    if options.cache.mode != CacheMode::Off {
        return Err(Failure::unsupported("options.cache.mode", "the answer cache is not built yet"));
    }
    Ok(())
}

fn check_provider_choice(choice: &ProviderChoice) -> Result<(), Failure> {
    for (field, names) in [("only", &choice.only), ("ignore", &choice.ignore), ("order", &choice.order)] {
        let field = format!("options.provider.{field}");
        if names.len() > PROVIDERS_NAMED_MAX {
            return Err(Failure::invalid(&field, format!("at most {PROVIDERS_NAMED_MAX} providers")));
        }
        if let Some(at) = names.iter().position(|name| name.is_empty() || name.len() > PROVIDER_BYTES_MAX) {
            return Err(Failure::invalid(
                &format!("{field}[{at}]"),
                format!("must be 1 to {PROVIDER_BYTES_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

/// The input as the task's body: an object.
fn normal_input(input: &RawValue, task: Task) -> Result<Box<RawValue>, Failure> {
    check_depth(input.get().as_bytes())?;
    let text = input.get();
    let first = text.as_bytes().first().copied().unwrap_or(b' ');
    let body = match (first, task) {
        (b'"', Task::Chat) => chat_of(text),
        (b'"', _) => format!(r#"{{"input":{text}}}"#),
        (b'{', _) => return normal_object(input, task),
        _ => return Err(Failure::invalid("input", "must be a string or an object")),
    };
    raw(body)
}

fn normal_object(input: &RawValue, task: Task) -> Result<Box<RawValue>, Failure> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        messages: Option<&'a RawValue>,
        #[serde(borrow, default)]
        prompt: Option<&'a RawValue>,
        #[serde(borrow, default)]
        input: Option<&'a RawValue>,
        #[serde(borrow, default)]
        contents: Option<&'a RawValue>,
        #[serde(default)]
        model: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        stream: Option<serde::de::IgnoredAny>,
    }
    let peek: Peek<'_> =
        serde_json::from_str(input.get()).map_err(|error| Failure::invalid("input", error.to_string()))?;
    if task != Task::Chat {
        return Ok(input.to_owned());
    }
    if peek.model.is_some() {
        return Err(Failure::invalid("input.model", "the model stands beside the input, not in it"));
    }
    if peek.stream.is_some() {
        return Err(Failure::invalid("input.stream", "every job is a stream; how it is read is the reader's choice"));
    }
    match (peek.messages, peek.prompt.or(peek.input)) {
        (Some(messages), _) if messages.get().starts_with('[') => Ok(input.to_owned()),
        (Some(_), _) => Err(Failure::invalid("input.messages", "must be an array")),
        // A provider's own shape: Gemini's contents, the items of OpenAI's Responses.
        (None, None) if peek.contents.is_some() => Ok(input.to_owned()),
        (None, Some(items)) if items.get().starts_with('[') && peek.prompt.is_none() => Ok(input.to_owned()),
        (None, Some(prompt)) if prompt.get().starts_with('"') => {
            let mut fields: serde_json::Map<String, Value> =
                serde_json::from_str(input.get()).map_err(|error| Failure::invalid("input", error.to_string()))?;
            let text = fields.remove("prompt").or_else(|| fields.remove("input")).unwrap_or_default();
            fields.insert("messages".into(), serde_json::json!([{"role": "user", "content": text}]));
            raw(Value::Object(fields).to_string())
        }
        (None, Some(_)) => Err(Failure::invalid("input.prompt", "must be a string")),
        (None, None) => Err(Failure::invalid("input.messages", "a chat needs messages, or a prompt")),
    }
}

fn chat_of(json_string: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":{json_string}}}]}}"#)
}

fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|error| Failure::invalid("input", error.to_string()))
}

/// Refuses nesting that would make a recursive reader suffer, without recursion.
fn check_depth(json: &[u8]) -> Result<(), Failure> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(Failure::invalid("input", format!("nested deeper than {JSON_DEPTH_MAX}")));
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// SHA-256 of what the job asks for, independent of key order and of its entrance.
fn digest(job: &Job) -> [u8; 32] {
    // serde_json's map is sorted by key, so parsing and printing again is canonical.
    let input: Value = serde_json::from_str(job.input.get()).unwrap_or_default();
    let mut canonical = serde_json::json!({
        "model": job.model, "task": job.task, "input": input, "metadata": job.metadata, "options": job.options,
    });
    if let Some(echo) = &job.echo {
        canonical["echo"] = serde_json::from_str(echo.get()).unwrap_or_default();
    }
    Sha256::digest(canonical.to_string()).into()
}

#[cfg(test)]
#[path = "submit_tests.rs"]
mod tests;
