//! Cloudflare's own routes: those of its addresses that are no other name of a route of ours.

use super::spec::Handler::Request;
use super::spec::Shape::{Any, Object};
use super::spec::{EVENTS, JSON, Operation, RouteSpec, SUBMIT, SUBMITS, Shape, operation};
use crate::http::errors::Dialect;
use crate::http::{cloudflare, passthrough};

/// The envelope of Cloudflare's `ai/run`.
const ENVELOPE: &[(&str, Shape)] =
    &[(JSON, Object(&[("success", "boolean"), ("errors", "array"), ("messages", "array")])), EVENTS];
/// Error statuses of a request that is passed on: its provider may answer with any.
const PASSED: &[&str] = &["400", "401", "403", "404", "405", "413", "4XX", "5XX"];

/// A request that goes to a provider unchanged.
const fn passed_on(method: &'static str, id: &'static str) -> Operation {
    let summary = "A provider asked as it is, with our key; a job where its answer can be read";
    Operation {
        body: &[("*/*", Any)],
        example: "{}",
        answers: &[("2XX", "what the provider says", &[("*/*", Any)]), ("3XX", "the same", &[("*/*", Any)])],
        errors: PASSED,
        ..operation(method, id, summary, Request(|c| Box::pin(passthrough::pass_on(c, c.params[0], c.params[1]))))
    }
}

/// Routes of the Cloudflare part of the table.
pub(super) static CLOUDFLARE: &[RouteSpec] = &[AI_RUN, AI_RUN_MODEL, PASSTHROUGH];

/// `ai/run` with the model in the body.
pub(super) const AI_RUN: RouteSpec = RouteSpec {
    pattern: "/accounts/{account}/ai/run",
    dialect: Dialect::Cloudflare,
    operations: &[Operation {
        parameters: SUBMITS,
        body: &[(JSON, Object(&[("model", "string"), ("input", "object")]))],
        example: r#"{"model": "@cf/meta/llama-3.1-8b-instruct", "input": {"prompt": "Hi"}}"#,
        answers: &[("200", "Cloudflare's envelope, or OpenAI's chunks", ENVELOPE), ("202", "under way", ENVELOPE)],
        errors: SUBMIT,
        ..operation(
            "POST",
            "aiRun",
            "Submit a job as Cloudflare's clients do",
            Request(|c| Box::pin(cloudflare::run(c, None))),
        )
    }],
};

/// `ai/run` with the model in the path.
pub(super) const AI_RUN_MODEL: RouteSpec = RouteSpec {
    pattern: "/accounts/{account}/ai/run/{model...}",
    dialect: Dialect::Cloudflare,
    operations: &[Operation {
        parameters: SUBMITS,
        body: &[(JSON, Any)],
        example: r#"{"prompt": "Hi"}"#,
        answers: &[("200", "Cloudflare's envelope, or OpenAI's chunks", ENVELOPE), ("202", "under way", ENVELOPE)],
        errors: SUBMIT,
        ..operation(
            "POST",
            "aiRunModel",
            "The same; the body is the input",
            Request(|c| Box::pin(cloudflare::run(c, Some(c.params[0])))),
        )
    }],
};

/// A provider's own path.
pub(super) const PASSTHROUGH: RouteSpec = RouteSpec {
    pattern: "/v1/{account}/{gateway}/{provider}/{path...}",
    dialect: Dialect::Cloudflare,
    operations: &[
        Operation { body: &[], ..passed_on("GET", "passOnGet") },
        passed_on("POST", "passOnPost"),
        passed_on("PUT", "passOnPut"),
        passed_on("PATCH", "passOnPatch"),
        Operation { body: &[], ..passed_on("DELETE", "passOnDelete") },
    ],
};
