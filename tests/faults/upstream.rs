//! A provider whose responses are made with or without a connection: OpenAI's Responses in
//! background mode, in HTTP that is written by hand so that it can be cut anywhere. Owns the plans,
//! and counts its requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::act::whole;
use crate::provider::{Start, provider};

/// Number of words in one packet.
const WORDS: usize = 4;
/// The reasoning of the whole answer, in two paragraphs, and the arguments of its call.
pub(crate) const THOUGHTS: [&str; 2] = ["First, naïvely: ", "count; then 数える."];
pub(crate) const ARGUMENTS: &str = r#"{"upto":60,"by":"one","words":["é","数","🦀"]}"#;

/// The parts that a response is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// A text and nothing else.
    Text,
    /// Reasoning, a text and a tool call.
    Full,
}

/// The behavior towards a GET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Get {
    /// The stream or the response that was requested.
    Served,
    /// The stream up to the packet before this one, then the connection is closed.
    Cut(usize),
    /// This HTTP status without a body.
    Status(u16),
    /// A 429 that advises to come back in half a minute.
    Busy,
    /// A 400 for a stream; the whole response otherwise.
    OnlyWhole,
}

/// The plan for the responses of one job.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) answer: Answer,
    /// Packets after which the first POST's connection is closed.
    pub(crate) cut: usize,
    /// Behavior towards GETs, in order; the last repeats.
    pub(crate) gets: Vec<Get>,
    /// Packets of the first response that are made before the test releases the rest.
    pub(crate) hold: usize,
    /// The packet of the first response instead of which it fails.
    pub(crate) fails: Option<usize>,
}

impl Plan {
    pub(crate) fn of(answer: Answer) -> Plan {
        Plan { answer, cut: usize::MAX, gets: vec![Get::Served], hold: usize::MAX, fails: None }
    }
}

/// The requests that came for one job.
#[derive(Clone)]
pub(crate) struct Case {
    plan: Plan,
    pub(crate) posts: Vec<Response>,
    /// The number after which a stream was requested; `None` = the whole response was requested.
    pub(crate) gets: Vec<Option<Option<usize>>>,
    pub(crate) cancels: Vec<(String, Instant)>,
}

/// A response that is being made.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) id: String,
    packets: Arc<Vec<Value>>,
    made: Arc<watch::Sender<usize>>,
    /// Input and output tokens that it is billed with.
    pub(crate) usage: (u64, u64),
}

type Cases = Arc<Mutex<HashMap<String, Case>>>;

pub(crate) struct Server {
    port: u16,
    cases: Cases,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), cases: Cases::default() };
        let cases = Arc::clone(&server.cases);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&cases)));
            }
        });
        server
    }

    /// The broker's configuration of it.
    pub(crate) fn config(&self, name: &str) -> String {
        provider(name, "openai", &format!("http://127.0.0.1:{}/v1", self.port))
    }

    /// Sets the plan for the job of this name.
    pub(crate) fn plan(&self, name: &str, plan: Plan) {
        let case = Case { plan, posts: Vec::new(), gets: Vec::new(), cancels: Vec::new() };
        self.cases.lock().unwrap().insert(name.to_owned(), case);
    }

    /// Returns the requests that came for the job of this name.
    pub(crate) fn case(&self, name: &str) -> Case {
        self.cases.lock().unwrap()[name].clone()
    }

    /// Lets the rest of a response be made that is held back.
    pub(crate) fn release(&self, name: &str) {
        for response in self.case(name).posts {
            response.made.send_replace(usize::MAX);
        }
    }
}

/// Serves one call on one connection; `None` when the client left, or this side closes the connection.
async fn serve(mut stream: TcpStream, cases: Cases) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (method, target, body) = request(&mut stream).await?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let place = path.strip_prefix("/v1/responses")?;
    if method == "POST" && place.is_empty() {
        let (response, cut) = {
            let mut cases = cases.lock().unwrap();
            let case = cases.get_mut(body["user"].as_str()?)?;
            let response = Response::new(body["user"].as_str()?, case, &body);
            case.posts.push(response.clone());
            (response, if case.posts.len() == 1 { case.plan.cut } else { usize::MAX })
        };
        return send_packets(&mut stream, &response, 0..cut).await;
    }
    let id = place.trim_matches('/').split('/').next()?;
    let name = id.strip_prefix("resp_")?.rsplit_once('_')?.0;
    let after = query.split('&').find_map(|field| field.strip_prefix("starting_after=")?.parse::<usize>().ok());
    let is_stream = query.contains("stream=true");
    let (response, get) = {
        let mut cases = cases.lock().unwrap();
        let case = cases.get_mut(name)?;
        let response = case.posts.iter().find(|response| response.id == id).cloned();
        if method == "POST" {
            case.cancels.push((id.to_owned(), Instant::now()));
            (response, Get::Served)
        } else {
            let get = case.plan.gets.get(case.gets.len()).or(case.plan.gets.last()).copied()?;
            case.gets.push(is_stream.then_some(after));
            (response, get)
        }
    };
    let Some(response) = response else { return status(&mut stream, 404, &json!({"error": {"message": "no"}})).await };
    match get {
        _ if method == "POST" => status(&mut stream, 200, &json!({"id": id, "status": "cancelled"})).await,
        Get::Status(code) => status(&mut stream, code, &json!({"error": {"message": "not now"}})).await,
        Get::Busy => {
            let head = "HTTP/1.1 429 Said\r\nretry-after: 30\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            stream.write_all(head.as_bytes()).await.ok()
        }
        Get::OnlyWhole if is_stream => status(&mut stream, 400, &json!({"error": {"message": "no stream"}})).await,
        Get::Cut(at) if is_stream => send_packets(&mut stream, &response, after.map_or(0, |after| after + 1)..at).await,
        _ if is_stream => send_packets(&mut stream, &response, after.map_or(0, |after| after + 1)..usize::MAX).await,
        _ => status(&mut stream, 200, &response.whole()).await,
    }
}

/// Sends the packets of these numbers as they are made, and the end of the body if they were all.
async fn send_packets(stream: &mut TcpStream, response: &Response, numbers: std::ops::Range<usize>) -> Option<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n";
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    let mut made = response.made.subscribe();
    for number in numbers.start..numbers.end.min(response.packets.len()) {
        let mut nothing = [0; 1];
        tokio::select! {
            ready = made.wait_for(|made| *made > number) => drop(ready.ok()?),
            _ = stream.read(&mut nothing) => return None,
        }
        let packet = &response.packets[number];
        let text = format!("event: {}\ndata: {packet}\n\n", packet["type"].as_str()?);
        stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.ok()?;
    }
    if numbers.end < response.packets.len() {
        return None;
    }
    stream.write_all(b"0\r\n\r\n").await.ok()
}

async fn status(stream: &mut TcpStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await.ok()
}

/// Reads method, target and body; an absent body is null.
async fn request(stream: &mut TcpStream) -> Option<(String, String, Value)> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..body_at]).into_owned();
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    while bytes.len() < body_at + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = if length == 0 { Value::Null } else { serde_json::from_slice(&bytes[body_at..]).ok()? };
    let mut words = head.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?, body))
}

impl Response {
    fn new(name: &str, case: &Case, body: &Value) -> Response {
        assert_eq!((&body["background"], &body["store"]), (&json!(true), &json!(true)), "{body}");
        let start = Start::of(&json!({"messages": body["input"]}));
        let text = format!("{}{}", start.again, &whole()[start.at..]);
        let id = format!("resp_{name}_{}", case.posts.len());
        let is_first = case.posts.is_empty();
        let usage = (start.input_tokens, text.split_whitespace().count() as u64);
        let mut packets = packets(&id, case.plan.answer, &text, usage);
        if let Some(at) = case.plan.fails.filter(|_| is_first) {
            packets.truncate(at);
            let error = json!({"code": "server_error", "message": "it broke"});
            let response = json!({"id": id, "status": "failed", "background": true, "error": error, "output": []});
            packets.push(json!({"type": "response.failed", "sequence_number": at, "response": response}));
        }
        let made = watch::Sender::new(if is_first { case.plan.hold } else { usize::MAX });
        Response { id, packets: Arc::new(packets), made: Arc::new(made), usage }
    }

    /// Returns the response as it stands now.
    fn whole(&self) -> Value {
        if *self.made.borrow() >= self.packets.len() {
            return self.packets.last().unwrap()["response"].clone();
        }
        json!({"id": self.id, "status": "in_progress", "background": true, "output": [], "usage": null, "error": null})
    }
}

/// Returns the number of packets that such an answer has.
pub(crate) fn count(answer: Answer) -> usize {
    packets("", answer, &whole(), (0, 0)).len()
}

/// Returns the number of the first packet of this kind.
pub(crate) fn number(answer: Answer, kind: &str) -> usize {
    let packets = packets("", answer, &whole(), (0, 0));
    packets.iter().position(|packet| packet["type"] == kind).unwrap()
}

/// Returns the text and the arguments of the first packets.
pub(crate) fn packet_texts(answer: Answer, count: usize) -> (String, String) {
    let packets = packets("", answer, &whole(), (0, 0));
    let of = |kind: &str| {
        let deltas = packets[..count].iter().filter(|packet| packet["type"] == kind);
        deltas.map(|packet| packet["delta"].as_str().unwrap()).collect()
    };
    (of("response.output_text.delta"), of("response.function_call_arguments.delta"))
}

fn packets(id: &str, answer: Answer, text: &str, usage: (u64, u64)) -> Vec<Value> {
    let begun = |status: &str| json!({"id": id, "status": status, "background": true, "model": "gpt-9", "output": []});
    let mut packets = vec![
        json!({"type": "response.created", "response": begun("queued")}),
        json!({"type": "response.queued", "response": begun("queued")}),
        json!({"type": "response.in_progress", "response": begun("in_progress")}),
    ];
    let mut items = Vec::new();
    if answer == Answer::Full {
        let summary = THOUGHTS.map(|text| json!({"type": "summary_text", "text": text}));
        let item = json!({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "c2VjcmV0"});
        let deltas = THOUGHTS.iter().enumerate().map(|(part, text)| {
            json!({"type": "response.reasoning_summary_text.delta", "summary_index": part, "delta": text})
        });
        add(&mut packets, &mut items, &item, deltas.collect());
    }
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let item =
        json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [part], "phase": "final_answer"});
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let deltas =
        words.chunks(WORDS).map(|words| json!({"type": "response.output_text.delta", "delta": words.concat()}));
    let done = json!({"type": "response.output_text.done", "text": text});
    add(&mut packets, &mut items, &item, deltas.chain([done]).collect());
    if answer == Answer::Full {
        let item = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "count", "arguments": ARGUMENTS});
        let letters: Vec<char> = ARGUMENTS.chars().collect();
        let pieces = letters.chunks(7).map(|piece| piece.iter().collect::<String>());
        let deltas = pieces.map(|piece| json!({"type": "response.function_call_arguments.delta", "delta": piece}));
        let done = json!({"type": "response.function_call_arguments.done", "arguments": ARGUMENTS});
        add(&mut packets, &mut items, &item, deltas.chain([done]).collect());
    }
    let usage_of_response =
        json!({"input_tokens": usage.0, "output_tokens": usage.1, "total_tokens": usage.0 + usage.1});
    let mut response = begun("completed");
    (response["output"], response["usage"]) = (json!(items), usage_of_response);
    packets.push(json!({"type": "response.completed", "response": response}));
    for (number, packet) in packets.iter_mut().enumerate() {
        packet["sequence_number"] = json!(number);
    }
    packets
}

/// Adds the packets of an item, from its beginning to its end.
fn add(packets: &mut Vec<Value>, items: &mut Vec<Value>, item: &Value, deltas: Vec<Value>) {
    let mut bare = item.clone();
    for field in ["summary", "content", "encrypted_content", "arguments"] {
        if let Some(value) = bare.get_mut(field) {
            *value = if value.is_array() { json!([]) } else { json!("") };
        }
    }
    let index = items.len();
    packets.push(json!({"type": "response.output_item.added", "output_index": index, "item": bare}));
    for mut delta in deltas {
        delta["output_index"] = json!(index);
        packets.push(delta);
    }
    packets.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    items.push(item.clone());
}
