//! Requests of formats that are not OpenAI's: where they go, and what they hold.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};

use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::{Ask, Framing, Method, Outbound, Route};

/// A JSON body to `url`; the answer is cut by `framing`.
pub(crate) fn post(ask: Ask<'_>, url: Box<str>, body: Body, framing: Framing) -> Outbound {
    let accept = match framing {
        Framing::Sse => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
        Framing::Whole | Framing::AwsFrames => "application/json",
    };
    let mut headers = ask.endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let route = Route::Http { method: Method::POST, url, headers, credential: ask.endpoint.credential.clone() };
    Outbound { route, body: body.into_bytes(), framing, dropped: Vec::new() }
}

/// The refusal of a task that this provider does not serve; another may.
pub(crate) fn not_served(ask: Ask<'_>) -> Failure {
    let message = format!("{} does not serve {}", ask.endpoint.name, ask.job.task.as_str());
    let failure = Failure::unsupported("task", message);
    // Whoever asks for a chat of a model that only embeds has a wrong model, everywhere.
    if ask.job.task == Task::Chat { failure } else { failure.of_the_target() }
}
