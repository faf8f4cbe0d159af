//! Entrances for clients of OpenAI: chat completions, the older completions, and embeddings.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::value::RawValue;

use super::context::RequestContext;
use super::entrance::{Answers, ApiEntrance};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::submit;
use crate::broker::Broker;
use crate::dialect::openai;
use crate::dialect::openai::{Chunks, Texts};
use crate::job::{Failure, JobId, Task};
use crate::log::Stream;
use crate::wire::submit::JobRequest;

/// The entrance `POST /v1/chat/completions`.
pub(super) struct Chat {
    include_usage: bool,
}

impl Answers for Chat {
    const DIALECT: Dialect = Dialect::OpenAi;
    type Events = Chunks;
    type Whole = openai::Completion;

    fn events(&self, job: &JobId) -> Option<Chunks> {
        Some(Chunks::new(job, self.include_usage))
    }

    fn whole(&self, _job: &JobId) -> openai::Completion {
        openai::Completion::default()
    }

    async fn finish(self, whole: openai::Completion, _: &Broker, stream: &Arc<Stream>) -> Result<Reply, Failure> {
        Ok(response::json(StatusCode::OK, &whole.finish(&stream.head().id)?))
    }
}

impl ApiEntrance for Chat {
    const TASK: Task = Task::Chat;

    fn parse(_: &RequestContext<'_>, body: &[u8]) -> Result<(JobRequest, Chat), Failure> {
        let chat = openai::chat(body)?;
        Ok((chat.request, Chat { include_usage: chat.include_usage }))
    }
}

/// The entrance `POST /v1/completions`: a chat in an older format.
pub(super) struct Completion {
    include_usage: bool,
}

impl Answers for Completion {
    const DIALECT: Dialect = Dialect::OpenAi;
    type Events = Texts;
    type Whole = openai::Completion;

    fn events(&self, job: &JobId) -> Option<Texts> {
        Some(Texts::new(job, self.include_usage))
    }

    fn whole(&self, _job: &JobId) -> openai::Completion {
        openai::Completion::default()
    }

    async fn finish(self, whole: openai::Completion, _: &Broker, stream: &Arc<Stream>) -> Result<Reply, Failure> {
        let id = &stream.head().id;
        Ok(response::json(StatusCode::OK, &openai::of_chat(whole.finish(id)?, id)))
    }
}

impl ApiEntrance for Completion {
    const TASK: Task = Task::Chat;

    fn parse(_: &RequestContext<'_>, body: &[u8]) -> Result<(JobRequest, Completion), Failure> {
        let chat = openai::completion(body)?;
        Ok((chat.request, Completion { include_usage: chat.include_usage }))
    }
}

/// The entrance `POST /v1/embeddings`.
pub(super) struct Embeddings {
    input: Box<RawValue>,
}

impl Answers for Embeddings {
    const DIALECT: Dialect = Dialect::OpenAi;
    type Events = Chunks;
    type Whole = openai::Embeddings;

    fn events(&self, _job: &JobId) -> Option<Chunks> {
        None
    }

    fn whole(&self, _job: &JobId) -> openai::Embeddings {
        openai::Embeddings::default()
    }

    async fn finish(
        self,
        mut whole: openai::Embeddings,
        broker: &Broker,
        stream: &Arc<Stream>,
    ) -> Result<Reply, Failure> {
        let vectors = submit::bytes_of(broker, stream, whole.output()?).await?;
        let json = HeaderValue::from_static("application/json");
        Ok(response::whole(StatusCode::OK, json, whole.finish(&vectors, &self.input)?))
    }
}

impl ApiEntrance for Embeddings {
    const TASK: Task = Task::Embedding;

    fn parse(_: &RequestContext<'_>, body: &[u8]) -> Result<(JobRequest, Embeddings), Failure> {
        let request = openai::embedding(body)?;
        let input = request.input.clone();
        Ok((request, Embeddings { input }))
    }
}
