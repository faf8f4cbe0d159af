//! Taking a job in, and answering it: collected, streamed, or at once.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};

use super::auth::header;
use super::body;
use super::dispatch::RequestContext;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use super::route::Via;
use super::{route_cloudflare, sse};
use crate::broker::{Broker, Submitted};
use crate::config::Scope;
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Failure, Job, JobId, Task};
use crate::log::Status;
use crate::log::{Followed, Follower, Stream};
use crate::run::{PassthroughRequest, Reading, TeeReader};
use crate::telemetry::{self, OurStage};
use crate::wire::collect::{Answer, Collector};
use crate::wire::record::RecordRef;
use crate::wire::submit::{self, Door, Said};
use crate::wire::{Cursor, header_options, record};

/// `POST /v1/run` and `POST /v1/run/{model…}`.
pub(super) async fn run(context: &RequestContext<'_>, model: Option<&str>, body: Incoming) -> Result<Reply, Failure> {
    context.asked.access.require(Scope::Run)?;
    Query::parse(context.parts.uri.query()).only(|_| false)?;
    let front = &context.connection.front;
    let packed = is_msgpack(context.parts.headers.get(CONTENT_TYPE))?;
    let body = body::read(context, body).await?;
    let said = match model {
        Some(_) if packed => {
            return Err(Failure::invalid("content-type", "with the model in the address the body is JSON"));
        }
        Some(model) => header_options::of_input(decode(model, false).parse()?, &body)?,
        None if packed => submit::from_msgpack(&body)?,
        None => submit::from_json(&body)?,
    };
    // A large body is not held while its job is under way.
    drop(body);
    let (said, door) = beside_body(context, said, None)?;
    let (background, streamed) = (said.options.background, wants_stream(context, &said));
    let mut taken = take_in(context, said, door).await?;
    let (submitted, submitter) = (&taken.submitted, taken.submitter.take());
    let mut reply = match (background, streamed) {
        (true, _) => accepted(submitted),
        (false, true) => sse::answer(&front.svc, submitted, submitter)?,
        (false, false) => collected(&front.svc, submitted, submitter).await?,
    };
    taken.mark(&mut reply);
    Ok(reply)
}

/// A job that is on its way.
pub(super) struct SubmittedJob {
    pub(super) submitted: Submitted,
    /// To be kept as long as its client waits.
    pub(super) submitter: Option<DisconnectGuard>,
    overhead_us: u128,
}

impl SubmittedJob {
    /// Says in the answer's head which job it is.
    pub(super) fn mark(&self, reply: &mut Reply) {
        response::set(reply, "forebay-job-id", self.submitted.stream.head().id.as_str());
        response::set(reply, "forebay-cache", if self.submitted.reused { "join" } else { "miss" });
        response::set(reply, "forebay-overhead-us", self.overhead_us.to_string());
    }
}

/// Submits what was said.
pub(super) async fn take_in(context: &RequestContext<'_>, said: Said, door: Door) -> Result<SubmittedJob, Failure> {
    let front = &context.connection.front;
    let job = front.svc.job(said, door)?;
    telemetry::overhead(OurStage::Parse, context.arrived.elapsed());
    context.asked.access.require_in(Scope::Run, &job.gateway)?;
    let background = job.options.background;
    let svc = Arc::clone(&front.svc);
    let watched = move |submitted: Submitted| {
        let submitter = if background { None } else { DisconnectGuard::new(svc, &submitted) };
        (submitted, submitter)
    };
    let (submitted, submitter) = front.svc.submit_then(job, watched).await?;
    Ok(SubmittedJob { submitted, submitter, overhead_us: context.overhead().as_micros() })
}

/// Submits what a provider is asked in its own format; and where its answer comes from.
pub(super) async fn pass_on(
    context: &RequestContext<'_>,
    (mut said, door): (Said, Door),
    asked: (PassthroughRequest<'_>, Reading),
) -> Result<(SubmittedJob, TeeReader), Failure> {
    let svc = &context.connection.front.svc;
    // Whatever is asked, it is not asked in the shape that a task's body has here.
    said.task = Some(Task::Prediction);
    let job = Job { task: asked.1.task, ..svc.job(said, door)? };
    telemetry::overhead(OurStage::Parse, context.arrived.elapsed());
    context.asked.access.require_in(Scope::Run, &job.gateway)?;
    let watch = Arc::clone(svc);
    let watched = move |submitted: Submitted| (DisconnectGuard::new(watch, &submitted), submitted);
    let ((submitter, submitted), tapped) = svc.pass_on_job(job, asked, watched).await?;
    Ok((SubmittedJob { submitted, submitter, overhead_us: context.overhead().as_micros() }, tapped))
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

/// What was said, with what the headers say about the job; and what the door knows of it.
pub(super) fn beside_body(
    context: &RequestContext<'_>,
    mut said: Said,
    task: Option<Task>,
) -> Result<(Said, Door), Failure> {
    let headers = &context.parts.headers;
    if context.via != Via::Own {
        let snapshot = context.connection.front.svc.snapshot.load();
        let is_on = |name: &str| snapshot.on.iter().any(|(known, _)| **known == *name);
        let is_alias = |name: &str| snapshot.config.models.contains_key(name);
        said.model = route_cloudflare::model_of(said.model, context.via, is_alias, is_on)?;
    }
    headers_beside(context, &mut said)?;
    let key = header(headers, "idempotency-key", Code::Invalid)?;
    Ok((said, Door { gateway: context.asked.gateway.clone(), idempotency_key: key.map(str::to_owned), task }))
}

/// Takes in what the headers say about the job.
pub(super) fn headers_beside(context: &RequestContext<'_>, said: &mut Said) -> Result<(), Failure> {
    let headers = &context.parts.headers;
    for name in headers.keys() {
        let name = name.as_str();
        if (name.starts_with("forebay-") || name.starts_with("cf-aig-"))
            && let Some(value) = header(headers, name, Code::Invalid)?
        {
            header_options::apply(said, name, value)?;
        }
    }
    Ok(())
}

/// The body's `stream` has the last word; without it, `Accept` has.
fn wants_stream(context: &RequestContext<'_>, said: &Said) -> bool {
    said.stream.unwrap_or_else(|| {
        let accepts = context.parts.headers.get_all(ACCEPT).iter();
        accepts.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/event-stream")
        })
    })
}

fn accepted(submitted: &Submitted) -> Reply {
    let mut reply = response::json(StatusCode::ACCEPTED, &Status::of(&submitted.stream));
    locate(&mut reply, &submitted.stream.head().id);
    reply
}

/// Says where the job is.
pub(super) fn locate(reply: &mut Reply, id: &JobId) {
    if let Ok(place) = HeaderValue::try_from(format!("/v1/jobs/{id}")) {
        reply.headers_mut().insert(LOCATION, place);
    }
}

/// Tells the job when the client that submitted it leaves before its end.
pub(super) struct DisconnectGuard {
    svc: Arc<Broker>,
    stream: Arc<Stream>,
    is_served: bool,
}

impl DisconnectGuard {
    /// `None` for who joined a job that another had submitted: that job is not theirs to end.
    fn new(svc: Arc<Broker>, submitted: &Submitted) -> Option<DisconnectGuard> {
        let stream = Arc::clone(&submitted.stream);
        (!submitted.reused).then_some(DisconnectGuard { svc, stream, is_served: false })
    }

    /// The client has all it came for, if that is so before the job's end.
    pub(super) fn served(mut self) {
        self.is_served = true;
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        // Connections that we cut because we go down are not clients that left.
        if !self.is_served && !self.stream.tail().state.is_terminal() && !self.svc.is_draining() {
            self.svc.client_left(&self.stream);
        }
    }
}

async fn collected(
    svc: &Arc<Broker>,
    submitted: &Submitted,
    submitter: Option<DisconnectGuard>,
) -> Result<Reply, Failure> {
    let answer = collect(svc, &submitted.stream).await?;
    drop(submitter);
    let mut reply = match &answer.error {
        None => response::json(StatusCode::OK, &answer),
        Some(failure) => response::failed(failure, &answer),
    };
    response::set(&mut reply, "forebay-attempts", answer.attempts.to_string());
    if answer.cost.priced {
        response::set(&mut reply, "forebay-cost-usd", answer.cost.usd.to_string());
    }
    if let Some((provider, model)) = &answer.target {
        response::set(&mut reply, "forebay-provider", provider.as_bytes());
        response::set(&mut reply, "forebay-model", model.as_bytes());
    }
    Ok(reply)
}

async fn collect(svc: &Arc<Broker>, stream: &Arc<Stream>) -> Result<Answer, Failure> {
    let mut collector = Collector::default();
    read_whole(svc, stream, |record| collector.push(record)).await?;
    collector.finish(stream.head().id.clone()).ok_or_else(|| Failure::internal("the job ended without a terminal"))
}

/// Waits for the end and then reads the whole, instead of waking up for every record.
pub(super) async fn read_whole(
    svc: &Arc<Broker>,
    stream: &Arc<Stream>,
    mut take: impl FnMut(RecordRef<'_>),
) -> Result<(), Failure> {
    let closed = || Failure::internal("the log is closed");
    stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map_err(|_| closed())?;
    let ended = Instant::now();
    let mut follower = Follower::new(Arc::clone(&svc.log), Arc::clone(stream), Cursor::Start)?;
    while let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? {
        for (seq, stored) in chunk.iter() {
            take(record::decode(seq, stored)?);
        }
    }
    telemetry::overhead(OurStage::Render, ended.elapsed());
    Ok(())
}
