//! The metrics of a process whose port is open to others: for whoever may see the servers.

use actix_web::HttpResponse;
use chassis::telemetry;

/// In the text format of Prometheus.
pub(crate) async fn show() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::metrics())
}
