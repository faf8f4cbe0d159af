//! What a reader gets while nothing happens.

use std::net::SocketAddr;

use crate::broker::TestBroker;
use crate::client::{Client, request};

const COMMENT: &[u8] = b":\n\n";

/// A job that says `a` and then nothing.
fn silent_job(id: &str) -> String {
    format!(r#"{{"model":"echo","id":"{id}","input":{{"messages":[],"script":[{{"text":"a"}},"stall"]}}}}"#)
}

/// Reads on until three comments came, each in a piece of its own.
fn hear_comments(client: &mut Client) {
    let (mut comments, mut pieces) = (0, 0);
    while comments < 3 {
        comments += usize::from(client.chunks(1).0 == COMMENT);
        pieces += 1;
        assert!(pieces < 1000, "nothing but records");
    }
}

#[test]
fn a_stream_of_a_silent_job_has_comments() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20");
    let mut submitter = Client::connect(broker.addr);
    let body = silent_job("quiet");
    submitter.send(request("POST", "/v1/run", &[("accept", "text/event-stream")], body.as_bytes()));
    assert_eq!(submitter.head().expect("an answer").0, 200);
    hear_comments(&mut submitter);
    let mut reader = Client::connect(broker.addr);
    reader.send(request("GET", "/v1/jobs/quiet/events", &[], b""));
    assert_eq!(reader.head().expect("an answer").0, 200);
    hear_comments(&mut reader);
    let cancelled = Client::connect(broker.addr).post("/v1/jobs/quiet/cancel", "");
    assert_eq!(cancelled.json()["state"], "cancelled");
    for client in [&mut submitter, &mut reader] {
        let (rest, whole) = client.chunks(usize::MAX);
        assert!(whole && String::from_utf8_lossy(&rest).contains("event: cancelled"), "comments end nothing");
    }
}

/// What the kernel's timer of the connection from `client` is for; 2 is keep-alive.
#[cfg(target_os = "linux")]
fn timer(broker: SocketAddr, client: SocketAddr) -> Option<u8> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(fields[1]) == Some(broker.port()) && port(fields[2]) == Some(client.port());
        is_it.then(|| fields[5].split(':').next()?.parse().ok()).flatten()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_waits_for_a_whole_answer_is_kept_alive_by_the_kernel() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    client.send(request("POST", "/v1/run", &[], silent_job("awaited").as_bytes()));
    // The job is there once the request was read; then nothing is unacknowledged.
    while broker.wait(broker.broker.stream(&"awaited".parse().expect("an id"))).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(timer(broker.addr, client.address()), Some(2));
    let cancelled = Client::connect(broker.addr).post("/v1/jobs/awaited/cancel", "");
    assert_eq!(cancelled.json()["state"], "cancelled");
}
