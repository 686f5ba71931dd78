//! The interface as an OpenAPI document, made from the handlers. Each domain lists its own.
//!
//! Structs of the interface say `i64` where the rest says `Millis`: the generator sees names and knows no alias.

use actix_web::HttpResponse;
use utoipa::{Modify, OpenApi};

use crate::{
    http::document::{Exact, Lists, Problems, Tokens},
    operations, people, reports, routes, servers,
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
    paths(show)
)]
struct Document;

/// Where agents send bodies, of which unknown fields are ignored.
const DOORS_OF_AGENTS: [&str; 1] = ["/enrolments"];

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
    document.merge(reports::Document::openapi());
    document.merge(operations::Document::openapi());
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
            assert!(needs == &json!({}) || needs["token"].is_array(), "{name} does not tell who may");
            assert_eq!(responses.contains_key("401"), needs["token"].is_array(), "{name}");
        }
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
