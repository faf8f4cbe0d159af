//! A reader that survives cut connections and broker restarts.
//!
//! Owns the way back: cursor, back-off, jitter. Promises that every record is given once, in order,
//! without a gap, and that it returns only on `end` or when coming back cannot help.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::job::{Code, Failure, Record, State};
use crate::wire::frame::{self, ClientMessage, Close, Label, Protocol, ServerMessage};

/// The first wait before another try, in milliseconds; it doubles.
const BACKOFF_MS: u64 = 50;
/// The longest wait, in milliseconds.
const BACKOFF_MS_MAX: u64 = 5000;
/// To connect and be welcomed, in milliseconds.
const CONNECT_MS: u64 = 10_000;
/// Silence after which the connection is given up, in heartbeats of the broker.
const SILENT_BEATS: u32 = 3;
/// Tries in a row that bring nothing before giving up. With the waits above: over five minutes.
const TRIES_MAX: u32 = 64;

/// A connection of our own client to a broker.
pub struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    protocol: Protocol,
    deadlines: Duration,
}

/// Reason for which a connection is over.
#[derive(Debug)]
pub enum Over {
    /// Come back with the same cursors, after this many milliseconds if the broker named a time.
    Lost(Option<u64>),
    /// Coming back unchanged cannot help.
    Refused(Failure),
}

impl Client {
    /// Connects to `ws://…/v1/ws` and waits to be welcomed.
    ///
    /// # Errors
    /// [`Over::Lost`] when no broker answers, [`Over::Refused`] when the broker refuses the client.
    pub async fn connect(url: &str, token: Option<&str>, protocol: Protocol) -> Result<Client, Over> {
        let bad = |error: &dyn std::fmt::Display| Over::Refused(Failure::invalid("url", error));
        let mut request = url.into_client_request().map_err(|error| bad(&error))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol.name()));
        if let Some(token) = token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            request.headers_mut().insert("Authorization", bearer.map_err(|error| bad(&error))?);
        }
        // On the heap: with TLS it is large, and every follower would be as large.
        let connecting = Box::pin(tokio_tungstenite::connect_async_with_config(request, None, true));
        let (ws, _) = match timeout(Duration::from_millis(CONNECT_MS), connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(refused(error)),
            Err(_) => return Err(Over::Lost(None)),
        };
        let mut client = Client { ws, protocol, deadlines: Duration::from_millis(CONNECT_MS) };
        loop {
            if let ServerMessage::Welcome { heartbeat_ms, .. } = client.next().await? {
                client.deadlines = Duration::from_millis(heartbeat_ms.max(100)) * SILENT_BEATS;
                return Ok(client);
            }
        }
    }

    /// Sends a message to the broker.
    ///
    /// # Errors
    /// [`Over::Lost`].
    pub async fn say(&mut self, message: &ClientMessage) -> Result<(), Over> {
        let bytes = frame::encode_client(self.protocol, message);
        let message = match self.protocol {
            Protocol::Json => Message::text(String::from_utf8(bytes).map_err(|_| Over::Lost(None))?),
            Protocol::Msgpack => Message::binary(bytes),
        };
        self.ws.send(message).await.map_err(|_| Over::Lost(None))
    }

    /// Receives the next message. Cancel-safe.
    ///
    /// # Errors
    /// How the connection ended; a silent one is lost.
    pub async fn next(&mut self) -> Result<ServerMessage, Over> {
        self.next_sized().await.map(|(message, _)| message)
    }

    /// The next message and its bytes: what credit is counted in. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::next`].
    pub async fn next_sized(&mut self) -> Result<(ServerMessage, u64), Over> {
        loop {
            let Ok(message) = timeout(self.deadlines, self.ws.next()).await else { return Err(Over::Lost(None)) };
            let bytes = match message {
                Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                Some(Ok(Message::Close(Some(close)))) => return Err(closed(close.code.into(), &close.reason)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Over::Lost(None)),
            };
            let message = frame::decode_server(self.protocol, &bytes).map_err(Over::Refused)?;
            return Ok((message, bytes.len() as u64));
        }
    }
}

fn closed(code: u16, reason: &str) -> Over {
    if Close::may_retry(code) {
        return Over::Lost(None);
    }
    let code = match Close::ALL.iter().find(|close| close.code() == code) {
        Some(Close::Unauthenticated | Close::HelloTimeout) => Code::Unauthenticated,
        Some(Close::Forbidden) => Code::Forbidden,
        Some(Close::TooLarge) => Code::TooLarge,
        _ => Code::Invalid,
    };
    Over::Refused(Failure::new(code, format!("the broker closed the socket: {reason}")))
}

fn refused(error: Error) -> Over {
    match error {
        Error::Http(response) => {
            let status = response.status().as_u16();
            let code = match status {
                401 => Code::Unauthenticated,
                403 => Code::Forbidden,
                404 => Code::NotFound,
                408 | 429 | 500.. => return Over::Lost(None),
                _ => Code::Invalid,
            };
            Over::Refused(Failure::new(code, format!("the broker answered {status}")))
        }
        Error::Url(error) => Over::Refused(Failure::invalid("url", error)),
        _ => Over::Lost(None),
    }
}

/// Parameters of [`follow`]: broker, job and start.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Address of the broker: `ws://host:port/v1/ws`.
    pub url: String,
    /// The key, where one is needed.
    pub token: Option<String>,
    /// Protocol of the connection.
    pub protocol: Protocol,
    /// Id of the job.
    pub id: String,
    /// Where to begin; `-1` = from the start.
    pub cursor: String,
}

/// Follows a job to its end through cut connections and restarts. Each record is given once.
/// Cancel-safe in that nothing is lost that was not given yet.
///
/// # Errors
/// The broker's error about the job or the cursor; `internal` when records have a gap;
/// `overloaded` when the broker stays away.
pub async fn follow(what: Follow, mut on_record: impl FnMut(&Record)) -> Result<State, Failure> {
    let mut arbiter = SocketArbiter { cursor: what.cursor.clone(), next_seq: None };
    let mut tries = 0;
    loop {
        let before = arbiter.cursor.clone();
        match once(&what, &mut arbiter, &mut on_record).await {
            Ok(state) => return Ok(state),
            Err(Over::Refused(failure)) => return Err(failure),
            Err(Over::Lost(advice_ms)) => {
                tries = if arbiter.cursor == before { tries + 1 } else { 1 };
                if tries >= TRIES_MAX {
                    return Err(Failure::new(Code::Overloaded, "the broker cannot be reached"));
                }
                let backoff_ms = (BACKOFF_MS << tries.min(10)).min(BACKOFF_MS_MAX).max(advice_ms.unwrap_or(0));
                // Half fixed, half chance: readers of a restarted broker do not come all at once.
                let wait_ms = backoff_ms / 2 + fastrand::u64(0..=backoff_ms / 2);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
        }
    }
}

struct SocketArbiter {
    cursor: String,
    next_seq: Option<u64>,
}

async fn once(what: &Follow, arbiter: &mut SocketArbiter, on_record: &mut impl FnMut(&Record)) -> Result<State, Over> {
    let mut client = Client::connect(&what.url, what.token.as_deref(), what.protocol).await?;
    let sub = Label::Number(1);
    let (id, cursor) = (what.id.as_str().into(), Some(arbiter.cursor.as_str().into()));
    client.say(&ClientMessage::Subscribe { sub: sub.clone(), id, cursor, credit: None }).await?;
    let mut advice_ms = None;
    loop {
        let (message, bytes) = match client.next_sized().await {
            Err(Over::Lost(_)) => return Err(Over::Lost(advice_ms)),
            other => other?,
        };
        match message {
            ServerMessage::Events { cursor, items, .. } => {
                for record in &items {
                    if arbiter.next_seq.is_some_and(|expected| expected != record.seq) {
                        let message = format!("record {} came where {:?} was due", record.seq, arbiter.next_seq);
                        return Err(Over::Refused(Failure::internal(message)));
                    }
                    arbiter.next_seq = Some(record.seq + 1);
                    on_record(record);
                }
                arbiter.cursor = cursor.into();
                client.say(&ClientMessage::Credit { sub: sub.clone(), add: bytes }).await?;
            }
            ServerMessage::End { state, .. } => return Ok(state),
            ServerMessage::Goaway { retry_after_ms } => advice_ms = Some(retry_after_ms),
            ServerMessage::Error { error, .. } if error.retryable => return Err(Over::Lost(error.retry_after_ms)),
            ServerMessage::Error { error, .. } => return Err(Over::Refused(error)),
            _ => {}
        }
    }
}
