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
    auth::guard::{
        Access::{LoggedIn, Needs, Public},
        Endpoint, delete, get, post,
    },
    body, enrolment, openapi, servers, sessions, snapshots, status, uptime,
};

/// Before every path of the interface.
pub(crate) const PREFIX: &str = "/server-management/v1";

/// The table.
pub(crate) fn table() -> Vec<(&'static str, Vec<Endpoint>)> {
    let (read, write, enroll) = (Scope::ServerRead, Scope::ServerWrite, Scope::AgentEnroll);
    vec![
        ("/openapi.json", vec![get(Public, openapi::show)]),
        ("/sessions", vec![post(Public, sessions::log_in), delete(LoggedIn, sessions::log_out)]),
        ("/sessions/refresh", vec![post(Public, sessions::refresh)]),
        (
            "/enrolment-tokens",
            vec![get(Needs(enroll), enrolment::list_tokens), post(Needs(enroll), enrolment::make_token)],
        ),
        ("/enrolment-tokens/{id}", vec![delete(Needs(enroll), enrolment::revoke_token)]),
        ("/enrolments", vec![post(Public, enrolment::enrol)]),
        ("/servers", vec![get(Needs(read), servers::list)]),
        ("/servers/{id}", vec![get(Needs(read), servers::show)]),
        ("/servers/{id}/revoke", vec![post(Needs(write), servers::revoke)]),
        ("/servers/{id}/snapshots", vec![get(Needs(read), snapshots::show)]),
        ("/servers/{id}/uptime", vec![get(Needs(read), uptime::show)]),
        ("/uptime", vec![get(Needs(read), uptime::list)]),
        ("/status", vec![get(Needs(read), status::show)]),
    ]
}

/// Mounts the table. Answers hold tokens and what changes by the second, so that nobody may keep them.
pub(crate) fn mount(app: &web::Data<App>, config: &mut web::ServiceConfig) {
    let headers =
        DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    let mut scope = web::scope(PREFIX).app_data(app.clone()).app_data(body::limit());
    for (path, endpoints) in table() {
        let allow = allow(&endpoints);
        let mut resource = web::resource(path);
        for endpoint in endpoints {
            resource = resource.route(endpoint.route);
        }
        let refuse = move |_: HttpRequest| {
            let problem = Problem::method_not_allowed().header(ALLOW, allow.clone());
            std::future::ready(Err::<HttpResponse, _>(problem))
        };
        scope = scope.service(resource.default_service(web::to(refuse)));
    }
    config.service(scope.default_service(web::to(not_found_route)).wrap(headers));
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
