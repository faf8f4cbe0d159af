//! Chats, texts, embeddings and models for clients of OpenAI and Anthropic.

use std::future::ready;

use super::spec::Handler::Request;
use super::spec::Shape::{Bool, Object, Text};
use super::spec::{EVENTS, JSON, LISTED, OF_JOB, Operation, Parameter, RouteSpec, SUBMIT, SUBMITS, operation};
use crate::http::errors::Dialect;
use crate::http::{anthropic, entrance, openai, operations};

/// Error statuses of a submission in Anthropic's dialect, which has a status of its own for overload.
const MESSAGE: &[&str] = &["400", "401", "403", "404", "409", "410", "413", "429", "4XX", "500", "502", "504", "529"];

/// Routes for clients of OpenAI and Anthropic.
pub(super) static DIALECTS: &[RouteSpec] = &[
    RouteSpec {
        pattern: "/v1/chat/completions",
        dialect: Dialect::OpenAi,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("messages", "array")]))],
            example: r#"{"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}"#,
            answers: &[(
                "200",
                "OpenAI's chat completion, or its chunks",
                &[(JSON, Object(&[("id", "string"), ("choices", "array")])), EVENTS],
            )],
            errors: SUBMIT,
            ..operation(
                "POST",
                "createChatCompletion",
                "A chat in OpenAI's dialect",
                Request(|c| Box::pin(entrance::serve::<openai::Chat>(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/completions",
        dialect: Dialect::OpenAi,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("prompt", "string|array")]))],
            example: r#"{"model": "openai/gpt-5-mini", "prompt": "Three rivers:"}"#,
            answers: &[(
                "200",
                "OpenAI's text completion, or its chunks",
                &[(JSON, Object(&[("id", "string"), ("choices", "array")])), EVENTS],
            )],
            errors: SUBMIT,
            ..operation(
                "POST",
                "createCompletion",
                "A text in OpenAI's older dialect",
                Request(|c| Box::pin(entrance::serve::<openai::Completion>(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/messages",
        dialect: Dialect::Anthropic,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("max_tokens", "integer"), ("messages", "array")]))],
            example: r#"{"model": "anthropic/claude-sonnet-4.5", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}"#,
            answers: &[(
                "200",
                "Anthropic's message, or its events",
                &[(JSON, Object(&[("id", "string"), ("content", "array")])), EVENTS],
            )],
            errors: MESSAGE,
            ..operation(
                "POST",
                "createMessage",
                "A chat in Anthropic's dialect",
                Request(|c| Box::pin(entrance::serve::<anthropic::Message>(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/messages/count_tokens",
        dialect: Dialect::Anthropic,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("messages", "array")]))],
            example: r#"{"model": "anthropic/claude-sonnet-4.5", "messages": [{"role": "user", "content": "Hi"}]}"#,
            answers: &[("200", "an estimate", &[(JSON, Object(&[("input_tokens", "integer")]))])],
            errors: MESSAGE,
            ..operation(
                "POST",
                "countTokens",
                "How long a chat in Anthropic's dialect is",
                Request(|c| Box::pin(anthropic::count_tokens(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/embeddings",
        dialect: Dialect::OpenAi,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("input", "string|array")]))],
            example: r#"{"model": "openai/text-embedding-3-small", "input": ["Hi"]}"#,
            answers: &[("200", "OpenAI's list of embeddings", LISTED)],
            errors: SUBMIT,
            ..operation(
                "POST",
                "createEmbedding",
                "Vectors in OpenAI's dialect",
                Request(|c| Box::pin(entrance::serve::<openai::Embeddings>(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/models",
        dialect: Dialect::OpenAi,
        operations: &[Operation {
            parameters: &[
                Parameter("query", "q", "only those whose name contains it", Text),
                Parameter("query", "provider", "only those of it", Text),
                Parameter("query", "task", "only those for it", Text),
                Parameter("query", "all", "also those of providers that are off", Bool),
            ],
            answers: &[("200", "in OpenAI's shape, and more", LISTED)],
            ..operation(
                "GET",
                "listModels",
                "The models that can be asked",
                Request(|c| Box::pin(ready(operations::models(c)))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/models/{model...}",
        dialect: Dialect::OpenAi,
        operations: &[Operation {
            answers: &[(
                "200",
                "in OpenAI's shape, and more",
                &[(JSON, Object(&[("id", "string"), ("object", "string")]))],
            )],
            errors: OF_JOB,
            ..operation("GET", "getModel", "One model", Request(|c| Box::pin(ready(operations::model(c, c.params[0])))))
        }],
    },
];
