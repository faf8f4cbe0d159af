//! The description by itself; `routes/tests.rs` compares it with the table.

use std::collections::BTreeSet;

use super::*;
use crate::http::routes::ROUTES;

fn operations() -> impl Iterator<Item = &'static Operation> {
    ROUTES.iter().copied().flatten().flat_map(|route| route.operations)
}

#[test]
fn the_document_refers_to_nothing_that_it_lacks() {
    let document: Value = serde_json::from_slice(&document(ROUTES)).unwrap();
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split(r##""$ref":"#"##).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let ids: BTreeSet<&str> = operations().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), operations().count(), "an operationId is given twice");
}

#[test]
fn every_example_is_json_and_every_job_a_job() {
    for operation in operations().filter(|operation| !operation.body.is_empty()) {
        let example: Value = serde_json::from_str(operation.example).unwrap_or_else(|_| panic!("{}", operation.id));
        if operation.id == "run" {
            crate::wire::submit::from_value(example).unwrap();
        }
    }
}
