//! `/health/live`, `/health/ready`, `/metrics`.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::{HttpResponse, Route, guard, http::StatusCode, web};
use tokio::sync::Notify;

use crate::{Problem, telemetry};

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
    changed: Notify,
}

impl Health {
    /// Not ready until each of `parts` was reached.
    pub fn new(parts: &[&'static str]) -> Self {
        let parts = parts.iter().map(|part| (*part, AtomicBool::new(false))).collect();
        Self(Arc::new(State { parts, stopping: AtomicBool::new(false), changed: Notify::new() }))
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
        .service(resource("/metrics").route(read().to(metrics)));
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
