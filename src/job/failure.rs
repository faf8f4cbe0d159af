//! What went wrong, whose fault it is, and whether trying again makes sense.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::caps::MESSAGE_BYTES_MAX;

/// The party that has to change something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The client that sent the job or the request.
    Caller,
    /// The provider that serves the model.
    Provider,
    /// Forebay itself or its operator.
    Forebay,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $fault:ident, $retryable:literal;)*) => {
        /// The code of a failure: a closed set that clients are written against.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Returns the name on the wire and in metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// Returns the HTTP status that goes with the code.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// Returns the party whose fault it is.
            #[must_use]
            pub fn fault(self) -> Fault {
                match self { $(Code::$variant => Fault::$fault,)* }
            }

            /// Returns whether the same request may succeed later, unless the failure itself knows better.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Code::$variant => $retryable,)* }
            }
        }
    };
}

codes! {
    /// The request is wrong; `param` names the field.
    Invalid = "invalid", 400, Caller, false;
    /// The request is understood but not supported here; `param` names the field.
    Unsupported = "unsupported", 400, Caller, false;
    /// The request has no key, or an unknown one.
    Unauthenticated = "unauthenticated", 401, Caller, false;
    /// The key may not do this.
    Forbidden = "forbidden", 403, Caller, false;
    /// The job, route or output does not exist.
    NotFound = "not_found", 404, Caller, false;
    /// No provider serves this model.
    UnknownModel = "unknown_model", 404, Caller, false;
    /// The id or idempotency key was used with another body, or the job's state forbids it.
    Conflict = "conflict", 409, Caller, false;
    /// The text is not a cursor.
    BadCursor = "bad_cursor", 409, Caller, false;
    /// The cursor lies after the tail.
    CursorAhead = "cursor_ahead", 409, Caller, false;
    /// The cursor belongs to another epoch of the stream.
    EpochMismatch = "epoch_mismatch", 409, Caller, false;
    /// The records at the cursor were trimmed.
    CursorTrimmed = "cursor_trimmed", 409, Caller, false;
    /// The subscription's name is in use on this socket.
    DuplicateSub = "duplicate_sub", 409, Caller, false;
    /// The job was kept for its retention and then removed.
    Expired = "expired", 410, Caller, false;
    /// The request is over a size limit.
    TooLarge = "too_large", 413, Caller, false;
    /// A rate limit of Forebay is exhausted.
    RateLimited = "rate_limited", 429, Caller, true;
    /// A budget is spent.
    OverBudget = "over_budget", 429, Caller, false;
    /// The provider does not accept the configured key.
    ProviderAuth = "provider_auth", 502, Provider, false;
    /// The provider refuses the request.
    ProviderRejected = "provider_rejected", 400, Provider, false;
    /// The provider is throttling the broker's requests.
    ProviderRateLimited = "provider_rate_limited", 429, Provider, true;
    /// The provider cannot be reached or is failing.
    ProviderUnavailable = "provider_unavailable", 502, Provider, true;
    /// The provider did not answer in time.
    ProviderTimeout = "provider_timeout", 504, Provider, true;
    /// The provider's answer broke off or made no sense.
    ProviderTruncated = "provider_truncated", 502, Provider, true;
    /// The provider's safety filter stopped the answer.
    ContentFiltered = "content_filtered", 400, Provider, false;
    /// The job was cancelled.
    Cancelled = "cancelled", 499, Caller, false;
    /// The broker is full, draining, or out of disk.
    Overloaded = "overloaded", 503, Forebay, true;
    /// A bug in Forebay, or a broken disk.
    Internal = "internal", 500, Forebay, true;
}

/// Everything about a failure but its code: what the `error` object on the wire holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct FailureBody {
    /// Code of the failure.
    pub code: Code,
    /// One sentence for a person. Holds no secret.
    pub message: Cow<'static, str>,
    /// The party that has to change something.
    pub fault: Fault,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Milliseconds to wait before trying again, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Name of the provider concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<str>>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<Box<str>>,
    /// The provider's own error type, or OpenAI's name for the class of the error.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// Name of the field concerned.
    #[serde(default)]
    pub param: Option<Box<str>>,
    /// Whether another target may do better (a wrong key, an unknown model, no capacity), as
    /// opposed to a request that is wrong everywhere. Only routing reads it.
    #[serde(skip)]
    #[schemars(skip)]
    pub belongs_to_target: bool,
    /// Whether the request never reached the provider, so that another try costs nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub never_sent: bool,
    /// Whether the prompt is too long for the model, so that only a larger one can do better,
    /// whatever the provider calls it. Only routing reads it.
    #[serde(skip)]
    #[schemars(skip)]
    pub overflows: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A failure: what went wrong, whose fault it is, and whether a retry makes sense. One pointer wide.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Failure(Box<FailureBody>);

impl Failure {
    /// Makes a failure with the code's own fault and retry advice. Over-long messages are cut.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Failure {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let cut = message.floor_char_boundary(MESSAGE_BYTES_MAX);
            message.to_mut().truncate(cut);
        }
        Failure(Box::new(FailureBody {
            code,
            message,
            fault: code.fault(),
            retryable: code.retryable(),
            retry_after_ms: None,
            provider: None,
            provider_status: None,
            provider_code: None,
            kind: None,
            param: None,
            belongs_to_target: false,
            never_sent: false,
            overflows: false,
        }))
    }

    /// Makes an `invalid` failure that names the field.
    #[must_use]
    pub fn invalid(param: &str, message: impl fmt::Display) -> Failure {
        Failure::new(Code::Invalid, format!("{param}: {message}")).with_param(param)
    }

    /// Makes an `unsupported` failure that names the field.
    #[must_use]
    pub fn unsupported(param: &str, message: impl fmt::Display) -> Failure {
        Failure::new(Code::Unsupported, format!("{param}: {message}")).with_param(param)
    }

    /// Makes an `internal` failure: a bug or a broken disk.
    #[must_use]
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Code::Internal, message)
    }

    /// Adds the name of the field concerned.
    #[must_use]
    pub fn with_param(mut self, param: &str) -> Failure {
        self.param = Some(param.into());
        self
    }

    /// Adds the advised wait in milliseconds.
    #[must_use]
    pub fn with_retry_after_ms(mut self, ms: u64) -> Failure {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Adds the name of the provider concerned.
    #[must_use]
    pub fn with_provider(mut self, provider: &str) -> Failure {
        self.provider = Some(provider.into());
        self
    }

    /// Adds the provider's HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Failure {
        self.provider_status = Some(status);
        self
    }

    /// Marks the failure as the target's own: another target may do better.
    #[must_use]
    pub fn of_the_target(mut self) -> Failure {
        self.belongs_to_target = true;
        self
    }

    /// Marks the failure as one of a request that never reached the provider.
    #[must_use]
    pub fn unsent(mut self) -> Failure {
        self.never_sent = true;
        self
    }

    /// Returns the HTTP status to answer with: the provider's own 4xx where it refused the request.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match (self.code, self.provider_status) {
            (Code::ProviderRejected, Some(status @ 400..=499)) => status,
            _ => self.code.http_status(),
        }
    }
}

impl Deref for Failure {
    type Target = FailureBody;
    fn deref(&self) -> &FailureBody {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut FailureBody {
        &mut self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Failure {}
