//! Jobs in over NATS: the request service, the JetStream work queue, and records out to subjects.
//!
//! Owns the connection to NATS and every message that travels over it. Promises: a NATS server that
//! cannot be reached is logged once and waited for, and the other entrances do not notice; a JetStream
//! message is acknowledged only when its job is durable; a record is published only when it is durable;
//! every queue is bounded (`limits`). Does not know how a job is carried out.

mod ack;
mod actor;
mod connection;
mod delivery;
mod endpoints;
mod lifecycle;
mod publisher;
mod queries;
mod request_body;
mod work_queue;

pub use actor::NatsEntrance;

/// Every limit of the NATS entrance.
mod limits {
    use std::time::Duration;

    /// Requests and replies that may be under way at once; each is a task and one batch of records.
    /// Beyond it requesters get `overloaded`.
    pub(super) const REQUESTS_MAX: usize = 10_000;
    /// Milliseconds that a requester is advised to wait when there are too many requests.
    pub(super) const FULL_RETRY_AFTER_MS: u64 = 1000;
    /// Jobs whose records are published to a subject of their own at once, those that wait for NATS included.
    pub(super) const DELIVERIES_MAX: usize = 50_000;
    /// Jobs that wait for their delivery to be started; it is started at once.
    pub(super) const ANNOUNCED_MAX: usize = 1024;
    /// JetStream messages between parse and acknowledgement: enough to fill one commit of the log.
    pub(super) const QUEUE_WORK_MAX: usize = 64;
    /// JetStream messages fetched ahead; each may be as large as the server's `max_payload`.
    pub(super) const QUEUE_BATCH: usize = 32;
    /// JetStream messages that all brokers together hold unacknowledged.
    pub(super) const QUEUE_ACK_PENDING_MAX: i64 = 1024;
    /// How long JetStream waits for an acknowledgement before it hands the message out again: what a
    /// job waits whose broker was killed between fetching and committing it. A commit takes
    /// milliseconds, and a message that is handed out twice joins its own job.
    pub(super) const QUEUE_ACK_WAIT: Duration = Duration::from_secs(5);
    /// Jobs that may wait in the work queue; then publishers get JetStream's error.
    pub(super) const QUEUE_MESSAGES_MAX: i64 = 1_000_000;
    /// Bytes that may wait in the work queue.
    pub(super) const QUEUE_BYTES_MAX: i64 = 1024 * 1024 * 1024;
    /// Window in which JetStream itself drops duplicates by `Nats-Msg-Id`; ours is the log's retention.
    pub(super) const QUEUE_DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
    /// Messages that the client holds per subscription before it drops and counts them.
    pub(super) const SUBSCRIPTION_MESSAGES_MAX: usize = 4096;
    /// Publications that wait for the socket; then publishers wait.
    pub(super) const PUBLISH_QUEUE: usize = 512;
    /// Time between two pings; a connection that misses two of them is dead.
    pub(super) const PING_INTERVAL: Duration = Duration::from_secs(10);
    /// How long opening a connection may take.
    pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// The first and the longest wait between two tries to connect or to set JetStream up.
    pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
    /// Records published to a subject between two round trips to the server that confirm them.
    pub(super) const CONFIRM_RECORDS: u64 = 512;
    /// How long one confirming round trip may take.
    pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long replies and deliveries may take to end by themselves when the entrance closes.
    pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);
    /// Finished jobs this young (milliseconds) are delivered again after a start: it is not known
    /// whether their last records arrived before the broker crashed.
    pub(super) const REDELIVER_MS: u64 = 600_000;
}
