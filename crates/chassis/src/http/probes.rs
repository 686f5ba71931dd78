//! `/health/live`, `/health/ready`, `/metrics`.

use actix_web::{
    HttpResponse, Route,
    guard::{self, GuardContext},
    http::StatusCode,
    web,
};

use super::{is_forwarded, is_local};
use crate::{Health, Problem, telemetry};

/// Mounts the three routes; the application's data must hold the [`Health`].
pub(super) fn routes(config: &mut web::ServiceConfig) {
    let resource = |path| web::resource(path).default_service(web::to(wrong_method));
    config
        .service(resource("/health/live").route(read().to(live)))
        .service(resource("/health/ready").route(read().to(ready)))
        .service(resource("/metrics").guard(guard::fn_guard(may_read_metrics)).route(read().to(metrics)));
}

/// Behind a proxy on this host everybody would be local, so what was handed on is not.
fn may_read_metrics(context: &GuardContext<'_>) -> bool {
    let health = context.app_data::<web::Data<Health>>();
    let local_alone = health.is_some_and(|health| health.keeps_metrics_local());
    let head = context.head();
    !local_alone || (is_local(head.peer_addr) && !is_forwarded(head.headers()))
}

/// Probes use GET or HEAD.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn wrong_method() -> Result<HttpResponse, Problem> {
    Err(Problem::only("GET, HEAD"))
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "live"}))
}

async fn ready(health: web::Data<Health>) -> Result<HttpResponse, Problem> {
    if health.ready() {
        return Ok(HttpResponse::Ok().json(serde_json::json!({"status": "ready"})));
    }
    let detail = "this process is starting or stopping";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail);
    Err(problem.with("missing", health.missing()))
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::metrics())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn probes_ask_by_get_or_head_and_nothing_else() {
        let health = web::Data::new(Health::new(&[]));
        let app = actix_web::App::new().app_data(health).configure(routes);
        let app = actix_web::test::init_service(app).await;
        for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405)] {
            let method = method.parse().unwrap();
            let request = actix_web::test::TestRequest::with_uri("/health/ready").method(method).to_request();
            assert_eq!(actix_web::test::call_service(&app, request).await.status(), status);
        }
    }

    #[actix_web::test]
    async fn metrics_that_are_kept_local_are_not_handed_on_by_a_proxy() {
        let health = Health::new(&[]);
        let data = web::Data::new(health.clone());
        let app = actix_web::App::new().app_data(data).configure(routes);
        let app = actix_web::test::init_service(app).await;
        let status = async |peer: &str, header: Option<(&str, &str)>| {
            let request = actix_web::test::TestRequest::with_uri("/metrics").peer_addr(peer.parse().unwrap());
            let request = header.into_iter().fold(request, |request, header| request.insert_header(header));
            actix_web::test::call_service(&app, request.to_request()).await.status().as_u16()
        };
        assert_eq!(status("8.8.8.8:1", None).await, 200);
        health.keep_metrics_local();
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(status(peer, None).await, 200, "{peer}");
            assert_eq!(status(peer, Some(("x-forwarded-for", "127.0.0.1"))).await, 404, "{peer}");
            assert_eq!(status(peer, Some(("forwarded", "for=127.0.0.1"))).await, 404, "{peer}");
        }
        assert_eq!((status("8.8.8.8:1", None).await, status("10.0.0.1:1", None).await), (404, 404));
    }
}
