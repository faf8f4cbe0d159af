//! The operations of others' dialects, for `/openapi.json`.
//!
//! Bodies are described as far as a job needs them; the rest is the dialect's own documentation.

use super::Shape::{Any, Bool, Dialect, Text};
use super::table::{EVENTS, LISTED, OF_JOB, SUBMIT, SUBMITS, operation};
use super::{JSON, Operation, Parameter, Shape};

/// Where another's dialect has statuses of its own.
const FOREIGN: &[&str] = &["4XX", "5XX"];
/// The same in Anthropic's dialect, which has a status of its own for who is overloaded.
const MESSAGE: &[&str] = &["400", "401", "403", "404", "409", "410", "413", "429", "4XX", "500", "502", "504", "529"];
const ANTHROPIC: Option<Shape> = Some(Dialect(&[("type", "string"), ("error", "object")]));
const CLOUDFLARE: Option<Shape> = Some(Dialect(&[("success", "boolean"), ("errors", "array")]));

/// All of them.
pub(super) const DIALECTS: &[Operation] = &[
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("messages", "array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[(
            "200",
            "OpenAI's chat completion, or its chunks",
            &[(JSON, Dialect(&[("id", "string"), ("choices", "array")])), (EVENTS, Text)],
        )],
        errors: SUBMIT,
        ..operation("POST", "/v1/chat/completions", "createChatCompletion", "A chat in OpenAI's dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("prompt", "string|array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "prompt": "Hi"}"#,
        answers: &[(
            "200",
            "OpenAI's text completion, or its chunks",
            &[(JSON, Dialect(&[("id", "string"), ("choices", "array")])), (EVENTS, Text)],
        )],
        errors: SUBMIT,
        ..operation("POST", "/v1/completions", "createCompletion", "A text in OpenAI's older dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("max_tokens", "integer"), ("messages", "array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[(
            "200",
            "Anthropic's message, or its events",
            &[(JSON, Dialect(&[("id", "string"), ("content", "array")])), (EVENTS, Text)],
        )],
        errors: MESSAGE,
        envelope: ANTHROPIC,
        ..operation("POST", "/v1/messages", "createMessage", "A chat in Anthropic's dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("messages", "array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[("200", "an estimate", &[(JSON, Dialect(&[("input_tokens", "integer")]))])],
        errors: MESSAGE,
        envelope: ANTHROPIC,
        ..operation("POST", "/v1/messages/count_tokens", "countTokens", "How long a chat in Anthropic's dialect is")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("input", "string|array")]))],
        example: r#"{"model": "openai/text-embedding-3-small", "input": ["Hi"]}"#,
        answers: &[("200", "OpenAI's list of embeddings", LISTED)],
        errors: SUBMIT,
        ..operation("POST", "/v1/embeddings", "createEmbedding", "Vectors in OpenAI's dialect")
    },
    Operation {
        parameters: &[
            Parameter("query", "q", "only those whose name contains it", Text),
            Parameter("query", "provider", "only those of it", Text),
            Parameter("query", "task", "only those for it", Text),
            Parameter("query", "all", "also those of providers that are off", Bool),
        ],
        answers: &[("200", "in OpenAI's shape, and more", LISTED)],
        ..operation("GET", "/v1/models", "listModels", "The models that can be asked")
    },
    Operation {
        answers: &[(
            "200",
            "in OpenAI's shape, and more",
            &[(JSON, Dialect(&[("id", "string"), ("object", "string")]))],
        )],
        errors: OF_JOB,
        ..operation("GET", "/v1/models/{model}", "getModel", "One model")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Any)],
        example: r#"{"messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[(
            "200",
            "Cloudflare's result, or its events",
            &[(JSON, Dialect(&[("success", "boolean")])), (EVENTS, Text), ("*/*", Any)],
        )],
        errors: FOREIGN,
        envelope: CLOUDFLARE,
        ..operation("POST", "/accounts/{account}/ai/run/{model}", "aiRun", "A job by Cloudflare's address")
    },
    passed_on("GET", "passOnGet"),
    passed_on("POST", "passOnPost"),
    passed_on("PUT", "passOnPut"),
    passed_on("PATCH", "passOnPatch"),
    passed_on("DELETE", "passOnDelete"),
];

/// A request in a provider's own dialect, which is sent on as it is.
const fn passed_on(method: &'static str, id: &'static str) -> Operation {
    Operation {
        answers: &[("2XX", "what the provider says", &[("*/*", Any)]), ("3XX", "what the provider says", &[])],
        errors: FOREIGN,
        envelope: Some(Any),
        ..operation(method, "/v1/{account}/{gateway}/{provider}/{path}", id, "Ask a provider in its own dialect")
    }
}
