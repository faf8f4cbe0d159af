//! The provider of all measurements: an OpenAI-compatible chat server whose model's name is a script.
//!
//! Model `n64p50000` answers with 64 tokens, 50,000 µs apart; each is a write of its own. A
//! request without `stream` gets them at once in one JSON.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{children, token};

type Body = UnsyncBoxBody<Bytes, Infallible>;

const USAGE: &str = r#"{"prompt_tokens":40,"completion_tokens":64,"total_tokens":104}"#;

#[derive(Deserialize)]
struct ChatRequest {
    model: String,
    #[serde(default)]
    stream: bool,
}

/// The script that a model's name describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Script {
    tokens: u64,
    pace: Duration,
}

impl Script {
    fn of(model: &str) -> Option<Script> {
        let (tokens, pace_us) = model.strip_prefix('n')?.split_once('p')?;
        Some(Script { tokens: tokens.parse().ok()?, pace: Duration::from_micros(pace_us.parse().ok()?) })
    }
}

/// Serves until the process is killed.
pub(super) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    children::announce(listener.local_addr()?)?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let serving =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer));
        connections.spawn(serving);
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let request: Option<ChatRequest> = serde_json::from_slice(&bytes).ok();
    let scripted = request.and_then(|request| Script::of(&request.model).map(|script| (request, script)));
    let Some((request, script)) = scripted else {
        let mut refused =
            Response::new(whole(r#"{"error":{"message":"no such model","code":"model_not_found"}}"#.into()));
        *refused.status_mut() = StatusCode::NOT_FOUND;
        return Ok(refused);
    };
    let (kind, body) = match request.stream {
        true => ("text/event-stream", StreamBody::new(events(script)).boxed_unsync()),
        false => ("application/json", whole(unary(script))),
    };
    let response = Response::builder().header(CONTENT_TYPE, kind).body(body);
    Ok(response.expect("a constant header"))
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

fn unary(script: Script) -> String {
    let content: String = (0..script.tokens).map(|_| token::stamp()).collect();
    format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1795255200,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    )
}

fn events(script: Script) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let start = Instant::now();
    stream::unfold(0, move |sent| async move {
        if sent > script.tokens {
            return None;
        }
        let text = if sent == script.tokens { end() } else { paced_chunk(script, start, sent).await };
        Some((Ok(Frame::data(Bytes::from(text))), sent + 1))
    })
}

async fn paced_chunk(script: Script, start: Instant, index: u64) -> String {
    if !script.pace.is_zero() {
        tokio::time::sleep_until(start + script.pace * u32::try_from(index).unwrap_or(u32::MAX)).await;
    }
    let role = if index == 0 { r#""role":"assistant","# } else { "" };
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1795255200,\"model\":\"bench\",\"choices\":[{{\"index\":0,\"delta\":{{{role}\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
        token::stamp()
    )
}

fn end() -> String {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1795255200,\"model\":\"bench\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let finish = chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "");
    format!("{finish}{}data: [DONE]\n\n", chunk("", &format!(",\"usage\":{USAGE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_its_script() {
        assert_eq!(Script::of("n64p50000"), Some(Script { tokens: 64, pace: Duration::from_millis(50) }));
        for bad in ["", "n", "64", "n64", "nxp1", "n1px", "gpt"] {
            assert_eq!(Script::of(bad), None, "{bad}");
        }
    }
}
