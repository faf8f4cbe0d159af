//! The routes of OpenAI's Responses: ask, read, follow, cancel and forget them.

use super::spec::Handler::Request;
use super::spec::Shape::{Bool, Number, Object, OneOf, Text};
use super::spec::{EVENTS, JSON, LISTED, OF_JOB, Operation, Parameter, RouteSpec, SUBMIT, SUBMITS, Shape, operation};
use crate::http::errors::Dialect;
use crate::http::responses;

const RESPONSE: Shape = Object(&[("id", "string"), ("status", "string"), ("output", "array")]);

/// Routes of OpenAI's Responses.
pub(super) static RESPONSES: &[RouteSpec] = &[
    RouteSpec {
        pattern: "/v1/responses",
        dialect: Dialect::Responses,
        operations: &[Operation {
            parameters: SUBMITS,
            body: &[(JSON, Object(&[("model", "string"), ("input", "string|array")]))],
            example: r#"{"model": "openai/gpt-5-mini", "input": "Name three rivers."}"#,
            answers: &[("200", "OpenAI's response, or its events", &[(JSON, RESPONSE), EVENTS])],
            errors: SUBMIT,
            ..operation(
                "POST",
                "createResponse",
                "A response in OpenAI's dialect",
                Request(|c| Box::pin(responses::create(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/responses/{id}",
        dialect: Dialect::Responses,
        operations: &[
            Operation {
                parameters: &[
                    Parameter("query", "stream", "whether its events are read", Bool),
                    Parameter(
                        "query",
                        "starting_after",
                        "the number of the last event that was read",
                        Number(0, u64::MAX),
                    ),
                ],
                answers: &[("200", "the response as far as it is, or its events", &[(JSON, RESPONSE), EVENTS])],
                errors: OF_JOB,
                ..operation(
                    "GET",
                    "getResponse",
                    "A response, by its id or its job's",
                    Request(|c| Box::pin(responses::show(c, c.params[0]))),
                )
            },
            Operation {
                answers: &[("200", "it is gone", &[(JSON, Object(&[("id", "string"), ("deleted", "boolean")]))])],
                errors: OF_JOB,
                ..operation(
                    "DELETE",
                    "deleteResponse",
                    "Forget a response; it is cancelled first",
                    Request(|c| Box::pin(responses::delete(c, c.params[0]))),
                )
            },
        ],
    },
    RouteSpec {
        pattern: "/v1/responses/{id}/cancel",
        dialect: Dialect::Responses,
        operations: &[Operation {
            answers: &[("200", "it has ended", &[(JSON, RESPONSE)])],
            errors: OF_JOB,
            ..operation(
                "POST",
                "cancelResponse",
                "Cancel a response",
                Request(|c| Box::pin(responses::cancel(c, c.params[0]))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/responses/{id}/input_items",
        dialect: Dialect::Responses,
        operations: &[Operation {
            parameters: &[
                Parameter("query", "limit", "items at most", Number(1, 100)),
                Parameter("query", "after", "the id of the last item of the page before", Text),
                Parameter("query", "order", "newest first unless said otherwise", OneOf(&["asc", "desc"])),
            ],
            answers: &[("200", "OpenAI's list of items", LISTED)],
            errors: OF_JOB,
            ..operation(
                "GET",
                "listInputItems",
                "What a response was asked",
                Request(|c| Box::pin(responses::input_items(c, c.params[0]))),
            )
        }],
    },
];
