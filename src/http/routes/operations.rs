//! The broker itself: costs, providers, metrics, health, and the descriptions of this port.

use std::future::ready;

use super::spec::Handler::{Open, Request};
use super::spec::Shape::{Object, Of, OneOf, Text};
use super::spec::{GATEWAY, JSON, LISTED, Operation, Parameter, RouteSpec, of, operation};
use crate::http::errors::Dialect;
use crate::http::operations;
use crate::meter::CostAnswer;

const PLAIN: &str = "text/plain";

/// Routes about the broker itself.
pub(super) static OPERATIONS: &[RouteSpec] = &[
    RouteSpec {
        pattern: "/v1/costs",
        dialect: Dialect::Own,
        operations: &[Operation {
            parameters: &[
                Parameter("query", "by", "gateway, model, provider or metadata.KEY; may be given several times", Text),
                Parameter("query", "since", "RFC 3339, on the hour", Text),
                Parameter("query", "until", "RFC 3339, on the hour", Text),
                Parameter("query", "bucket", "one row for each", OneOf(&["hour", "day"])),
                GATEWAY,
            ],
            answers: &[("200", "sums", &[(JSON, Of(of::<CostAnswer>))])],
            ..operation("GET", "getCosts", "What was spent", Request(|c| Box::pin(operations::costs(c))))
        }],
    },
    RouteSpec {
        pattern: "/v1/costs/rebuild",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "how many lines were added up", &[(JSON, Object(&[("lines", "integer")]))])],
            ..operation(
                "POST",
                "rebuildCosts",
                "Add the sums up again from the ledger; wants `admin`",
                Request(|c| Box::pin(operations::rebuild_costs(c))),
            )
        }],
    },
    RouteSpec {
        pattern: "/v1/providers",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "with the targets that were asked", LISTED)],
            ..operation(
                "GET",
                "listProviders",
                "Who can be asked, and how they are",
                Request(|c| Box::pin(ready(operations::providers(c)))),
            )
        }],
    },
    RouteSpec {
        pattern: "/metrics",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "Prometheus' text format", &[(PLAIN, Text)])],
            ..operation("GET", "getMetrics", "Metrics", Request(|c| Box::pin(ready(operations::metrics(c)))))
        }],
    },
    RouteSpec {
        pattern: "/healthz",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "it lives", &[(PLAIN, Text)])],
            errors: &[],
            ..operation("GET", "healthz", "Whether the broker lives", Open(|_, _| operations::healthz()))
        }],
    },
    RouteSpec {
        pattern: "/readyz",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[
                ("200", "it takes jobs", &[(JSON, Object(&[("ready", "boolean")]))]),
                ("503", "it does not, and why", &[(JSON, Object(&[("ready", "boolean"), ("reason", "string")]))]),
            ],
            errors: &[],
            ..operation("GET", "readyz", "Whether the broker takes jobs", Open(|broker, _| operations::readyz(broker)))
        }],
    },
    RouteSpec {
        pattern: "/openapi.json",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "OpenAPI 3.1", &[(JSON, Object(&[("openapi", "string"), ("paths", "object")]))])],
            errors: &[],
            ..operation("GET", "getOpenapi", "This document", Open(|_, routes| operations::openapi(routes)))
        }],
    },
    RouteSpec {
        pattern: "/",
        dialect: Dialect::Own,
        operations: &[Operation {
            answers: &[("200", "what there is, for people", &[(PLAIN, Text)])],
            errors: &[],
            ..operation("GET", "getRoot", "A page about the port", Open(|_, routes| operations::landing(routes)))
        }],
    },
];
