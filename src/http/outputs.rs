//! `GET /v1/jobs/{id}/outputs/{index}`: an output on its own, with its media type.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};

use super::context::RequestContext;
use super::jobs;
use super::query::decode;
use super::response;
use super::response::Reply;
use crate::config::Scope;
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Event, Failure, Output, OutputBody};
use crate::log::{Followed, Follower, Log, Stream};
use crate::wire::Cursor;
use crate::wire::record::{self, BodyRef};

pub(super) async fn give(context: &RequestContext<'_>, id: &str, index: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let index = decode(index, false).parse().map_err(|_| Failure::invalid("index", "must be a number from 0"))?;
    let stream = jobs::find(context, id).await?;
    let log = &context.broker().log;
    let output = find(log, &stream, index).await?;
    let output = output.ok_or_else(|| Failure::new(Code::NotFound, "no such output"))?;
    let mime = HeaderValue::try_from(output.mime.as_ref());
    let mime = mime.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut reply = match (output.body, output.sha256) {
        (_, Some(sha256)) => response::whole(StatusCode::OK, mime, log.get_output(&stream, &sha256).await?),
        (OutputBody::Data(data), None) => response::whole(StatusCode::OK, mime, data.0),
        (OutputBody::Value(value), None) => response::json(StatusCode::OK, &value),
        (OutputBody::Url(url), None) => {
            let place = HeaderValue::try_from(url.as_ref())
                .map_err(|_| Failure::new(Code::NotFound, "the provider's address of this output is not one"))?;
            let mut reply = response::empty(StatusCode::FOUND);
            reply.headers_mut().insert(LOCATION, place);
            reply
        }
    };
    // What a model made is shown as what it says it is, and runs nothing in our name.
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response::set(&mut reply, "forebay-job-id", stream.head().id.as_str());
    Ok(reply)
}

/// The last output of that index which is durable and was not discarded by a restart.
async fn find(log: &Arc<dyn Log>, stream: &Arc<Stream>, index: u32) -> Result<Option<Output>, Failure> {
    let mut follower = Follower::new(Arc::clone(log), Arc::clone(stream), Cursor::Start)?;
    let mut found = None;
    while !follower.is_caught_up() {
        let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? else { break };
        for (seq, stored) in chunk.iter() {
            match record::decode(seq, stored)?.body {
                BodyRef::Event(Event::Output(output)) if output.index == index => found = Some(output),
                BodyRef::Event(Event::Restarted(_)) => found = None,
                _ => {}
            }
        }
    }
    Ok(found)
}
