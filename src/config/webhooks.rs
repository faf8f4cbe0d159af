//! `[webhooks]`: how somebody's server is told that a job has ended.

use serde::Deserialize;

use super::Secret;

/// `[webhooks]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// What is signed with: `whsec_` and base64. Several with blanks between, the newest first, while
    /// receivers change over. Without it jobs that name a webhook are refused.
    pub secret: Option<Secret>,
    /// Hosts that may be told although their addresses are not public, or by http.
    pub allow_hosts: Vec<Box<str>>,
    /// Milliseconds that a receiver has for its answer.
    pub timeout_ms: u64,
    /// Tries, the first included.
    pub attempts_max: u32,
    /// Milliseconds of the first wait, before jitter; it doubles with every try.
    pub delay_ms: u64,
    /// Milliseconds of the longest wait, a receiver's own `Retry-After` included.
    pub delay_ms_max: u64,
    /// Seconds after a job's end when it is given up.
    pub give_up_s: u64,
}

impl Default for WebhooksConfig {
    fn default() -> WebhooksConfig {
        WebhooksConfig {
            secret: None,
            allow_hosts: Vec::new(),
            timeout_ms: 10_000,
            attempts_max: 16,
            delay_ms: 2_000,
            delay_ms_max: 10_800_000,
            give_up_s: 86_400,
        }
    }
}
