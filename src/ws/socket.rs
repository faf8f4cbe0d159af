//! The socket itself: tungstenite reads, this module writes.
//!
//! Owns framing. Messages of clients are parsed by tungstenite; what we send is framed here, from
//! one buffer straight to the connection, so that what a stalled reader costs is one frame and can
//! be counted. Promises that a frame is never torn by a pong. Does not know what a message means.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::heartbeat::Liveness;
use crate::wire::frame::{Close, Protocol};

/// Bytes at the front of a frame that are kept free for its header.
pub(super) const HEADROOM: usize = 10;
/// Bytes read from the connection at once.
const READ_BYTES: usize = 4096;
/// A buffer over this size is given back when the socket is idle or full.
const KEEP_BYTES: usize = 4096;

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
#[must_use]
pub fn accept_key(sec_websocket_key: &str) -> String {
    derive_accept_key(sec_websocket_key.as_bytes())
}

/// The subprotocol for a `Sec-WebSocket-Protocol` header (several joined by commas): the client's
/// first that the broker knows, JSON if it offers none. Echo [`Protocol::name`] only if it offered some.
///
/// # Errors
/// When it offers only unknown protocols: refuse the upgrade.
#[expect(clippy::result_unit_err, reason = "there is one way to fail, and the caller words it")]
pub fn choose_protocol(offered: Option<&str>) -> Result<Protocol, ()> {
    let Some(offered) = offered.filter(|offered| !offered.trim().is_empty()) else { return Ok(Protocol::Json) };
    let known = |name: &str| Protocol::ALL.into_iter().find(|protocol| protocol.name() == name.trim());
    offered.split(',').find_map(known).ok_or(())
}

/// An event of a socket.
#[derive(Debug)]
pub(super) enum Turn {
    /// A text message; valid UTF-8.
    Text(Bytes),
    /// A binary message of the client.
    Binary(Bytes),
    /// A ping or a pong; answered where need be.
    Sign,
    /// The frame given to [`Socket::put`] has left.
    Sent,
    /// The client closed; answered.
    ClosedByPeer,
    /// The client broke the protocol: close with this.
    Broken(Close),
    /// The connection is lost.
    Lost,
}

/// One WebSocket, server side.
pub(super) struct Socket<IO> {
    ws: WebSocketStream<Wire<IO>>,
    /// Whether reading is polled before writing: the two take turns, so that neither starves the other.
    read_first: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Socket<IO> {
    /// Over a connection whose handshake is done. A message over `message_bytes_max` breaks it.
    pub(super) async fn new(io: IO, message_bytes_max: usize, liveness: Arc<Liveness>) -> Socket<IO> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(1024)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let wire = Wire { io, liveness, frame: Vec::new(), at: 0, is_begun: false };
        Socket { ws: WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await, read_first: false }
    }

    /// Whether a frame is still on its way out.
    pub(super) fn is_busy(&self) -> bool {
        self.ws.get_ref().is_busy()
    }

    /// Returns the buffer for the next frame, emptied but for the bytes of its header.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.ws.get_mut().frame);
        buffer.clear();
        buffer.resize(HEADROOM, 0);
        buffer
    }

    /// Sends a data frame: [`HEADROOM`] bytes, then the message. Not while [`Socket::is_busy`].
    pub(super) fn put(&mut self, protocol: Protocol, buffer: Vec<u8>) {
        let opcode = match protocol {
            Protocol::Json => 1,
            Protocol::Msgpack => 2,
        };
        self.ws.get_mut().put(opcode, buffer);
    }

    /// Sends a ping. Not while [`Socket::is_busy`].
    pub(super) fn ping(&mut self) {
        let buffer = self.buffer();
        self.ws.get_mut().put(9, buffer);
    }

    /// Gives a large buffer back; for when nothing is to be sent.
    pub(super) fn rest(&mut self) {
        let wire = self.ws.get_mut();
        if !wire.is_busy() && wire.frame.capacity() > KEEP_BYTES {
            wire.frame = Vec::new();
        }
    }

    /// What happens next; reads only if `read`. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool) -> Turn {
        poll_fn(|cx| self.poll_turn(cx, read)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Turn> {
        self.read_first = !self.read_first;
        for reading in [self.read_first, !self.read_first] {
            let turn = match reading {
                true if read => self.poll_message(cx),
                false if self.is_busy() => self.poll_send(cx).map(|sent| sent.map_or(Turn::Lost, |()| Turn::Sent)),
                _ => Poll::Pending,
            };
            if turn.is_ready() {
                return turn;
            }
        }
        Poll::Pending
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        Poll::Ready(match ready!(self.ws.poll_next_unpin(cx)) {
            Some(Ok(Message::Text(text))) => Turn::Text(text.into()),
            Some(Ok(Message::Binary(bytes))) => Turn::Binary(bytes),
            Some(Ok(Message::Close(_))) => Turn::ClosedByPeer,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Turn::Sign,
            Some(Err(Error::Capacity(_))) => Turn::Broken(Close::TooLarge),
            Some(Err(Error::Utf8(_))) => Turn::Broken(Close::NotUtf8),
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Turn::Lost,
            Some(Err(Error::Protocol(_))) => Turn::Broken(Close::Protocol),
            Some(Err(_)) | None => Turn::Lost,
        })
    }

    /// A pong that tungstenite has half written goes first, whole; then our frame, whole.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ws.get_ref().is_begun {
            ready!(self.ws.poll_flush_unpin(cx)).map_err(io::Error::other)?;
        }
        self.ws.get_mut().poll_drain(cx)
    }

    /// Finishes the frame that is under way, sends the close frame, and waits for the client to close.
    pub(super) async fn close(&mut self, close: Close) -> io::Result<()> {
        if self.is_busy() {
            poll_fn(|cx| self.poll_send(cx)).await?;
        }
        let mut buffer = self.buffer();
        buffer.extend_from_slice(&close.code().to_be_bytes());
        buffer.extend_from_slice(close.reason().as_bytes());
        self.ws.get_mut().put(8, buffer);
        poll_fn(|cx| self.poll_send(cx)).await?;
        self.hang_up().await
    }

    /// Closes our direction and reads the client's to its end: a connection that is dropped with
    /// unread bytes is reset, and the reset may overtake our last words.
    pub(super) async fn hang_up(&mut self) -> io::Result<()> {
        let wire = self.ws.get_mut();
        poll_fn(|cx| Pin::new(&mut wire.io).poll_shutdown(cx)).await?;
        let mut scratch = [0; 1024];
        loop {
            let mut into = ReadBuf::new(&mut scratch);
            poll_fn(|cx| Pin::new(&mut wire.io).poll_read(cx, &mut into)).await?;
            if into.filled().is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends tungstenite's own answer to the client's close.
    pub(super) async fn answer_close(&mut self) -> io::Result<()> {
        self.ws.flush().await.map_err(io::Error::other)?;
        self.hang_up().await
    }
}

/// The connection under tungstenite, with our own frame in front of it.
struct Wire<IO> {
    io: IO,
    liveness: Arc<Liveness>,
    /// What we send: header and payload. Empty = nothing.
    frame: Vec<u8>,
    /// The next byte of it to write.
    at: usize,
    /// Whether a byte of it has left: then nothing else may be written before its end.
    is_begun: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    fn is_busy(&self) -> bool {
        self.at < self.frame.len()
    }

    /// Frames what stands after the headroom: final, unmasked, of any length.
    fn put(&mut self, opcode: u8, mut buffer: Vec<u8>) {
        debug_assert!(!self.is_busy() && buffer.len() >= HEADROOM, "one frame at a time");
        let bytes = buffer.len() - HEADROOM;
        let (length, extended) = match bytes {
            0..126 => (u8::try_from(bytes).expect("below 126"), 0),
            126..=0xffff => (126, 2),
            _ => (127, 8),
        };
        self.at = HEADROOM - 2 - extended;
        buffer[self.at] = 0x80 | opcode;
        buffer[self.at + 1] = length;
        let bytes = (bytes as u64).to_be_bytes();
        buffer[HEADROOM - extended..HEADROOM].copy_from_slice(&bytes[8 - extended..]);
        self.frame = buffer;
        self.is_begun = false;
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_busy() {
            match Pin::new(&mut self.io).poll_write(cx, &self.frame[self.at..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.at += written;
                    self.is_begun = true;
                    self.liveness.drained();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.shrink();
                    self.liveness.blocked(self.frame.capacity());
                    return Poll::Pending;
                }
            }
        }
        self.frame.clear();
        self.at = 0;
        self.is_begun = false;
        Poll::Ready(Ok(()))
    }

    /// A full socket keeps only what it has not taken.
    fn shrink(&mut self) {
        if self.frame.capacity() - (self.frame.len() - self.at) > KEEP_BYTES {
            self.frame.drain(..self.at);
            self.frame.shrink_to_fit();
            self.at = 0;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if into.filled().len() > before {
            self.liveness.received();
        }
        read
    }
}

/// What tungstenite writes: pongs, and its answer to a close.
impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_begun {
            ready!(self.poll_drain(cx))?;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        match &written {
            Poll::Ready(_) => self.liveness.drained(),
            Poll::Pending => self.liveness.blocked(0),
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_subprotocol_that_we_speak_is_chosen() {
        for (offered, chosen) in [
            (None, Ok(Protocol::Json)),
            (Some(""), Ok(Protocol::Json)),
            (Some("forebay.v1.json"), Ok(Protocol::Json)),
            (Some("other, forebay.v1.msgpack ,forebay.v1.json"), Ok(Protocol::Msgpack)),
            (Some("forebay.v2.json"), Err(())),
            (Some("FOREBAY.V1.JSON"), Err(())),
        ] {
            assert_eq!(choose_protocol(offered), chosen, "{offered:?}");
        }
    }

    #[test]
    fn a_frame_of_any_length_has_its_header() {
        for (bytes, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let liveness = Arc::new(Liveness::new());
            let mut wire = Wire { io: tokio::io::empty(), liveness, frame: Vec::new(), at: 0, is_begun: false };
            wire.put(1, vec![0; HEADROOM + bytes]);
            assert_eq!(&wire.frame[wire.at..HEADROOM], header, "{bytes}");
        }
    }
}
