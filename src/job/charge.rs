//! What an attempt consumed and cost, and what such lines are added up by.

use serde::{Deserialize, Serialize};

use super::{Cost, Gateway, JobId, ModelName, Tags, Timestamp, Usage, Usd};

/// How an attempt ended, in the ledger and in metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It gave the answer.
    Completed,
    /// It failed or broke off.
    Lost,
    /// Somebody cancelled the job.
    Cancelled,
    /// Forebay died meanwhile.
    Interrupted,
}

impl AttemptOutcome {
    /// The name in metric labels.
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
    /// Whose.
    pub job: JobId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When the job ended: the bucket that the charge falls into.
    pub at: Timestamp,
    /// The job's gateway.
    pub gateway: Gateway,
    /// The model as the client named it.
    pub model: ModelName,
    /// Who was asked.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub provider_model: Box<str>,
    /// The job's tags.
    pub metadata: Tags,
    /// How the attempt ended.
    pub outcome: AttemptOutcome,
    /// What it consumed.
    pub usage: Usage,
    /// What that cost.
    pub cost: Cost,
    /// Whether this is the job's last line: the one that counts the job.
    pub closes_job: bool,
    /// On the last line: whether some attempt of the job had no known price.
    pub unpriced_job: bool,
}

/// What charges are added up by: every dimension that a query can ask for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RollupKey {
    /// Hours since 1970.
    pub hour: u32,
    /// The gateway.
    pub gateway: Gateway,
    /// The model as the client named it.
    pub model: ModelName,
    /// Who was asked.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub provider_model: Box<str>,
    /// The tags.
    pub metadata: Tags,
}

/// Sums over charges.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Money.
    pub usd: Usd,
    /// Jobs.
    pub jobs: u64,
    /// Jobs of which some attempt had no known price.
    pub unpriced_jobs: u64,
    /// Attempts.
    pub attempts: u64,
    /// Usage.
    pub usage: Usage,
}

impl Sums {
    /// Adds one charge.
    pub fn charge(&mut self, charge: &Charge) {
        self.usd += charge.cost.usd;
        self.jobs += u64::from(charge.closes_job);
        self.unpriced_jobs += u64::from(charge.closes_job && charge.unpriced_job);
        self.attempts += 1;
        self.usage.add(&charge.usage);
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Sums) {
        self.usd += other.usd;
        self.jobs += other.jobs;
        self.unpriced_jobs += other.unpriced_jobs;
        self.attempts += other.attempts;
        self.usage.add(&other.usage);
    }
}

impl Charge {
    /// Where this charge is added up.
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
