//! What a provider says in its headers about its own rate limits.

/// The limits that came with one answer; what a provider does not tell is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Of requests.
    pub requests: Option<Window>,
    /// Of tokens.
    pub tokens: Option<Window>,
}

/// One limit, as it stood when the answer began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Window {
    /// How many there are in all.
    pub limit: Option<u64>,
    /// How many are left.
    pub remaining: u64,
    /// Milliseconds from now until it is full again.
    pub reset_ms: u64,
}

impl Limits {
    /// Whether nothing was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}
