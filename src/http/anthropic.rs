//! Entrances for clients of Anthropic: messages, and how many tokens they would be.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;

use super::context::RequestContext;
use super::entrance::{self, Answers, ApiEntrance};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::submit;
use crate::broker::Broker;
use crate::config::Scope;
use crate::dialect::anthropic;
use crate::dialect::anthropic::{Events, MessageCollector};
use crate::job::{Failure, JobId, Task};
use crate::log::Stream;
use crate::meter::tokens;
use crate::wire::submit::JobRequest;

/// The entrance `POST /v1/messages`.
pub(super) struct Message;

impl Answers for Message {
    const DIALECT: Dialect = Dialect::Anthropic;
    type Events = Events;
    type Whole = MessageCollector;

    fn events(&self, job: &JobId) -> Option<Events> {
        Some(Events::new(job))
    }

    fn whole(&self, job: &JobId) -> MessageCollector {
        MessageCollector::new(job)
    }

    async fn finish(self, whole: MessageCollector, _: &Broker, _: &Arc<Stream>) -> Result<Reply, Failure> {
        Ok(response::json(StatusCode::OK, &whole.finish()?))
    }
}

impl ApiEntrance for Message {
    const TASK: Task = Task::Chat;

    fn parse(context: &RequestContext<'_>, body: &[u8]) -> Result<(JobRequest, Message), Failure> {
        Ok((anthropic::message(body, &betas(context))?, Message))
    }
}

/// `POST /v1/messages/count_tokens`: counted here, with the tokenizer that also counts for providers
/// that report no usage. No job is made.
pub(super) async fn count_tokens(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    let body = entrance::read(context).await?;
    let request = anthropic::count(&body)?;
    drop(body);
    let (request, entrance) = submit::with_headers(context, request, Some(Task::Chat))?;
    let job = context.broker().job(request, entrance)?;
    context.auth.access.require_in(Scope::Run, &job.gateway)?;
    let counted = tokio::task::spawn_blocking(move || {
        let model = job.model.as_str();
        tokens::of_input(model.rsplit('/').next().unwrap_or(model), &job)
    });
    let input_tokens = counted.await.map_err(|error| Failure::internal(format!("counting tokens: {error}")))?;
    Ok(response::json(StatusCode::OK, &json!({"input_tokens": input_tokens})))
}

/// Betas that the header names; only Anthropic gets them.
fn betas<'a>(context: &'a RequestContext<'_>) -> Vec<&'a str> {
    let all = context.parts.headers.get_all("anthropic-beta").iter();
    let all = all.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    all.map(str::trim).filter(|beta| !beta.is_empty()).collect()
}
