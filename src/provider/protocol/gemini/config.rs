//! Parameters as Google's `generationConfig`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::model::{self, Thinking};
use crate::job::Failure;
use crate::provider::chat::{Body, Chat, ResponseFormat, quoted, unsupported};

/// Texts that Google stops at.
const STOPS_MAX: usize = 5;
/// What is called otherwise, and written the same.
const RENAMED: &[(&str, &str)] = &[
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("n", "candidateCount"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("top_logprobs", "logprobs"),
];
/// Google's own fields of it, in both spellings of the API.
const OWN: &[&str] = &[
    "responseSchema",
    "response_schema",
    "responseModalities",
    "response_modalities",
    "speechConfig",
    "speech_config",
    "imageConfig",
    "image_config",
    "mediaResolution",
    "media_resolution",
    "audioTimestamp",
    "audio_timestamp",
    "enableEnhancedCivicAnswers",
    "modelSelectionConfig",
    "routingConfig",
];

/// Fields that Google does not take: left out if the job says so, else a reason to refuse it.
pub(super) struct Refusals<'a> {
    provider: &'a str,
    drops: bool,
    /// What was left out.
    pub(super) dropped: Vec<Box<str>>,
}

impl<'a> Refusals<'a> {
    /// Starts without any refusals.
    pub(super) fn new(provider: &'a str, drops: bool) -> Refusals<'a> {
        Refusals { provider, drops, dropped: Vec::new() }
    }

    /// A field that is not taken.
    pub(super) fn refuse(&mut self, param: &str) -> Result<(), Failure> {
        if !self.drops {
            return Err(unsupported(param, self.provider));
        }
        self.dropped.push(param.into());
        Ok(())
    }
}

/// The fields so far: what the job says in the OpenAI dialect stands before what it says in Google's.
#[derive(Default)]
struct Config<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Config<'a> {
    fn set(&mut self, name: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) {
        let name = name.into();
        if !self.0.iter().any(|(known, _)| *known == name) {
            self.0.push((name, json.into()));
        }
    }
}

/// Takes what belongs there; `None` if nothing does.
///
/// # Errors
/// `invalid` or `unsupported`, naming the field.
pub(super) fn write(chat: &mut Chat<'_>, model: &str, refusals: &mut Refusals<'_>) -> Result<Option<String>, Failure> {
    let params = &mut chat.params;
    let mut config = Config::default();
    if let Some(most) = params.take_max_tokens()? {
        config.set("maxOutputTokens", most.to_string());
    }
    let stops = params.take_stop()?;
    if stops.len() > STOPS_MAX {
        refusals.refuse("input.stop")?;
    } else if !stops.is_empty() {
        config.set("stopSequences", json!(stops).to_string());
    }
    for (parsed, name) in RENAMED {
        if let Some(number) = params.take_number(parsed)? {
            config.set(*name, number.get());
        }
    }
    if params.take_as::<bool>("logprobs")? == Some(true) {
        config.set("responseLogprobs", "true");
    }
    if let Some(modalities) = params.take_as::<Vec<String>>("modalities")?
        && modalities.iter().any(|modality| modality != "text")
    {
        let modalities: Vec<String> = modalities.iter().map(|modality| modality.to_ascii_uppercase()).collect();
        config.set("responseModalities", json!(modalities).to_string());
    }
    match &chat.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => config.set("responseMimeType", quoted("application/json")),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            config.set("responseMimeType", quoted("application/json"));
            config.set("responseJsonSchema", schema.get());
        }
    }
    thinking(chat, &mut config, model, refusals)?;
    for (name, value) in chat.params.take_all(OWN) {
        config.set(camel(&name), value.get());
    }
    if let Some(own) = chat.params.take_first(&["generationConfig", "generation_config"]) {
        let fields = crate::provider::protocol::openai_chat::fields(own)
            .map_err(|_| Failure::invalid("input.generationConfig", "must be an object"))?;
        for (name, value) in fields.0.into_iter().filter(|(_, value)| value.get() != "null") {
            config.set(camel(&name), value.get());
        }
    }
    let mut body = Body::default();
    for (name, json) in &config.0 {
        body.put_json(name, json);
    }
    Ok((!body.is_empty()).then(|| body.into_json()))
}

/// Either Google's own `thinkingConfig`, or the effort or the number of tokens that the job wants to
/// spend: a level or a budget, never both, which Google refuses.
fn thinking<'a>(
    chat: &mut Chat<'a>,
    config: &mut Config<'a>,
    model: &str,
    refusals: &mut Refusals<'_>,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Reasoning {
        max_tokens: Option<i64>,
    }
    let params = &mut chat.params;
    if let Some(own) = params.take_first(&["thinkingConfig", "thinking_config"]) {
        config.set("thinkingConfig", own.get());
        return Ok(());
    }
    let param = if params.has("reasoning_effort") { "input.reasoning_effort" } else { "input.reasoning" };
    let budget = |raw: &RawValue| serde_json::from_str::<Reasoning>(raw.get()).ok()?.max_tokens;
    let tokens = params.peek("reasoning").and_then(budget);
    let effort = params.take_effort()?;
    if tokens.is_some() {
        params.take("reasoning");
    }
    let by_effort = effort.as_deref().and_then(|effort| model::thinking(effort, model));
    let wanted = match (effort.as_deref(), by_effort, tokens) {
        (None, _, None) => return Ok(()),
        (Some(_), Some(Thinking::Budget(_)), Some(tokens)) => Thinking::Budget(tokens),
        (Some(_), Some(wanted), _) => wanted,
        // No thought is what a model without thoughts gives anyway.
        (Some("none"), None, _) if !model::can_think(model) => return Ok(()),
        (None, _, Some(tokens)) if model::can_think(model) => Thinking::Budget(tokens),
        _ => return refusals.refuse(param),
    };
    let json = match wanted {
        Thinking::Budget(0) => json!({"thinkingBudget": 0}),
        Thinking::Budget(tokens) => json!({"includeThoughts": true, "thinkingBudget": tokens}),
        Thinking::Level(level) => json!({"includeThoughts": true, "thinkingLevel": level}),
    };
    config.set("thinkingConfig", json.to_string());
    Ok(())
}

/// `response_schema` as the API writes it by itself: `responseSchema`.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or("").to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
