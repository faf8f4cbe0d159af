//! The section `[webhooks]`: how servers are told that a job has ended.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;

/// How servers are told that a job has ended.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// The secret that signs webhooks: `whsec_` and base64. While receivers change over it may be several with blanks
    /// between them, the newest first. Without it, jobs that name a webhook are refused.
    pub secret: Option<Secret>,
    /// Hosts that may be told although their addresses are not public, or over plain http.
    pub allow_hosts: Vec<Box<str>>,
    /// Milliseconds that a receiver has for its answer, at most 60,000.
    pub timeout_ms: u64,
    /// The most tries, the first included.
    pub attempts_max: u32,
    /// Milliseconds of the first wait between tries, before jitter; each further wait is twice as long.
    pub delay_ms: u64,
    /// Milliseconds of the longest wait, also where the receiver asks for a longer one; the default is 3 hours.
    pub delay_ms_max: u64,
    /// Seconds after the end of a job when its webhook is given up; the default is a day.
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
