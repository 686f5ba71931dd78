//! The interface as an OpenAPI document, made from the handlers.
//!
//! Structs of the interface say `i64` where the rest says `Millis`: the generator sees names and knows no alias.

use actix_web::HttpResponse;
use fleet::Scope;
use serde_json::json;
use utoipa::{
    IntoParams, Modify, OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
        SchemaFormat, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{ArrayBuilder, SchemaType},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    audit::{self, AuditExport, AuditPage},
    enrolment, export,
    failure::CODES,
    import, install, outages,
    query::{DryRun, Export, Listing, Paging, Points, Range},
    reports::{self, Time},
    roles, schedules, servers, sessions, snapshots, status, tokens, uptime,
    users::{self, Users},
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
    paths(
        show, install::script, install::list, install::download, sessions::log_in, sessions::refresh, sessions::log_out, enrolment::make_token, enrolment::list_tokens,
        enrolment::revoke_token, enrolment::enrol, servers::list, servers::show, servers::make, servers::change,
        servers::remove, servers::pause, servers::resume, servers::revoke, enrolment::make_server_token, outages::show,
        export::export, import::import, snapshots::show,
        uptime::show, uptime::list, status::show, sessions::show, roles::list_scopes, roles::list, roles::make, roles::show,
        roles::change, roles::delete, users::list, users::make, users::show, users::change, users::delete,
        users::set_password, tokens::list, tokens::make, tokens::delete, audit::list, audit::export,
        reports::make, reports::list, reports::show, schedules::make, schedules::preview, schedules::list,
        schedules::show, schedules::change, schedules::remove
    ),
    modifiers(&Problems, &Tokens)
)]
struct Document;

/// Adds the schema `Problem`, with the table of codes, and the answers that are problems.
struct Problems;

/// Adds the bearer token.
struct Tokens;

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "show_openapi", tag = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)), security(())
)]
pub(crate) async fn show() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.schemas.insert("Problem".to_owned(), problem());
        for item in document.paths.paths.values_mut() {
            for operation in
                [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
            {
                add_problems(operation);
            }
        }
    }
}

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The access token of `POST /sessions`, or an API token of `POST /tokens`; a route names the scope that it needs, and one that names none needs a log-in"))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

fn add_problems(operation: &mut Operation) {
    let described = |description: &str| {
        let schema = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), described("It did not succeed; `code` says why").into());
    let scopes = operation.security.as_ref().and_then(|needs| serde_json::to_value(needs).ok());
    let scopes = scopes.as_ref().map(|needs| &needs[0]["token"]).filter(|scopes| scopes.is_array());
    if let Some(scopes) = scopes {
        responses.insert("401".to_owned(), described("No valid access token").into());
        let forbidden = match scopes != &json!([]) {
            true => "The role, or the API token, lacks the scope",
            false => "An API token is not enough",
        };
        responses.insert("403".to_owned(), described(forbidden).into());
    }
}

fn problem() -> RefOr<Schema> {
    let rows = CODES.iter().map(|(code, status, meaning)| format!("| `{code}` | {status} | {meaning} |\n"));
    let table: String = rows.collect();
    let text =
        |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let codes = CODES.iter().map(|(code, ..)| *code);
    ObjectBuilder::new()
        .description(Some(format!("| code | status | meaning |\n|---|---|---|\n{table}")))
        .property("type", text("`about:blank`"))
        .property("title", text("The status in words"))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("code", text("Stable; for programs").enum_values(Some(codes)))
        .property("detail", text("For people"))
        .required("status")
        .required("code")
        .into()
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        time().description(Some("Unix ms or RFC 3339")).into()
    }
}

impl ToSchema for Time {}

/// The name of a scope, for the document.
pub(crate) struct ScopeName;

impl PartialSchema for ScopeName {
    fn schema() -> RefOr<Schema> {
        text().enum_values(Some(Scope::ALL.map(Scope::as_str))).into()
    }
}

impl ToSchema for ScopeName {}

fn parameter(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn whole(most: f64, default: u32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1.0))
        .maximum(Some(most))
        .default(Some(default.into()))
}

/// Unix ms or RFC 3339.
fn time() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn range(length: &str) -> Vec<Parameter> {
    vec![
        parameter(
            "from",
            &format!("Start, in it: Unix ms or RFC 3339. {length} before `to` by default"),
            time(),
        ),
        parameter("to", "End, not in it: Unix ms or RFC 3339. Now by default", time()),
    ]
}

impl IntoParams for Paging {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter("page", "From 1", whole(f64::from(u32::MAX), 1)),
            parameter("page_size", "How many on a page", whole(500.0, 50)),
        ]
    }
}

/// The filters of a list of servers.
fn filters() -> Vec<Parameter> {
    let states = text().enum_values(Some(fleet::Status::ALL.map(fleet::Status::as_str)));
    let labels = ArrayBuilder::new().items(text().pattern(Some("^[^:]+:.*$")));
    vec![
        parameter("status", "In this state", states),
        parameter("name", "Of exactly this name, regardless of case", text()),
        parameter("address", "Of exactly this address", text()),
        parameter(
            "q",
            "Name, address, hostname or a label's value contains this, regardless of case",
            text(),
        ),
        parameter("label", "With this label; repeatable, all must be there", labels),
    ]
}

impl IntoParams for Listing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let columns = "Columns: name, address, status, last_seen_at, created_at, updated_at; `-` for descending. \
            Ties go by id. `name` by default";
        let mut parameters = filters();
        parameters.push(parameter("sort", columns, text().examples([json!("-name,created_at")])));
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

impl IntoParams for Export {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let formats = text().enum_values(Some(["xlsx", "csv"])).default(Some(json!("xlsx")));
        let mut parameters = vec![parameter("format", "Which kind of sheet", formats)];
        parameters.extend(filters());
        parameters
    }
}

impl IntoParams for DryRun {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let flag = ObjectBuilder::new().schema_type(Type::Boolean).default(Some(json!(false)));
        vec![parameter("dry_run", "Only say what would be done", flag)]
    }
}

impl IntoParams for Users {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = vec![
            parameter("q", "User name or e-mail address contains this, regardless of case", text()),
            parameter("role", "With the role of this name", text()),
            parameter("disabled", "Disabled, or not", ObjectBuilder::new().schema_type(Type::Boolean)),
        ];
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

/// What narrows the audit log.
fn audit_filter() -> Vec<Parameter> {
    vec![
        parameter(
            "actor",
            "By this: the id of a user or API token, or a user name regardless of case",
            text(),
        ),
        parameter("action", "Exactly this", text().examples([json!("user.change")])),
        parameter("object", "On this: an id, or a kind such as `user`", text()),
        parameter("from", "Start, in it: Unix ms or RFC 3339", time()),
        parameter("to", "End, not in it: Unix ms or RFC 3339", time()),
    ]
}

impl IntoParams for AuditPage {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = audit_filter();
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

impl IntoParams for AuditExport {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let format = parameter("format", "Of the sheet; `csv` by default", text().enum_values(Some(["csv"])));
        audit_filter().into_iter().chain([format]).collect()
    }
}

impl IntoParams for Range {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        range("24 h")
    }
}

impl IntoParams for Points {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = range("1 h");
        parameters.push(parameter("points", "Into how many equal buckets", whole(1_000.0, 60)));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde_json::Value;

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
