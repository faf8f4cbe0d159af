//! A provider on a socket, so that requests are counted outside the broker: the built-in script,
//! played over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use forebay::provider::script::{Player, Script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Provider {
    address: String,
    requests: Arc<AtomicU32>,
}

impl Provider {
    /// Answers every request with `script`.
    pub(crate) async fn start(script: &serde_json::Value) -> Provider {
        let script = Script::parse(&script.to_string(), "script").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), Arc::clone(&counter)));
            }
        });
        Provider { address, requests }
    }

    /// The broker's configuration of it, as provider `counted`.
    pub(crate) fn config(&self) -> String {
        format!(
            "[providers.counted]\nkind = \"openai-compatible\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n",
            self.address
        )
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One request, one answer; `None` when the other side left.
async fn serve(mut stream: TcpStream, script: Script, requests: Arc<AtomicU32>) -> Option<()> {
    let mut bytes = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..body_at]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    while bytes.len() < body_at + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let mut player = Player::new(&script, &bytes[body_at..]);
    player.head().await.ok()?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    while let Some(piece) = player.chunk().await.ok()? {
        stream.write_all(&piece).await.ok()?;
    }
    Some(())
}
