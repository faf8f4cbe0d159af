//! A line that breaks: one request on a connection of its own, of whose answer only so much arrives.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends when it does not come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The reader resets it.
    Reset,
    /// The reader closes it, as a program that ends does.
    Closed,
    /// A proxy in between resets both sides.
    ProxyReset,
    /// A proxy in between closes both sides.
    ProxyClosed,
}

const CUTS: [Cut; 4] = [Cut::Reset, Cut::Closed, Cut::ProxyReset, Cut::ProxyClosed];

/// Where and how a line breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Break {
    pub(crate) how: Cut,
    /// Bytes of the answer, its head among them, that arrive before.
    pub(crate) after: usize,
}

impl Break {
    pub(crate) fn draw(random: &mut fastrand::Rng, bytes_max: usize) -> Break {
        Break { how: CUTS[random.usize(..CUTS.len())], after: random.usize(..bytes_max) }
    }
}

/// What arrived of an answer, with its whole head.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its own end.
    pub(crate) whole: bool,
}

impl Answer {
    /// `None` when not even the head arrived.
    fn parse(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: Vec::new(), whole: false };
        let rest = &bytes[end..];
        match answer.header("content-length").parse::<usize>() {
            Ok(length) => (answer.body, answer.whole) = (rest.to_vec(), rest.len() == length),
            Err(_) => (answer.body, answer.whole) = dechunked(rest),
        }
        Some(answer)
    }

    /// A header of the answer; empty where it has none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = headers.filter(|(each, _)| each.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }
}

/// What arrived of a chunked body, the beginning of a chunk too, and whether it has its end.
fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk begins with its size");
        bytes = &bytes[line + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&bytes[..size.min(bytes.len())]);
        bytes = bytes.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// Sends a request and takes what arrives until the connection breaks. An error where no server listens.
pub(crate) async fn get(to: &str, path: &str, headers: &str, breaks: Option<Break>) -> io::Result<Option<Answer>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: forebay\r\nconnection: close\r\n{headers}\r\n");
    let after = breaks.map_or(usize::MAX, |breaks| breaks.after);
    let how = breaks.map(|breaks| breaks.how);
    let (mut stream, limit) = match how {
        Some(Cut::ProxyReset | Cut::ProxyClosed) => {
            let resets = matches!(how, Some(Cut::ProxyReset));
            (TcpStream::connect(proxy(TcpStream::connect(to).await?, after, resets).await?).await?, usize::MAX)
        }
        _ => (TcpStream::connect(to).await?, after),
    };
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let left = (limit - bytes.len()).min(16 * 1024) as u64;
        match (&mut stream).take(left).read_buf(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if matches!(how, Some(Cut::Reset)) {
        stream.set_zero_linger()?;
    }
    Ok(Answer::parse(&bytes))
}

/// Serves one connection: the request goes up, `after` bytes of the answer come down, then both sides are cut.
async fn proxy(mut up: TcpStream, after: usize, resets: bool) -> io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (mut down, _) = listener.accept().await?;
        let (mut from_down, mut to_down) = down.split();
        let (from_up, mut to_up) = up.split();
        let mut answer = from_up.take(after as u64);
        tokio::select! {
            copied = tokio::io::copy(&mut answer, &mut to_down) => copied?,
            copied = tokio::io::copy(&mut from_down, &mut to_up) => copied?,
        };
        if resets {
            up.set_zero_linger()?;
            down.set_zero_linger()?;
        }
        io::Result::Ok(())
    });
    Ok(address)
}
