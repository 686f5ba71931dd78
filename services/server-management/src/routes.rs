//! Where each URL leads, and who may go there: what the domains say, in one table, and nothing else.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{ALLOW, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{DefaultHeaders, from_fn},
    web,
};
use chassis::{Problem, problem::not_found_route};

use crate::{
    alerts,
    http::{PREFIX, body, compression::compress},
    openapi, operations, orders,
    people::{self, Access::Public, Endpoint, Resource, get},
    processes, reports, servers,
};

/// The table.
pub(crate) fn table() -> Vec<Resource> {
    let own = vec![("/openapi.json", vec![get(Public, openapi::show)])];
    let domains = [
        people::routes(),
        servers::routes(),
        processes::routes(),
        orders::routes(),
        reports::routes(),
        alerts::routes(),
        operations::routes(),
    ];
    own.into_iter().chain(domains.into_iter().flatten()).collect()
}

/// The paths whose `GET` is of a list.
pub(crate) fn lists() -> Vec<&'static str> {
    let lists = |endpoints: &[Endpoint]| endpoints.iter().any(|endpoint| endpoint.lists);
    table().into_iter().filter(|(_, endpoints)| lists(endpoints)).map(|(path, _)| path).collect()
}

/// Mounts the table. Answers hold tokens and what changes by the second, so that nobody may keep them.
pub(crate) fn mount(config: &mut web::ServiceConfig) {
    let headers =
        || DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    // The one path outside of the interface: people type it.
    let (path, endpoints) = servers::install_script();
    config.service(resource(path, endpoints).wrap(from_fn(compress)).wrap(headers()));
    let mut scope = web::scope(PREFIX).app_data(body::limit());
    for (path, endpoints) in table() {
        scope = scope.service(resource(path, endpoints));
    }
    let scope = scope.default_service(web::to(not_found_route));
    config.service(scope.wrap(from_fn(compress)).wrap(headers()));
}

/// Mounts the metrics behind the same guard as the table. The path is the one that every process has.
pub(crate) fn mount_metrics(config: &mut web::ServiceConfig) {
    let (path, endpoints) = operations::metrics_resource();
    let headers = DefaultHeaders::new().add((CACHE_CONTROL, "no-store"));
    config.service(resource(path, endpoints).wrap(from_fn(compress)).wrap(headers));
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
        // What another process serves has a place of its own.
        let ours = || operations().filter(|(.., operation)| operation["servers"].is_null());
        let documented: BTreeSet<_> =
            ours().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
        assert_eq!(mounted, documented);
        let names: BTreeSet<_> = ours().map(|(_, _, o)| o["operationId"].to_string()).collect();
        assert_eq!(names.len(), mounted.len(), "{names:?}");
    }
}
