use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::job::Code;
use crate::provider::Credential;
use crate::provider::Framing;
use crate::provider::Method;

const CONNECT: Duration = Duration::from_secs(5);

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/chat", listener.local_addr().unwrap());
    (listener, url)
}

fn outbound(url: &str) -> Outbound {
    let mut headers = Headers::new();
    headers.insert("authorization", "Bearer secret".parse().unwrap());
    Outbound {
        route: Route::Http { method: Method::POST, url: url.into(), headers, credential: Credential::default() },
        body: Bytes::from_static(b"{}"),
        framing: Framing::Sse,
        dropped: Vec::new(),
    }
}

/// Takes one request and answers with these bytes.
async fn answer(listener: &TcpListener, bytes: &str) -> (TcpStream, String) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"{}") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
    }
    socket.write_all(bytes.as_bytes()).await.unwrap();
    (socket, String::from_utf8(request).unwrap())
}

#[tokio::test]
async fn a_reply_comes_piece_by_piece_and_closes_its_socket_when_dropped() {
    let (listener, url) = listener().await;
    let client = ProviderClient::new().unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let (reply, (mut socket, request)) =
        tokio::join!(client.send(outbound(&url), CONNECT, Timestamp(0)), answer(&listener, head));
    let mut reply = reply.unwrap();
    assert_eq!((reply.status, reply.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    assert_eq!(reply.chunk().await.unwrap().as_deref(), Some(&b"hello"[..]));
    assert!(request.starts_with("POST /v1/chat HTTP/1.1") && request.contains("authorization: Bearer secret"));
    assert!(!request.to_ascii_lowercase().contains("accept-encoding"), "{request}");
    drop(reply);
    let mut rest = [0; 1];
    let closed = tokio::time::timeout(CONNECT, socket.read(&mut rest)).await.expect("the socket is closed");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_truncated_and_one_that_ends_is_not() {
    let client = ProviderClient::new().unwrap();
    for (body, cut) in [
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
        ("transfer-encoding: chunked\r\n\r\n9\r\nhello", true),
        ("content-length: 5\r\n\r\nhello", false),
        ("content-length: 9\r\n\r\nhello", true),
        ("connection: close\r\n\r\nhello", false),
    ] {
        let (listener, url) = listener().await;
        let head = format!("HTTP/1.1 200 OK\r\n{body}");
        let (reply, answered) =
            tokio::join!(client.send(outbound(&url), CONNECT, Timestamp(0)), answer(&listener, &head));
        drop(answered);
        let mut reply = reply.unwrap();
        let mut got = Vec::new();
        let end = loop {
            match reply.chunk().await {
                Ok(Some(bytes)) => got.extend_from_slice(&bytes),
                Ok(None) => break None,
                Err(failure) => break Some(failure.code),
            }
        };
        assert_eq!(end, cut.then_some(Code::ProviderTruncated), "{body:?}");
        assert!(got == b"hello" || cut, "{body:?}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_unavailable_and_its_url_is_not_in_the_message() {
    let (listener, url) = listener().await;
    drop(listener);
    let client = ProviderClient::new().unwrap();
    let failure = client.send(outbound(&url), CONNECT, Timestamp(0)).await.err().expect("there is no listener");
    assert_eq!(failure.code, Code::ProviderUnavailable, "{failure}");
    assert!(failure.belongs_to_target && failure.never_sent);
    assert!(!failure.message.contains("/v1/chat") && !failure.message.contains("secret"), "{failure}");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_unavailable() {
    let (listener, url) = listener().await;
    let client = ProviderClient::new().unwrap();
    let (reply, answered) = tokio::join!(client.send(outbound(&url), CONNECT, Timestamp(0)), async {
        drop(answer(&listener, "").await);
    });
    let () = answered;
    let failure = reply.err().expect("there is no answer");
    assert_eq!((failure.code, failure.never_sent), (Code::ProviderUnavailable, false), "{failure}");
}

#[tokio::test]
async fn a_broken_tls_never_sent_anything() {
    let (listener, url) = listener().await;
    let broken_tls = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"this is no TLS, sorry").await.unwrap();
        socket
    };
    let client = ProviderClient::new().unwrap();
    let secured = outbound(&url.replace("http:", "https:"));
    let (reply, _socket) = tokio::join!(client.send(secured, CONNECT, Timestamp(0)), broken_tls);
    let failure = reply.err().expect("there is no answer");
    assert_eq!((failure.code, failure.never_sent), (Code::ProviderUnavailable, true), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (listener, url) = listener().await;
    let client = ProviderClient::new().unwrap();
    let head = format!("HTTP/1.1 307 Moved\r\nlocation: {url}\r\ncontent-length: 3\r\n\r\nbye");
    let (reply, _answered) = tokio::join!(client.send(outbound(&url), CONNECT, Timestamp(0)), answer(&listener, &head));
    let mut reply = reply.unwrap();
    assert_eq!(reply.status, 307);
    assert_eq!(reply.error_body().await, b"bye");
}

#[tokio::test]
async fn an_endless_error_body_is_bounded() {
    let (listener, url) = listener().await;
    let client = ProviderClient::new().unwrap();
    let head = format!("HTTP/1.1 500 No\r\nconnection: close\r\n\r\n{}", "x".repeat(ERROR_BODY_BYTES_MAX * 2));
    let (reply, _answered) = tokio::join!(client.send(outbound(&url), CONNECT, Timestamp(0)), answer(&listener, &head));
    assert_eq!(reply.unwrap().error_body().await.len(), ERROR_BODY_BYTES_MAX);
}
