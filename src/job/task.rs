//! The kinds of work that a model can do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of work that a job wants from a model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Answers a conversation: an OpenAI chat-completions body without `model` and `stream`.
    #[default]
    Chat,
    /// Turns texts into vectors.
    Embedding,
    /// Makes images from text.
    Image,
    /// Speaks a text as audio.
    Speech,
    /// Writes down the words of audio.
    Transcription,
    /// Makes video from text or an image.
    Video,
    /// Makes music from text.
    Music,
    /// Orders documents by how well they match a query.
    Rerank,
    /// Judges a text by a policy.
    Moderation,
    /// Takes any JSON and gives any JSON (Cog, Replicate).
    Prediction,
}

impl Task {
    /// Returns the name on the wire and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Chat => "chat",
            Task::Embedding => "embedding",
            Task::Image => "image",
            Task::Speech => "speech",
            Task::Transcription => "transcription",
            Task::Video => "video",
            Task::Music => "music",
            Task::Rerank => "rerank",
            Task::Moderation => "moderation",
            Task::Prediction => "prediction",
        }
    }
}
