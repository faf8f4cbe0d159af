//! Taking a job in, and answering it: collected, streamed, or at once.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};

use super::answer::Visit;
use super::ask::header;
use super::body;
use super::query::{Query, decode};
use super::reply::{self, Reply};
use super::sse;
use crate::config::Scope;
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Failure};
use crate::log::{Followed, Follower, Stream};
use crate::request::{Services, Status, Submitted};
use crate::wire::collect::{Answer, Collector};
use crate::wire::submit::{self, Door, Said};
use crate::wire::{Cursor, beside, record};

/// `POST /v1/run` and `POST /v1/run/{model…}`.
pub(super) async fn run(visit: &Visit<'_>, model: Option<&str>, body: Incoming) -> Result<Reply, Failure> {
    visit.asked.access.require(Scope::Run)?;
    Query::parse(visit.parts.uri.query()).only(|_| false)?;
    let front = &visit.connection.front;
    let packed = is_msgpack(visit.parts.headers.get(CONTENT_TYPE))?;
    let body = body::read(visit, body).await?;
    let mut said = match model {
        Some(_) if packed => {
            return Err(Failure::invalid("content-type", "with the model in the address the body is JSON"));
        }
        Some(model) => beside::of_input(decode(model, false).parse()?, &body)?,
        None if packed => submit::from_msgpack(&body)?,
        None => submit::from_json(&body)?,
    };
    // A large body is not held while its job is under way.
    drop(body);
    let door = beside_body(visit, &mut said)?;
    let streamed = wants_stream(visit, &said);
    let job = front.svc.job(said, door)?;
    visit.asked.access.require_in(Scope::Run, &job.gateway)?;
    let background = job.options.background;
    let svc = Arc::clone(&front.svc);
    let watched = move |submitted: Submitted| {
        let submitter = if background { None } else { Submitter::new(svc, &submitted) };
        (submitted, submitter)
    };
    let (submitted, submitter) = front.svc.submit_then(job, watched).await?;
    let overhead_us = visit.arrived.elapsed().as_micros();
    let mut reply = match (background, streamed) {
        (true, _) => accepted(&submitted),
        (false, true) => sse::answer(&front.svc, &submitted, submitter)?,
        (false, false) => collected(&front.svc, &submitted, submitter).await?,
    };
    reply::set(&mut reply, "forebay-job-id", submitted.stream.head().id.as_str());
    reply::set(&mut reply, "forebay-cache", if submitted.reused { "join" } else { "miss" });
    reply::set(&mut reply, "forebay-overhead-us", overhead_us.to_string());
    Ok(reply)
}

/// Whether the body is MessagePack.
fn is_msgpack(content_type: Option<&HeaderValue>) -> Result<bool, Failure> {
    let Some(value) = content_type else { return Ok(false) };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("application/json") => Ok(false),
        () if is("application/msgpack") || is("application/vnd.msgpack") || is("application/x-msgpack") => Ok(true),
        () => Err(Failure::invalid("content-type", "must be application/json or application/msgpack")),
    }
}

/// What the headers say about the job.
fn beside_body(visit: &Visit<'_>, said: &mut Said) -> Result<Door, Failure> {
    let headers = &visit.parts.headers;
    for name in headers.keys() {
        let name = name.as_str();
        if (name.starts_with("forebay-") || name.starts_with("cf-aig-"))
            && let Some(value) = header(headers, name, Code::Invalid)?
        {
            beside::apply(said, name, value)?;
        }
    }
    let key = header(headers, "idempotency-key", Code::Invalid)?;
    Ok(Door { gateway: visit.asked.gateway.clone(), idempotency_key: key.map(str::to_owned), task: None })
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
    if let Ok(place) = HeaderValue::try_from(format!("/v1/jobs/{}", submitted.stream.head().id)) {
        reply.headers_mut().insert(LOCATION, place);
    }
    reply
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

/// Waits for the end and then reads the whole, instead of waking up for every record.
async fn collect(svc: &Arc<Services>, stream: &Arc<Stream>) -> Result<Answer, Failure> {
    let closed = || Failure::internal("the log is closed");
    stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map_err(|_| closed())?;
    let mut follower = Follower::new(Arc::clone(&svc.log), Arc::clone(stream), Cursor::Start)?;
    let mut collector = Collector::default();
    while let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? {
        for (seq, stored) in chunk.iter() {
            collector.push(record::decode(seq, stored)?);
        }
    }
    collector.finish(stream.head().id.clone()).ok_or_else(|| Failure::internal("the job ended without a terminal"))
}
