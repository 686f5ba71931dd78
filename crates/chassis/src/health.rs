//! `/health/live`, `/health/ready`, `/metrics`.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::{
    HttpResponse, Route,
    guard::{self, GuardContext},
    http::StatusCode,
    web,
};
use tokio::sync::Notify;

use crate::{Problem, http, telemetry};

/// Whether this process is ready: each of its parts was reached once, and it is not stopping. Clones share it.
///
/// A part that is lost later does not make it unready: it answers 503 itself where it must, and a proxy that took every
/// replica out would turn that into a worse error.
#[derive(Debug, Clone)]
pub struct Health(Arc<State>);

#[derive(Debug)]
struct State {
    parts: Vec<(&'static str, AtomicBool)>,
    stopping: AtomicBool,
    metrics_are_local: AtomicBool,
    changed: Notify,
}

impl Health {
    /// Not ready until each of `parts` was reached.
    pub fn new(parts: &[&'static str]) -> Self {
        let parts = parts.iter().map(|part| (*part, AtomicBool::new(false))).collect();
        let (stopping, metrics_are_local) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(State { parts, stopping, metrics_are_local, changed: Notify::new() }))
    }

    /// From now on `/metrics` is for this host alone, where the port is open to others. What is asked for by others goes to
    /// whatever else is mounted there.
    pub fn keep_metrics_local(&self) {
        self.0.metrics_are_local.store(true, Ordering::Relaxed);
    }

    /// `part` was reached.
    pub fn reached(&self, part: &str) {
        self.set(part, true);
    }

    /// `part` is no longer fit for use, so a proxy should send nothing here. Not for a server that is merely lost: then
    /// this process still answers, with 503.
    pub fn unfit(&self, part: &str) {
        self.set(part, false);
    }

    fn set(&self, part: &str, fit: bool) {
        for (name, reached) in &self.0.parts {
            if *name == part {
                reached.store(fit, Ordering::Relaxed);
            }
        }
        self.0.changed.notify_waiters();
    }

    /// Returns once it is ready.
    pub async fn until_ready(&self) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on a change is not missed.
            changed.as_mut().enable();
            if self.ready() {
                return;
            }
            changed.await;
        }
    }

    /// From now on not ready: the proxy should send no more.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether to send requests here.
    pub fn ready(&self) -> bool {
        !self.0.stopping.load(Ordering::Relaxed) && self.missing().is_empty()
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = self.0.parts.iter().filter(|(_, reached)| !reached.load(Ordering::Relaxed));
        missing.map(|(part, _)| *part).collect()
    }
}

/// Mounts the three routes; the application's data must hold the [`Health`].
pub fn routes(config: &mut web::ServiceConfig) {
    let resource = |path| web::resource(path).default_service(web::to(wrong_method));
    config
        .service(resource("/health/live").route(read().to(live)))
        .service(resource("/health/ready").route(read().to(ready)))
        .service(resource("/metrics").guard(guard::fn_guard(may_read_metrics)).route(read().to(metrics)));
}

/// Behind a proxy on this host everybody would be local, so what was handed on is not.
fn may_read_metrics(context: &GuardContext<'_>) -> bool {
    let health = context.app_data::<web::Data<Health>>();
    let local_alone = health.is_some_and(|health| health.0.metrics_are_local.load(Ordering::Relaxed));
    let head = context.head();
    !local_alone || (http::is_local(head.peer_addr) && !http::is_forwarded(head.headers()))
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

    #[test]
    fn ready_once_every_part_was_reached_and_until_it_stops() {
        let health = Health::new(&["registry", "history"]);
        health.reached("registry");
        assert!(!health.ready());
        assert_eq!(health.missing(), ["history"]);
        health.reached("history");
        assert!(health.ready());
        health.unfit("history");
        assert!(!health.ready());
        health.reached("history");
        assert!(health.ready());
        health.stop();
        assert!(!health.ready());
    }
}
