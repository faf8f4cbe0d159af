//! Every operation of the port, for `/openapi.json`. A new route gets its rows here.

use super::Shape::{Any, Bool, Dialect, Number, Of, OneOf, Text};
use super::{JSON, Operation, Parameter, of, streams};
use crate::job::caps::LIST_ROWS_MAX;
use crate::job::{Gateway, JobId};
use crate::log::Status;
use crate::meter::CostAnswer;
use crate::wire::collect::Answer;
use crate::wire::submit::Said;

/// All of them, part by part.
pub(super) const OPERATIONS: &[&[Operation]] = &[JOBS, DIALECTS, RESPONSES, CLOUDFLARE, streams::STREAMS, BROKER, OPEN];

/// Events of a stream, each of them JSON; OpenAPI 3.1 has no word for what one of many is like.
const EVENTS: (&str, super::Shape) = ("text/event-stream", Any);
const PLAIN: &str = "text/plain";
const PACKED: &str = "application/msgpack";

/// What any route with a key may say.
const READ: &[&str] = &["400", "401", "403", "500", "503"];
/// What one of a job may say.
const OF_JOB: &[&str] = &["400", "401", "403", "404", "409", "410", "500", "503"];
/// What a submission may say: all of ours, and whatever a provider refused it with.
const SUBMIT: &[&str] = &["400", "401", "403", "404", "409", "410", "413", "429", "4XX", "500", "502", "503", "504"];
/// The same in Anthropic's dialect, which has a status of its own for who is overloaded.
const MESSAGE: &[&str] = &["400", "401", "403", "404", "409", "410", "413", "429", "4XX", "500", "502", "504", "529"];
/// A WebSocket that is asked for as if it were none.
const SOCKET: &[&str] = &["400", "401", "403", "426", "500", "503"];

const KEY: Parameter = Parameter("header", "Idempotency-Key", "a repeat with the same body joins the job", Text);
const METADATA: Parameter = Parameter("header", "Forebay-Metadata", "JSON: what cost is broken down by", Text);
const OPTIONS: Parameter = Parameter("header", "Forebay-Options", "JSON: a job's `options`", Text);
pub(super) const GATEWAY: Parameter =
    Parameter("header", "Forebay-Gateway", "the gateway, where the path names none", Text);
const SUBMITS: &[Parameter] = &[KEY, METADATA, OPTIONS, GATEWAY];
const CURSOR: Parameter = Parameter("query", "cursor", "after which to begin: -1, now, or one that was given", Text);

const COLLECTED: &[(&str, super::Shape)] = &[(JSON, Of(of::<Answer>)), EVENTS];
const STATUS: &[(&str, super::Shape)] = &[(JSON, Of(of::<Status>))];
const LISTED: &[(&str, super::Shape)] = &[(JSON, Dialect(&[("object", "string"), ("data", "array")]))];

/// What stands in braces in a path: its name, what it is, an example, its shape.
pub(super) const IN_PATH: &[(&str, &str, &str, super::Shape)] = &[
    ("id", "the job's id", "turn-17", Of(of::<JobId>)),
    ("account", "any", "mine", Text),
    ("gateway", "the gateway's name", "default", Of(of::<Gateway>)),
    ("provider", "the provider's name, ours or Cloudflare's", "openai", Text),
    ("path", "the provider's own; its slashes may stand as they are", "v1/files", Text),
    ("index", "the output's number, from 0", "0", Number(0, u32::MAX as u64)),
    ("model", "the model's name; its slashes may stand as they are", "openai/gpt-5-mini", Text),
];

/// A row's beginning; the rest is what it has.
pub(super) const fn operation(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Operation {
    let (parameters, body, example, answers) = (&[], &[], "", &[]);
    Operation { method, path, id, summary, parameters, body, example, answers, errors: READ, is_open: false }
}

const JOBS: &[Operation] = &[
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Of(of::<Said>)), (PACKED, Any)],
        example: r#"{"model": "openai/gpt-5-mini", "input": "Name three rivers.", "metadata": {"teamId": "AI"}}"#,
        answers: &[("200", "the answer, or its records as they come", COLLECTED), ("202", "it is under way", STATUS)],
        errors: SUBMIT,
        ..operation("POST", "/v1/run", "run", "Submit a job")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Any)],
        example: r#"{"messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[("200", "the answer, or its records as they come", COLLECTED), ("202", "it is under way", STATUS)],
        errors: SUBMIT,
        ..operation("POST", "/v1/run/{model}", "runModel", "Submit a job whose body is the input alone")
    },
    Operation {
        parameters: &[
            Parameter(
                "query",
                "state",
                "only those in it",
                OneOf(&["pending", "streaming", "completed", "failed", "cancelled", "interrupted"]),
            ),
            Parameter("query", "limit", "rows at most", Number(1, LIST_ROWS_MAX as u64)),
            Parameter("query", "after", "the `next` of the page before, or the id of its last job", Text),
            Parameter("query", "tag.KEY", "only those with this tag; KEY is its name", Text),
            GATEWAY,
        ],
        answers: &[("200", "newest first", &[(JSON, Dialect(&[("jobs", "array"), ("next", "string|null")]))])],
        ..operation("GET", "/v1/jobs", "listJobs", "List jobs")
    },
    Operation {
        answers: &[("200", "how it is", STATUS)],
        errors: OF_JOB,
        ..operation("GET", "/v1/jobs/{id}", "getJob", "The status of a job")
    },
    Operation {
        answers: &[("200", "it is gone", &[(JSON, Dialect(&[("id", "string"), ("deleted", "boolean")]))])],
        errors: OF_JOB,
        ..operation("DELETE", "/v1/jobs/{id}", "forgetJob", "Forget a finished job")
    },
    Operation {
        answers: &[("200", "it has ended", STATUS)],
        errors: OF_JOB,
        ..operation("POST", "/v1/jobs/{id}/cancel", "cancelJob", "Cancel a job")
    },
    Operation {
        parameters: &[
            CURSOR,
            Parameter("query", "from", "after how many records to begin", Number(0, u64::MAX)),
            Parameter("header", "Last-Event-ID", "the same as `cursor`, and wins", Text),
        ],
        answers: &[("200", "records; `id:` is the cursor after each", &[EVENTS])],
        errors: OF_JOB,
        ..operation("GET", "/v1/jobs/{id}/events", "followJob", "Read a job's records from a cursor on")
    },
    Operation {
        answers: &[("200", "the output, with its own media type", &[("*/*", Any)]), ("302", "it is elsewhere", &[])],
        errors: OF_JOB,
        ..operation("GET", "/v1/jobs/{id}/outputs/{index}", "getOutput", "One output of a job")
    },
    Operation {
        parameters: &[CURSOR],
        answers: &[("101", "a WebSocket (forebay.v1.json, forebay.v1.msgpack)", &[])],
        errors: SOCKET,
        ..operation("GET", "/v1/jobs/{id}/ws", "followJobOnSocket", "Follow one job on a WebSocket")
    },
    Operation {
        answers: &[("101", "a WebSocket (forebay.v1.json, forebay.v1.msgpack)", &[])],
        errors: SOCKET,
        ..operation("GET", "/v1/ws", "socket", "Submit and follow jobs on a WebSocket")
    },
];

const DIALECTS: &[Operation] = &[
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("messages", "array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[(
            "200",
            "OpenAI's chat completion, or its chunks",
            &[(JSON, Dialect(&[("id", "string"), ("choices", "array")])), EVENTS],
        )],
        errors: SUBMIT,
        ..operation("POST", "/v1/chat/completions", "createChatCompletion", "A chat in OpenAI's dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("prompt", "string|array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "prompt": "Three rivers:"}"#,
        answers: &[(
            "200",
            "OpenAI's text completion, or its chunks",
            &[(JSON, Dialect(&[("id", "string"), ("choices", "array")])), EVENTS],
        )],
        errors: SUBMIT,
        ..operation("POST", "/v1/completions", "createCompletion", "A text in OpenAI's older dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("max_tokens", "integer"), ("messages", "array")]))],
        example: r#"{"model": "anthropic/claude-sonnet-4.5", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[(
            "200",
            "Anthropic's message, or its events",
            &[(JSON, Dialect(&[("id", "string"), ("content", "array")])), EVENTS],
        )],
        errors: MESSAGE,
        ..operation("POST", "/v1/messages", "createMessage", "A chat in Anthropic's dialect")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("messages", "array")]))],
        example: r#"{"model": "anthropic/claude-sonnet-4.5", "messages": [{"role": "user", "content": "Hi"}]}"#,
        answers: &[("200", "an estimate", &[(JSON, Dialect(&[("input_tokens", "integer")]))])],
        errors: MESSAGE,
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
];

const RESPONSE: super::Shape = Dialect(&[("id", "string"), ("status", "string"), ("output", "array")]);

const RESPONSES: &[Operation] = &[
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("input", "string|array")]))],
        example: r#"{"model": "openai/gpt-5-mini", "input": "Name three rivers."}"#,
        answers: &[("200", "OpenAI's response, or its events", &[(JSON, RESPONSE), EVENTS])],
        errors: SUBMIT,
        ..operation("POST", "/v1/responses", "createResponse", "A response in OpenAI's dialect")
    },
    Operation {
        parameters: &[
            Parameter("query", "stream", "whether its events are read", Bool),
            Parameter("query", "starting_after", "the number of the last event that was read", Number(0, u64::MAX)),
        ],
        answers: &[("200", "the response as far as it is, or its events", &[(JSON, RESPONSE), EVENTS])],
        errors: OF_JOB,
        ..operation("GET", "/v1/responses/{id}", "getResponse", "A response, by its id or its job's")
    },
    Operation {
        answers: &[("200", "it is gone", &[(JSON, Dialect(&[("id", "string"), ("deleted", "boolean")]))])],
        errors: OF_JOB,
        ..operation("DELETE", "/v1/responses/{id}", "deleteResponse", "Forget a response; it is cancelled first")
    },
    Operation {
        answers: &[("200", "it has ended", &[(JSON, RESPONSE)])],
        errors: OF_JOB,
        ..operation("POST", "/v1/responses/{id}/cancel", "cancelResponse", "Cancel a response")
    },
    Operation {
        parameters: &[
            Parameter("query", "limit", "items at most", Number(1, 100)),
            Parameter("query", "after", "the id of the last item of the page before", Text),
            Parameter("query", "order", "newest first unless said otherwise", OneOf(&["asc", "desc"])),
        ],
        answers: &[("200", "OpenAI's list of items", LISTED)],
        errors: OF_JOB,
        ..operation("GET", "/v1/responses/{id}/input_items", "listInputItems", "What a response was asked")
    },
];

/// The envelope of Cloudflare's `ai/run`.
const ENVELOPE: &[(&str, super::Shape)] =
    &[(JSON, Dialect(&[("success", "boolean"), ("errors", "array"), ("messages", "array")])), EVENTS];
/// What is passed on may be answered with anything that its provider says.
const PASSED: &[&str] = &["400", "401", "403", "404", "405", "413", "4XX", "5XX"];

/// A request that goes to a provider as it is.
const fn passed_on(method: &'static str, id: &'static str) -> Operation {
    let path = "/v1/{account}/{gateway}/{provider}/{path}";
    Operation {
        body: &[("*/*", Any)],
        example: "{}",
        answers: &[("2XX", "what the provider says", &[("*/*", Any)]), ("3XX", "the same", &[("*/*", Any)])],
        errors: PASSED,
        ..operation(method, path, id, "A provider asked as it is, with our key; a job where its answer can be read")
    }
}

/// Of Cloudflare's addresses those that are no other name of a door above.
const CLOUDFLARE: &[Operation] = &[
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Dialect(&[("model", "string"), ("input", "object")]))],
        example: r#"{"model": "@cf/meta/llama-3.1-8b-instruct", "input": {"prompt": "Hi"}}"#,
        answers: &[("200", "Cloudflare's envelope, or OpenAI's chunks", ENVELOPE), ("202", "under way", ENVELOPE)],
        errors: SUBMIT,
        ..operation("POST", "/accounts/{account}/ai/run", "aiRun", "Submit a job as Cloudflare's clients do")
    },
    Operation {
        parameters: SUBMITS,
        body: &[(JSON, Any)],
        example: r#"{"prompt": "Hi"}"#,
        answers: &[("200", "Cloudflare's envelope, or OpenAI's chunks", ENVELOPE), ("202", "under way", ENVELOPE)],
        errors: SUBMIT,
        ..operation("POST", "/accounts/{account}/ai/run/{model}", "aiRunModel", "The same; the body is the input")
    },
    Operation { body: &[], ..passed_on("GET", "passOnGet") },
    passed_on("POST", "passOnPost"),
    passed_on("PUT", "passOnPut"),
    passed_on("PATCH", "passOnPatch"),
    Operation { body: &[], ..passed_on("DELETE", "passOnDelete") },
];

const BROKER: &[Operation] = &[
    Operation {
        parameters: &[
            Parameter("query", "by", "gateway, model, provider or metadata.KEY; may be given several times", Text),
            Parameter("query", "since", "RFC 3339, on the hour", Text),
            Parameter("query", "until", "RFC 3339, on the hour", Text),
            Parameter("query", "bucket", "one row for each", OneOf(&["hour", "day"])),
            GATEWAY,
        ],
        answers: &[("200", "sums", &[(JSON, Of(of::<CostAnswer>))])],
        ..operation("GET", "/v1/costs", "getCosts", "What was spent")
    },
    Operation {
        answers: &[("200", "how many lines were added up", &[(JSON, Dialect(&[("lines", "integer")]))])],
        ..operation("POST", "/v1/costs/rebuild", "rebuildCosts", "Add the sums up again from the ledger; wants `admin`")
    },
    Operation {
        answers: &[("200", "with the targets that were asked", LISTED)],
        ..operation("GET", "/v1/providers", "listProviders", "Who can be asked, and how they are")
    },
    Operation {
        answers: &[("200", "Prometheus' text format", &[(PLAIN, Text)])],
        ..operation("GET", "/metrics", "getMetrics", "Metrics")
    },
];

const OPEN: &[Operation] = &[
    Operation {
        answers: &[("200", "it lives", &[(PLAIN, Text)])],
        errors: &[],
        is_open: true,
        ..operation("GET", "/healthz", "healthz", "Whether the broker lives")
    },
    Operation {
        answers: &[
            ("200", "it takes jobs", &[(JSON, Dialect(&[("ready", "boolean")]))]),
            ("503", "it does not, and why", &[(JSON, Dialect(&[("ready", "boolean"), ("reason", "string")]))]),
        ],
        errors: &[],
        is_open: true,
        ..operation("GET", "/readyz", "readyz", "Whether the broker takes jobs")
    },
    Operation {
        answers: &[("200", "OpenAPI 3.1", &[(JSON, Dialect(&[("openapi", "string"), ("paths", "object")]))])],
        errors: &[],
        is_open: true,
        ..operation("GET", "/openapi.json", "getOpenapi", "This document")
    },
    Operation {
        answers: &[("200", "what there is, for people", &[(PLAIN, Text)])],
        errors: &[],
        is_open: true,
        ..operation("GET", "/", "getRoot", "A page about the port")
    },
];
