//! Every limit of the program with its unit and its reason. A limit that an operator may want to
//! move is in the configuration and has its default here.

use std::time::Duration;

/// Bytes of a client's job id; a NATS subject token and a file name may carry it.
pub const ID_BYTES_MAX: usize = 64;
/// Bytes of an idempotency key or a NATS `Nats-Msg-Id`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Bytes of a model's name as the client writes it.
pub const MODEL_BYTES_MAX: usize = 256;
/// Entries of a job's metadata.
pub const TAGS_MAX: usize = 32;
/// Bytes of a metadata key.
pub const TAG_KEY_BYTES_MAX: usize = 64;
/// Bytes of a metadata string value.
pub const TAG_VALUE_BYTES_MAX: usize = 256;
/// Fallback models of one job: each may cost an attempt.
pub const FALLBACKS_MAX: usize = 8;
/// Providers that a job may name in each of its constraints: as many as a model has targets.
pub const PROVIDERS_NAMED_MAX: usize = 32;
/// Bytes of a provider's name.
pub const PROVIDER_BYTES_MAX: usize = 64;
/// Bytes of a webhook's address.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Attempts at one target that a job may request.
pub const ATTEMPTS_MAX: u32 = 20;
/// Attempts over all targets together, whatever the job requests: it bounds every retry loop.
pub const ATTEMPTS_TOTAL_MAX: u32 = 64;
/// Longest time-out or delay that a job may request: a day.
pub const DURATION_MS_MAX: u64 = 86_400_000;
/// Longest retention that a job may request: a year.
pub const RETENTION_S_MAX: u64 = 31_536_000;
/// Default bytes of a job as submitted. Images come inline as base64.
pub const JOB_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Nesting of a job's input. No real prompt is deeper; an attack may be.
pub const JSON_DEPTH_MAX: usize = 64;
/// Files that a job may name by their addresses for a provider that wants them inside.
pub const REMOTE_FILES_MAX: usize = 20;
/// Bytes of one such file: somewhat more than the strictest large provider takes as an image.
pub const REMOTE_FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Bytes of all such files of a job: below the 32 MB that providers take as a request, in base64.
pub const REMOTE_TOTAL_BYTES_MAX: usize = 22 * 1024 * 1024;
/// Bytes of text in one `delta` or `tool_call` event; longer pieces are split at character
/// boundaries so that a record always fits a tick.
pub const EVENT_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an `output` that travels inside a record; larger ones become files.
pub const OUTPUT_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a stored output that is read into memory as a whole: the vectors of the largest answer, as JSON.
pub const OUTPUT_WHOLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one encoded record: the inline output plus its envelope.
pub const RECORD_BYTES_MAX: usize = 40 * 1024;
/// Events that one append may carry.
pub const BATCH_EVENTS_MAX: usize = 512;
/// Bytes of a row's key in the log: a handful of names.
pub const ROW_KEY_BYTES_MAX: usize = 512;
/// Bytes of a row in the log; the store cuts it into at most 255 pieces of 6 KiB.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;
/// Rows that are written together.
pub const ROWS_BATCH_MAX: usize = 1024;
/// Bytes of one provider packet (an SSE event, a JSON line). A provider that sends a 10 MB delta
/// still fits; an endless line does not.
pub const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a provider's whole answer that is not a stream: the vectors of two thousand texts, which is
/// the most that one job may contain.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes kept of a provider's error body.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a message in an error that goes to a client.
pub const MESSAGE_BYTES_MAX: usize = 2048;
/// Messages that wait in a job actor's mailbox.
pub const JOB_MAILBOX: usize = 16;
/// How long a job with `on_disconnect: drain` goes on after its client left.
pub const DRAIN_AFTER_DISCONNECT: Duration = Duration::from_secs(60);
/// Default of `server.jobs_max`, the number of jobs that may be under way at once.
pub const JOBS_MAX_DEFAULT: usize = 20_000;
/// Bytes of records put into one frame for a reader.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Rows that one page of a job listing may hold.
pub const LIST_ROWS_MAX: usize = 1000;
/// Rows that one cost query may return.
pub const COST_ROWS_MAX: usize = 10_000;
/// Keys that one cost query may group by: more columns than a table can usefully show.
pub const COST_KEYS_MAX: usize = 8;
/// Cost queries that are added up at once; each may hold all sums of its time in memory.
pub const COST_QUERIES_MAX: usize = 4;
/// Messages that wait in the meter's mailbox; a finished job sends one.
pub const METER_MAILBOX: usize = 256;
/// Values of one allow-listed tag that get a time series; all later ones share `other`.
pub const TAG_LABEL_VALUES_MAX: usize = 200;
/// Models of the catalog that get time series of their own, in the order in which jobs name them; all
/// later ones share `other`.
pub const MODEL_LABELS_MAX: usize = 200;
/// Metadata keys that may be labels of metrics: time series are their values multiplied.
pub const TAG_LABELS_MAX: usize = 4;
/// Targets of one model.
pub const TARGETS_MAX: usize = 32;
/// Targets whose health is known at once: jobs may name any model of a provider.
pub const GATES_MAX: usize = 4096;
/// Bytes of records that a session puts into one frame: half of [`FRAME_BYTES_MAX`], so that a
/// stalled reader, who holds one frame, stays below 64 KiB with everything else it costs.
pub const SESSION_FRAME_BYTES: usize = 32 * 1024;
/// Subscriptions of one socket. A dashboard has dozens; more closes the socket with 4429.
pub const SUBS_MAX: usize = 256;
/// Messages per second that a client may send, on average; more closes the socket with 4429. Credit for every frame of
/// [`SUBS_MAX`] brisk streams stays below.
pub const CLIENT_MESSAGES_PER_S_MAX: u32 = 2000;
/// Messages that a client may send at once before the rate counts.
pub const CLIENT_MESSAGES_BURST: u32 = 4000;
/// Bytes of a WebSocket message beyond the job in it.
pub const MESSAGE_SLACK_BYTES: usize = 64 * 1024;
/// Answers that wait for a socket; then the client's messages wait.
pub const REPLIES_MAX: usize = 32;
/// `run` and `cancel` of one socket under way at once; more is `overloaded`.
pub const COMMANDS_MAX: usize = 64;
/// Unfinished jobs of one socket whose client's leaving matters to them.
pub const SUBMITTED_MAX: usize = 4096;
/// Milliseconds without progress after which a socket with data waiting is closed (4100), or two
/// heartbeats if that is less.
pub const STALL_MS: u64 = 30_000;
/// Milliseconds that a closing socket gets for its last bytes.
pub const CLOSE_GRACE_MS: u64 = 1000;
