//! A row of the route table: path, methods, handlers and descriptions.
//!
//! Dispatch, `Allow`, `/openapi.json` and the landing page read nothing else. Imports no handler.

use std::future::Future;
use std::pin::Pin;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::pattern;
use crate::broker::Broker;
use crate::http::cloudflare_names::Via;
use crate::http::context::{Params, RequestContext};
use crate::http::errors::Dialect;
use crate::http::response::Reply;
use crate::job::Failure;

/// The whole table, part by part.
pub(crate) type Routes = &'static [&'static [RouteSpec]];

/// Future of the answer to one request.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// One path of the port and what can be done there.
pub(crate) struct RouteSpec {
    /// The path below the gateway's, as [`super::pattern`] reads it.
    pub(crate) pattern: &'static str,
    /// The API in whose form errors are answered.
    pub(crate) dialect: Dialect,
    /// One operation for each method; `HEAD` and `OPTIONS` need none.
    pub(crate) operations: &'static [Operation],
}

/// One method of one route.
pub(crate) struct Operation {
    /// HTTP method in capitals.
    pub(crate) method: &'static str,
    /// OpenAPI's `operationId`, which generated clients use as a name.
    pub(crate) id: &'static str,
    /// One line that says what the operation does, for OpenAPI and for the landing page.
    pub(crate) summary: &'static str,
    /// Parameters in the query and in headers.
    pub(crate) parameters: &'static [Parameter],
    /// Bodies that may be sent, by media type.
    pub(crate) body: &'static [(&'static str, Shape)],
    /// An example body as JSON; empty if none is shown.
    pub(crate) example: &'static str,
    /// Answers to a request that succeeds: status, meaning, media types.
    pub(crate) answers: &'static [(&'static str, &'static str, &'static [(&'static str, Shape)])],
    /// Statuses of requests that fail; their body is the error envelope.
    pub(crate) errors: &'static [&'static str],
    /// The function that answers.
    pub(crate) handler: Handler,
}

/// The function that answers an operation's requests.
pub(crate) enum Handler {
    /// Answers without a key.
    Open(fn(&Broker, Routes) -> Reply),
    /// The connection becomes a WebSocket; the first parameter of the path, if any, is the job to follow.
    WebSocket,
    /// Answers a request whose key was accepted.
    Request(for<'a> fn(&'a RequestContext<'a>) -> Answer<'a>),
}

/// Place of a parameter, its name, its meaning, its shape.
#[derive(Clone, Copy)]
pub(crate) struct Parameter(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) Shape,
);

/// The form of a value.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// The schema of a type of this crate.
    Of(fn(&mut SchemaGenerator) -> Schema),
    /// An object of another API with these fields, named with their JSON types, and any other field that the
    /// API has.
    Object(&'static [(&'static str, &'static str)]),
    /// Any string at all.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An integer in this range.
    Number(u64, u64),
    /// Either `true` or `false`.
    Bool,
    /// Any JSON value or bytes.
    Any,
}

/// A route, and what else the path names.
#[derive(Clone, Copy)]
pub(crate) struct Matched<'a> {
    pub(crate) route: &'static RouteSpec,
    pub(crate) params: Params<'a>,
    pub(crate) gateway: Option<&'a str>,
    pub(crate) via: Via<'a>,
}

impl RouteSpec {
    /// The operation that `method` names; `HEAD` is answered by the one for `GET`.
    pub(crate) fn operation(&self, method: &str) -> Option<&'static Operation> {
        let named = |method: &str| self.operations.iter().find(|operation| operation.method == method);
        match method {
            "HEAD" => named("GET").filter(|operation| operation.takes_head()),
            method => named(method),
        }
    }

    /// Value of the header `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods = Vec::new();
        for operation in self.operations {
            methods.push(operation.method);
            if operation.method == "GET" && operation.takes_head() {
                methods.push("HEAD");
            }
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }

    /// The path as OpenAPI writes it: every parameter is only its name in braces.
    pub(crate) fn path(&self) -> String {
        self.pattern.replace("...}", "}").replace("*}", "}")
    }
}

impl Operation {
    /// Whether it needs no key on any broker.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.handler, Handler::Open(_))
    }

    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.handler, Handler::WebSocket)
    }

    fn takes_head(&self) -> bool {
        !self.is_websocket()
    }
}

/// The beginning of a row, for a request that may fail as any read may; the row itself says what differs.
pub(super) const fn operation(
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Operation {
    let (parameters, body, example, answers) = (&[], &[], "", &[]);
    Operation { method, id, summary, parameters, body, example, answers, errors: READ, handler }
}

/// The schema of `T`, as [`Shape::Of`] takes it.
pub(crate) fn of<T: JsonSchema>(types: &mut SchemaGenerator) -> Schema {
    types.subschema_for::<T>()
}

pub(crate) const JSON: &str = "application/json";
/// Events of a stream, each of them JSON; OpenAPI 3.1 cannot describe one of many events.
pub(super) const EVENTS: (&str, Shape) = ("text/event-stream", Shape::Any);

/// Error statuses of any route that needs a key.
const READ: &[&str] = &["400", "401", "403", "500", "503"];
/// Error statuses of a route for one job.
pub(super) const OF_JOB: &[&str] = &["400", "401", "403", "404", "409", "410", "500", "503"];
/// Error statuses of a submission: all of ours, and the status with which a provider refused it.
pub(super) const SUBMIT: &[&str] =
    &["400", "401", "403", "404", "409", "410", "413", "429", "4XX", "500", "502", "503", "504"];

const KEY: Parameter = Parameter("header", "Idempotency-Key", "a repeat with the same body joins the job", Shape::Text);
const METADATA: Parameter = Parameter("header", "Forebay-Metadata", "JSON: what cost is broken down by", Shape::Text);
const OPTIONS: Parameter = Parameter("header", "Forebay-Options", "JSON: a job's `options`", Shape::Text);
pub(super) const GATEWAY: Parameter =
    Parameter("header", "Forebay-Gateway", "the gateway, where the path names none", Shape::Text);
/// Parameters of every submission.
pub(super) const SUBMITS: &[Parameter] = &[KEY, METADATA, OPTIONS, GATEWAY];

/// A list in the form of OpenAI's lists.
pub(super) const LISTED: &[(&str, Shape)] = &[(JSON, Shape::Object(&[("object", "string"), ("data", "array")]))];

/// The first route whose pattern matches `path` once `prefix` is taken from the pattern.
pub(super) fn find<'a>(routes: Routes, prefix: &str, path: &'a str) -> Option<(&'static RouteSpec, Params<'a>)> {
    routes.iter().copied().flatten().find_map(|route| {
        let params = pattern::matches(route.pattern.strip_prefix(prefix)?, path)?;
        Some((route, params))
    })
}
