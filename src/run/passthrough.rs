//! The one attempt of a job whose request goes to its provider as the client wrote it.
//!
//! Promises that the request is sent once and that the events which our decoder reads from the answer
//! are in the log, while the client receives the provider's own bytes. Does not know how the client is
//! connected.

use std::sync::Arc;

use super::attempt::{self, Attempt};
use super::failover;
use super::job_run::JobRun;
use super::relay::{self, relay};
use crate::job::{Code, Failure, Target};
use crate::policy::effective_options::EffectiveOptions;
use crate::policy::failover::FailoverPlan;
use crate::provider::tap::Tap;
use crate::provider::{Finish, ModelCall, Outbound};

/// A request that goes to its provider as the client wrote it.
pub(crate) struct Passthrough {
    pub(crate) target: Target,
    pub(crate) outbound: Outbound,
    /// Whether the request carries the client's own key: its failures then say nothing of our access.
    pub(crate) brings_key: bool,
    pub(crate) tap: Tap,
}

/// Makes the one attempt of a job that is passed through. It ends when the provider's answer has ended and
/// the client has all bytes that follow.
///
/// # Errors
/// Why the provider was not asked, what its error means, or why its answer cannot be read. The client has
/// the provider's bytes all the same.
pub(crate) async fn pass_through(
    run: &mut JobRun,
    request: Passthrough,
    options: &EffectiveOptions,
) -> Result<Finish, Failure> {
    let Passthrough { target, outbound, brings_key, tap } = request;
    let permit = match brings_key {
        true => None,
        false => Some(failover::admit(run, &FailoverPlan::new(vec![target.clone()]), options).await?),
    };
    let entry = run.snapshot.registry.get(&target.provider).cloned();
    let entry = entry.ok_or_else(|| Failure::new(Code::UnknownModel, "its provider was just taken out"))?;
    let labels = run.snapshot.labels(&run.job, Some(&target));
    let place = relay::record(run, &target, Vec::new()).await?;
    let params = attempt::AttemptParams {
        place,
        env: &run.env,
        provider: entry.provider,
        ask: ModelCall { job: &run.job, target: &target, endpoint: &entry.endpoint, prefilled: false },
        outbound,
        upstream_run: None,
        tap: Some(tap),
        options: *options,
        labels,
        report_slot: Arc::clone(&run.attempts[place].report_slot),
    };
    let mut attempt = Box::new(Attempt::new(params, permit));
    let result = relay(run, &mut attempt, None).await;
    attempt.flow_on().await;
    match result {
        Ok(finish) => {
            relay::completed(run, &attempt, &finish);
            Ok(finish)
        }
        Err(failure) => Err(failover::record_loss(run, &attempt, failure).failure),
    }
}
