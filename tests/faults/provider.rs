//! The fault server: OpenAI's chat completions on real sockets, in HTTP that is written by hand so
//! that it can misbehave. Owns the plans, and counts: calls, what they billed, open connections.
//!
//! Providers differ by the first part of the path; a model's name says which plan is meant.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::act::{Act, whole};
use crate::reply::Reply;

/// Chooses the behavior towards a call, by provider, model, and the number of earlier calls of that model.
pub(crate) type Plan = Box<dyn Fn(&str, &str, usize) -> Act + Send + Sync>;

/// The provider that repeats the beginning of an answer, as Mistral does.
pub(crate) const REPEATS: &str = "m";

/// Facts that are kept of one call.
#[derive(Clone, Default, Debug)]
pub(crate) struct Call {
    /// Body of the request.
    pub(crate) body: Value,
    /// Number of words in the request.
    pub(crate) words: u64,
    /// The text of the answer that was sent.
    pub(crate) sent: String,
    /// Input and output tokens, if the answer reported them.
    pub(crate) usage: Option<(u64, u64)>,
    /// Time at which the client closed the connection.
    pub(crate) left: Option<Instant>,
}

pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
    /// Ports that refuse, until they are switched on.
    closed: Mutex<Vec<(u16, Option<TcpSocket>)>>,
}

struct State {
    plan: Plan,
    /// Time between two words.
    pace: Duration,
    calls: Mutex<HashMap<(String, String), Vec<Arc<Mutex<Call>>>>>,
    open: AtomicUsize,
}

impl Server {
    /// Starts a server with so many ports that refuse.
    pub(crate) async fn start(plan: Plan, pace: Duration, closed: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { plan, pace, calls: Mutex::default(), open: AtomicUsize::new(0) });
        tokio::spawn(accept(listener, Arc::clone(&state)));
        let refusing = || {
            let socket = TcpSocket::new_v4().unwrap();
            // Bound and not listening: the kernel refuses, and no other process gets the port.
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            (socket.local_addr().unwrap().port(), Some(socket))
        };
        Server { port, state, closed: Mutex::new((0..closed).map(|_| refusing()).collect()) }
    }

    /// The broker's configuration of this provider, of this kind.
    pub(crate) fn config(&self, name: &str, kind: &str) -> String {
        provider(name, kind, &format!("http://127.0.0.1:{}/{name}/v1", self.port))
    }

    /// The same behind TLS, which this server does not speak.
    pub(crate) fn config_tls(&self, name: &str) -> String {
        provider(name, "openai-compatible", &format!("https://127.0.0.1:{}/{name}/v1", self.port))
    }

    /// The same on a port that refuses.
    pub(crate) fn config_closed(&self, name: &str, number: usize) -> String {
        let port = self.closed.lock().unwrap()[number].0;
        provider(name, "openai-compatible", &format!("http://127.0.0.1:{port}/{name}/v1"))
    }

    /// From now on that port answers.
    pub(crate) fn switch_on(&self, number: usize) {
        if let Some(socket) = self.closed.lock().unwrap()[number].1.take() {
            tokio::spawn(accept(socket.listen(1024).unwrap(), Arc::clone(&self.state)));
        }
    }

    /// The calls that a model had at a provider, in order.
    pub(crate) fn calls(&self, provider: &str, model: &str) -> Vec<Call> {
        let calls = self.state.calls.lock().unwrap();
        let calls = calls.get(&(provider.to_owned(), model.to_owned())).cloned().unwrap_or_default();
        calls.iter().map(|call| call.lock().unwrap().clone()).collect()
    }

    /// How many calls came to providers that are not in `known`.
    pub(crate) fn calls_elsewhere(&self, known: &[String], model: &str) -> usize {
        let calls = self.state.calls.lock().unwrap();
        let elsewhere = calls.iter().filter(|((at, name), _)| name == model && !known.contains(at));
        elsewhere.map(|(_, calls)| calls.len()).sum()
    }

    /// How many calls came at all.
    pub(crate) fn calls_in_all(&self) -> usize {
        self.state.calls.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

/// The broker's configuration of a provider.
pub(crate) fn provider(name: &str, kind: &str, base_url: &str) -> String {
    format!("[providers.{name}]\nkind = {kind:?}\nbase_url = {base_url:?}\napi_key = \"k\"\n")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            state.open.fetch_add(1, Ordering::SeqCst);
            let served = serve(stream, &state).await;
            state.open.fetch_sub(1, Ordering::SeqCst);
            served
        });
    }
}

/// One call, one connection; `None` when the other side left.
async fn serve(mut stream: TcpStream, state: &State) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (path, body) = request(&mut stream).await?;
    // Requests with a catalog's model name are told apart by their `user` field.
    let name = body["user"].as_str().or(body["model"].as_str())?;
    let (provider, model) = (path.split('/').nth(1)?.to_owned(), name.to_owned());
    let mut start = Start::of(&body);
    if start.is_prefill && provider == REPEATS {
        start.again = whole()[..start.at].to_owned();
    }
    let (act, call) = {
        let mut calls = state.calls.lock().unwrap();
        let calls = calls.entry((provider.clone(), model.clone())).or_default();
        let act = (state.plan)(&provider, &model, calls.len());
        calls.push(Arc::new(Mutex::new(Call { body, words: start.input_tokens, ..Call::default() })));
        (act, Arc::clone(calls.last()?))
    };
    let mut reply = Reply::new(stream, &call, state.pace);
    let played = reply.play(act, &start).await;
    call.lock().unwrap().left.get_or_insert_with(Instant::now);
    played
}

/// Reads path and body of a request. Bytes that are not HTTP get an error at once, as from web servers.
async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if !bytes[0].is_ascii_uppercase() {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.ok()?;
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..body_at]).into_owned();
    let length =
        head.to_ascii_lowercase().split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    while bytes.len() < body_at + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head.split(' ').nth(1)?.to_owned(), serde_json::from_slice(&bytes[body_at..]).ok()?))
}

/// The point at which an answer begins.
#[derive(Clone, Default, Debug)]
pub(crate) struct Start {
    /// Bytes of the whole answer that the request holds already.
    pub(crate) at: usize,
    /// Words that the request wants to be repeated first.
    pub(crate) again: String,
    /// Whether the request ends with the part of the answer.
    pub(crate) is_prefill: bool,
    /// Words of the request: what it is billed as.
    pub(crate) input_tokens: u64,
}

impl Start {
    /// Reads the start of the answer from the request, as a perfect provider does.
    pub(crate) fn of(body: &Value) -> Start {
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let texts: Vec<String> = messages.iter().map(|message| text_of(&message["content"])).collect();
        let input_tokens = texts.iter().map(|text| text.split_whitespace().count() as u64).sum();
        let Some(place) = messages.iter().rposition(|message| message["role"] == "assistant") else {
            return Start { input_tokens, ..Start::default() };
        };
        let is_prefill = place + 1 == messages.len();
        // A part that is none of the answer is gone on from at its beginning, which the text will show.
        let at = if whole().starts_with(texts[place].trim_end()) { texts[place].trim_end().len() } else { 0 };
        let turn = texts.last().filter(|_| !is_prefill);
        let repeated = turn.and_then(|turn| turn.split_once('«')?.1.split_once('»'));
        Start { at, again: repeated.map_or(String::new(), |(words, _)| words.to_owned()), is_prefill, input_tokens }
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
