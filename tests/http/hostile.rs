//! Clients that mean no good, or are badly written: what they send gets the right answer or a closed
//! connection, never another request's answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use forebay::http::Limits;

use crate::JOB;
use crate::broker::TestBroker;
use crate::client::{Client, request};

/// No answer is that slow, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` and reads to the end: the status of every answer. What is not a whole request is all that
/// will come; a client that says so after a whole one is taken for one that left.
fn statuses(addr: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A client that is refused may find the connection closed while it still sends.
    let _ = stream.write_all(bytes);
    if !bytes.ends_with(b"\n") {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut answered, mut piece) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        answered.extend_from_slice(&piece[..count]);
    }
    let answered = String::from_utf8_lossy(&answered).into_owned();
    let heads = answered.match_indices("HTTP/1.").filter_map(|(at, _)| answered.get(at + 9..at + 12)?.parse().ok());
    heads.collect()
}

/// What follows a request in the tests below.
const NEXT: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// A request with `lines` for headers and a body after it.
fn post(lines: &str, body: &str) -> String {
    format!("POST /v1/run HTTP/1.1\r\nhost: x\r\n{lines}\r\n{body}")
}

#[test]
fn where_a_body_ends_is_never_in_doubt() {
    let broker = TestBroker::start("");
    let length = JOB.len();
    let chunked = format!("{length:x}\r\n{JOB}\r\n0\r\n\r\n");
    let lengths = format!("content-length: {length}\r\n");
    for (what, lines, body, expected) in [
        ("a length", lengths.clone(), JOB, &[200, 200][..]),
        ("chunks", "transfer-encoding: chunked\r\n".into(), &chunked, &[200, 200]),
        // The coding wins, and whatever follows is not trusted (RFC 9112, 6.3).
        ("both", "content-length: 3\r\ntransfer-encoding: chunked\r\n".into(), &chunked, &[200]),
        ("both, turned", "transfer-encoding: chunked\r\ncontent-length: 3\r\n".into(), &chunked, &[200]),
        ("the same length twice", lengths.repeat(2), JOB, &[200, 200]),
        ("two lengths", format!("content-length: 3\r\n{lengths}"), JOB, &[400]),
        ("two lengths in one", format!("content-length: {length}, 3\r\n"), JOB, &[400]),
        ("a signed length", format!("content-length: +{length}\r\n"), JOB, &[400]),
        ("a negative length", "content-length: -1\r\n".into(), JOB, &[400]),
        ("no number", "content-length: ten\r\n".into(), JOB, &[400]),
        ("an endless length", "content-length: 99999999999999999999999\r\n".into(), JOB, &[400]),
        ("another coding", "transfer-encoding: gzip\r\n".into(), &chunked, &[400]),
        ("another coding last", "transfer-encoding: chunked, gzip\r\n".into(), &chunked, &[400]),
        ("hidden coding", "transfer-encoding: xchunked\r\n".into(), &chunked, &[400]),
        ("a folded line", format!("transfer-encoding:\r\n chunked\r\n{lengths}"), JOB, &[400]),
        ("a blank before the colon", format!("content-length : {length}\r\n"), JOB, &[400]),
        ("a nul", format!("x: a\0b\r\n{lengths}"), JOB, &[400]),
        ("a bare return", format!("x: a\rb\r\n{lengths}"), JOB, &[400]),
        ("no colon", format!("nothing\r\n{lengths}"), JOB, &[400]),
    ] {
        let sent = post(&lines, body) + NEXT;
        assert_eq!(statuses(broker.addr, sent.as_bytes()), expected, "{what}");
    }
    let bare = format!("POST /v1/run HTTP/1.1\nhost: x\nconnection: close\n{}\n\n{JOB}\n", lengths.trim_end());
    assert_eq!(statuses(broker.addr, bare.as_bytes()), [200], "line feeds alone end lines (RFC 9112, 2.2)");
}

#[test]
fn chunks_that_are_none_end_the_connection() {
    let broker = TestBroker::start("");
    for (what, body) in [
        ("no size", "\r\n\r\n"),
        ("no number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a negative size", "-1\r\n{}\r\n0\r\n\r\n"),
        ("an endless size", "fffffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("shorter than it says", "2\r\n{}x\r\n0\r\n\r\n"),
        ("no end of the size", "2 2\r\n{}\r\n0\r\n\r\n"),
        ("an endless extension", &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(100_000))),
        ("endless trailers", &format!("2\r\n{{}}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(100_000))),
        ("cut", "ff\r\n{"),
    ] {
        let sent = post("transfer-encoding: chunked\r\n", body);
        let answered = statuses(broker.addr, sent.as_bytes());
        assert!(answered.iter().all(|status| *status == 400) && answered.len() <= 1, "{what}: {answered:?}");
    }
    assert_eq!(Client::connect(broker.addr).get("/healthz").status, 200);
}

#[test]
fn heads_and_request_lines_have_limits_and_one_meaning() {
    let broker = TestBroker::start("");
    let get = |line: &str| format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n");
    let many = (0..150).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for (what, sent, expected) in [
        ("a huge header", format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000)), &[431][..]),
        ("too many headers", format!("GET / HTTP/1.1\r\n{many}\r\n"), &[431]),
        ("a huge target", get(&format!("GET /{} HTTP/1.1", "y".repeat(100_000))), &[431]),
        ("absolute", get("GET http://x/healthz HTTP/1.1"), &[200]),
        ("absolute, elsewhere", get("GET http://other.example/v1/nothing HTTP/1.1"), &[404]),
        ("authority", get("CONNECT x:80 HTTP/1.1"), &[404]),
        ("asterisk", get("OPTIONS * HTTP/1.1"), &[404]),
        ("no slash", get("GET healthz HTTP/1.1"), &[404]),
        ("dots", get("GET /v1/../healthz HTTP/1.1"), &[404]),
        ("a nul in the target", get("GET /\0 HTTP/1.1"), &[400]),
        ("a blank in the target", get("GET /health z HTTP/1.1"), &[400]),
        ("no version", get("GET /healthz"), &[400]),
        ("another version", get("GET /healthz HTTP/3.0"), &[400]),
        ("an unknown method", get("BREW /healthz HTTP/1.1"), &[405]),
        ("a broken method", get("G(T /healthz HTTP/1.1"), &[400]),
        ("HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n".into(), &[200]),
        ("HTTP/1.0 with chunks", "POST /v1/run HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".into(), &[400]),
        ("nothing", String::new(), &[]),
        ("empty lines first", "\r\n\r\n".to_owned() + &get("GET /healthz HTTP/1.1"), &[200]),
    ] {
        assert_eq!(statuses(broker.addr, sent.as_bytes()), expected, "{what}");
    }
    assert_eq!(Client::connect(broker.addr).get("/healthz").status, 200);
}

#[test]
fn a_hundred_requests_at_once_are_answered_each_in_its_turn() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let mut all = Vec::new();
    for n in 0..100 {
        let id = n.to_string();
        let (method, path) =
            [("POST", "/v1/run"), ("GET", "/v1/nothing"), ("HEAD", "/healthz"), ("PUT", "/v1/jobs")][n % 4];
        let body = if method == "POST" { JOB.as_bytes() } else { b"" };
        all.extend(request(method, path, &[("x-request-id", &id)], body));
    }
    // In pieces that no request ends with.
    for piece in all.chunks(777) {
        client.send(piece);
    }
    for n in 0..100 {
        let response = client.response(n % 4 == 2).unwrap();
        let expected = ([200, 404, 200, 405][n % 4], n.to_string());
        assert_eq!((response.status, response.header("x-request-id").to_owned()), expected);
    }
}

#[test]
fn an_upload_that_breaks_off_anywhere_starts_nothing() {
    let broker = TestBroker::start("");
    let whole = request("POST", "/v1/run", &[("idempotency-key", "cut")], JOB.as_bytes());
    let mut chunked = b"POST /v1/run HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n{JOB}\r\n0\r\n", JOB.len()).as_bytes());
    for (cut, sent) in (0..whole.len()).map(|cut| (cut, &whole)).chain((0..chunked.len()).map(|cut| (cut, &chunked))) {
        let mut stream = TcpStream::connect(broker.addr).unwrap();
        stream.write_all(&sent[..cut]).unwrap();
        if cut % 2 == 0 {
            // A reset instead of an end.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    let jobs = Client::connect(broker.addr).get("/v1/jobs").json();
    assert_eq!(jobs["jobs"], serde_json::json!([]), "half a job is none");
    let tried = Client::connect(broker.addr).ask("POST", "/v1/run", &[("idempotency-key", "cut")], JOB.as_bytes());
    assert_eq!((tried.status, tried.header("forebay-cache")), (200, "miss"));
}

#[test]
fn who_sends_slowly_is_told_or_let_go() {
    let ms = Duration::from_millis;
    let limits = Limits { head: ms(400), body: ms(1500), body_idle: ms(300), linger: ms(100) };
    let broker = TestBroker::with("", limits);
    // A byte now and then: no gap is long, but the whole is.
    let drip = |head: &str| {
        let mut stream = TcpStream::connect(broker.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let dripping = std::thread::spawn(move || {
            while writer.write_all(b" ").is_ok() {
                std::thread::sleep(ms(50));
            }
        });
        let mut answered = Vec::new();
        // A reset is an end, too.
        drop(stream.read_to_end(&mut answered));
        drop(stream.shutdown(Shutdown::Both));
        dripping.join().unwrap();
        String::from_utf8(answered).unwrap()
    };
    let head = drip("GET /healthz HTTP/1.1\r\nx: ");
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = drip("POST /v1/run HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n{");
    assert!(body.starts_with("HTTP/1.1 400") && body.contains("too slow"), "{body}");
}
