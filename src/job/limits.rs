//! What is left of a provider's limits, as its answers report it.

/// What is left of one limit of a provider until it resets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// Most that the limit lets through, if the provider reports it.
    pub limit: Option<u64>,
    /// Amount that is left of the limit.
    pub remaining: u64,
    /// Milliseconds from now until the limit resets; 0 where the provider does not report it.
    pub reset_ms: u64,
}

/// What is left of requests and of tokens; of several limits of a kind, the one with the least left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Limit on the number of requests.
    pub requests: Option<Window>,
    /// Limit on the number of tokens.
    pub tokens: Option<Window>,
}

impl Limits {
    /// Returns whether the provider reported no limits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}
