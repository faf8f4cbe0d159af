//! Limits and manners of the port: sizes, waits, counts, methods, upgrades, shutdown.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use forebay::http::Limits;

use crate::broker::{TestBroker, completed};
use crate::client::{Client, request};
use crate::{JOB, events};

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let broker = TestBroker::start("[server]\nbody_bytes_max = 1000");
    let large = vec![b' '; 100_000];
    let mut client = Client::connect(broker.addr);
    assert_eq!(client.ask("POST", "/v1/run", &[], &large).error().1, "too_large");
    assert_eq!(client.get("/healthz").status, 200);
    let mut chunked = b"POST /v1/run HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b' '; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    client.send(&chunked);
    client.send(b"0\r\n\r\n");
    assert_eq!(client.response(false).unwrap().status, 413);
    assert_eq!(client.get("/healthz").status, 200);
    let expecting = "POST /v1/run HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n";
    client.send(expecting);
    assert_eq!(client.response(false).unwrap().status, 413, "and not 100");
}

#[test]
fn bodies_that_come_in_at_once_share_a_room_and_give_it_back() {
    let broker = TestBroker::start("[server]\nbodies_bytes_max = 10000");
    let spaces = " ".repeat(6000);
    let begin = |client: &mut Client, spaces: &str| {
        let length = spaces.len() + JOB.len();
        client.send(format!("POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{spaces}"));
    };
    let (mut first, mut second) = (Client::connect(broker.addr), Client::connect(broker.addr));
    // The second body that comes in is refused, and either of the two may be the second.
    let refused = (0..1000).find_map(|_| {
        begin(&mut first, &spaces);
        begin(&mut second, &spaces);
        second.send(JOB);
        let answer = second.response(false).unwrap();
        if answer.status != 200 {
            return Some(answer);
        }
        first.send(JOB);
        first.response(false).unwrap();
        None
    });
    let refused = refused.expect("the first body is the first to come in at some time");
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "overloaded"));
    assert_eq!(second.post("/v1/run", JOB).status, 200, "a small one finds room");
    first.send(JOB);
    assert_eq!(first.response(false).unwrap().status, 200);
    begin(&mut second, &spaces);
    second.send(JOB);
    assert_eq!(second.response(false).unwrap().status, 200, "the room was given back");
    begin(&mut second, &"  ".repeat(20_000));
    second.send(JOB);
    assert_eq!(second.response(false).unwrap().status, 200, "one alone always has room");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let mut all = Vec::new();
    for n in 0..20 {
        all.extend(request("POST", "/v1/run", &[("x-request-id", &n.to_string())], JOB.as_bytes()));
    }
    client.send(&all);
    for n in 0..20 {
        let response = client.response(false).unwrap();
        assert_eq!((response.status, response.header("x-request-id")), (200, n.to_string().as_str()));
    }
}

#[test]
fn head_and_options_say_what_a_route_can_do() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    for (path, allow) in
        [("/v1/run", "POST, OPTIONS"), ("/v1/jobs/j", "GET, HEAD, DELETE, OPTIONS"), ("/v1/jobs", "GET, HEAD, OPTIONS")]
    {
        let options = client.ask("OPTIONS", path, &[], b"");
        assert_eq!((options.status, options.header("allow")), (204, allow));
        let wrong = client.ask("PUT", path, &[], b"");
        assert_eq!((wrong.status, wrong.header("allow")), (405, allow));
    }
    for path in ["/", "/healthz", "/readyz", "/metrics", "/v1/jobs", "/v1/models", "/v1/costs"] {
        let (head, get) = (client.ask("HEAD", path, &[], b""), client.get(path));
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

#[test]
fn a_client_that_dawdles_is_let_go() {
    let ms = Duration::from_millis;
    let limits = Limits { head: ms(300), body: ms(600), body_idle: ms(200), linger: ms(100) };
    let broker = TestBroker::with("", limits);
    let mut head = Client::connect(broker.addr);
    head.send("GET /healthz HTTP/1.1\r\nhos");
    assert!(head.response(false).is_none() || head.is_closed(), "half a head is not waited for");
    let mut idle = Client::connect(broker.addr);
    assert_eq!(idle.get("/healthz").status, 200);
    assert!(idle.is_closed(), "nor is an idle connection kept");
    let mut body = Client::connect(broker.addr);
    body.send("POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    assert_eq!(body.response(false).unwrap().error().1, "invalid");
}

#[test]
fn connections_are_bounded_and_the_one_too_many_is_told() {
    let broker = TestBroker::start("[server]\nconnections_max = 200");
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(broker.addr);
        assert_eq!(client.get("/healthz").status, 200);
        idle.push(client);
    }
    let refused = Client::connect(broker.addr).response(false).unwrap();
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    drop(idle);
    let served = (0..1000).any(|_| {
        let mut client = Client::connect(broker.addr);
        client.send(request("GET", "/healthz", &[], b""));
        client.response(false).is_some_and(|response| response.status == 200)
    });
    assert!(served, "places are given back");
}

#[test]
fn an_upgrade_is_answered_and_a_wrong_one_refused() {
    let broker = TestBroker::start("");
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut handshake = vec![("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), key];
    handshake.push(("sec-websocket-version", "13"));
    let mut client = Client::connect(broker.addr);
    let mut offers = handshake.clone();
    offers.push(("sec-websocket-protocol", "unknown.v9, forebay.v1.msgpack"));
    client.send(request("GET", "/v1/ws", &offers, b""));
    let (status, headers) = client.head().unwrap();
    assert_eq!(status, 101);
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers["sec-websocket-protocol"], "forebay.v1.msgpack");
    let mut client = Client::connect(broker.addr);
    let mut offers = handshake.clone();
    offers.push(("sec-websocket-protocol", "unknown.v9"));
    assert_eq!(client.ask("GET", "/v1/ws", &offers, b"").error().2, "sec-websocket-protocol");
    let wrong = client.ask("GET", "/v1/ws", &handshake[..2], b"");
    assert_eq!((wrong.status, wrong.header("sec-websocket-version")), (426, "13"));
}

#[test]
fn a_shutdown_lets_readers_read_the_end() {
    let mut broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    let mut reader = Client::connect(broker.addr);
    reader.send(request("GET", "/v1/jobs/j/events", &[], b""));
    assert_eq!(reader.head().unwrap().0, 200);
    assert_eq!(events(&reader.chunks(1).0).len(), 1);
    let mut idle = Client::connect(broker.addr);
    assert_eq!(idle.get("/healthz").status, 200);
    broker.shut();
    assert!(idle.is_closed());
    broker.append(writer.stream(), vec![completed()]);
    let (rest, whole) = reader.chunks(usize::MAX);
    assert_eq!((events(&rest).len(), whole), (1, true));
    let mut late = [0; 1];
    assert!(TcpStream::connect(broker.addr).and_then(|mut late_one| late_one.read(&mut late)).map_or(true, |n| n == 0));
}
