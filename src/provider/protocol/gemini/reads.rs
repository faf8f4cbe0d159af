//! Requests that clients write in Google's own format: which model they ask for what.

use crate::job::Task;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::{Framing, Method};

/// What a request asks, if our decoders read its answer.
#[must_use]
pub fn reads(request: &PassthroughRequest<'_>) -> Option<Reading> {
    let (before, method) = request.path.rsplit_once(':').filter(|_| request.method == Method::POST)?;
    let task = match method {
        "generateContent" | "streamGenerateContent" => Task::Chat,
        "embedContent" | "batchEmbedContents" => Task::Embedding,
        _ => return None,
    };
    let mut segments = before.rsplit('/');
    let (name, kind) = (segments.next()?, segments.next()?);
    let model = if kind == "models" { name.into() } else { format!("{kind}/{name}").into() };
    // Anthropic's models speak their own format, also at Google's.
    let is_ours = super::path(name).is_ok() && !before.contains("publishers/anthropic/");
    is_ours.then_some(Reading { model, task, framing: Framing::Sse })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Headers;

    #[test]
    fn a_path_names_the_model_and_what_is_asked_of_it() {
        let headers = Headers::new();
        for (path, expected) in [
            ("v1beta/models/gemini-x:generateContent", Some(("gemini-x", Task::Chat))),
            ("models/gemini-x:streamGenerateContent", Some(("gemini-x", Task::Chat))),
            ("v1beta/tunedModels/mine:generateContent", Some(("tunedModels/mine", Task::Chat))),
            (
                "v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent",
                Some(("gemini-x", Task::Chat)),
            ),
            ("v1/projects/p/locations/l/endpoints/12:generateContent", Some(("endpoints/12", Task::Chat))),
            ("v1/publishers/anthropic/models/claude:generateContent", None),
            ("v1beta/models/e:embedContent", Some(("e", Task::Embedding))),
            ("v1beta/models/e:batchEmbedContents", Some(("e", Task::Embedding))),
            ("v1beta/models/gemini-x:countTokens", None),
            ("v1beta/models/gemini-x:batchGenerateContent", None),
            ("v1beta/models/a%2Fb:generateContent", None),
            ("v1beta/models", None),
            ("x:generateContent", None),
        ] {
            let body = bytes::Bytes::new();
            let method = Method::POST;
            let request = PassthroughRequest {
                provider: "g",
                method,
                path,
                query: None,
                headers: &headers,
                body,
                has_own_key: false,
            };
            let read = reads(&request);
            assert_eq!(read.as_ref().map(|read| (&*read.model, read.task)), expected, "{path}");
            assert_eq!(reads(&PassthroughRequest { method: Method::GET, ..request }), None);
        }
    }
}
