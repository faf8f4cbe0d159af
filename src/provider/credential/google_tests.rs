//! Tokens over real sockets: a service account whose `token_uri` is ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::provider::Headers;

/// Made for this test; opens nothing.
const TEST_ONLY_KEY: &str = include_str!("../../../tests/fixtures/google/test_only_key.pem");

/// A service account whose tokens come from `listener`.
fn account(listener: &TcpListener) -> (TempDir, Google) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.json");
    let raw = json!({"type": "service_account", "project_id": "a-project", "private_key": TEST_ONLY_KEY,
        "client_email": "test@a-project.example", "token_uri": format!("http://{}/token", listener.local_addr().unwrap())});
    std::fs::write(&file, raw.to_string()).unwrap();
    let google = Google::find(file.to_str(), &|_| None);
    (folder, google)
}

async fn authorize(google: &Google) -> Result<String, Failure> {
    let (url, mut headers, body) = ("http://h/".parse().unwrap(), Headers::new(), Bytes::new());
    google
        .authorize(Request {
            method: &crate::provider::Method::POST,
            url: &url,
            headers: &mut headers,
            body: &body,
            now: crate::job::Timestamp(0),
        })
        .await?;
    assert!(headers[AUTHORIZATION].is_sensitive());
    Ok(headers[AUTHORIZATION].to_str().unwrap().to_owned())
}

/// Answers requests for tokens: number 1, 2, …; each good for so many seconds. The last request.
async fn serve(listener: &TcpListener, count: usize, status: &str, seconds: u64) -> String {
    let mut request = String::new();
    for number in 1..=count {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !request_is_whole(&bytes) {
            assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
        }
        let body = json!({"access_token": format!("ya29.{number}"), "expires_in": seconds, "token_type": "Bearer"});
        let (body, head) = (body.to_string(), format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: "));
        socket.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        request = String::from_utf8(bytes).unwrap();
    }
    request
}

fn request_is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

#[tokio::test]
async fn a_token_is_asked_for_once_however_many_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, google) = account(&listener);
    assert_eq!((google.project(), google.is_at_hand()), (Some("a-project"), true));
    let all = futures_util::future::join_all((0..20).map(|_| authorize(&google)));
    let (all, request) = tokio::join!(all, serve(&listener, 1, "200 OK", 3600));
    assert!(all.iter().all(|token| token.as_ref().unwrap() == "Bearer ya29.1"), "{all:?}");
    assert_eq!(authorize(&google).await.unwrap(), "Bearer ya29.1");
    assert!(request.starts_with("POST /token HTTP/1.1"), "{request}");
    let claims = request.split("assertion=").nth(1).and_then(|jwt| jwt.split('.').nth(1)).unwrap();
    let claims = claims.replace("%3D", "=");
    let claims: Value = serde_json::from_slice(&URL_SAFE.decode(claims).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["scope"]), (&json!("test@a-project.example"), &json!(SCOPES[0])));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, google) = account(&listener);
    let twice = async { [authorize(&google).await.unwrap(), authorize(&google).await.unwrap()] };
    let (tokens, _) = tokio::join!(twice, serve(&listener, 2, "200 OK", 15));
    assert_eq!(tokens, ["Bearer ya29.1", "Bearer ya29.2"]);
}

#[tokio::test]
async fn who_gets_no_token_is_told_so_without_a_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, google) = account(&listener);
    // The library tries five times.
    let (refused, _) = tokio::join!(authorize(&google), serve(&listener, 5, "400 Bad Request", 1));
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, r#"{"private_key": 7, "client_email": "secret"}"#).unwrap();
    let broken = authorize(&Google::find(broken.to_str(), &|_| None)).await;
    let absent = authorize(&Google::find(Some("/nowhere/account.json"), &|_| None)).await;
    for (result, expected) in [
        (refused, "no access to Google: token request failed"),
        (broken, "no access to Google: failed to deserialize ApplicationCredentials"),
        (absent, "no access to Google: failed to open application credentials file: No such file"),
    ] {
        let failure = result.unwrap_err();
        assert_eq!((failure.code, failure.belongs_to_target), (Code::ProviderAuth, true));
        assert!(failure.message.starts_with(expected), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_token_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, google) = account(&listener);
    let failure = authorize(&google).await.unwrap_err();
    assert_eq!(&*failure.message, "no access to Google: there was no token within 10 s");
}

#[test]
fn without_a_file_the_machine_is_asked() {
    let google = Google::find(None, &|_| None);
    assert!(matches!(google.source, Source::Machine) && !google.is_at_hand());
}
