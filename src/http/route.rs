//! Which door of the house an address names. Pure.

use super::cloudflare_names::Via;
use super::errors::Dialect;
use super::route_cloudflare;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route<'a> {
    /// Submit a job; the model, if the address names it.
    Run(Option<&'a str>),
    /// A chat in OpenAI's dialect.
    ChatCompletions,
    /// A text in OpenAI's older dialect.
    Completions,
    /// Vectors in OpenAI's dialect.
    Embeddings,
    /// Ask for a response, in OpenAI's dialect.
    Responses,
    /// One response.
    Response(&'a str),
    /// Cancel it.
    CancelResponse(&'a str),
    /// What it was asked.
    InputItems(&'a str),
    /// A chat in Anthropic's dialect.
    Messages,
    /// How long it would be.
    CountTokens,
    /// Cloudflare's `ai/run`; the model, if the address names it.
    AiRun(Option<&'a str>),
    /// To a provider as it is.
    PassedOn { provider: &'a str, path: &'a str },
    /// List jobs.
    Jobs,
    /// One job.
    Job(&'a str),
    /// Cancel it.
    Cancel(&'a str),
    /// Read its records.
    Events(&'a str),
    /// Read one of its outputs.
    Output(&'a str, &'a str),
    /// Follow it on a WebSocket.
    JobSocket(&'a str),
    /// Everything on a WebSocket.
    Socket,
    /// A job's records as a durable stream.
    JobStream(&'a str),
    /// A user's own durable stream.
    Stream(&'a str),
    /// What was spent.
    Costs,
    /// That is added up again.
    RebuildCosts,
    /// What can be asked.
    Models,
    /// One of them.
    Model(&'a str),
    /// Who can be asked, and how they are.
    Providers,
    /// Prometheus.
    Metrics,
    /// Whether we snapshot.
    Healthz,
    /// Whether we take jobs.
    Readyz,
    /// The port, described for programs.
    OpenApi,
    /// What there is.
    Root,
}

/// A route, and what else the address names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place<'a> {
    pub(super) gateway: Option<&'a str>,
    pub(super) route: Route<'a>,
    pub(super) via: Via<'a>,
}

impl Route<'_> {
    /// The methods it knows.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Route::Run(_)
            | Route::AiRun(_)
            | Route::ChatCompletions
            | Route::Completions
            | Route::Embeddings
            | Route::Responses
            | Route::Messages
            | Route::CountTokens
            | Route::Cancel(_)
            | Route::CancelResponse(_)
            | Route::RebuildCosts => "POST, OPTIONS",
            Route::PassedOn { .. } => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Route::Job(_) | Route::Response(_) => "GET, HEAD, DELETE, OPTIONS",
            Route::Stream(_) => "GET, HEAD, PUT, POST, DELETE, OPTIONS",
            Route::Socket | Route::JobSocket(_) => "GET, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whose errors it answers with, where not with our own.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        match self {
            Route::ChatCompletions | Route::Completions | Route::Embeddings => Some(Dialect::OpenAi),
            Route::Models | Route::Model(_) => Some(Dialect::OpenAi),
            Route::Messages | Route::CountTokens => Some(Dialect::Anthropic),
            Route::Responses | Route::Response(_) | Route::CancelResponse(_) | Route::InputItems(_) => {
                Some(Dialect::Responses)
            }
            Route::AiRun(_) | Route::PassedOn { .. } => Some(Dialect::Cloudflare),
            _ => None,
        }
    }

    /// Whether it knows `method`.
    pub(super) fn takes(&self, method: &str) -> bool {
        self.methods().split(", ").any(|known| known == method)
    }
}

/// The place that `path` names. Our own names win.
pub(super) fn of(path: &str) -> Option<Place<'_>> {
    own(path).or_else(|| route_cloudflare::of(path))
}

fn own(path: &str) -> Option<Place<'_>> {
    let (gateway, path) = match path.strip_prefix("/g/") {
        Some(rest) => {
            let (gateway, _) = rest.split_once('/')?;
            (Some(gateway), &rest[gateway.len()..])
        }
        None => (None, path),
    };
    let route = match path.strip_prefix("/v1/") {
        Some(rest) => versioned(rest)?,
        None if gateway.is_some() => return None,
        None => match path {
            "/" => Route::Root,
            "/metrics" => Route::Metrics,
            "/healthz" => Route::Healthz,
            "/readyz" => Route::Readyz,
            "/openapi.json" => Route::OpenApi,
            _ => return None,
        },
    };
    Some(Place { gateway, route, via: Via::Own })
}

/// What stands after `/v1/`.
pub(super) fn versioned(rest: &str) -> Option<Route<'_>> {
    if let Some(model) = rest.strip_prefix("run/") {
        return (!model.is_empty()).then_some(Route::Run(Some(model)));
    }
    if let Some(model) = rest.strip_prefix("models/") {
        return (!model.is_empty()).then_some(Route::Model(model));
    }
    if let Some(path) = rest.strip_prefix("stream/") {
        return match path.strip_prefix("jobs") {
            Some("") => Some(Route::JobStream("")),
            Some(id) if id.starts_with('/') => Some(Route::JobStream(&id[1..])),
            _ => (!path.is_empty()).then_some(Route::Stream(path)),
        };
    }
    let mut parts = rest.split('/');
    let first = parts.next()?;
    let (id, what, index, more) = (parts.next(), parts.next(), parts.next(), parts.next());
    let route = match (first, id, what, index) {
        ("run", None, ..) => Route::Run(None),
        ("chat", Some("completions"), None, _) => Route::ChatCompletions,
        ("completions", None, ..) => Route::Completions,
        ("embeddings", None, ..) => Route::Embeddings,
        ("responses", None, ..) => Route::Responses,
        ("responses", Some(id), None, _) if !id.is_empty() => Route::Response(id),
        ("responses", Some(id), Some("cancel"), None) => Route::CancelResponse(id),
        ("responses", Some(id), Some("input_items"), None) => Route::InputItems(id),
        ("messages", None, ..) => Route::Messages,
        ("messages", Some("count_tokens"), None, _) => Route::CountTokens,
        ("ws", None, ..) => Route::Socket,
        ("costs", None, ..) => Route::Costs,
        ("costs", Some("rebuild"), None, _) => Route::RebuildCosts,
        ("models", None, ..) => Route::Models,
        ("providers", None, ..) => Route::Providers,
        ("jobs", None, ..) => Route::Jobs,
        ("jobs", Some(id), None, _) if !id.is_empty() => Route::Job(id),
        ("jobs", Some(id), Some("cancel"), None) => Route::Cancel(id),
        ("jobs", Some(id), Some("events"), None) => Route::Events(id),
        ("jobs", Some(id), Some("ws"), None) => Route::JobSocket(id),
        ("jobs", Some(id), Some("outputs"), Some(index)) => Route::Output(id, index),
        _ => return None,
    };
    more.is_none().then_some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_place_or_none() {
        for (path, gateway, route) in [
            ("/", None, Some(Route::Root)),
            ("/v1/run", None, Some(Route::Run(None))),
            ("/v1/run/openai/gpt-5", None, Some(Route::Run(Some("openai/gpt-5")))),
            ("/v1/run/@cf/meta/llama", None, Some(Route::Run(Some("@cf/meta/llama")))),
            ("/v1/models", None, Some(Route::Models)),
            ("/v1/models/openai/gpt-5", None, Some(Route::Model("openai/gpt-5"))),
            ("/v1/models/", None, None),
            ("/v1/providers", None, Some(Route::Providers)),
            ("/v1/providers/openai", None, None),
            ("/g/team/v1/run", Some("team"), Some(Route::Run(None))),
            ("/g/team/v1/jobs/a/events", Some("team"), Some(Route::Events("a"))),
            ("/v1/jobs", None, Some(Route::Jobs)),
            ("/v1/costs/rebuild", None, Some(Route::RebuildCosts)),
            ("/v1/costs/rebuild/again", None, None),
            ("/v1/jobs/a", None, Some(Route::Job("a"))),
            ("/v1/jobs/a/cancel", None, Some(Route::Cancel("a"))),
            ("/v1/jobs/a/outputs/3", None, Some(Route::Output("a", "3"))),
            ("/v1/jobs/a/ws", None, Some(Route::JobSocket("a"))),
            ("/v1/ws", None, Some(Route::Socket)),
            ("/v1/stream/jobs/a", None, Some(Route::JobStream("a"))),
            ("/g/team/v1/stream/a/b/", Some("team"), Some(Route::Stream("a/b/"))),
            ("/v1/stream/jobsite", None, Some(Route::Stream("jobsite"))),
            ("/v1/stream/jobs", None, Some(Route::JobStream(""))),
            ("/v1/stream/", None, None),
            ("/v1/stream", None, None),
            ("/v1/run/", None, None),
            ("/v1/jobs/", None, None),
            ("/v1/jobs/a/outputs/3/4", None, None),
            ("/v1/jobs/a/outputs", None, None),
            ("/v1/jobs/a/nope", None, None),
            ("/v1/chat/completions", None, Some(Route::ChatCompletions)),
            ("/v1/chat/completions/", None, None),
            ("/v1/chat", None, None),
            ("/g/team/v1/embeddings", Some("team"), Some(Route::Embeddings)),
            ("/v1/responses", None, Some(Route::Responses)),
            ("/v1/responses/", None, None),
            ("/v1/responses/resp_a", None, Some(Route::Response("resp_a"))),
            ("/g/team/v1/responses/a/cancel", Some("team"), Some(Route::CancelResponse("a"))),
            ("/v1/responses/a/input_items", None, Some(Route::InputItems("a"))),
            ("/v1/responses/a/input_items/b", None, None),
            ("/v1/completions", None, Some(Route::Completions)),
            ("/g/team/v1/messages", Some("team"), Some(Route::Messages)),
            ("/v1/messages/count_tokens", None, Some(Route::CountTokens)),
            ("/v1/messages/count_tokens/again", None, None),
            ("/v1", None, None),
            ("/g/team", None, None),
            ("/g/team/metrics", None, None),
            ("/openapi.json", None, Some(Route::OpenApi)),
            ("//v1/run", None, None),
            ("", None, None),
            ("*", None, None),
        ] {
            assert_eq!(of(path), route.map(|route| Place { gateway, route, via: Via::Own }), "{path}");
        }
    }
}
