//! A receiver of webhooks: it answers as a test wants, keeps the requests that it got, and checks
//! signatures with arithmetic of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Longest wait of a test; it is a way to fail, not a way to synchronise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub(crate) struct WebhookRequest {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

pub(crate) struct Receiver {
    pub addr: SocketAddr,
    requests: mpsc::Receiver<WebhookRequest>,
}

impl Receiver {
    /// Answers the first requests with `answers` (a status, and more headers), all others with 204.
    pub(crate) fn start(answers: &'static [(u16, &'static str)]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (sender, requests) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = read(&mut stream) else { continue };
                let (status, more) = answers.next().copied().unwrap_or((204, ""));
                let answer = format!("HTTP/1.1 {status} So\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n");
                if sender.send(request).is_err() || stream.write_all(answer.as_bytes()).is_err() {
                    continue;
                }
            }
        });
        Receiver { addr, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// Waits for the next request and returns it.
    pub(crate) fn next(&self) -> WebhookRequest {
        self.requests.recv_timeout(PATIENCE).expect("a webhook comes")
    }

    /// Returns the requests that came and were not returned yet.
    pub(crate) fn rest(&self) -> Vec<WebhookRequest> {
        self.requests.try_iter().collect()
    }
}

impl WebhookRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns whether the request is signed with each of these `secrets`, in this order, and with no other.
    pub(crate) fn is_signed_with(&self, secrets: &[&str]) -> bool {
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let one = |secret: &&str| {
            let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
            format!("v1,{}", STANDARD.encode(hmac(&key, signed.as_bytes())))
        };
        self.header("webhook-signature") == secrets.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// RFC 2104, for keys of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([&padded(0x36)[..], message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).to_vec()
}

fn read(stream: &mut TcpStream) -> Option<WebhookRequest> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(told) = whole(&bytes) {
            return Some(told);
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

fn whole(bytes: &[u8]) -> Option<WebhookRequest> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into())).collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    (body.len() >= length).then(|| WebhookRequest { path, headers, body: body.to_owned() })
}
