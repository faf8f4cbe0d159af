//! Mistral: strict about fields, and its reasoning is a list of parts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::provider::protocol::openai_chat::{MessageRules, PrefillRules, Reasoning, Rules, Vendor};
use crate::provider::{Card, Prefill};

/// Any other field is an error (422 `extra_forbidden`).
const KNOWN: &[&str] = &[
    "document_image_limit",
    "document_page_limit",
    "frequency_penalty",
    "guardrails",
    "max_tokens",
    "messages",
    "metadata",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_mode",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "safe_prompt",
    "service_tier",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

/// It reasons, or it does not.
const EFFORTS: &[(&str, &str, &str)] = &[
    ("reasoning_effort", "\"minimal\"", "\"none\""),
    ("reasoning_effort", "\"low\"", "\"high\""),
    ("reasoning_effort", "\"medium\"", "\"high\""),
    ("reasoning_effort", "\"xhigh\"", "\"high\""),
];

const PARTS: &[&str] =
    &["text", "image_url", "document_url", "file", "input_audio", "reference", "thinking", "refusal"];

/// OpenAI's file is a document at an address, or a file of theirs.
fn file_is_a_document(kind: &str, part: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Part {
        #[serde(default)]
        file: Option<File>,
        #[serde(default)]
        refusal: Option<String>,
    }
    #[derive(Deserialize)]
    struct File {
        file_data: Option<String>,
        file_url: Option<String>,
        file_id: Option<String>,
        filename: Option<String>,
    }
    if !matches!(kind, "file" | "refusal") {
        return None;
    }
    let Part { file, refusal } = serde_json::from_str(part).ok()?;
    let part = match (file, refusal) {
        (Some(File { file_id: Some(id), .. }), _) => json!({"type": "file", "file_id": id}),
        (Some(file), _) => {
            let mut part = json!({"type": "document_url", "document_url": file.file_data.or(file.file_url)?});
            if let Some(name) = file.filename {
                part["document_name"] = json!(name);
            }
            part
        }
        (None, Some(refusal)) => json!({"type": "text", "text": refusal}),
        (None, None) => return None,
    };
    Some(part.to_string())
}

/// A call's id must be nine letters and digits: another provider's becomes the beginning of its
/// hash, the same in the call and in its result.
fn nine_characters(id: &str) -> Cow<'_, str> {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.into();
    }
    let hash = Sha256::digest(id.as_bytes());
    hash.iter().take(9).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

pub(super) static MISTRAL: Vendor = Vendor {
    card: &Card {
        id: "mistral",
        base_url: "https://api.mistral.ai/v1",
        key_variables: &["MISTRAL_API_KEY"],
        docs: "https://docs.mistral.ai/api/",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: None,
        // Usage comes with the finish; older versions refuse to be asked for it.
        takes_stream_options: false,
        renames: &[("max_completion_tokens", "max_tokens"), ("seed", "random_seed")],
        takes_only: Some(KNOWN),
        words: EFFORTS,
        takes_reasoning_object: false,
        most: &[("temperature", 1.5, "1.5")],
        messages: MessageRules {
            reasoning: Reasoning::Never,
            parts: Some(PARTS),
            rewrite_part: Some(file_is_a_document),
            call_id: Some(nine_characters),
            continues: Some("prefix"),
            ..MessageRules::USUAL
        },
        prefill: PrefillRules { takes: |_, _| Prefill::Repeats, ..PrefillRules::ALWAYS },
        ..Rules::PLAIN
    },
    embeddings: Some(&Rules {
        renames: &[("dimensions", "output_dimension")],
        takes_only: Some(&["encoding_format", "input", "metadata", "model", "output_dimension", "output_dtype"]),
        ..Rules::EMBEDDINGS
    }),
};
