//! The operations of the Durable Streams protocol, for `/openapi.json`.

use super::Shape::{Any, OneOf, Text};
use super::table::{GATEWAY, operation};
use super::{JSON, Operation, Parameter, Shape};

/// What one of a durable stream may say.
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

/// The Durable Streams protocol.
pub(super) const STREAMS: &[Operation] = &[
    Operation {
        parameters: STREAM_READS,
        answers: STREAM_READ,
        errors: OF_STREAM,
        ..operation(
            "GET",
            "/v1/stream/jobs/{id}",
            "readJobStream",
            "Read a job's records as a durable stream of JSON messages",
        )
    },
    Operation {
        parameters: STREAM_READS,
        answers: STREAM_READ,
        errors: OF_STREAM,
        ..operation("GET", "/v1/stream/{path}", "readStream", "Read a durable stream")
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
        ..operation("PUT", "/v1/stream/{path}", "createStream", "Create a durable stream with its first content")
    },
    Operation {
        parameters: &[
            Parameter("header", "Stream-Seq", "must come after the last, byte by byte", Text),
            Parameter("header", "Producer-Id", "who appends; with the next two, an append is written once", Text),
            Parameter("header", "Producer-Epoch", "which life of the producer", Text),
            Parameter("header", "Producer-Seq", "counts its appends in that life from 0", Text),
            CLOSES,
            GATEWAY,
        ],
        body: &[(JSON, Any)],
        example: r#"[{"n": 1}, {"n": 2}]"#,
        answers: &[("200", "a producer's append is durable", &[]), ("204", "it is durable", &[])],
        errors: OF_STREAM,
        ..operation("POST", "/v1/stream/{path}", "appendToStream", "Append to a durable stream, or close it")
    },
    Operation {
        parameters: &[GATEWAY],
        answers: &[("204", "it is gone", &[])],
        errors: OF_STREAM,
        ..operation("DELETE", "/v1/stream/{path}", "deleteStream", "Delete a durable stream")
    },
];
