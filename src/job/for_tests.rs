//! Builds jobs for tests, so that a test names only what it is about.
//!
//! The integration tests include this file too, through `tests/support/job.rs`.

#![allow(dead_code, reason = "each test program uses its own part")]

use serde_json::value::RawValue;

use super::{Gateway, Job, Options, Tags, Task, Timestamp};

/// Starts a chat job for a model: with the id `j`, no messages, no tags and the default options.
pub(crate) fn job(model: &str) -> JobBuilder {
    let job = Job {
        id: "j".parse().expect("an id"),
        gateway: Gateway::default(),
        model: model.parse().expect("a model"),
        task: Task::Chat,
        input: raw(r#"{"messages":[]}"#),
        metadata: Tags::default(),
        idempotency_key: None,
        options: Options::default(),
        submitted_at: Timestamp(0),
        body_sha256: None,
        is_passed_on: false,
        echo: None,
    };
    JobBuilder { job }
}

/// A job whose fields a test changes before it uses it.
pub(crate) struct JobBuilder {
    job: Job,
}

impl JobBuilder {
    /// Sets the job's id.
    pub(crate) fn id(mut self, id: &str) -> JobBuilder {
        self.job.id = id.parse().expect("an id");
        self
    }

    /// Sets the gateway that the job belongs to.
    pub(crate) fn gateway(mut self, gateway: &str) -> JobBuilder {
        self.job.gateway = gateway.parse().expect("a gateway");
        self
    }

    /// Sets the input, which is JSON: a text or a `serde_json::Value`.
    pub(crate) fn input(mut self, json: impl ToString) -> JobBuilder {
        self.job.input = raw(&json.to_string());
        self
    }

    /// Sets the tags, a JSON object of strings.
    pub(crate) fn tags(mut self, json: &str) -> JobBuilder {
        self.job.metadata = serde_json::from_str(json).expect("tags");
        self
    }

    /// Sets the digest of the submitted body, by which a repeated submission is recognised.
    pub(crate) fn body_sha256(mut self, digest: [u8; 32]) -> JobBuilder {
        self.job.body_sha256 = Some(digest);
        self
    }

    /// Sets the time of submission.
    pub(crate) fn submitted_at(mut self, at: Timestamp) -> JobBuilder {
        self.job.submitted_at = at;
        self
    }

    /// Returns the finished job.
    pub(crate) fn build(self) -> Job {
        self.job
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}
