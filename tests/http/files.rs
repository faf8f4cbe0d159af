//! A file that a job names by its address, for a provider that fetches none: over real sockets from
//! the file's server to the provider.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::broker::TestBroker;
use super::client::Client;

/// A server that answers every request with `body`, and tells what it was asked: head and body.
fn server(kind: &'static str, body: &'static [u8]) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = mpsc::sync_channel(8);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request_text = Vec::new();
            let mut piece = [0; 4096];
            while !is_whole(&request_text) {
                match socket.read(&mut piece) {
                    Ok(bytes) if bytes > 0 => request_text.extend_from_slice(&piece[..bytes]),
                    _ => break,
                }
            }
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            // It is reported before it is answered: a test that has the answer finds the report.
            if sender.send(String::from_utf8_lossy(&request_text).into_owned()).is_err() {
                return;
            }
            let _ = socket.write_all(&[head.as_bytes(), body].concat());
        }
    });
    (port, received)
}

/// Whether head and body of a request are there.
fn is_whole(request_text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request_text).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

const ANSWER: &[u8] = b"{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"A dot.\"},\"done\":false}\n\
    {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":3}\n";

fn ask(egress: &str) -> (Value, Vec<String>, Vec<String>) {
    let (files, files_told) = server("image/png", b"\x89PNG");
    let (model, model_told) = server("application/x-ndjson", ANSWER);
    let broker = TestBroker::start(&format!("{egress}\n[providers.ollama]\nbase_url = \"http://127.0.0.1:{model}\"\n"));
    let input = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": format!("http://127.0.0.1:{files}/dot.png")}}
    ]}]});
    let job = json!({"model": "ollama/m", "input": input, "options": {"retry": {"max_attempts": 1}}}).to_string();
    let mut client = Client::connect(broker.addr);
    let answer = client.ask("POST", "/v1/run", &[("content-type", "application/json")], job.as_bytes()).json();
    (answer, files_told.try_iter().collect(), model_told.try_iter().collect())
}

#[test]
fn a_file_is_fetched_and_stands_in_the_request() {
    let (answer, files, request_text) = ask("[egress]\nallow_hosts = [\"127.0.0.1\"]");
    assert_eq!(answer["result"]["text"], "A dot.", "{answer}");
    assert_eq!((answer["usage"]["input_tokens"].as_u64(), answer["attempts"].as_u64()), (Some(9), Some(1)));
    assert_eq!(files.len(), 1, "it is fetched once");
    assert!(files[0].starts_with("GET /dot.png ") && !files[0].to_ascii_lowercase().contains("authorization"));
    let (_, body) = request_text[0].split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["messages"][0]["images"], json!(["iVBORw=="]), "{body}");
}

#[test]
fn a_private_address_is_asked_by_nobody() {
    let (answer, files, request_text) = ask("");
    assert_eq!(answer["error"]["code"], "invalid", "{answer}");
    assert_eq!(answer["error"]["param"], "input.messages[0].content[1].image_url");
    assert_eq!((files.len(), request_text.len()), (0, 0));
}
