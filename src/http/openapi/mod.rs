//! `/openapi.json`: the port described for programs, made of the table of operations and of the types that
//! are read and written.
//!
//! Promises that it is OpenAPI 3.1, made once, and that every schema is the type's own. What an
//! operation takes and gives is said in `table.rs`, beside nothing else.

mod streams;
mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::job::Failure;

const JSON: &str = "application/json";

/// One method of one route.
struct Operation {
    /// `GET`.
    method: &'static str,
    /// `/v1/jobs/{id}`; what stands in braces is one parameter, percent-encoded.
    path: &'static str,
    /// For generated clients.
    id: &'static str,
    /// What it does.
    summary: &'static str,
    /// In the query and in headers.
    parameters: &'static [Parameter],
    /// What may be sent, by media type.
    body: &'static [(&'static str, Shape)],
    /// One that may be sent, as JSON; empty = none is shown.
    example: &'static str,
    /// What is answered when all is well: status, what it means, media types.
    answers: &'static [(&'static str, &'static str, &'static [(&'static str, Shape)])],
    /// The statuses of what goes wrong; their body is the error envelope.
    errors: &'static [&'static str],
    /// Whether it needs no key anywhere.
    is_open: bool,
}

/// Where a parameter stands, its name, its meaning, its shape.
#[derive(Clone, Copy)]
struct Parameter(&'static str, &'static str, &'static str, Shape);

/// What a value looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// The schema of a type of ours.
    Of(fn(&mut SchemaGenerator) -> Schema),
    /// A body in another's dialect: an object with these fields, named with their JSON types, and whatever
    /// else the dialect has.
    Dialect(&'static [(&'static str, &'static str)]),
    /// Any string.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// An integer in this range.
    Number(u64, u64),
    /// `true` or `false`.
    Bool,
    /// Anything.
    Any,
}

/// The body of every error answer.
#[derive(JsonSchema)]
#[schemars(title = "Error")]
#[expect(dead_code, reason = "only its schema is used")]
struct ErrorEnvelope {
    /// What went wrong.
    error: Failure,
}

/// The document.
pub(super) fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_vec(&build()).expect("keys are strings").into()).clone()
}

fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut types = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in table::OPERATIONS.iter().copied().flatten() {
        let described = describe(operation, &mut types);
        paths.entry(operation.path).or_default().insert(operation.method.to_ascii_lowercase(), described);
    }
    let error = types.subschema_for::<ErrorEnvelope>();
    let schemas = types.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A durable inference layer for agents",
            "description": "Jobs come in, every event is in a durable log before anyone sees it, and any number of \
                            readers follow, leave and resume that log.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "/", "description": "the gateway `default`, or that of the header Forebay-Gateway"},
            {
                "url": "/g/{gateway}",
                "description": "another gateway; for the paths below /v1",
                "variables": {"gateway": {"default": "default"}},
            },
        ],
        "security": [{"bearer": []}, {"x-api-key": []}, {"api-key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Not needed where no keys are configured."},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
            "responses": {
                "error": {
                    "description": "What went wrong, whose fault it is, and whether to try again.",
                    "headers": headers(),
                    "content": {JSON: {"schema": error}},
                },
            },
        },
    })
}

fn describe(operation: &Operation, types: &mut SchemaGenerator) -> Value {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path.map(|name| path_parameter(name, types)).collect();
    parameters.extend(operation.parameters.iter().map(|Parameter(place, name, what, shape)| {
        json!({"name": name, "in": place, "description": what, "schema": schema(*shape, types)})
    }));
    let mut answers = Map::new();
    for (status, what, content) in operation.answers {
        let mut answer = json!({"description": what, "headers": headers()});
        if !content.is_empty() {
            answer["content"] = media(content, types);
        }
        answers.insert((*status).to_owned(), answer);
    }
    for status in operation.errors {
        answers.insert((*status).to_owned(), json!({"$ref": "#/components/responses/error"}));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    });
    if !operation.body.is_empty() {
        described["requestBody"] = json!({"required": true, "content": media(operation.body, types)});
        if let Ok(example) = serde_json::from_str::<Value>(operation.example) {
            described["requestBody"]["content"][JSON]["example"] = example;
        }
    }
    if operation.is_open {
        described["security"] = json!([]);
    }
    described
}

/// What stands in braces in a path.
fn path_parameter(name: &str, types: &mut SchemaGenerator) -> Value {
    let mut parameter = json!({"name": name, "in": "path", "required": true});
    match table::IN_PATH.iter().find(|(known, ..)| *known == name) {
        Some((_, what, example, shape)) => {
            parameter["description"] = (*what).into();
            parameter["schema"] = schema(*shape, types);
            parameter["example"] = serde_json::from_str(example).unwrap_or_else(|_| (*example).into());
        }
        None => parameter["schema"] = json!({"type": "string", "minLength": 1}),
    }
    parameter
}

/// What every answer carries.
fn headers() -> Value {
    let what = "the client's, or one of ours: what our log calls this request";
    json!({"x-request-id": {"description": what, "schema": {"type": "string"}}})
}

fn media(content: &[(&str, Shape)], types: &mut SchemaGenerator) -> Value {
    content.iter().map(|(name, shape)| ((*name).to_owned(), json!({"schema": schema(*shape, types)}))).collect()
}

fn schema(shape: Shape, types: &mut SchemaGenerator) -> Value {
    match shape {
        Shape::Of(of) => of(types).to_value(),
        Shape::Dialect(fields) => {
            let named = fields.iter().map(|(name, kind)| {
                let kinds: Vec<&str> = kind.split('|').collect();
                ((*name).to_owned(), json!({"type": kinds}))
            });
            let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            json!({"type": "object", "properties": named.collect::<Map<_, _>>(), "required": required})
        }
        Shape::Text => json!({"type": "string"}),
        Shape::OneOf(names) => json!({"type": "string", "enum": names}),
        Shape::Number(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Any => json!({}),
    }
}

/// The schema of `T`, as [`Shape::Of`] takes it.
fn of<T: JsonSchema>(types: &mut SchemaGenerator) -> Schema {
    types.subschema_for::<T>()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
