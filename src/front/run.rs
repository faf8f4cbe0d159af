//! Taking a job in, and answering it: collected, streamed, or at once.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};

use super::answer::Visit;
use super::ask::header;
use super::body;
use super::query::{Query, decode};
use super::reply::{self, Reply};
use super::route::Via;
use super::{route_cloudflare, sse};
use crate::config::Scope;
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Failure, JobId, Task};
use crate::log::{Followed, Follower, Stream};
use crate::request::{Services, Status, Submitted};
use crate::telemetry::{self, OurStage};
use crate::wire::collect::{Answer, Collector};
use crate::wire::record::RecordRef;
use crate::wire::submit::{self, Door, Said};
use crate::wire::{Cursor, beside, record};

/// `POST /v1/run` and `POST /v1/run/{model…}`.
pub(super) async fn run(visit: &Visit<'_>, model: Option<&str>, body: Incoming) -> Result<Reply, Failure> {
    visit.asked.access.require(Scope::Run)?;
    Query::parse(visit.parts.uri.query()).only(|_| false)?;
    let front = &visit.connection.front;
    let packed = is_msgpack(visit.parts.headers.get(CONTENT_TYPE))?;
    let body = body::read(visit, body).await?;
    let said = match model {
        Some(_) if packed => {
            return Err(Failure::invalid("content-type", "with the model in the address the body is JSON"));
        }
        Some(model) => beside::of_input(decode(model, false).parse()?, &body)?,
        None if packed => submit::from_msgpack(&body)?,
        None => submit::from_json(&body)?,
    };
    // A large body is not held while its job is under way.
    drop(body);
    let (said, door) = beside_body(visit, said, None)?;
    let (background, streamed) = (said.options.background, wants_stream(visit, &said));
    let mut taken = take_in(visit, said, door).await?;
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
pub(super) struct TakenIn {
    pub(super) submitted: Submitted,
    /// To be kept as long as its client waits.
    pub(super) submitter: Option<Submitter>,
    overhead_us: u128,
}

impl TakenIn {
    /// Says in the answer's head which job it is.
    pub(super) fn mark(&self, reply: &mut Reply) {
        reply::set(reply, "forebay-job-id", self.submitted.stream.head().id.as_str());
        reply::set(reply, "forebay-cache", if self.submitted.reused { "join" } else { "miss" });
        reply::set(reply, "forebay-overhead-us", self.overhead_us.to_string());
    }
}

/// Submits what was said.
pub(super) async fn take_in(visit: &Visit<'_>, said: Said, door: Door) -> Result<TakenIn, Failure> {
    let front = &visit.connection.front;
    let job = front.svc.job(said, door)?;
    telemetry::overhead(OurStage::Parse, visit.arrived.elapsed());
    visit.asked.access.require_in(Scope::Run, &job.gateway)?;
    let background = job.options.background;
    let svc = Arc::clone(&front.svc);
    let watched = move |submitted: Submitted| {
        let submitter = if background { None } else { Submitter::new(svc, &submitted) };
        (submitted, submitter)
    };
    let (submitted, submitter) = front.svc.submit_then(job, watched).await?;
    Ok(TakenIn { submitted, submitter, overhead_us: visit.overhead().as_micros() })
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
pub(super) fn beside_body(visit: &Visit<'_>, mut said: Said, task: Option<Task>) -> Result<(Said, Door), Failure> {
    let headers = &visit.parts.headers;
    if visit.via != Via::Own {
        let live = visit.connection.front.svc.live.load();
        let is_on = |name: &str| live.on.iter().any(|(known, _)| **known == *name);
        let is_alias = |name: &str| live.config.models.contains_key(name);
        said.model = route_cloudflare::model_of(said.model, visit.via, is_alias, is_on)?;
    }
    for name in headers.keys() {
        let name = name.as_str();
        if (name.starts_with("forebay-") || name.starts_with("cf-aig-"))
            && let Some(value) = header(headers, name, Code::Invalid)?
        {
            beside::apply(&mut said, name, value)?;
        }
    }
    let key = header(headers, "idempotency-key", Code::Invalid)?;
    Ok((said, Door { gateway: visit.asked.gateway.clone(), idempotency_key: key.map(str::to_owned), task }))
}

/// The body's `stream` has the last word; without it, `Accept` has.
fn wants_stream(visit: &Visit<'_>, said: &Said) -> bool {
    said.stream.unwrap_or_else(|| {
        let accepts = visit.parts.headers.get_all(ACCEPT).iter();
        accepts.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/event-stream")
        })
    })
}

fn accepted(submitted: &Submitted) -> Reply {
    let mut reply = reply::json(StatusCode::ACCEPTED, &Status::of(&submitted.stream));
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
pub(super) struct Submitter {
    svc: Arc<Services>,
    stream: Arc<Stream>,
}

impl Submitter {
    /// `None` for who joined a job that another had submitted: that job is not theirs to end.
    fn new(svc: Arc<Services>, submitted: &Submitted) -> Option<Submitter> {
        let stream = Arc::clone(&submitted.stream);
        (!submitted.reused).then_some(Submitter { svc, stream })
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        // Connections that we cut because we go down are not clients that left.
        if !self.stream.tail().state.is_terminal() && !self.svc.is_draining() {
            self.svc.client_left(&self.stream);
        }
    }
}

async fn collected(svc: &Arc<Services>, submitted: &Submitted, submitter: Option<Submitter>) -> Result<Reply, Failure> {
    let answer = collect(svc, &submitted.stream).await?;
    drop(submitter);
    let mut reply = match &answer.error {
        None => reply::json(StatusCode::OK, &answer),
        Some(failure) => reply::failed(failure, &answer),
    };
    reply::set(&mut reply, "forebay-attempts", answer.attempts.to_string());
    if answer.cost.priced {
        reply::set(&mut reply, "forebay-cost-usd", answer.cost.usd.to_string());
    }
    if let Some((provider, model)) = &answer.target {
        reply::set(&mut reply, "forebay-provider", provider.as_bytes());
        reply::set(&mut reply, "forebay-model", model.as_bytes());
    }
    Ok(reply)
}

async fn collect(svc: &Arc<Services>, stream: &Arc<Stream>) -> Result<Answer, Failure> {
    let mut collector = Collector::default();
    read_whole(svc, stream, |record| collector.push(record)).await?;
    collector.finish(stream.head().id.clone()).ok_or_else(|| Failure::internal("the job ended without a terminal"))
}

/// Waits for the end and then reads the whole, instead of waking up for every record.
pub(super) async fn read_whole(
    svc: &Arc<Services>,
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
