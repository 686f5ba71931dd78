//! What `/metrics` tells of management: each name once, with its description.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::operations::dead_letters::Dead;

const REQUESTS: &str = "rollcall_management_requests_total";
const SECONDS: &str = "rollcall_management_request_seconds";
const DEAD_LETTERS: &str = "rollcall_management_dead_letters";

pub(crate) fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(SECONDS, Unit::Seconds, "How long requests took, by method, route and status");
    describe_gauge!(
        DEAD_LETTERS,
        Unit::Count,
        "Dead letters that waited when they were last counted, by queue"
    );
}

/// A request was answered. Its labels are few whatever clients ask for: the route's pattern stands for the path.
pub(crate) fn answered(request: &HttpRequest, response: &HttpResponse, took: Duration) {
    let labels = [
        ("method", request.method().to_string()),
        ("path", request.match_pattern().unwrap_or_default()),
        ("status", response.status().as_u16().to_string()),
    ];
    counter!(REQUESTS, &labels).increment(1);
    histogram!(SECONDS, &labels).record(took);
}

pub(crate) fn dead_letters(dead: Dead) {
    gauge!(DEAD_LETTERS, "queue" => "snapshots").set(f64::from(dead.snapshots));
    gauge!(DEAD_LETTERS, "queue" => "mail").set(f64::from(dead.mail));
}
