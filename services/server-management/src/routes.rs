//! Where each URL leads, and who may go there. This table is all there is.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{ALLOW, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::DefaultHeaders,
    web,
};
use chassis::{Problem, problem::not_found_route};
use fleet::Scope;

use crate::{
    app::App,
    http::body,
    openapi,
    operations::status,
    people::{
        api_tokens, audit,
        guard::{
            Access::{LoggedIn, Needs, Public},
            Endpoint, delete, get, patch, post,
        },
        roles, sessions, users,
    },
    reports::{report, schedule},
    servers::{enrolment, export, import, install, outages, server, snapshots, uptime},
};

/// Before every path of the interface.
pub(crate) const PREFIX: &str = "/server-management/v1";

/// Also the one path outside of it: people type it.
const INSTALL: &str = "/install.sh";

/// A path and its methods.
type Resource = (&'static str, Vec<Endpoint>);

/// The table.
pub(crate) fn table() -> Vec<Resource> {
    let open = vec![
        ("/openapi.json", vec![get(Public, openapi::show)]),
        (INSTALL, vec![get(Public, install::script)]),
        ("/agents", vec![get(Public, install::list)]),
        ("/agents/{arch}", vec![get(Public, install::download)]),
    ];
    [open, people(), fleet(), reporting()].into_iter().flatten().collect()
}

/// Who may do what, and who did.
fn people() -> Vec<Resource> {
    let (read, write) = (Scope::UserRead, Scope::UserWrite);
    vec![
        (
            "/sessions",
            vec![
                get(LoggedIn, sessions::show),
                post(Public, sessions::log_in),
                delete(LoggedIn, sessions::log_out),
            ],
        ),
        ("/sessions/refresh", vec![post(Public, sessions::refresh)]),
        ("/scopes", vec![get(Needs(read), roles::list_scopes)]),
        ("/roles", vec![get(Needs(read), roles::list), post(Needs(write), roles::make)]),
        (
            "/roles/{id}",
            vec![
                get(Needs(read), roles::show),
                patch(Needs(write), roles::change),
                delete(Needs(write), roles::delete),
            ],
        ),
        ("/users", vec![get(Needs(read), users::list), post(Needs(write), users::make)]),
        (
            "/users/{id}",
            vec![
                get(Needs(read), users::show),
                patch(Needs(write), users::change),
                delete(Needs(write), users::delete),
            ],
        ),
        ("/users/{id}/password", vec![post(LoggedIn, users::set_password)]),
        ("/tokens", vec![get(LoggedIn, api_tokens::list), post(LoggedIn, api_tokens::make)]),
        ("/tokens/{id}", vec![delete(LoggedIn, api_tokens::delete)]),
        ("/audit", vec![get(Needs(Scope::AuditRead), audit::list)]),
        ("/audit/export", vec![get(Needs(Scope::AuditRead), audit::export)]),
    ]
}

/// Servers: how they come in, what they are, how they are.
fn fleet() -> Vec<Resource> {
    let (read, write, enroll) = (Scope::ServerRead, Scope::ServerWrite, Scope::AgentEnroll);
    vec![
        (
            "/enrolment-tokens",
            vec![get(Needs(enroll), enrolment::list_tokens), post(Needs(enroll), enrolment::make_token)],
        ),
        ("/enrolment-tokens/{id}", vec![delete(Needs(enroll), enrolment::revoke_token)]),
        ("/enrolments", vec![post(Public, enrolment::enrol)]),
        ("/servers", vec![get(Needs(read), server::list), post(Needs(write), server::make)]),
        // Before `/servers/{id}`, which they would be otherwise.
        ("/servers/export", vec![get(Needs(read), export::export)]),
        ("/servers/import", vec![post(Needs(write), import::import)]),
        (
            "/servers/{id}",
            vec![
                get(Needs(read), server::show),
                patch(Needs(write), server::change),
                delete(Needs(write), server::remove),
            ],
        ),
        ("/servers/{id}/pause", vec![post(Needs(write), server::pause)]),
        ("/servers/{id}/resume", vec![post(Needs(write), server::resume)]),
        ("/servers/{id}/enrolment-tokens", vec![post(Needs(write), enrolment::make_server_token)]),
        ("/servers/{id}/outages", vec![get(Needs(read), outages::show)]),
        ("/servers/{id}/revoke", vec![post(Needs(write), server::revoke)]),
        ("/servers/{id}/snapshots", vec![get(Needs(read), snapshots::show)]),
        ("/servers/{id}/uptime", vec![get(Needs(read), uptime::show)]),
        ("/uptime", vec![get(Needs(read), uptime::list)]),
        ("/status", vec![get(Needs(read), status::show)]),
    ]
}

/// What is sent to people.
fn reporting() -> Vec<Resource> {
    let (read, write) = (Scope::ReportRead, Scope::ReportWrite);
    vec![
        ("/reports", vec![get(Needs(read), report::list), post(Needs(write), report::make)]),
        ("/reports/{id}", vec![get(Needs(read), report::show)]),
        ("/report-schedules", vec![get(Needs(read), schedule::list), post(Needs(write), schedule::make)]),
        // Before `/report-schedules/{id}`, which it would be otherwise.
        ("/report-schedules/preview", vec![post(Needs(read), schedule::preview)]),
        (
            "/report-schedules/{id}",
            vec![
                get(Needs(read), schedule::show),
                patch(Needs(write), schedule::change),
                delete(Needs(write), schedule::remove),
            ],
        ),
    ]
}

/// Mounts the table. Answers hold tokens and what changes by the second, so that nobody may keep them.
pub(crate) fn mount(app: &web::Data<App>, config: &mut web::ServiceConfig) {
    let headers =
        || DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    let short = resource(INSTALL, vec![get(Public, install::script)]);
    config.service(short.app_data(app.clone()).wrap(headers()));
    let mut scope = web::scope(PREFIX).app_data(app.clone()).app_data(body::limit());
    for (path, endpoints) in table() {
        scope = scope.service(resource(path, endpoints));
    }
    config.service(scope.default_service(web::to(not_found_route)).wrap(headers()));
}

fn resource(path: &str, endpoints: Vec<Endpoint>) -> actix_web::Resource {
    let allow = allow(&endpoints);
    let mut resource = web::resource(path);
    for endpoint in endpoints {
        resource = resource.route(endpoint.route);
    }
    let refuse = move |_: HttpRequest| {
        let problem = Problem::method_not_allowed().header(ALLOW, allow.clone());
        std::future::ready(Err::<HttpResponse, _>(problem))
    };
    resource.default_service(web::to(refuse))
}

fn allow(endpoints: &[Endpoint]) -> HeaderValue {
    let methods: Vec<&str> = endpoints.iter().map(|endpoint| Method::as_str(&endpoint.method)).collect();
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_mounted_is_what_is_documented() {
        let mounted: BTreeSet<_> = table()
            .iter()
            .flat_map(|(path, endpoints)| endpoints.iter().map(move |e| format!("{} {path}", e.method)))
            .collect();
        let document = serde_json::to_value(openapi::document()).unwrap();
        let operations = || {
            let paths = document["paths"].as_object().unwrap().iter();
            paths.flat_map(|(path, methods)| {
                methods.as_object().unwrap().iter().map(move |(m, o)| (path, m, o))
            })
        };
        let documented: BTreeSet<_> =
            operations().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
        assert_eq!(mounted, documented);
        let names: BTreeSet<_> = operations().map(|(_, _, o)| o["operationId"].to_string()).collect();
        assert_eq!(names.len(), mounted.len(), "{names:?}");
    }
}
