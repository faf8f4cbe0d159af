//! Requests of formats that are not OpenAI's: where they go, and what they hold.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};

use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::{Framing, Method, ModelCall, Outbound, Route};

/// A JSON body to `url`; the answer is cut by `framing`.
pub(crate) fn post(model_call: ModelCall<'_>, url: Box<str>, body: Body, framing: Framing) -> Outbound {
    let accept = match framing {
        Framing::Sse => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
        Framing::Whole | Framing::AwsFrames => "application/json",
    };
    let mut headers = model_call.endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let route = Route::Http { method: Method::POST, url, headers, credential: model_call.endpoint.credential.clone() };
    Outbound { route, body: body.into_bytes(), framing, dropped: Vec::new() }
}

/// The refusal of a task that this provider does not serve; another may.
pub(crate) fn not_served(model_call: ModelCall<'_>) -> Failure {
    let message = format!("{} does not serve {}", model_call.endpoint.name, model_call.job.task.as_str());
    let failure = Failure::unsupported("task", message);
    // A chat with a model that only embeds has the wrong model, at every provider.
    if model_call.job.task == Task::Chat { failure } else { failure.of_the_target() }
}
