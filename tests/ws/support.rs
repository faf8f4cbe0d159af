//! A broker that is nothing but the WebSocket entrance over a `MemoryLog`, and a client that can misbehave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::broker::Broker;
use forebay::job::{Event, State};
use forebay::log::{Opened, StreamWriter};
use forebay::policy::access::authenticate;
use forebay::wire::frame::{self, ClientMessage, Protocol, ServerMessage};
use forebay::ws::socket::{accept_key, choose_protocol};
use forebay::ws::{Handshake, SocketOutcome, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness;
pub(crate) use crate::harness::{completed, delta};
use crate::job::job;

/// Longer than anything here takes; what is not done by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct TestBroker {
    pub(crate) svc: Arc<Broker>,
    pub(crate) address: String,
    endings: Arc<Mutex<Vec<SocketOutcome>>>,
    ended: Arc<Notify>,
}

impl TestBroker {
    /// With `[server] heartbeat_ms` and the like in `toml`.
    pub(crate) async fn start(toml: &str) -> TestBroker {
        let builder = harness::broker(toml).clock(harness::simulated_clock());
        let svc = builder.start(&tokio::runtime::Handle::current());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let broker = TestBroker { svc, address, endings: Arc::default(), ended: Arc::default() };
        let (svc, endings, ended) = (Arc::clone(&broker.svc), Arc::clone(&broker.endings), Arc::clone(&broker.ended));
        spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (svc, endings, ended) = (Arc::clone(&svc), Arc::clone(&endings), Arc::clone(&ended));
                spawn(async move {
                    if let Some(ending) = door(socket, svc).await {
                        endings.lock().unwrap().push(ending);
                        ended.notify_waiters();
                    }
                });
            }
        });
        broker
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Waits until `count` sockets have ended.
    pub(crate) async fn endings(&self, count: usize) -> Vec<SocketOutcome> {
        within(async {
            loop {
                let ended = self.ended.notified();
                let endings = self.endings.lock().unwrap().clone();
                if endings.len() >= count {
                    return endings;
                }
                ended.await;
            }
        })
        .await
    }

    /// A stream; its `accepted` record is there.
    pub(crate) async fn open(&self, id: &str) -> StreamWriter {
        self.open_in(id, "default").await
    }

    pub(crate) async fn open_in(&self, id: &str, gateway: &str) -> StreamWriter {
        let job = job("test/model").id(id).gateway(gateway).build();
        match self.svc.log.open(Arc::new(job)).await.unwrap() {
            Opened::New(writer) => writer,
            Opened::Joined(_) => panic!("{id} is taken"),
        }
    }

    /// A finished stream of `count` deltas of `text`, after `accepted` and before `completed`.
    pub(crate) async fn finished(&self, id: &str, count: usize, text: &str) {
        let mut writer = self.open(id).await;
        let deltas: Vec<Event> = (0..count).map(|n| delta(&format!("{text}{n} "))).collect();
        for batch in deltas.chunks(500) {
            writer.append(batch.to_vec().into()).await.unwrap();
        }
        writer.append(vec![completed()].into()).await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(future: F) -> tokio::task::JoinHandle<F::Output> {
    tokio::task::spawn(future)
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// The HTTP side: just enough of an upgrade.
async fn door(mut socket: TcpStream, svc: Arc<Broker>) -> Option<SocketOutcome> {
    socket.set_nodelay(true).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let offered = header("sec-websocket-protocol");
    let protocol = choose_protocol(offered).ok()?;
    let echo = offered.map_or(String::new(), |_| format!("Sec-WebSocket-Protocol: {}\r\n", protocol.name()));
    let accept = accept_key(header("sec-websocket-key")?);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{echo}\r\n"
    );
    socket.write_all(answer.as_bytes()).await.ok()?;
    let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let access = token.and_then(|token| authenticate(&svc.snapshot.load().config, Some(token)).ok());
    let path = head.split(' ').nth(1)?;
    let implicit = path.strip_prefix("/v1/jobs/").map(|rest| {
        let (id, cursor) = rest.split_once("/ws").unwrap();
        (id.into(), cursor.strip_prefix("?cursor=").map(Into::into))
    });
    Some(serve(socket, svc, Handshake { access, protocol, implicit, arbiter: harness::actors() }).await)
}

/// A client that does exactly what a test says.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    pub(crate) protocol: Protocol,
    pub(crate) buffer: Vec<u8>,
    /// Bytes that it still reads; then it sees the end.
    pub(crate) allowance: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Received {
    Message(Box<ServerMessage>, usize),
    Ping,
    Close(u16, String),
    End,
}

impl Raw {
    pub(crate) async fn connect(broker: &TestBroker, path: &str, protocol: Protocol, headers: &str) -> Raw {
        let mut socket = TcpStream::connect(&broker.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {}\r\n{headers}\r\n",
            protocol.name()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Raw { socket, protocol, buffer: Vec::new(), allowance: usize::MAX }
    }

    pub(crate) async fn plain(broker: &TestBroker) -> Raw {
        let mut raw = Raw::connect(broker, "/v1/ws", Protocol::Json, "").await;
        assert!(matches!(raw.message().await, ServerMessage::Welcome { .. }));
        raw
    }

    /// A masked frame; `first` is its first byte.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..126 => bytes.push(0x80 | n as u8),
            n @ 126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        // The broker may have closed already: what it said is what the test looks at.
        let _ = self.socket.write_all(&bytes).await;
    }

    pub(crate) async fn say(&mut self, json: Value) {
        let message = frame::decode(Protocol::Json, json.to_string().as_bytes()).unwrap();
        self.say_message(&message).await;
    }

    pub(crate) async fn say_message(&mut self, message: &ClientMessage) {
        let first = if self.protocol == Protocol::Json { 0x81 } else { 0x82 };
        self.frame(first, &frame::encode_client(self.protocol, message)).await;
    }

    /// The next thing that is heard; pings are answered only by those who read on with `next`.
    pub(crate) async fn receive(&mut self) -> Received {
        loop {
            if let Some(heard) = self.parse() {
                return heard;
            }
            let mut chunk = vec![0; 16 * 1024];
            let most = self.allowance.min(chunk.len());
            if most == 0 {
                return Received::End;
            }
            match within(self.socket.read(&mut chunk[..most])).await {
                Ok(0) | Err(_) => return Received::End,
                Ok(n) => {
                    self.allowance -= n;
                    self.buffer.extend_from_slice(&chunk[..n]);
                }
            }
        }
    }

    fn parse(&mut self) -> Option<Received> {
        let (opcode, length) = (*self.buffer.first()? & 0x0f, *self.buffer.get(1)?);
        assert_eq!(self.buffer[0] & 0xf0, 0x80, "final, no reserved bits");
        assert!(length < 128, "a server does not mask");
        let (start, bytes) = match length {
            126 => (4, u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap()) as usize),
            127 => (10, u64::from_be_bytes(self.buffer.get(2..10)?.try_into().unwrap()) as usize),
            n => (2, n as usize),
        };
        let payload = self.buffer.get(start..start + bytes)?.to_vec();
        self.buffer.drain(..start + bytes);
        Some(match opcode {
            1 | 2 => Received::Message(Box::new(frame::decode_server(self.protocol, &payload).unwrap()), bytes),
            8 => Received::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            9 => Received::Ping,
            other => panic!("opcode {other}"),
        })
    }

    /// What is heard next but pings (answered) and heartbeats.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            match self.receive().await {
                Received::Ping => self.frame(0x8a, b"").await,
                Received::Message(message, _) if matches!(*message, ServerMessage::Heartbeat { .. }) => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn message(&mut self) -> ServerMessage {
        match self.next().await {
            Received::Message(message, _) => *message,
            other => panic!("{other:?}"),
        }
    }

    /// The code with which the broker closes, whatever it says before.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Received::Close(code, _) => return Some(code),
                Received::End => return None,
                _ => {}
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, sub: &str, id: &str, cursor: &str, credit: u64) {
        self.say(json!({"type": "subscribe", "sub": sub, "id": id, "cursor": cursor, "credit": credit})).await;
    }

    /// Reads one subscription to its end or the connection's; gives credit for what comes.
    pub(crate) async fn read_out(&mut self, sub: &str) -> Read {
        let mut read = Read::default();
        loop {
            match self.next().await {
                Received::Message(message, bytes) => match *message {
                    ServerMessage::Events { cursor, items, .. } => {
                        read.cursor = Some(cursor.to_string());
                        read.items.extend(items.iter().map(|record| (record.seq, record.clone())));
                        self.say(json!({"type": "credit", "sub": sub, "add": bytes})).await;
                    }
                    ServerMessage::CaughtUp { .. } => read.caught_up += 1,
                    ServerMessage::End { state, .. } => {
                        read.end = Some(state);
                        return read;
                    }
                    _ => {}
                },
                Received::Close(..) | Received::End => return read,
                Received::Ping => {}
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Read {
    pub(crate) items: Vec<(u64, forebay::job::Record)>,
    pub(crate) cursor: Option<String>,
    pub(crate) caught_up: usize,
    pub(crate) end: Option<State>,
}
