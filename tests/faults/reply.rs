//! The answers of the fault server, good and bad.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::act::{Act, THOUGHT, Trouble, upto, whole};
use crate::provider::{Call, Start};

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
/// Number of bytes in the body of [`Act::HugeError`].
const HUGE_BYTES: usize = 100 * 1024 * 1024;

pub(crate) struct Reply<'a> {
    stream: TcpStream,
    call: &'a Mutex<Call>,
    pace: Duration,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(stream: TcpStream, call: &'a Mutex<Call>, pace: Duration) -> Reply<'a> {
        Reply { stream, call, pace }
    }

    /// Plays the act; `None` when the client closed the connection first.
    pub(crate) async fn play(&mut self, act: Act, start: &Start) -> Option<()> {
        match act {
            Act::Answer => self.answer(start).await,
            Act::Status(status, headers, body) => self.status(status, headers, body).await,
            Act::Hangs(reset) => self.hang_up(reset),
            Act::Late(ms) => {
                self.head("").await?;
                self.wait(Duration::from_millis(ms)).await?;
                self.rest(start).await
            }
            Act::After(count, trouble) => {
                self.head("").await?;
                self.event(&json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})).await?;
                self.say(start, &upto(count)).await?;
                self.trouble(trouble, start).await
            }
            Act::Thinks(count, trouble) => {
                self.head("").await?;
                self.event(&json!({"choices": [{"index": 0, "delta": {"reasoning_content": THOUGHT}}]})).await?;
                self.say(start, &upto(count)).await?;
                self.trouble(trouble, start).await
            }
            Act::NoPrefill if start.is_prefill => {
                let body =
                    r#"{"error":{"message":"the last message must be the user's","type":"invalid_request_error"}}"#;
                self.status(400, "", body).await
            }
            Act::NoPrefill => self.answer(start).await,
            Act::Doubled => {
                self.head("").await?;
                self.rest_of(start).await?;
                self.finish("stop", Some(start)).await?;
                self.send("data: [DONE]\n\n").await?;
                self.event(&json!({"choices": [{"index": 0, "delta": {"content": "and more"}}]})).await?;
                self.finish("stop", None).await?;
                self.send("data: [DONE]\n\n").await?;
                self.write(b"0\r\n\r\n").await
            }
            Act::Gzip => {
                self.head("content-encoding: gzip\r\n").await?;
                let not_text: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                self.write(format!("{:x}\r\n", not_text.len() + 4).as_bytes()).await?;
                self.write(&[0x1f, 0x8b, 8, 0]).await?;
                self.write(&not_text).await?;
                self.write(b"\r\n0\r\n\r\n").await
            }
            Act::Rationed(ms) => {
                let headers = [("limit", "1".to_owned()), ("remaining", "0".to_owned()), ("reset", format!("{ms}ms"))];
                let lines = headers.map(|(name, value)| format!("x-ratelimit-{name}-requests: {value}\r\n"));
                self.head(&lines.concat()).await?;
                self.rest(start).await
            }
            Act::Html(status) => {
                let page = "<html><head><title>Bad gateway</title></head><body>nginx</body></html>";
                self.status(status, "content-type: text/html\r\n", page).await
            }
            Act::HugeError => {
                let head = format!("HTTP/1.1 500 Oops\r\ncontent-length: {HUGE_BYTES}\r\nconnection: close\r\n\r\n");
                self.write(head.as_bytes()).await?;
                let piece = vec![b'x'; 64 * 1024];
                for _ in 0..HUGE_BYTES / piece.len() {
                    self.write(&piece).await?;
                }
                Some(())
            }
        }
    }

    async fn answer(&mut self, start: &Start) -> Option<()> {
        self.head("").await?;
        self.rest(start).await
    }

    async fn rest(&mut self, start: &Start) -> Option<()> {
        self.rest_of(start).await?;
        self.finish("stop", Some(start)).await?;
        self.send("data: [DONE]\n\n").await?;
        self.write(b"0\r\n\r\n").await
    }

    async fn trouble(&mut self, trouble: Trouble, start: &Start) -> Option<()> {
        match trouble {
            Trouble::Reset => self.hang_up(true),
            Trouble::Closed => Some(()),
            Trouble::BilledAndClosed => self.usage(start).await,
            Trouble::Stall => self.leaving().await,
            Trouble::Error => {
                let error = json!({"error": {"message": "The server is overloaded", "type": "server_error"}});
                self.event(&error).await?;
                self.write(b"0\r\n\r\n").await
            }
            Trouble::NoEnd => self.write(b"0\r\n\r\n").await,
            Trouble::NoUsage => {
                self.finish("stop", None).await?;
                self.write(b"0\r\n\r\n").await
            }
            Trouble::Malformed => {
                self.send("data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"t4\n\n").await?;
                self.rest_of(start).await?;
                self.write(b"0\r\n\r\n").await
            }
            Trouble::Trickle => {
                for byte in "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"".chars() {
                    self.send(&byte.to_string()).await?;
                    self.wait(Duration::from_secs(1)).await?;
                }
                Some(())
            }
            Trouble::Filtered => {
                self.finish("content_filter", Some(start)).await?;
                self.send("data: [DONE]\n\n").await?;
                self.write(b"0\r\n\r\n").await
            }
        }
    }

    /// Sends the rest of the whole answer.
    async fn rest_of(&mut self, start: &Start) -> Option<()> {
        self.say(start, &whole()).await
    }

    /// Sends the part of `text` after the start, word by word.
    async fn say(&mut self, start: &Start, text: &str) -> Option<()> {
        if text.len() <= start.at {
            return Some(());
        }
        if !start.again.is_empty() {
            self.word(&start.again).await?;
        }
        let rest = &text[start.at..];
        let ends = rest.match_indices(' ').map(|(at, _)| at).filter(|at| *at > 0).chain([rest.len()]);
        let mut from = 0;
        for to in ends {
            self.word(&rest[from..to]).await?;
            from = to;
        }
        Some(())
    }

    async fn word(&mut self, word: &str) -> Option<()> {
        self.event(&json!({"choices": [{"index": 0, "delta": {"content": word}}]})).await?;
        self.call.lock().unwrap().sent.push_str(word);
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        Some(())
    }

    async fn finish(&mut self, reason: &str, billed: Option<&Start>) -> Option<()> {
        self.event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})).await?;
        match billed {
            Some(start) => self.usage(start).await,
            None => Some(()),
        }
    }

    async fn usage(&mut self, start: &Start) -> Option<()> {
        let output = self.call.lock().unwrap().sent.split_whitespace().count() as u64;
        let (prompt_tokens, total_tokens) = (start.input_tokens, start.input_tokens + output);
        let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": output, "total_tokens": total_tokens});
        // Counted first: its reader may be done before the write returns.
        self.call.lock().unwrap().usage = Some((prompt_tokens, output));
        self.event(&json!({"choices": [], "usage": usage})).await
    }

    async fn status(&mut self, status: u16, headers: &str, body: &str) -> Option<()> {
        let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} Said\r\n{headers}{length}connection: close\r\n\r\n{body}");
        self.write(head.as_bytes()).await
    }

    async fn head(&mut self, headers: &str) -> Option<()> {
        self.write(format!("{SSE}{headers}connection: close\r\n\r\n").as_bytes()).await
    }

    async fn event(&mut self, data: &Value) -> Option<()> {
        self.send(&format!("data: {data}\n\n")).await
    }

    /// Sends a piece of the body as a chunk of its own.
    async fn send(&mut self, text: &str) -> Option<()> {
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    fn hang_up(&mut self, reset: bool) -> Option<()> {
        if reset {
            socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).ok()?;
        }
        Some(())
    }

    /// Waits, or notes that the client closed the connection.
    async fn wait(&mut self, time: Duration) -> Option<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Some(()),
            _ = self.leaving() => None,
        }
    }

    /// Waits until the client closes the connection.
    async fn leaving(&mut self) -> Option<()> {
        let mut nothing = [0; 64];
        while self.stream.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
        let mut call = self.call.lock().unwrap();
        call.left.get_or_insert_with(Instant::now);
        Some(())
    }
}
