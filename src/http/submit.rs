//! What every entrance that takes jobs shares: a request becomes a job, and its records are read to the end.
//!
//! Owns what the headers of a request add to its job, and the guard that notices a client which leaves.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};

use super::auth::header;
use super::cloudflare_names::{self, Via};
use super::context::RequestContext;
use super::response;
use super::response::Reply;
use crate::broker::{Broker, Submitted};
use crate::broker::{PassthroughRequest, Reading, TeeReader};
use crate::config::Scope;
use crate::job::caps::{FRAME_BYTES_MAX, OUTPUT_WHOLE_BYTES_MAX};
use crate::job::{Code, Failure, Job, JobId, Output, OutputBody, Task};
use crate::log::{Followed, Follower, Stream};
use crate::telemetry::{self, OurStage};
use crate::wire::record::RecordRef;
use crate::wire::submit::{Entrance, JobRequest};
use crate::wire::{Cursor, header_options, record};

/// A submitted job and what its answer needs.
pub(super) struct SubmittedJob {
    pub(super) submitted: Submitted,
    /// Must be kept as long as the client waits.
    pub(super) guard: Option<DisconnectGuard>,
    overhead_us: u128,
}

impl SubmittedJob {
    /// Adds the headers that name the job.
    pub(super) fn add_headers(&self, reply: &mut Reply) {
        response::set(reply, "forebay-job-id", self.submitted.stream.head().id.as_str());
        response::set(reply, "forebay-cache", if self.submitted.reused { "join" } else { "miss" });
        response::set(reply, "forebay-overhead-us", self.overhead_us.to_string());
    }
}

/// Submits a job request.
pub(super) async fn submit_job(
    context: &RequestContext<'_>,
    request: JobRequest,
    entrance: Entrance,
) -> Result<SubmittedJob, Failure> {
    let server = &context.connection.server;
    let job = server.broker.job(request, entrance)?;
    telemetry::overhead(OurStage::Parse, context.arrived.elapsed());
    context.auth.access.require_in(Scope::Run, &job.gateway)?;
    let background = job.options.background;
    let broker = Arc::clone(&server.broker);
    let with_guard = move |submitted: Submitted| {
        let guard = if background { None } else { DisconnectGuard::new(broker, &submitted) };
        (submitted, guard)
    };
    let (submitted, guard) = server.broker.submit_then(job, with_guard).await?;
    Ok(SubmittedJob { submitted, guard, overhead_us: context.overhead().as_micros() })
}

/// Submits a request in a provider's own format; and returns the reader of its answer.
pub(super) async fn pass_on(
    context: &RequestContext<'_>,
    (mut request, entrance): (JobRequest, Entrance),
    upstream: (PassthroughRequest<'_>, Reading),
) -> Result<(SubmittedJob, TeeReader), Failure> {
    let broker = context.broker();
    // The body has the provider's form, not that of a task here.
    request.task = Some(Task::Prediction);
    let job = Job { task: upstream.1.task, ..broker.job(request, entrance)? };
    telemetry::overhead(OurStage::Parse, context.arrived.elapsed());
    context.auth.access.require_in(Scope::Run, &job.gateway)?;
    let for_guard = Arc::clone(broker);
    let with_guard = move |submitted: Submitted| (DisconnectGuard::new(for_guard, &submitted), submitted);
    let ((guard, submitted), tee) = broker.pass_on_job(job, upstream, with_guard).await?;
    Ok((SubmittedJob { submitted, guard, overhead_us: context.overhead().as_micros() }, tee))
}

/// Whether the body is MessagePack.
pub(super) fn is_msgpack(content_type: Option<&HeaderValue>) -> Result<bool, Failure> {
    let Some(value) = content_type else { return Ok(false) };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("application/json") => Ok(false),
        () if is("application/msgpack") || is("application/vnd.msgpack") || is("application/x-msgpack") => Ok(true),
        () => Err(Failure::invalid("content-type", "must be application/json or application/msgpack")),
    }
}

/// Adds the headers' options to a job request; and returns what the entrance knows about the job.
pub(super) fn with_headers(
    context: &RequestContext<'_>,
    mut request: JobRequest,
    task: Option<Task>,
) -> Result<(JobRequest, Entrance), Failure> {
    let headers = &context.parts.headers;
    if context.via != Via::Own {
        let snapshot = context.broker().snapshot.load();
        let is_on = |name: &str| snapshot.on.iter().any(|(known, _)| **known == *name);
        let is_alias = |name: &str| snapshot.config.models.contains_key(name);
        request.model = cloudflare_names::model_of(request.model, context.via, is_alias, is_on)?;
    }
    apply_headers(context, &mut request)?;
    let key = header(headers, "idempotency-key", Code::Invalid)?;
    Ok((request, Entrance { gateway: context.auth.gateway.clone(), idempotency_key: key.map(str::to_owned), task }))
}

/// Applies the options in the headers to a job request.
pub(super) fn apply_headers(context: &RequestContext<'_>, request: &mut JobRequest) -> Result<(), Failure> {
    let headers = &context.parts.headers;
    for name in headers.keys() {
        let name = name.as_str();
        if (name.starts_with("forebay-") || name.starts_with("cf-aig-"))
            && let Some(value) = header(headers, name, Code::Invalid)?
        {
            header_options::apply(request, name, value)?;
        }
    }
    Ok(())
}

/// Adds the header `Location` of the job.
pub(super) fn set_location(reply: &mut Reply, id: &JobId) {
    if let Ok(place) = HeaderValue::try_from(format!("/v1/jobs/{id}")) {
        reply.headers_mut().insert(LOCATION, place);
    }
}

/// Notifies the job when the client that submitted it leaves before its end.
pub(super) struct DisconnectGuard {
    broker: Arc<Broker>,
    stream: Arc<Stream>,
    is_complete: bool,
}

impl DisconnectGuard {
    /// `None` for a client that joined a job of another: it may not end that job.
    fn new(broker: Arc<Broker>, submitted: &Submitted) -> Option<DisconnectGuard> {
        let stream = Arc::clone(&submitted.stream);
        (!submitted.reused).then_some(DisconnectGuard { broker, stream, is_complete: false })
    }

    /// Notes that the client has its whole answer, although the job has not ended yet.
    pub(super) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        // Connections that we cut because we go down are not clients that left.
        if !self.is_complete && !self.stream.tail().state.is_terminal() && !self.broker.is_draining() {
            self.broker.client_left(&self.stream);
        }
    }
}

/// Waits for the end and then reads the whole, instead of waking up for every record.
pub(super) async fn read_whole(
    broker: &Arc<Broker>,
    stream: &Arc<Stream>,
    mut take: impl FnMut(RecordRef<'_>),
) -> Result<(), Failure> {
    let closed = || Failure::internal("the log is closed");
    stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map_err(|_| closed())?;
    let ended = Instant::now();
    let mut follower = Follower::new(broker.log.clone(), Arc::clone(stream), Cursor::Start)?;
    while let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? {
        for (seq, stored) in chunk.iter() {
            take(record::decode(seq, stored)?);
        }
    }
    telemetry::overhead(OurStage::Render, ended.elapsed());
    Ok(())
}

/// Reads the bytes of an output, from the record or from the log.
pub(super) async fn bytes_of(broker: &Broker, stream: &Arc<Stream>, output: Output) -> Result<Bytes, Failure> {
    Ok(match (output.body, output.sha256) {
        (_, Some(sha256)) => broker.log.read_output(stream, &sha256, OUTPUT_WHOLE_BYTES_MAX).await?,
        (OutputBody::Data(data), None) => data.0,
        (OutputBody::Value(value), None) => value.to_string().into(),
        (OutputBody::Url(_), None) => return Err(Failure::internal("an output is not fetched from elsewhere")),
    })
}
