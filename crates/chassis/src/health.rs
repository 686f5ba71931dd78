//! `/health/live`, `/health/ready`, `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpResponse, http::StatusCode, web};

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
}

impl Health {
    /// Not ready until each of `parts` was reached.
    pub fn new(parts: &[&'static str]) -> Self {
        let parts = parts.iter().map(|part| (*part, AtomicBool::new(false))).collect();
        Self(Arc::new(State { parts, stopping: AtomicBool::new(false) }))
    }

    /// `part` was reached.
    pub fn reached(&self, part: &str) {
        for (name, reached) in &self.0.parts {
            if *name == part {
                reached.store(true, Ordering::Relaxed);
            }
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
    config
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/metrics", web::get().to(metrics));
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

    #[test]
    fn ready_once_every_part_was_reached_and_until_it_stops() {
        let health = Health::new(&["registry", "history"]);
        health.reached("registry");
        assert!(!health.ready());
        assert_eq!(health.missing(), ["history"]);
        health.reached("history");
        assert!(health.ready());
        health.stop();
        assert!(!health.ready());
    }
}
