//! The Durable Streams protocol: jobs' records to read, and users' own streams.

use super::spec::Handler::Request;
use super::spec::Shape::{Any, OneOf, Text};
use super::spec::{GATEWAY, JSON, Operation, Parameter, RouteSpec, Shape, operation};
use crate::http::durable_streams;
use crate::http::errors::Dialect;

/// Error statuses of a route for one durable stream.
const OF_STREAM: &[&str] = &["400", "401", "403", "404", "409", "410", "413", "500", "503"];

const OFFSET: Parameter = Parameter("query", "offset", "where to begin: -1, now, or one that was given", Text);
const LIVE: Parameter = Parameter("query", "live", "wait for what comes", OneOf(&["long-poll", "sse"]));
const STREAM_CURSOR: Parameter = Parameter("query", "cursor", "the last Stream-Cursor", Text);
const SAME: Parameter = Parameter("header", "If-None-Match", "the ETag of what is known already", Text);
const STREAM_READS: &[Parameter] = &[OFFSET, LIVE, STREAM_CURSOR, SAME, GATEWAY];
const STREAM_READ: &[(&str, &str, &[(&str, Shape)])] = &[
    ("200", "content; Stream-Next-Offset is where to go on", &[("*/*", Any)]),
    ("204", "a long poll without anything new", &[]),
    ("304", "it is known already", &[]),
];
const CLOSES: Parameter = Parameter("header", "Stream-Closed", "`true`: nothing comes after it", Text);

/// Routes of the Durable Streams protocol.
pub(super) static STREAMS: &[RouteSpec] = &[
    RouteSpec {
        pattern: "/v1/stream/jobs/{id*...}",
        dialect: Dialect::DurableStreams,
        operations: &[Operation {
            parameters: STREAM_READS,
            answers: STREAM_READ,
            errors: OF_STREAM,
            ..operation(
                "GET",
                "readJobStream",
                "Read a job's records as a durable stream of JSON messages",
                Request(|c| Box::pin(durable_streams::serve_job(c, c.params[0]))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/stream/{path...}",
        dialect: Dialect::DurableStreams,
        operations: &[
            Operation {
                parameters: STREAM_READS,
                answers: STREAM_READ,
                errors: OF_STREAM,
                ..operation(
                    "GET",
                    "readStream",
                    "Read a durable stream",
                    Request(|c| Box::pin(durable_streams::serve(c, c.params[0]))),
                )
            },
            Operation {
                parameters: &[
                    Parameter("header", "Stream-TTL", "seconds that it lives after its last use", Text),
                    Parameter("header", "Stream-Expires-At", "RFC 3339: when it ends", Text),
                    CLOSES,
                    GATEWAY,
                ],
                body: &[(JSON, Any)],
                example: r#"[{"n": 1}, {"n": 2}]"#,
                answers: &[("200", "it is there, as described", &[]), ("201", "it is new", &[])],
                errors: OF_STREAM,
                ..operation(
                    "PUT",
                    "createStream",
                    "Create a durable stream with its first content",
                    Request(|c| Box::pin(durable_streams::serve(c, c.params[0]))),
                )
            },
            Operation {
                parameters: &[
                    Parameter("header", "Stream-Seq", "must come after the last, byte by byte", Text),
                    Parameter(
                        "header",
                        "Producer-Id",
                        "who appends; with the next two, an append is written once",
                        Text,
                    ),
                    Parameter("header", "Producer-Epoch", "which life of the producer", Text),
                    Parameter("header", "Producer-Seq", "counts its appends in that life from 0", Text),
                    CLOSES,
                    GATEWAY,
                ],
                body: &[(JSON, Any)],
                example: r#"[{"n": 1}, {"n": 2}]"#,
                answers: &[("200", "a producer's append is durable", &[]), ("204", "it is durable", &[])],
                errors: OF_STREAM,
                ..operation(
                    "POST",
                    "appendToStream",
                    "Append to a durable stream, or close it",
                    Request(|c| Box::pin(durable_streams::serve(c, c.params[0]))),
                )
            },
            Operation {
                parameters: &[GATEWAY],
                answers: &[("204", "it is gone", &[])],
                errors: OF_STREAM,
                ..operation(
                    "DELETE",
                    "deleteStream",
                    "Delete a durable stream",
                    Request(|c| Box::pin(durable_streams::serve(c, c.params[0]))),
                )
            },
        ],
    },
];
