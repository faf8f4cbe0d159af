//! A client without opinions: bytes out, responses in, one connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer is that slow, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What carries bytes both ways.
pub(crate) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

pub(crate) struct Client {
    stream: Box<dyn Wire>,
    address: SocketAddr,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body came to its own end.
    pub whole: bool,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns status, `error.code` and `error.param`.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let error = self.json()["error"].clone();
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("param"))
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::through(addr, |stream| stream)
    }

    /// Over what `wrap` makes of the connection, for example TLS.
    pub(crate) fn through<W: Wire + 'static>(addr: SocketAddr, wrap: impl FnOnce(TcpStream) -> W) -> Client {
        let stream = TcpStream::connect(addr).expect("the entrance is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let address = stream.local_addr().expect("it is connected");
        Client { stream: Box::new(wrap(stream)), address, unread: Vec::new() }
    }

    /// Where it connects from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that has refused may close while we still send.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send(request(method, path, headers, body));
        self.response(method == "HEAD").expect("an answer")
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Response {
        self.ask("POST", path, &[], body.as_bytes())
    }

    /// The next response; `None` when the connection ended before one.
    pub(crate) fn response(&mut self, head_only: bool) -> Option<Response> {
        let (status, headers) = self.head()?;
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let (body, whole) = match (head_only || status == 204 || status == 304, length, chunked) {
            (true, ..) => (Vec::new(), true),
            (_, Some(length), _) => (self.take(length)?, true),
            (_, None, true) => self.chunks(usize::MAX),
            _ => (Vec::new(), true),
        };
        Some(Response { status, headers, body, whole })
    }

    /// Only the head of the next response.
    pub(crate) fn head(&mut self) -> Option<(u16, BTreeMap<String, String>)> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
        Some((status, headers.collect()))
    }

    /// At least `enough` bytes of a chunked body, or all of it.
    pub(crate) fn chunks(&mut self, enough: usize) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        while body.len() < enough {
            let Some(size) = self.line().and_then(|line| usize::from_str_radix(&line, 16).ok()) else {
                return (body, false);
            };
            let Some(data) = self.take(size + 2) else { return (body, false) };
            if size == 0 {
                return (body, true);
            }
            body.extend_from_slice(&data[..size]);
        }
        (body, false)
    }

    /// The payload of the next frame of a WebSocket's server, below 64 KiB.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let head = self.take(2)?;
        let length = match head[1] {
            126 => self.take(2)?.iter().fold(0, |length, byte| length * 256 + usize::from(*byte)),
            short => usize::from(short),
        };
        self.take(length)
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && self.more().is_none()
    }

    fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                break at;
            }
            self.more()?;
        };
        let line = self.unread.drain(..end + 2).take(end).collect();
        String::from_utf8(line).ok()
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            self.more()?;
        }
        Some(self.unread.drain(..count).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                Some(())
            }
            Err(error) if is_end(&error) => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// Whether it says that the server has gone, politely or not.
fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: forebay\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        request += &format!("content-length: {}\r\n", body.len());
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}
