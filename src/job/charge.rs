//! What an attempt consumed and cost, and the key by which such lines are added up.

use serde::{Deserialize, Serialize};

use super::{Cost, Gateway, JobId, ModelName, Tags, Timestamp, Usage, Usd};

/// How an attempt ended, in the ledger and in metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The attempt gave the answer.
    Completed,
    /// The attempt failed or broke off.
    Lost,
    /// The job was cancelled during the attempt.
    Cancelled,
    /// The broker crashed during the attempt.
    Interrupted,
}

impl AttemptOutcome {
    /// Returns the name in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Completed => "completed",
            AttemptOutcome::Lost => "lost",
            AttemptOutcome::Cancelled => "cancelled",
            AttemptOutcome::Interrupted => "interrupted",
        }
    }
}

/// One attempt's line in the ledger, written in the same atomic batch as its job's terminal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Charge {
    /// Job that the attempt belongs to.
    pub job: JobId,
    /// Number of the attempt within its job, from 1.
    pub attempt: u32,
    /// When the job ended: the bucket that the charge falls into.
    pub at: Timestamp,
    /// Gateway that the job was submitted to.
    pub gateway: Gateway,
    /// The model as the client named it.
    pub model: ModelName,
    /// Provider that served the attempt.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub provider_model: Box<str>,
    /// Tags from the job's `metadata`.
    pub metadata: Tags,
    /// How the attempt ended.
    pub outcome: AttemptOutcome,
    /// Tokens and other units that the attempt consumed.
    pub usage: Usage,
    /// Cost of that usage in US dollars.
    pub cost: Cost,
    /// Whether this is the job's last line: the one that counts the job.
    pub closes_job: bool,
    /// On the last line: whether some attempt of the job had no known price.
    pub unpriced_job: bool,
}

/// The key by which charges are added up: every dimension that a cost query can group by.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RollupKey {
    /// Whole hours since 1970-01-01T00:00Z.
    pub hour: u32,
    /// Gateway that the jobs were submitted to.
    pub gateway: Gateway,
    /// The model as the client named it.
    pub model: ModelName,
    /// Provider that served the attempt.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub provider_model: Box<str>,
    /// Tags from the jobs' `metadata`.
    pub metadata: Tags,
}

/// Sums over all charges of one key.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Money spent, in US dollars.
    pub usd: Usd,
    /// Number of jobs that ended.
    pub jobs: u64,
    /// Jobs of which some attempt had no known price.
    pub unpriced_jobs: u64,
    /// Number of attempts that were made.
    pub attempts: u64,
    /// Usage of all attempts together.
    pub usage: Usage,
}

impl Sums {
    /// Adds one charge to the sums.
    pub fn charge(&mut self, charge: &Charge) {
        self.usd += charge.cost.usd;
        self.jobs += u64::from(charge.closes_job);
        self.unpriced_jobs += u64::from(charge.closes_job && charge.unpriced_job);
        self.attempts += 1;
        self.usage.add(&charge.usage);
    }

    /// Adds other sums to these.
    pub fn add(&mut self, other: &Sums) {
        self.usd += other.usd;
        self.jobs += other.jobs;
        self.unpriced_jobs += other.unpriced_jobs;
        self.attempts += other.attempts;
        self.usage.add(&other.usage);
    }
}

impl Charge {
    /// Returns the key under which this charge is added up.
    #[must_use]
    pub fn rollup_key(&self) -> RollupKey {
        RollupKey {
            hour: u32::try_from(self.at.0 / 3_600_000).unwrap_or(u32::MAX),
            gateway: self.gateway.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            provider_model: self.provider_model.clone(),
            metadata: self.metadata.clone(),
        }
    }
}
