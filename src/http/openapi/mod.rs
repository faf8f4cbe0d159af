//! `/openapi.json`: the port described for programs, made of the table of operations and of the types that
//! are read and written.
//!
//! Promises that it is OpenAPI 3.1, made once, and that every schema is the type's own. What an
//! operation takes and gives is in the route table.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::routes::{JSON, Operation, Parameter, Routes, Shape, of};
use crate::job::{Failure, Gateway, JobId};

/// The body of every error answer.
#[derive(JsonSchema)]
#[schemars(title = "Error")]
#[expect(dead_code, reason = "only its schema is used")]
struct ErrorEnvelope {
    /// The failure that the request met.
    error: Failure,
}

/// Parameters of paths: name, meaning, example, shape.
const IN_PATH: &[(&str, &str, &str, Shape)] = &[
    ("id", "the job's id", "turn-17", Shape::Of(of::<JobId>)),
    ("account", "any", "mine", Shape::Text),
    ("gateway", "the gateway's name", "default", Shape::Of(of::<Gateway>)),
    ("provider", "the provider's name, ours or Cloudflare's", "openai", Shape::Text),
    ("path", "the provider's own; its slashes may stand as they are", "v1/files", Shape::Text),
    ("index", "the output's number, from 0", "0", Shape::Number(0, u32::MAX as u64)),
    ("model", "the model's name; its slashes may stand as they are", "openai/gpt-5-mini", Shape::Text),
];

/// The OpenAPI document as JSON.
pub(super) fn document(routes: Routes) -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_vec(&build(routes)).expect("keys are strings").into()).clone()
}

fn build(routes: Routes) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut types = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes.iter().copied().flatten() {
        let path = route.path();
        let described = route
            .operations
            .iter()
            .map(|operation| (operation.method.to_ascii_lowercase(), describe(&path, operation, &mut types)));
        paths.insert(path.clone(), described.collect());
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

fn describe(path: &str, operation: &Operation, types: &mut SchemaGenerator) -> Value {
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
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
    if operation.is_open() {
        described["security"] = json!([]);
    }
    described
}

/// Describes a parameter of a path.
fn path_parameter(name: &str, types: &mut SchemaGenerator) -> Value {
    let mut parameter = json!({"name": name, "in": "path", "required": true});
    match IN_PATH.iter().find(|(known, ..)| *known == name) {
        Some((_, what, example, shape)) => {
            parameter["description"] = (*what).into();
            parameter["schema"] = schema(*shape, types);
            parameter["example"] = serde_json::from_str(example).unwrap_or_else(|_| (*example).into());
        }
        None => parameter["schema"] = json!({"type": "string", "minLength": 1}),
    }
    parameter
}

/// Headers that every answer has.
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
        Shape::Object(fields) => {
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
