//! What `/metrics` tells of requests: each name once, with its description.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const REQUESTS: &str = "rollcall_management_requests_total";
const SECONDS: &str = "rollcall_management_request_seconds";

pub(crate) fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(SECONDS, Unit::Seconds, "How long requests took, by method, route and status");
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
