//! The interface as an OpenAPI document, made from the handlers. Each domain lists its own.
//!
//! Structs of the interface say `i64` where the rest says `Millis`: the generator sees names and knows no alias.

use actix_web::HttpResponse;
use utoipa::{Modify, OpenApi};

use crate::{
    alerts,
    http::document::{Doors, Exact, Lists, Pages, Problems, Tokens},
    operations, orders, people, processes, reports, routes, servers,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall server-management",
        description = "Servers, their state, history and uptime. Times are Unix milliseconds, durations milliseconds, sizes \
            bytes, rates bytes per second, shares percent. Ranges are half-open. Errors are problem details (RFC 9457) \
            with a stable `code`."
    ),
    servers((url = "/server-management/v1")),
    tags(
        (name = "sessions", description = "Logging in and out"),
        (name = "users", description = "Who may log in, and as what"),
        (name = "roles", description = "Sets of scopes"),
        (name = "tokens", description = "Secrets for programs"),
        (name = "audit", description = "Who changed what"),
        (name = "servers", description = "Monitored hosts and what they measured"),
        (name = "processes", description = "What runs on a host, and who used it"),
        (name = "orders", description = "What people have hosts do"),
        (name = "sheets", description = "Servers to and from xlsx and csv"),
        (name = "uptime", description = "Uptime and outages"),
        (name = "enrolment", description = "How hosts get their credentials"),
        (name = "agents", description = "What agents need, and what they send"),
        (name = "reports", description = "Reports by mail, now and by schedule"),
        (name = "alerts", description = "What is trouble, what was, and where it is told"),
        (name = "status", description = "The suite itself"),
        (name = "openapi", description = "This document")
    ),
    paths(show)
)]
struct Document;

/// Where agents send bodies, of which unknown fields are ignored.
const DOORS_OF_AGENTS: [&str; 4] = ["/enrolments", GATE[0], GATE[1], GATE[2]];

/// What the gate serves, from the root of the same address. It is told here because it is one interface for who uses it.
const GATE: [&str; 3] = ["/healthcheck/v1/snapshots", "/healthcheck/v1/results", "/healthcheck/v1/bulletin"];

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "show_openapi", tag = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)), security(())
)]
pub(crate) async fn show() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(people::Document::openapi());
    document.merge(servers::Document::openapi());
    document.merge(processes::Document::openapi());
    document.merge(orders::Document::openapi());
    document.merge(reports::Document::openapi());
    document.merge(alerts::Document::openapi());
    document.merge(operations::Document::openapi());
    Doors { at_the_root: &GATE }.modify(&mut document);
    Pages.modify(&mut document);
    // Last, since they go through all that is there.
    Exact { except: &DOORS_OF_AGENTS }.modify(&mut document);
    Lists(routes::lists()).modify(&mut document);
    Problems.modify(&mut document);
    Tokens.modify(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde_json::{Value, json};

    use super::*;

    /// Set, the committed document is written anew instead of compared; `make openapi` does that.
    const REWRITE: &str = "OPENAPI_REWRITE";

    #[test]
    fn the_committed_document_is_this_one() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let now = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if env::var_os(REWRITE).is_some() {
            fs::write(&file, &now).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == now,
            "docs/openapi.json is not what the handlers say: run `make openapi`, and commit it"
        );
    }

    #[test]
    fn every_operation_tells_what_it_does_and_who_may() {
        let document = serde_json::to_value(document()).unwrap();
        let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        });
        for (name, operation) in operations {
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default"), "{name} tells of no problems");
            let needs = &operation["security"][0];
            let proof = needs["token"].is_array() || needs["credential"].is_array();
            assert!(needs == &json!({}) || proof, "{name} does not tell who may");
            assert_eq!(responses.contains_key("401"), proof, "{name}");
        }
    }

    /// A generator of clients names what stands in a schema after the schema and the field, and drops whatever then has the
    /// name of another.
    #[test]
    fn no_two_schemas_have_one_name() {
        fn name(text: &str) -> String {
            text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        }
        let document = serde_json::to_value(document()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut names: Vec<String> = schemas.keys().map(|schema| name(schema)).collect();
        for (schema, shape) in schemas {
            for (field, inner) in shape["properties"].as_object().into_iter().flatten() {
                let types = [&inner["type"], &inner["items"]["type"]];
                let object = types.iter().any(|types| types.to_string().contains("\"object\""));
                if object || inner["enum"].is_array() {
                    names.push(name(&format!("{schema}{field}")));
                }
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = serde_json::to_value(document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}
