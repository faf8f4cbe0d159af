//! Jobs: submit, list, read, follow, cancel and forget them.

use super::spec::Handler::{Request, WebSocket};
use super::spec::Shape::{Any, Number, Object, Of, OneOf, Text};
use super::spec::{
    EVENTS, GATEWAY, JSON, OF_JOB, Operation, Parameter, RouteSpec, SUBMIT, SUBMITS, Shape, of, operation,
};
use crate::http::errors::Dialect;
use crate::http::{jobs, outputs, run, sse};
use crate::job::caps::LIST_ROWS_MAX;
use crate::log::Status;
use crate::wire::collect::Answer;
use crate::wire::submit::JobRequest;

const PACKED: &str = "application/msgpack";
/// Error statuses of a WebSocket's route; 426 is for a request without a handshake.
const SOCKET: &[&str] = &["400", "401", "403", "426", "500", "503"];
/// Error statuses of an output's route; 416 is for a range that the output does not have.
const OF_OUTPUT: &[&str] = &["400", "401", "403", "404", "409", "410", "416", "500", "503"];
const CURSOR: Parameter = Parameter("query", "cursor", "after which to begin: -1, now, or one that was given", Text);
const COLLECTED: &[(&str, Shape)] = &[(JSON, Of(of::<Answer>)), EVENTS];
const STATUS: &[(&str, Shape)] = &[(JSON, Of(of::<Status>))];

/// Routes for jobs and WebSockets.
pub(super) static JOBS: &[RouteSpec] = &[
    RouteSpec {
        pattern: "/v1/run",
        dialect: Dialect::Own,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Of(of::<JobRequest>)), (PACKED, Any)],
            example: r#"{"model": "openai/gpt-5-mini", "input": "Name three rivers.", "metadata": {"teamId": "AI"}}"#,
            answers: &[
                ("200", "the answer, or its records as they come", COLLECTED),
                ("202", "it is under way", STATUS),
            ],
            errors: SUBMIT,
            ..operation("POST", "run", "Submit a job", Request(|c| Box::pin(run::run(c, None))))
        }],
    },
    RouteSpec {
        pattern: "/v1/run/{model...}",
        dialect: Dialect::Own,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Any)],
            example: r#"{"messages": [{"role": "user", "content": "Hi"}]}"#,
            answers: &[
                ("200", "the answer, or its records as they come", COLLECTED),
                ("202", "it is under way", STATUS),
            ],
            errors: SUBMIT,
            ..operation(
                "POST",
                "runModel",
                "Submit a job whose body is the input alone",
                Request(|c| Box::pin(run::run(c, Some(c.params[0])))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/jobs",
        dialect: Dialect::Own,
        operations: &[Operation {
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
            answers: &[("200", "newest first", &[(JSON, Object(&[("jobs", "array"), ("next", "string|null")]))])],
            ..operation("GET", "listJobs", "List jobs", Request(|c| Box::pin(jobs::list(c))))
        }],
    },
    RouteSpec {
        pattern: "/v1/jobs/{id}",
        dialect: Dialect::Own,
        operations: &[
            Operation {
                answers: &[("200", "how it is", STATUS)],
                errors: OF_JOB,
                ..operation("GET", "getJob", "The status of a job", Request(|c| Box::pin(jobs::show(c, c.params[0]))))
            },
            Operation {
                answers: &[("200", "it is gone", &[(JSON, Object(&[("id", "string"), ("deleted", "boolean")]))])],
                errors: OF_JOB,
                ..operation(
                    "DELETE",
                    "forgetJob",
                    "Forget a finished job",
                    Request(|c| Box::pin(jobs::forget(c, c.params[0]))),
                )
            },
        ],
    },
    RouteSpec {
        pattern: "/v1/jobs/{id}/cancel",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "it has ended", STATUS)],
            errors: OF_JOB,
            ..operation("POST", "cancelJob", "Cancel a job", Request(|c| Box::pin(jobs::cancel(c, c.params[0]))))
        }],
    },
    RouteSpec {
        pattern: "/v1/jobs/{id}/events",
        dialect: Dialect::Own,
        operations: &[Operation {
            parameters: &[
                CURSOR,
                Parameter("query", "from", "after how many records to begin", Number(0, u64::MAX)),
                Parameter("header", "Last-Event-ID", "the same as `cursor`, and wins", Text),
            ],
            answers: &[("200", "records; `id:` is the cursor after each", &[EVENTS])],
            errors: OF_JOB,
            ..operation(
                "GET",
                "followJob",
                "Read a job's records from a cursor on",
                Request(|c| Box::pin(sse::follow(c, c.params[0]))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/jobs/{id}/outputs/{index*}",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[
                ("200", "the output, with its own media type", &[("*/*", Any)]),
                ("206", "the range of it that the Range header names", &[("*/*", Any)]),
                ("302", "it is elsewhere", &[]),
            ],
            errors: OF_OUTPUT,
            ..operation(
                "GET",
                "getOutput",
                "One output of a job",
                Request(|c| Box::pin(outputs::give(c, c.params[0], c.params[1]))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/jobs/{id}/ws",
        dialect: Dialect::Own,
        operations: &[Operation {
            parameters: &[CURSOR],
            answers: &[("101", "a WebSocket (forebay.v1.json, forebay.v1.msgpack)", &[])],
            errors: SOCKET,
            ..operation("GET", "followJobOnSocket", "Follow one job on a WebSocket", WebSocket)
        }],
    },
    RouteSpec {
        pattern: "/v1/ws",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("101", "a WebSocket (forebay.v1.json, forebay.v1.msgpack)", &[])],
            errors: SOCKET,
            ..operation("GET", "socket", "Submit and follow jobs on a WebSocket", WebSocket)
        }],
    },
];
