//! The bench's token: its text is the moment at which it was sent.
//!
//! Owns the form, and the scanner that finds tokens in the format of every entrance: JSON, SSE,
//! WebSocket frames. Promises that a token cut between two reads is counted once.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;
use memchr::memchr;

use super::machine::now_ns;

const MARK: u8 = b'@';
const DIGITS: usize = 19;

/// Returns the text of a token that is sent now.
pub(super) fn stamp() -> String {
    format!("@{:0width$} ", now_ns(), width = DIGITS)
}

/// Reads from a token's text when it was sent; the present time if the text is no token.
pub(super) fn sent_ns(text: &str) -> u64 {
    text.trim_end().strip_prefix('@').and_then(|digits| digits.parse().ok()).unwrap_or_else(now_ns)
}

/// The shortest and the longest time that a distribution tells apart from shorter and longer ones,
/// nanoseconds. A histogram that grows by itself does so in `record` only: `saturating_record` would
/// cut every time off at its first two microseconds.
const TOLD_NS: (u64, u64) = (1, 600_000_000_000);

/// Makes an empty distribution of nanoseconds, exact to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(TOLD_NS.0, TOLD_NS.1, 3).expect("the bounds are apart and three digits are allowed")
}

/// Nanoseconds from sent to read of all tokens of a load. Shared by its readers: a histogram is too
/// large for each of ten thousand to have one.
pub(super) type Transit = Arc<Mutex<Histogram<u64>>>;

/// Counts tokens in a stream of bytes, and how long each was under way.
pub(super) struct Scanner {
    carry: Vec<u8>,
    /// Number of tokens that were found.
    pub(super) tokens: u64,
    /// Time at which the first token was found.
    pub(super) first_at_ns: Option<u64>,
    transit: Transit,
    since_ns: u64,
}

impl Scanner {
    /// Makes a scanner that measures from `since_ns` on; what comes before is only counted.
    pub(super) fn since(since_ns: u64, transit: Transit) -> Scanner {
        Scanner { carry: Vec::new(), tokens: 0, first_at_ns: None, transit, since_ns }
    }

    /// Scans the next bytes, which arrived just now.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let now = now_ns();
        if self.carry.is_empty() {
            let rest = self.scan(bytes, now);
            self.carry.extend_from_slice(rest);
            return;
        }
        let mut joined = std::mem::take(&mut self.carry);
        joined.extend_from_slice(bytes);
        let rest = self.scan(&joined, now).len();
        joined.drain(..joined.len() - rest);
        self.carry = joined;
    }

    /// Returns the start of a token whose end is still to come.
    fn scan<'a>(&mut self, mut bytes: &'a [u8], now: u64) -> &'a [u8] {
        while let Some(at) = memchr(MARK, bytes) {
            bytes = &bytes[at..];
            let digits = bytes.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
            if digits < DIGITS {
                if bytes.len() == 1 + digits {
                    return bytes;
                }
                bytes = &bytes[1..];
                continue;
            }
            let sent = bytes[1..=DIGITS].iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            self.token(sent, now);
            bytes = &bytes[1 + DIGITS..];
        }
        &[]
    }

    fn token(&mut self, sent: u64, now: u64) {
        self.tokens += 1;
        self.first_at_ns.get_or_insert(now);
        if now >= self.since_ns {
            let mut transit = self.transit.lock().expect("nothing panics while it holds this lock");
            transit.saturating_record(now.saturating_sub(sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_wherever_the_bytes_are_cut() {
        let text = format!("data: {{\"text\":\"{}\"}}\n\nx@12 y@\"{}{}@", stamp(), stamp(), stamp());
        for cut in 0..=text.len() {
            let transit = Transit::new(Mutex::new(histogram()));
            let mut scanner = Scanner::since(0, Arc::clone(&transit));
            scanner.feed(&text.as_bytes()[..cut]);
            scanner.feed(&text.as_bytes()[cut..]);
            let transit = transit.lock().unwrap();
            assert_eq!((scanner.tokens, transit.len()), (3, 3), "cut at {cut}");
            assert!(transit.max() < 60_000_000_000);
        }
    }

    #[test]
    fn a_time_is_told_as_it_was() {
        for ns in [1_000, 25_000, 3_000_000, 90_000_000_000] {
            let mut times = histogram();
            times.saturating_record(ns);
            let measured = times.value_at_quantile(0.5);
            assert!(measured.abs_diff(ns) <= ns / 500, "{ns} ns are measured as {measured}");
        }
        let mut times = histogram();
        times.saturating_record(u64::MAX);
        assert!(times.value_at_quantile(1.0) >= TOLD_NS.1, "what is too long is not left out");
    }

    #[test]
    fn tokens_before_the_measurement_are_only_counted() {
        let transit = Transit::new(Mutex::new(histogram()));
        let mut scanner = Scanner::since(u64::MAX, Arc::clone(&transit));
        scanner.feed(stamp().as_bytes());
        assert_eq!((scanner.tokens, transit.lock().unwrap().len()), (1, 0));
    }
}
