//! Settles, at a start, every job that the log found without a terminal record.

use std::sync::Arc;

use futures_util::StreamExt;

use super::Broker;
use crate::log::Unfinished;
use crate::run::recovery;

/// Number of jobs that are settled at once, so that they share commits of the log.
const AT_ONCE: usize = 256;

impl Broker {
    /// Settles every job that the log found without a terminal record, by its `on_crash` rule: it has
    /// ended or runs again when this resolves. Call it once, before HTTP and WebSocket open.
    pub async fn settle_unfinished(self: &Arc<Self>) {
        let unfinished = self.log.unfinished();
        if unfinished.is_empty() {
            return;
        }
        tracing::info!(jobs = unfinished.len(), "settling the jobs that were under way when the broker died");
        let settle = |unfinished: Unfinished| async move {
            let id = unfinished.job.id.clone();
            match recovery::settle(&self.env, unfinished).await {
                Ok(Some(run)) => {
                    self.deliveries.announce(&run.job, run.writer.stream());
                    self.start(run);
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::error!(job = %id, %failure, "an unfinished job cannot be settled; the next start tries again");
                }
            }
        };
        futures_util::stream::iter(unfinished).for_each_concurrent(AT_ONCE, settle).await;
    }
}
