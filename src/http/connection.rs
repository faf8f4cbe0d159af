//! One connection: HTTP/1.1 on it, until it becomes a WebSocket or ends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::context::{Connection, ServerState};
use super::dispatch;

/// Bytes of a request's head, and of answers that wait for a slow reader before the next frame is
/// taken.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Bytes that a connection's socket takes beyond what the network is carrying. What is under way to a
/// distant reader is not limited by this.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// Between two of the kernel's signs of life; it refuses more than 32 767 s.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);
/// How long a client may take for a TLS handshake, if it has not less for a request's head.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long a refused client gets to read why.
const REFUSAL_WAIT: Duration = Duration::from_millis(500);
/// Answer to a connection over the limit, written without reading the request.
const REFUSAL: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n",
    "content-length: 145\r\n\r\n",
    r#"{"error":{"code":"overloaded","message":"too many connections; try again","fault":"forebay","#,
    r#""retryable":true,"retry_after_ms":1000,"param":null}}"#
);

/// Serves one connection to its end, under TLS where that is configured now.
pub(super) async fn serve(stream: TcpStream, server: Arc<ServerState>, closing: watch::Receiver<bool>) {
    let snapshot = server.broker.snapshot.load();
    configure_socket(&stream, snapshot.config.server.heartbeat_ms);
    let tls = snapshot.tls.clone();
    drop(snapshot);
    match tls {
        None => speak(stream, server, closing).await,
        // On the heap, so that plain connections are no larger than they need.
        Some(tls) => Box::pin(speak_tls(stream, tls, server, closing)).await,
    }
}

async fn speak_tls(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    server: Arc<ServerState>,
    mut closing: watch::Receiver<bool>,
) {
    let shaken = tokio::time::timeout(server.limits.head.min(HANDSHAKE_WAIT), TlsAcceptor::from(tls).accept(stream));
    let shaken = tokio::select! {
        shaken = shaken => shaken,
        _ = closing.wait_for(|closing| *closing) => return,
    };
    match shaken {
        Ok(Ok(stream)) => speak(stream, server, closing).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// HTTP/1.1 over whatever carries bytes.
async fn speak<IO>(io: IO, server: Arc<ServerState>, mut closing: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Arc::new(Connection { server, upgrade: Mutex::new(None) });
    let head_wait = connection.server.limits.head;
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(dispatch::answer(&connection, request).await) }
        })
    };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_wait)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut http = std::pin::pin!(http);
    let ended = tokio::select! {
        biased;
        ended = http.as_mut() => Some(ended),
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    let upgrade = connection.upgrade.lock().expect("nothing panics while it holds this lock").take();
    if let Some(upgrade) = upgrade {
        upgrade.serve(&connection.server.broker).await;
    }
}

/// Small writes must not wait for acknowledgements. And the kernel must not take megabytes for a
/// reader that does not read: the log keeps them better, and until then they are work like any other.
/// The kernel's keep-alive is the only sign of life while an answer that is not a stream is awaited:
/// its first byte is its status, which is not known before the end.
fn configure_socket(stream: &TcpStream, heartbeat_ms: u64) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
    // The kernel counts in seconds, and not beyond nine hours.
    let beat = Duration::from_millis(heartbeat_ms).clamp(Duration::from_secs(1), KEEP_ALIVE_MAX);
    let keep_alive = socket2::TcpKeepalive::new().with_time(beat).with_interval(beat);
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
}

/// Tells a client that there are too many connections, and waits a moment for it to read that: closing with
/// something unread would reset the connection under the answer. Where TLS is configured, the connection
/// is closed without a handshake.
pub(super) async fn refuse(mut stream: TcpStream, server: Arc<ServerState>) {
    if server.broker.snapshot.load().tls.is_some() {
        return;
    }
    let polite = async {
        stream.write_all(REFUSAL.as_bytes()).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(REFUSAL_WAIT, polite).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let (head, body) = REFUSAL.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"]["code"] == "overloaded");
    }
}
