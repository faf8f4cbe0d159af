//! OpenAI's Responses over HTTP: jobs that are submitted, read, followed, cancelled and forgotten
//! by `resp_…` ids. Any chat job of the gateway is a response, whichever entrance took it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::context::RequestContext;
use super::entrance::{self, Answers, JobAnswer};
use super::errors::Dialect;
use super::query::{Query, decode};
use super::rendered;
use super::response;
use super::response::Reply;
use super::submit;
use crate::broker::Broker;
use crate::config::Scope;
use crate::dialect::openai::Completion;
use crate::dialect::render::{Collect, Render as _, Served};
use crate::dialect::responses;
use crate::dialect::responses::{Events, ResponseMeta, ResponseRequest};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Event, Failure, JobId, State, Task};
use crate::log::{Followed, Follower, Found, Stream};
use crate::telemetry;
use crate::wire::collect::failure_of;
use crate::wire::record::{self, RecordRef};
use crate::wire::{Cursor, submit::JobRequest};

/// Jobs that one input may name items of: each is read whole.
const REFERENCED_MAX: usize = 64;

/// Handles `POST /v1/responses`.
pub(super) async fn create(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    let body = entrance::read(context).await?;
    let parsed = ResponseRequest::read(&body)?;
    let (streamed, in_background, is_kept) = (parsed.stream, parsed.background, parsed.store);
    let request = match job_request(context, parsed).await? {
        Ok(request) => request,
        Err(no_previous) => return Ok(no_previous),
    };
    // A large body is not held while its job is under way.
    drop(body);
    let (mut request, entrance) = submit::with_headers(context, request, Some(Task::Chat))?;
    request.options.log_payload &= is_kept;
    request.options.background |= in_background;
    let in_background = request.options.background;
    let job = submit::submit_job(context, request, entrance).await?;
    let broker = context.broker();
    let about = about(broker, &job.submitted.stream).await?;
    if in_background && !streamed {
        let so_far = read_durable(broker, &job.submitted.stream, Events::of_whole(about)).await?;
        return Ok(JobAnswer::from(so_far).reply(Dialect::Responses, context, &job));
    }
    Ok(entrance::answer(context, Response { about, in_background }, job, streamed).await)
}

/// The answer to the client that waits for a response, or reads it from its beginning.
struct Response {
    about: ResponseMeta,
    in_background: bool,
}

/// Collects the records of a response.
struct Whole(Events);

impl Collect for Whole {
    fn push(&mut self, record: RecordRef<'_>) {
        self.0.push(record, &mut Vec::new());
    }

    fn served(&self) -> &Served {
        self.0.served()
    }
}

impl Answers for Response {
    const DIALECT: Dialect = Dialect::Responses;
    type Events = Events;
    type Whole = Whole;

    fn events(&self, _job: &JobId) -> Option<Events> {
        let about = self.about.clone();
        Some(if self.in_background { Events::of_reader(about, None) } else { Events::of_submitter(about) })
    }

    fn whole(&self, _job: &JobId) -> Whole {
        Whole(Events::of_whole(self.about.clone()))
    }

    async fn finish(self, whole: Whole, _: &Broker, _: &Arc<Stream>) -> Result<Reply, Failure> {
        JobAnswer::from(whole.0).reply
    }
}

/// The job of a request, with the turns of the response that it continues; or the refusal, if there is none.
async fn job_request(
    context: &RequestContext<'_>,
    parsed: ResponseRequest<'_>,
) -> Result<Result<JobRequest, Reply>, Failure> {
    let previous_turns = match parsed.previous.as_deref() {
        None => Vec::new(),
        Some(previous) => match previous_turns(context, previous).await? {
            Some(turns) => turns,
            None => {
                let mut reply = response::json(StatusCode::BAD_REQUEST, &responses::no_previous(previous));
                response::set(&mut reply, "x-should-retry", "false");
                return Ok(Err(reply));
            }
        },
    };
    let known = referenced(context, &parsed).await?;
    let request = parsed.into_job_request(&previous_turns, &known)?;
    let bytes_max = context.broker().snapshot.load().config.server.body_bytes_max;
    if request.input.get().len() > bytes_max {
        let message = format!("with what it goes on from the input is over {bytes_max} bytes");
        return Err(Failure::new(Code::TooLarge, message).with_param("input"));
    }
    Ok(Ok(request))
}

/// The conversation up to the end of a response; `None` unless the response completed and is kept.
async fn previous_turns(context: &RequestContext<'_>, id: &str) -> Result<Option<Vec<Box<RawValue>>>, Failure> {
    let Some(stream) = lookup(context, id, true).await? else { return Ok(None) };
    let broker = context.broker();
    if stream.tail().state != State::Completed || !stream.head().log_payload {
        return Ok(None);
    }
    let Some(job) = broker.log.job(&stream).await? else { return Ok(None) };
    let mut whole = Completion::default();
    submit::read_whole(broker, &stream, |record| whole.push(record)).await?;
    Ok(responses::turns(&job, whole.finish(&job.id)?))
}

/// The items of earlier answers that an input names.
async fn referenced(
    context: &RequestContext<'_>,
    parsed: &ResponseRequest<'_>,
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut wanted: BTreeMap<JobId, Vec<(usize, &str)>> = BTreeMap::new();
    for id in parsed.references() {
        if let Some((job, at)) = responses::item_of(id) {
            wanted.entry(job).or_default().push((at, id));
        }
    }
    if wanted.len() > REFERENCED_MAX {
        return Err(Failure::invalid("input", format!("names items of more than {REFERENCED_MAX} responses")));
    }
    let broker = context.broker();
    let mut known = BTreeMap::new();
    for (job, items) in wanted {
        let Some(stream) = lookup(context, job.as_str(), true).await? else { continue };
        let output = read_durable(broker, &stream, Events::of_whole(about(broker, &stream).await?)).await?.output();
        for (at, id) in items {
            if let Some(item) = output.get(at).filter(|item| item["id"] == id) {
                known.insert(id.to_owned(), item.clone());
            }
        }
    }
    Ok(known)
}

/// `GET /v1/responses/{id}`, and with `stream=true` its events, from the one after `starting_after`.
pub(super) async fn show(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    query.only(|name| {
        matches!(name, "stream" | "starting_after" | "include_obfuscation" | "api-version")
            || name.strip_prefix("include").is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    })?;
    let streamed = match query.one("stream", Code::Invalid)? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Failure::invalid("stream", "must be true or false")),
    };
    let after = match query.one("starting_after", Code::Invalid)? {
        None => None,
        Some(_) if !streamed => return Err(Failure::invalid("starting_after", "is only for a stream")),
        Some(after) => Some(number(after)?),
    };
    let stream = find(context, id).await?;
    let broker = context.broker();
    let about = about(broker, &stream).await?;
    let answered = match (streamed, context.is_head()) {
        (true, true) => return Ok(response::events(None)),
        (true, false) => {
            if let Some(after) = after {
                let count =
                    read_durable(broker, &stream, Events::of_reader(about.clone(), Some(u64::MAX))).await?.count();
                if after >= count {
                    let message = format!("there are {count} events, from 0");
                    return Err(Failure::invalid("starting_after", message));
                }
                telemetry::resumed("responses");
            }
            let (reply, served) = rendered::stream(broker, &stream, Events::of_reader(about, after), None).await;
            JobAnswer { reply, served }
        }
        (false, _) => {
            let whole = read_durable(broker, &stream, Events::of_whole(about)).await?;
            JobAnswer { served: whole.served().clone(), reply: Ok(object(&whole)) }
        }
    };
    let mut reply = answered.reply?;
    response::set(&mut reply, "forebay-job-id", stream.head().id.as_str());
    Ok(reply)
}

/// `POST /v1/responses/{id}/cancel`: the response, once its end is durable. One that ended stays as
/// it is.
pub(super) async fn cancel(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    super::jobs::no_parameters(context)?;
    let found = find(context, id).await?;
    let broker = context.broker();
    let stream = broker.cancel(&found.head().id, "client").await?;
    let whole = read_durable(broker, &stream, Events::of_whole(about(broker, &stream).await?)).await?;
    Ok(object(&whole))
}

/// `DELETE /v1/responses/{id}`: one that is under way is cancelled first.
pub(super) async fn delete(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    super::jobs::no_parameters(context)?;
    let found = find(context, id).await?;
    let broker = context.broker();
    let job = &found.head().id;
    if !found.tail().state.is_terminal() {
        broker.cancel(job, "client").await?;
    }
    broker.log.forget(job).await?;
    let request = json!({"id": format!("resp_{job}"), "object": "response", "deleted": true});
    Ok(response::json(StatusCode::OK, &request))
}

/// Handles `GET /v1/responses/{id}/input_items`.
pub(super) async fn input_items(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    query.only(|name| {
        matches!(name, "limit" | "after" | "order" | "before" | "api-version") || name.starts_with("include")
    })?;
    let one = |name| query.one(name, Code::Invalid);
    if one("before")?.is_some() {
        return Err(Failure::unsupported("before", "pages go forward: give the other order"));
    }
    let (limit, after, order) = (one("limit")?, one("after")?, one("order")?);
    let stream = find(context, id).await?;
    let job = match stream.head().log_payload {
        true => context.broker().log.job(&stream).await?,
        false => None,
    };
    let job = job.ok_or_else(|| Failure::new(Code::NotFound, "the input of this response is not kept"))?;
    Ok(response::json(StatusCode::OK, &responses::input_items(&job, limit, after, order)?))
}

/// Finds the stream of a response, if the key of the request may see it.
///
/// # Errors
/// `not_found`, `expired`.
async fn find(context: &RequestContext<'_>, id: &str) -> Result<Arc<Stream>, Failure> {
    let not_found = || {
        let cut = &id[..id.floor_char_boundary(80)];
        Failure::new(Code::NotFound, format!("Response with id '{cut}' not found.")).with_param("response_id")
    };
    lookup(context, &decode(id, false), false).await?.ok_or_else(not_found)
}

/// Finds the stream of a response. A response that continues another needs that one in its gateway.
async fn lookup(context: &RequestContext<'_>, id: &str, in_gateway: bool) -> Result<Option<Arc<Stream>>, Failure> {
    let gateway = context.auth.gateway.clone().unwrap_or_default();
    let sees = |of: &_| context.auth.sees(of) && (!in_gateway || *of == gateway);
    for job in responses::jobs_of(id) {
        match context.broker().log.find(&job).await? {
            Found::Stream(stream) if sees(&stream.head().gateway) && stream.head().task == Task::Chat => {
                return Ok(Some(stream));
            }
            Found::Expired(tombstone) if !in_gateway && sees(&tombstone.gateway) => {
                return Err(Failure::new(Code::Expired, "the response was removed after its retention"));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// A job whose payload is not kept repeats no field, also while the payload is still there: what is read
/// twice must be the same.
async fn about(broker: &Broker, stream: &Arc<Stream>) -> Result<ResponseMeta, Failure> {
    let head = stream.head();
    let job = if head.log_payload { broker.log.job(stream).await? } else { None };
    let echo = job.and_then(|job| job.echo);
    Ok(ResponseMeta { job: head.id.clone(), submitted_at: head.submitted_at, echo, is_kept: head.log_payload })
}

/// Reads the records that are durable now.
async fn read_durable(broker: &Broker, stream: &Arc<Stream>, mut whole: Events) -> Result<Events, Failure> {
    let durable = stream.tail().durable;
    let mut follower = Follower::new(broker.log.clone(), Arc::clone(stream), Cursor::Start)?;
    let mut take = |record: RecordRef<'_>| drop(whole.push(record, &mut Vec::new()));
    while follower.next_seq() < durable {
        let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? else { break };
        for (seq, stored) in chunk.iter() {
            take(record::decode(seq, stored)?);
        }
    }
    Ok(whole)
}

fn number(text: &str) -> Result<u64, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| Failure::invalid("starting_after", "must be an event's sequence_number"))
}

fn object(whole: &Events) -> Reply {
    response::whole(StatusCode::OK, HeaderValue::from_static("application/json"), whole.object())
}

/// The answer to a client that waited for the whole response: one that failed is an error.
impl From<Events> for JobAnswer {
    fn from(whole: Events) -> JobAnswer {
        let failure = whole.end().filter(|end| !matches!(end, Event::Cancelled(_))).and_then(failure_of);
        let served = whole.served().clone();
        JobAnswer { reply: failure.map_or_else(|| Ok(object(&whole)), Err), served }
    }
}
