//! Anthropic's dialect over HTTP: messages, and how many tokens they would be.

use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::json;

use super::context::RequestContext;
use super::dialect::{self, Answered};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::submit;
use crate::config::Scope;
use crate::dialect::anthropic;
use crate::dialect::anthropic::{Events, Whole};
use crate::job::{Failure, Task};
use crate::meter::tokens;

/// `POST /v1/messages`.
pub(super) async fn message(context: &RequestContext<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let said = anthropic::message(&body, &betas(context))?;
    // A large body is not held while its job is under way.
    drop(body);
    let streamed = said.stream == Some(true);
    let mut taken = dialect::take_in(context, said, Task::Chat).await?;
    let broker = context.broker();
    let id = taken.submitted.stream.head().id.clone();
    let answered = if streamed {
        dialect::streamed(broker, &taken.submitted.stream, Events::new(&id), taken.submitter.take()).await
    } else {
        let mut whole = Whole::new(&id);
        let read = submit::read_whole(broker, &taken.submitted.stream, |record| whole.push(record)).await;
        drop(taken.submitter.take());
        let served = whole.served().clone();
        let reply = read.and_then(|()| whole.finish()).map(|whole| response::json(StatusCode::OK, &whole));
        Answered { reply, served }
    };
    Ok(answered.reply(Dialect::Anthropic, context, &taken))
}

/// `POST /v1/messages/count_tokens`: counted here, with the tokenizer that also counts for providers
/// that tell no usage. No job is made.
pub(super) async fn count_tokens(context: &RequestContext<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let said = anthropic::count(&body)?;
    drop(body);
    let (said, door) = submit::beside_body(context, said, Some(Task::Chat))?;
    let job = context.broker().job(said, door)?;
    context.auth.access.require_in(Scope::Run, &job.gateway)?;
    let counted = tokio::task::spawn_blocking(move || {
        let model = job.model.as_str();
        tokens::of_input(model.rsplit('/').next().unwrap_or(model), &job)
    });
    let input_tokens = counted.await.map_err(|error| Failure::internal(format!("counting tokens: {error}")))?;
    Ok(response::json(StatusCode::OK, &json!({"input_tokens": input_tokens})))
}

/// What the header says of betas: Anthropic gets it, nobody else.
fn betas<'a>(context: &'a RequestContext<'_>) -> Vec<&'a str> {
    let all = context.parts.headers.get_all("anthropic-beta").iter();
    let all = all.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    all.map(str::trim).filter(|beta| !beta.is_empty()).collect()
}
