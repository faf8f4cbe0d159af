//! Tests of fetching: which addresses may be reached, and what comes of it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server that answers every request with the next of `answers`.
async fn server(answers: Vec<String>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::runtime::Handle::current().spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn ok(kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_file_is_fetched_from_a_host_that_is_allowed_and_from_no_other_private_one() {
    let allowed = FileFetcher::new(["127.0.0.1".into(), "localhost".into()]);
    let address = server(vec![ok("image/PNG; x=y", "abc")]).await;
    let file = allowed.fetch(&format!("http://{address}/a.png")).await.expect("fetched");
    assert_eq!((file.mime.as_str(), &file.bytes[..]), ("image/png", &b"abc"[..]));

    let strict = FileFetcher::new([]);
    for url in [format!("http://{address}/"), format!("http://localhost:{}/", address.port()), "http://[::1]/".into()] {
        let problem = strict.fetch(&url).await.expect_err("is private");
        assert!(problem.contains("not a public address"), "{url}: {problem}");
    }
    for url in ["file:///etc/passwd", "ftp://host/x", "nothing"] {
        assert!(strict.fetch(url).await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_leads_nowhere_private_and_an_endless_file_ends() {
    let port = server(Vec::new()).await.port();
    let only_localhost = FileFetcher::new(["localhost".into()]);
    let turn =
        |to: String| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let address = server(vec![turn(format!("http://127.0.0.1:{port}/secret"))]).await;
    let problem = only_localhost.fetch(&format!("http://localhost:{}/", address.port())).await.expect_err("is private");
    assert!(problem.contains("not a public address"), "{problem}");

    let huge =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1_u64 << 40, "x".repeat(REMOTE_FILE_BYTES_MAX + 1));
    let address = server(vec![huge, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into()]).await;
    let url = format!("http://localhost:{}/", address.port());
    assert!(only_localhost.fetch(&url).await.expect_err("is too large").contains("is over"));
    assert_eq!(only_localhost.fetch(&url).await.expect_err("is not there"), "its server answers 404");
}
