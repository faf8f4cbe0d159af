//! A load generator's HTTP/1.1 and WebSocket client: it reads, and does nothing else.
//!
//! Owns just enough of both protocols to find where an answer ends. Hand-written so that the
//! generator takes little of the two cores that it shares with what it measures.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes of one read. Small: ten thousand connections have one each.
const READ_BYTES: usize = 4096;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Receive buffer of a reader that does not read, so that the kernel buffers little for it.
const STALLED_BUFFER_BYTES: u32 = 4096;

/// One connection, kept alive between exchanges.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to a server.
    pub(super) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Connects to a server with the smallest receive buffer.
    pub(super) async fn open_stalled(address: SocketAddr) -> Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(STALLED_BUFFER_BYTES)?;
        let stream = socket.connect(address).await.with_context(|| format!("connect to {address}"))?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends a request and hands over the answer's body as it comes. Returns the status.
    pub(super) async fn exchange(&mut self, request: &[u8], mut on_body: impl FnMut(&[u8])) -> Result<u16> {
        self.stream.write_all(request).await?;
        let (head, mut body) = self.head().await?;
        on_body(body.feed(&mut self.buffer, Vec::new())?.as_slice());
        let mut scratch = Vec::new();
        while !body.is_done() {
            self.fill().await?;
            scratch = body.feed(&mut self.buffer, scratch)?;
            on_body(&scratch);
        }
        Ok(head)
    }

    /// Upgrades the connection to a WebSocket at `path`; bytes that follow the handshake are handed over.
    pub(super) async fn upgrade(&mut self, path: &str) -> Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: forebay.v1.json\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        match self.head().await?.0 {
            101 => Ok(()),
            status => bail!("the WebSocket was refused with {status}"),
        }
    }

    /// Sends one text message of less than 64 KiB, after [`Connection::upgrade`].
    pub(super) async fn send_text(&mut self, text: &str) -> Result<()> {
        let length = u16::try_from(text.len()).context("a message over 64 KiB")?;
        // A whole text frame, its length in two bytes, masked with zeros: what clients must, for the
        // least work.
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Reads raw bytes, frame headers included, after [`Connection::upgrade`]. Empty at the end.
    pub(super) async fn bytes(&mut self, into: &mut Vec<u8>) -> Result<()> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        into.clear();
        std::mem::swap(into, &mut self.buffer);
        Ok(())
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<(u16, Body)> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end]).context("a head that is not text")?;
                let parsed = (status(head)?, Body::of(head)?);
                self.buffer.drain(..end + 4);
                return Ok(parsed);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                bail!("an endless head");
            }
            self.fill().await?;
        }
    }
}

fn status(head: &str) -> Result<u16> {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")
}

/// What is left of an answer's body.
enum Body {
    /// This many bytes of the body are still to come.
    Sized(usize),
    /// A chunk's size line is being read.
    Size(usize),
    /// This many bytes of a chunk are still to come.
    Data(usize),
    /// The line break behind a chunk is being read.
    Break,
    /// The line break behind the last chunk is being read.
    Last,
    Done,
}

impl Body {
    fn of(head: &str) -> Result<Body> {
        let field = |name: &str| {
            let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(Body::Size(0));
        }
        match field("content-length").map(str::parse) {
            Some(Ok(0)) => Ok(Body::Done),
            Some(Ok(length)) => Ok(Body::Sized(length)),
            Some(Err(_)) => bail!("a content-length that is no number"),
            // Upgrades and 204: nothing follows that we would read as a body.
            None => Ok(Body::Done),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Body::Done)
    }

    /// Takes what belongs to the body out of `buffer`; returns it in `out`, which it empties first.
    fn feed(&mut self, buffer: &mut Vec<u8>, mut out: Vec<u8>) -> Result<Vec<u8>> {
        out.clear();
        let mut at = 0;
        while at < buffer.len() && !self.is_done() {
            let byte = buffer[at];
            match self {
                Body::Sized(left) | Body::Data(left) => {
                    let take = (*left).min(buffer.len() - at);
                    out.extend_from_slice(&buffer[at..at + take]);
                    *left -= take;
                    at += take;
                    match self {
                        Body::Sized(0) => *self = Body::Done,
                        Body::Data(0) => *self = Body::Break,
                        _ => {}
                    }
                    continue;
                }
                Body::Size(0) if byte == b'\n' => *self = Body::Last,
                Body::Size(size) if byte == b'\n' => *self = Body::Data(*size),
                Body::Size(size) if byte != b'\r' => {
                    let digit = char::from(byte).to_digit(16).context("a chunk size that is no number")?;
                    *size = (*size << 4) + digit as usize;
                }
                Body::Break if byte == b'\n' => *self = Body::Size(0),
                Body::Last if byte == b'\n' => *self = Body::Done,
                _ => {}
            }
            at += 1;
        }
        buffer.drain(..at);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `answer`, cut into two reads at every byte.
    fn check(answer: &str, body: &str) {
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        for cut in 0..=rest.len() {
            let mut parser = Body::of(head).unwrap();
            let mut got = Vec::new();
            let mut buffer = rest.as_bytes()[..cut].to_vec();
            got.extend(parser.feed(&mut buffer, Vec::new()).unwrap());
            buffer.extend_from_slice(&rest.as_bytes()[cut..]);
            got.extend(parser.feed(&mut buffer, Vec::new()).unwrap());
            assert_eq!((String::from_utf8(got).unwrap().as_str(), parser.is_done()), (body, true), "cut at {cut}");
        }
    }

    #[test]
    fn a_body_ends_where_it_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello");
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n",
            "abcabcdefghijklmnopqrstuvwxyz",
        );
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        assert!(status("HTTP/1.1").is_err());
        assert!(Body::of("HTTP/1.1 200 OK\r\ncontent-length: x").is_err());
        assert!(Body::Size(0).feed(&mut b"z\r\n".to_vec(), Vec::new()).is_err());
    }
}
