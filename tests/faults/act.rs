//! The faults of a provider, and the answer that a perfect one gives.

/// Words of the whole answer: `t0 t1 … t59`.
pub(crate) const TOKENS: usize = 60;

/// Returns the answer of a perfect provider.
pub(crate) fn whole() -> String {
    upto(TOKENS)
}

/// Returns the first `count` words of that answer.
pub(crate) fn upto(count: usize) -> String {
    (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(" ")
}

/// The behavior of the fault server towards one call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Act {
    /// It gives the answer from where the request left it, its usage, and its end.
    Answer,
    /// It answers with this status, these header lines and this body.
    Status(u16, &'static str, &'static str),
    /// It closes the connection without an answer; with a reset, if `true`.
    Hangs(bool),
    /// The head of a good answer, the rest so many milliseconds later.
    Late(u64),
    /// The answer up to so many words of the whole one, then trouble.
    After(usize, Trouble),
    /// Reasoning, and then as [`Act::After`].
    Thinks(usize, Trouble),
    /// 400 if the request ends with a part of the answer, else the answer.
    NoPrefill,
    /// The answer with two ends and data behind them.
    Doubled,
    /// The answer in a content coding that the request does not accept.
    Gzip,
    /// The answer, with headers that allow no further request for so many milliseconds.
    Rationed(u64),
    /// A page of HTML under this status.
    Html(u16),
    /// A 500 with a body of 100 MB.
    HugeError,
}

/// The way in which an answer breaks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Trouble {
    /// The connection is reset.
    Reset,
    /// The connection is closed in the middle of the body.
    Closed,
    /// The usage so far is sent, then the connection is closed.
    BilledAndClosed,
    /// No further byte is sent.
    Stall,
    /// An error in the stream.
    Error,
    /// The body ends as if all were well, without the provider's own end.
    NoEnd,
    /// The provider's own end without usage.
    NoUsage,
    /// A packet that is no JSON, then the rest.
    Malformed,
    /// One byte a second, in the middle of a packet.
    Trickle,
    /// The provider's filter stops the answer.
    Filtered,
}

/// The thoughts of [`Act::Thinks`]: no request may hold them.
pub(crate) const THOUGHT: &str = "a thought of its own";
