//! What a model is asked to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a model is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// OpenAI chat-completions body without `model` and `stream`.
    #[default]
    Chat,
    /// Text to vectors.
    Embedding,
    /// Text to image.
    Image,
    /// Text to audio.
    Speech,
    /// Audio to text.
    Transcription,
    /// Text or image to video.
    Video,
    /// Text to music.
    Music,
    /// Documents ordered by a query.
    Rerank,
    /// Text judged by policy.
    Moderation,
    /// Any JSON in, any JSON out (Cog, Replicate).
    Prediction,
}

impl Task {
    /// The name on the wire and in metric labels.
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
