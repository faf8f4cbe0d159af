//! What a provider may do to a call, and the answer that a perfect one gives.

/// Words of the whole answer: `t0 t1 … t59`.
pub(crate) const TOKENS: usize = 60;

/// What a perfect provider says.
pub(crate) fn whole() -> String {
    upto(TOKENS)
}

/// The first `count` words of it.
pub(crate) fn upto(count: usize) -> String {
    (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(" ")
}

/// What a call meets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Act {
    /// The answer from where the request left it, its usage, its end.
    Answer,
    /// This status, these header lines, this body.
    Status(u16, &'static str, &'static str),
    /// The connection is closed without a word; with a reset, if so.
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
    /// The answer, coded as nobody asked for.
    Gzip,
    /// The answer, and the news that it was the last that is allowed for so many milliseconds.
    Rationed(u64),
    /// A page of HTML under this status.
    Html(u16),
    /// A 500 with a body of 100 MB.
    HugeError,
}

/// What befalls an answer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Trouble {
    /// The connection is reset.
    Reset,
    /// The connection is closed in the middle of the body.
    Closed,
    /// The usage so far is told, then the connection is closed.
    BilledAndClosed,
    /// Nothing more comes.
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
    /// The provider's filter stops it.
    Filtered,
}

/// The thoughts of [`Act::Thinks`]: no request may hold them.
pub(crate) const THOUGHT: &str = "a thought of its own";
