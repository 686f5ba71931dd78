//! What the OpenAPI document is made of in more than one place: the answers that are problems, the token, and the
//! schemas of parameters.

use serde_json::json;
use utoipa::{
    Modify,
    openapi::{
        ArrayBuilder, ContentBuilder, HeaderBuilder, KnownFormat, ObjectBuilder, OpenApi, Ref, RefOr,
        Required, ResponseBuilder, Schema, SchemaFormat, Server, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{AdditionalProperties, ArrayItems, SchemaType},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::http::failure::CODES;

/// Adds the schema `Problem`, with the table of codes, and the answers that are problems.
pub(crate) struct Problems;

/// Says which paths begin at the root of the address, and not where the document says that all begin.
pub(crate) struct Doors {
    pub(crate) at_the_root: &'static [&'static str],
}

/// Names what pages are of, instead of telling it once more in each.
pub(crate) struct Pages;

/// Says of every object in a JSON body that it takes no other fields, as [`Body`](super::body::Body) has it.
pub(crate) struct Exact {
    /// The paths at which unknown fields are ignored.
    pub(crate) except: &'static [&'static str],
}

/// Says of the lists at these paths that whoever has one is not sent it again.
pub(crate) struct Lists(pub(crate) Vec<&'static str>);

/// Adds the bearer tokens, of people and programs and of agents.
pub(crate) struct Tokens;

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
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

impl Modify for Doors {
    fn modify(&self, document: &mut OpenApi) {
        for path in self.at_the_root {
            let Some(item) = document.paths.paths.get_mut(*path) else { continue };
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.servers = Some(vec![Server::new("/")]);
            }
        }
    }
}

impl Modify for Pages {
    fn modify(&self, document: &mut OpenApi) {
        for (name, schema) in &mut document.components.get_or_insert_default().schemas {
            let Some(item) = name.strip_prefix("Page_") else { continue };
            let RefOr::T(Schema::Object(page)) = schema else { continue };
            if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
                items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
            }
        }
    }
}

impl Modify for Exact {
    fn modify(&self, document: &mut OpenApi) {
        let mut named = Vec::new();
        for (path, item) in &mut document.paths.paths {
            if self.except.contains(&path.as_str()) {
                continue;
            }
            for operation in [&mut item.post, &mut item.put, &mut item.patch].into_iter().flatten() {
                let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
                let Some(RefOr::T(json)) = body.content.get_mut("application/json") else { continue };
                json.schema.iter_mut().for_each(|schema| close(schema, &mut named));
            }
        }
        let components = document.components.get_or_insert_default();
        while let Some(name) = named.pop() {
            components.schemas.get_mut(&name).into_iter().for_each(|schema| close(schema, &mut named));
        }
    }
}

/// Closes the object, if it has fields, and those in it; `named` gets the names of those that stand elsewhere.
fn close(schema: &mut RefOr<Schema>, named: &mut Vec<String>) {
    match schema {
        RefOr::Ref(reference) => named.extend(reference.ref_location.rsplit('/').next().map(str::to_owned)),
        RefOr::T(Schema::Object(object))
            if object.additional_properties.is_none() && !object.properties.is_empty() =>
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            object.properties.values_mut().for_each(|schema| close(schema, named));
        }
        RefOr::T(Schema::OneOf(one)) => one.items.iter_mut().for_each(|schema| close(schema, named)),
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                close(items, named);
            }
        }
        RefOr::T(_) => {}
    }
}

impl Modify for Lists {
    fn modify(&self, document: &mut OpenApi) {
        let header = || {
            HeaderBuilder::new()
                .schema(Some(text()))
                .description(Some("Of the body; for `If-None-Match`"))
                .build()
        };
        for path in &self.0 {
            let Some(get) = document.paths.paths.get_mut(*path).and_then(|item| item.get.as_mut()) else {
                continue;
            };
            let seen = ParameterBuilder::new()
                .name("If-None-Match")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some("The `ETag` of the list that one has"))
                .schema(Some(text()))
                .build();
            get.parameters.get_or_insert_default().push(seen.into());
            if let Some(RefOr::T(found)) = get.responses.responses.get_mut("200") {
                found.headers.insert("ETag".to_owned(), header().into());
            }
            let unchanged =
                ResponseBuilder::new().description("It is what one has").header("ETag", header()).build();
            get.responses.responses.insert("304".to_owned(), unchanged.into());
        }
    }
}

impl Modify for Tokens {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The access token of `POST /sessions`, or an API token of `POST /tokens`; a route names the scope that it needs, and one that names none needs a log-in"))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let credential = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("What an agent got for its enrolment token by `POST /enrolments`"))
            .build();
        components.add_security_scheme("credential", SecurityScheme::Http(credential));
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
    responses.insert(
        "400".to_owned(),
        described("It cannot be read, or has a parameter that there is not").into(),
    );
    let scopes = operation.security.as_ref().and_then(|needs| serde_json::to_value(needs).ok());
    if scopes.as_ref().is_some_and(|needs| needs[0]["credential"].is_array()) {
        responses.insert("401".to_owned(), described("The credential is unknown, forged or revoked").into());
    }
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
    let refused = ArrayBuilder::new()
        .items(Ref::from_schema_name("RefusedSnapshot"))
        .description(Some("Of the gate: the snapshots at fault"));
    let codes = CODES.iter().map(|(code, ..)| *code);
    ObjectBuilder::new()
        .description(Some(format!("| code | status | meaning |\n|---|---|---|\n{table}")))
        .property("type", text("`about:blank`"))
        .property("title", text("The status in words"))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("code", text("Stable; for programs").enum_values(Some(codes)))
        .property("detail", text("For people"))
        .property("request_id", text("Under which the log has the request; `X-Request-Id` has it too"))
        .property("parameter", text("The query parameter at fault"))
        .property("field", text("The field of the body that there is not"))
        .property("scope", text("The scope that is lacking"))
        .property(
            "now",
            ObjectBuilder::new().schema_type(Type::Integer).description(Some("The gate's clock, in Unix ms")),
        )
        .property("refused", refused)
        .required("status")
        .required("code")
        .into()
}

/// A query parameter that may be left out.
pub(crate) fn parameter(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

pub(crate) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(crate) fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

/// A whole number from 1.
pub(crate) fn whole(most: u32, default: u32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1.0))
        .maximum(Some(f64::from(most)))
        .default(Some(default.into()))
}

/// Unix ms or RFC 3339.
pub(crate) fn time() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}
