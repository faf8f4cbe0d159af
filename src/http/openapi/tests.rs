//! The description against the table of routes.

use std::collections::BTreeSet;

use super::*;
use crate::http::route;
use crate::http::route::Route;

/// The name of a route's variant.
fn name(route: &Route<'_>) -> String {
    let shown = format!("{route:?}");
    shown.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// The names of all variants, as `route.rs` declares them.
fn all() -> BTreeSet<String> {
    let source = include_str!("../route.rs");
    let (_, rest) = source.split_once("enum Route<'a> {").expect("the routes are declared there");
    let (variants, _) = rest.split_once("\n}").expect("and end");
    let lines = variants.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    lines.map(|line| line.split(['(', ',', ' ']).next().unwrap_or_default().to_owned()).collect()
}

fn operations() -> impl Iterator<Item = &'static Operation> {
    table::OPERATIONS.iter().copied().flatten()
}

#[test]
fn every_route_is_described_with_every_method_and_every_description_is_a_route() {
    let mut described = BTreeSet::new();
    for operation in operations() {
        let path = operation.path.replace(['{', '}'], "");
        let place = route::of(&path).unwrap_or_else(|| panic!("{} is no route", operation.path));
        assert!(place.route.takes(operation.method), "{} {}", operation.method, operation.path);
        described.insert(name(&place.route));
        let methods: BTreeSet<&str> =
            operations().filter(|other| other.path == operation.path).map(|other| other.method).collect();
        let known = place.route.methods().split(", ").filter(|method| !matches!(*method, "HEAD" | "OPTIONS"));
        assert_eq!(methods, known.collect(), "{}", operation.path);
    }
    assert_eq!(described, all(), "a route without a row in table.rs");
}

#[test]
fn the_document_refers_to_nothing_that_it_lacks() {
    let document: Value = serde_json::from_slice(&document()).unwrap();
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
        let example: Value = serde_json::from_str(operation.example).unwrap_or_else(|_| panic!("{}", operation.path));
        if operation.path == "/v1/run" {
            crate::wire::submit::from_value(example).unwrap();
        }
    }
}
