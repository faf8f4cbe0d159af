//! What a provider says is left of its limits, with an answer.

/// One limit of a provider, until it is full again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// The most that it lets through, if that is told.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: u64,
    /// Milliseconds from now until it is full again; 0 where that is not told.
    pub reset_ms: u64,
}

/// What is left, of requests and of tokens; of several limits of a kind, the one with the least left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Of requests.
    pub requests: Option<Window>,
    /// Of tokens.
    pub tokens: Option<Window>,
}

impl Limits {
    /// Whether nothing was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}
