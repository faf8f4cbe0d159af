//! Which route a path names, and that what is made of the table has all of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::RouteSpec;
use super::*;
use crate::http::context::Params;
use crate::http::{openapi, operations};

/// Gateway, pattern with parameters, and whose address it is.
type Shown<'a> = (Option<&'a str>, (&'static str, Params<'a>), Via<'a>);

fn shown(matched: Option<Matched<'_>>) -> Option<Shown<'_>> {
    matched.map(|found| (found.gateway, (found.route.pattern, found.params), found.via))
}

fn all() -> impl Iterator<Item = (&'static RouteSpec, &'static Operation)> {
    ROUTES.iter().copied().flatten().flat_map(|route| route.operations.iter().map(move |operation| (route, operation)))
}

#[test]
fn an_address_names_one_place_or_none() {
    for (path, gateway, route) in [
        ("/", None, Some(("/", ["", ""]))),
        ("/v1/run", None, Some(("/v1/run", ["", ""]))),
        ("/v1/run/openai/gpt-5", None, Some(("/v1/run/{model...}", ["openai/gpt-5", ""]))),
        ("/v1/run/@cf/meta/llama", None, Some(("/v1/run/{model...}", ["@cf/meta/llama", ""]))),
        ("/v1/models", None, Some(("/v1/models", ["", ""]))),
        ("/v1/models/openai/gpt-5", None, Some(("/v1/models/{model...}", ["openai/gpt-5", ""]))),
        ("/v1/models/", None, None),
        ("/v1/providers", None, Some(("/v1/providers", ["", ""]))),
        ("/v1/providers/openai", None, None),
        ("/g/team/v1/run", Some("team"), Some(("/v1/run", ["", ""]))),
        ("/g/team/v1/jobs/a/events", Some("team"), Some(("/v1/jobs/{id}/events", ["a", ""]))),
        ("/v1/jobs", None, Some(("/v1/jobs", ["", ""]))),
        ("/v1/costs/rebuild", None, Some(("/v1/costs/rebuild", ["", ""]))),
        ("/v1/costs/rebuild/again", None, None),
        ("/v1/jobs/a", None, Some(("/v1/jobs/{id}", ["a", ""]))),
        ("/v1/jobs/a/cancel", None, Some(("/v1/jobs/{id}/cancel", ["a", ""]))),
        ("/v1/jobs/a/outputs/3", None, Some(("/v1/jobs/{id}/outputs/{index*}", ["a", "3"]))),
        ("/v1/jobs/a/ws", None, Some(("/v1/jobs/{id}/ws", ["a", ""]))),
        ("/v1/ws", None, Some(("/v1/ws", ["", ""]))),
        ("/v1/stream/jobs/a", None, Some(("/v1/stream/jobs/{id*...}", ["a", ""]))),
        ("/g/team/v1/stream/a/b/", Some("team"), Some(("/v1/stream/{path...}", ["a/b/", ""]))),
        ("/v1/stream/jobsite", None, Some(("/v1/stream/{path...}", ["jobsite", ""]))),
        ("/v1/stream/jobs", None, Some(("/v1/stream/jobs/{id*...}", ["", ""]))),
        ("/v1/stream/", None, None),
        ("/v1/stream", None, None),
        ("/v1/run/", None, None),
        ("/v1/jobs/", None, None),
        ("/v1/jobs/a/outputs/3/4", None, None),
        ("/v1/jobs/a/outputs", None, None),
        ("/v1/jobs/a/nope", None, None),
        ("/v1/chat/completions", None, Some(("/v1/chat/completions", ["", ""]))),
        ("/v1/chat/completions/", None, None),
        ("/v1/chat", None, None),
        ("/g/team/v1/embeddings", Some("team"), Some(("/v1/embeddings", ["", ""]))),
        ("/v1/responses", None, Some(("/v1/responses", ["", ""]))),
        ("/v1/responses/", None, None),
        ("/v1/responses/resp_a", None, Some(("/v1/responses/{id}", ["resp_a", ""]))),
        ("/g/team/v1/responses/a/cancel", Some("team"), Some(("/v1/responses/{id}/cancel", ["a", ""]))),
        ("/v1/responses/a/input_items", None, Some(("/v1/responses/{id}/input_items", ["a", ""]))),
        ("/v1/responses/a/input_items/b", None, None),
        ("/v1/completions", None, Some(("/v1/completions", ["", ""]))),
        ("/g/team/v1/messages", Some("team"), Some(("/v1/messages", ["", ""]))),
        ("/v1/messages/count_tokens", None, Some(("/v1/messages/count_tokens", ["", ""]))),
        ("/v1/messages/count_tokens/again", None, None),
        ("/v1", None, None),
        ("/g/team", None, None),
        ("/g/team/metrics", None, None),
        ("/openapi.json", None, Some(("/openapi.json", ["", ""]))),
        ("//v1/run", None, None),
        ("", None, None),
        ("*", None, None),
    ] {
        assert_eq!(shown(find(path)), route.map(|route| (gateway, route, Via::Own)), "{path}");
    }
}

#[test]
fn an_address_of_cloudflares_names_a_route_of_ours() {
    let chat = ("/v1/chat/completions", ["", ""]);
    let passed_on = "/v1/{account}/{gateway}/{provider}/{path...}";
    let run_model = "/accounts/{account}/ai/run/{model...}";
    for (path, gateway, route, provider) in [
        ("/v1/acc/gw/compat/chat/completions", Some("gw"), Some(chat), None),
        ("/v1/acc/gw/compat/v1/chat/completions", Some("gw"), Some(chat), None),
        ("/v1/acc/gw/compat/embeddings", Some("gw"), Some(("/v1/embeddings", ["", ""])), None),
        ("/v1/acc/gw/compat/jobs", None, None, None),
        ("/v1/acc/gw/openai/chat/completions", Some("gw"), Some(chat), Some("openai")),
        ("/v1/acc/gw/openai/v1/embeddings", Some("gw"), Some(("/v1/embeddings", ["", ""])), Some("openai")),
        ("/v1/acc/gw/openrouter/api/v1/chat/completions", Some("gw"), Some(chat), Some("openrouter")),
        (
            "/v1/acc/gw/google-ai-studio/v1beta/openai/chat/completions",
            Some("gw"),
            Some(chat),
            Some("google-ai-studio"),
        ),
        ("/v1/acc/gw/openai/v1/models", Some("gw"), Some((passed_on, ["openai", "v1/models"])), None),
        (
            "/v1/acc/gw/google-ai-studio/v1beta/models/gemini:generateContent",
            Some("gw"),
            Some((passed_on, ["google-ai-studio", "v1beta/models/gemini:generateContent"])),
            None,
        ),
        ("/v1/acc/gw/workers-ai/@cf/meta/llama", Some("gw"), Some((run_model, ["@cf/meta/llama", ""])), None),
        ("/v1/acc/gw/workers-ai/v1/chat/completions", Some("gw"), Some(chat), Some("workers-ai")),
        ("/v1/acc/gw/anthropic/v1/messages", Some("gw"), Some(("/v1/messages", ["", ""])), Some("anthropic")),
        (
            "/v1/acc/gw/anthropic/v1/messages/count_tokens",
            Some("gw"),
            Some(("/v1/messages/count_tokens", ["", ""])),
            Some("anthropic"),
        ),
        ("/accounts/acc/ai/v1/messages", None, Some(("/v1/messages", ["", ""])), None),
        ("/v1/acc/gw/openai", None, None, None),
        ("/v1/acc/gw/openai/", None, None, None),
        ("/v1/acc/gw", None, None, None),
        ("/v1/jobs/a/nope/b", None, None, None),
        ("/v1/chat/a/b/c", None, None, None),
        ("/v1//gw/openai/x", None, None, None),
        ("/accounts/acc/ai/run", None, Some(("/accounts/{account}/ai/run", ["", ""])), None),
        ("/client/v4/accounts/acc/ai/run/@cf/meta/llama", None, Some((run_model, ["@cf/meta/llama", ""])), None),
        ("/accounts/acc/ai/run/openai/gpt-5", None, Some((run_model, ["openai/gpt-5", ""])), None),
        ("/client/v4/accounts/acc/ai/v1/chat/completions", None, Some(chat), None),
        ("/accounts/acc/ai/v1/embeddings", None, Some(("/v1/embeddings", ["", ""])), None),
        ("/accounts/acc/ai/v1/jobs", None, None, None),
        ("/accounts/acc/ai/run/", None, None, None),
        ("/accounts/a/b/ai/run", None, None, None),
        ("/client/v4/v1/acc/gw/openai/x", None, None, None),
    ] {
        let expected = route.map(|route| (gateway, route, Via::Cloudflare { provider }));
        assert_eq!(shown(find(path)), expected, "{path}");
    }
}

#[test]
fn every_route_is_reached_by_its_own_path() {
    let mut patterns = BTreeSet::new();
    for route in ROUTES.iter().copied().flatten() {
        assert!(patterns.insert(route.pattern), "{} stands twice", route.pattern);
        let path = route.path().replace(['{', '}'], "");
        let found = find(&path).unwrap_or_else(|| panic!("{path} is no route"));
        assert_eq!(found.route.pattern, route.pattern, "{path}");
    }
}

#[test]
fn a_route_names_its_methods_and_takes_no_other() {
    let check = |path: &str, allow: &str| {
        let route = find(path).unwrap().route;
        assert_eq!(route.allow(), allow, "{path}");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            let is_named = allow.split(", ").any(|name| name == method);
            assert_eq!(route.operation(method).is_some(), is_named, "{method} {path}");
        }
    };
    check("/v1/run", "POST, OPTIONS");
    check("/v1/jobs", "GET, HEAD, OPTIONS");
    check("/v1/jobs/a", "GET, HEAD, DELETE, OPTIONS");
    check("/v1/responses/a", "GET, HEAD, DELETE, OPTIONS");
    check("/v1/stream/a", "GET, HEAD, PUT, POST, DELETE, OPTIONS");
    check("/v1/stream/jobs/a", "GET, HEAD, OPTIONS");
    check("/v1/ws", "GET, OPTIONS");
    check("/v1/jobs/a/ws", "GET, OPTIONS");
    check("/v1/acc/gw/openai/v1/files", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

#[test]
fn the_description_and_the_landing_page_have_all_routes_and_no_other() {
    let document: Value = serde_json::from_slice(&openapi::document(ROUTES)).unwrap();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            described.insert((method.to_ascii_uppercase(), path.clone(), id));
        }
    }
    let table: BTreeSet<_> =
        all().map(|(route, operation)| (operation.method.to_owned(), route.path(), operation.id.to_owned())).collect();
    assert_eq!(described, table);
    let page = operations::landing_page(ROUTES);
    let lines = page.split("\n\n").nth(1).unwrap().lines();
    let on_page: Vec<(&str, &str)> =
        lines.map(|line| line.split_once(' ').unwrap()).map(|(method, rest)| (method, rest.trim_start())).collect();
    assert_eq!(on_page.len(), table.len(), "{page}");
    for (method, path, _) in &table {
        let is_there = on_page.iter().any(|(shown, rest)| *shown == method && rest.split(' ').next() == Some(path));
        assert!(is_there, "{method} {path} is not on the landing page");
    }
}
