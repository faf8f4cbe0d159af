//! OpenAI's dialect over HTTP: chat completions, the older completions, and embeddings.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderValue;

use super::context::RequestContext;
use super::dialect::{self, Answered};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::submit;
use crate::broker::Broker;
use crate::dialect::openai;
use crate::dialect::openai::{Chunks, Completion, Embeddings, Texts};
use crate::job::{Failure, Output, OutputBody, Task};
use crate::log::Stream;

/// `POST /v1/chat/completions`.
pub(super) async fn chat(context: &RequestContext<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let asked = openai::chat(&body)?;
    // A large body is not held while its job is under way.
    drop(body);
    let streamed = asked.said.stream == Some(true);
    let mut taken = dialect::take_in(context, asked.said, Task::Chat).await?;
    let broker = context.broker();
    let id = taken.submitted.stream.head().id.clone();
    let answered = match streamed {
        true => {
            let chunks = Chunks::new(&id, asked.include_usage);
            dialect::streamed(broker, &taken.submitted.stream, chunks, taken.submitter.take()).await
        }
        false => {
            let mut whole = Completion::default();
            let read = submit::read_whole(broker, &taken.submitted.stream, |record| whole.push(record)).await;
            drop(taken.submitter.take());
            let served = whole.served().clone();
            Answered {
                reply: read.and_then(|()| whole.finish(&id)).map(|whole| response::json(StatusCode::OK, &whole)),
                served,
            }
        }
    };
    Ok(answered.reply(Dialect::OpenAi, context, &taken))
}

/// `POST /v1/completions`, which is a chat behind an older door.
pub(super) async fn completion(context: &RequestContext<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let asked = openai::completion(&body)?;
    drop(body);
    let streamed = asked.said.stream == Some(true);
    let mut taken = dialect::take_in(context, asked.said, Task::Chat).await?;
    let broker = context.broker();
    let id = taken.submitted.stream.head().id.clone();
    let answered = if streamed {
        let texts = Texts::new(&id, asked.include_usage);
        dialect::streamed(broker, &taken.submitted.stream, texts, taken.submitter.take()).await
    } else {
        let mut whole = Completion::default();
        let read = submit::read_whole(broker, &taken.submitted.stream, |record| whole.push(record)).await;
        drop(taken.submitter.take());
        let served = whole.served().clone();
        let whole = read.and_then(|()| whole.finish(&id)).map(|whole| openai::of_chat(whole, &id));
        Answered { reply: whole.map(|whole| response::json(StatusCode::OK, &whole)), served }
    };
    Ok(answered.reply(Dialect::OpenAi, context, &taken))
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(context: &RequestContext<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let said = openai::embedding(&body)?;
    drop(body);
    let input = said.input.clone();
    let mut taken = dialect::take_in(context, said, Task::Embedding).await?;
    let broker = context.broker();
    let mut whole = Embeddings::default();
    let stream = &taken.submitted.stream;
    let read = submit::read_whole(broker, stream, |record| whole.push(record)).await;
    drop(taken.submitter.take());
    let served = whole.served().clone();
    let vectors = async {
        read?;
        let vectors = bytes_of(broker, stream, whole.output()?).await?;
        let json = HeaderValue::from_static("application/json");
        Ok(response::whole(StatusCode::OK, json, whole.finish(&vectors, &input)?))
    };
    let answered = Answered { reply: vectors.await, served };
    Ok(answered.reply(Dialect::OpenAi, context, &taken))
}

/// The bytes of an output, wherever they are kept.
pub(super) async fn bytes_of(broker: &Broker, stream: &Arc<Stream>, output: Output) -> Result<Bytes, Failure> {
    Ok(match (output.body, output.sha256) {
        (_, Some(sha256)) => broker.log.get_output(stream, &sha256).await?,
        (OutputBody::Data(data), None) => data.0,
        (OutputBody::Value(value), None) => value.to_string().into(),
        (OutputBody::Url(_), None) => return Err(Failure::internal("an output is not fetched from elsewhere")),
    })
}
