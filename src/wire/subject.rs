//! NATS subjects below the configured prefix.

use crate::job::{Failure, Gateway};

/// The JetStream stream that holds published jobs.
pub const JOBS_STREAM: &str = "FOREBAY_JOBS";

/// The subjects of one broker.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: Box<str>,
}

impl Subjects {
    /// Subjects below `prefix`.
    ///
    /// # Errors
    /// `invalid`, naming `nats.prefix`, unless it is dot-separated tokens without wildcards.
    pub fn new(prefix: &str) -> Result<Subjects, Failure> {
        if !is_subject(prefix) {
            return Err(Failure::invalid("nats.prefix", "must be a NATS subject without wildcards"));
        }
        Ok(Subjects { prefix: prefix.into() })
    }

    /// A service endpoint: `forebay.<name>`.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Where jobs for a gateway are published: `forebay.jobs.<gateway>`.
    #[must_use]
    pub fn jobs(&self, gateway: &Gateway) -> String {
        format!("{}.jobs.{gateway}", self.prefix)
    }

    /// What the JetStream stream listens to.
    #[must_use]
    pub fn all_jobs(&self) -> String {
        format!("{}.jobs.*", self.prefix)
    }

    /// The gateway that the last token of `subject` names.
    ///
    /// # Errors
    /// `invalid` when that is not a gateway's name.
    pub fn gateway_of(&self, subject: &str) -> Result<Gateway, Failure> {
        subject.rsplit('.').next().unwrap_or_default().parse()
    }
}

/// Whether `text` is a subject one can publish to: tokens without blanks or wildcards.
#[must_use]
pub fn is_subject(text: &str) -> bool {
    let token =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>');
    !text.is_empty() && text.len() <= 255 && text.split('.').all(token)
}
