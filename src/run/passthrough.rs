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
use crate::provider::{Ask, Finish, Outbound};

/// A request of a client's own, for the one provider that understands it.
pub(crate) struct Passthrough {
    pub(crate) target: Target,
    pub(crate) outbound: Outbound,
    /// Whose key it goes with: what happens to another's says nothing of ours.
    pub(crate) brings_key: bool,
    pub(crate) tap: Tap,
}

/// The one attempt of a job that is passed on. Its end is the provider's last word, and comes when
/// the client has all that the provider sends after that.
///
/// # Errors
/// Why the provider was not asked, what its error means, or why its answer cannot be read. The client
/// has the provider's bytes all the same.
pub(crate) async fn carry(run: &mut JobRun, passage: Passthrough, terms: &EffectiveOptions) -> Result<Finish, Failure> {
    let Passthrough { target, outbound, brings_key, tap } = passage;
    let pass = match brings_key {
        true => None,
        false => Some(failover::admit(run, &FailoverPlan::new(vec![target.clone()]), terms).await?),
    };
    let entry = run.snapshot.registry.get(&target.provider).cloned();
    let entry = entry.ok_or_else(|| Failure::new(Code::UnknownModel, "its provider was just taken out"))?;
    let labels = run.snapshot.labels(&run.job, Some(&target));
    let place = relay::record(run, &target, Vec::new()).await?;
    let asked = attempt::AttemptParams {
        place,
        env: &run.env,
        provider: entry.provider,
        ask: Ask { job: &run.job, target: &target, endpoint: &entry.endpoint, prefilled: false },
        outbound,
        held: None,
        tap: Some(tap),
        terms: *terms,
        labels,
        tell: Arc::clone(&run.attempts[place].tell),
    };
    let mut attempt = Box::new(Attempt::new(asked, pass));
    let result = relay(run, &mut attempt, None).await;
    attempt.flow_on().await;
    match result {
        Ok(finish) => {
            relay::completed(run, &attempt, &finish);
            Ok(finish)
        }
        Err(failure) => Err(failover::book(run, &attempt, failure).failure),
    }
}
