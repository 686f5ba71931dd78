//! What `/metrics` tells of requests: each name once, with its description.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const REQUESTS: &str = "rollcall_management_requests_total";
const SECONDS: &str = "rollcall_management_request_seconds";
const FAILED_LOG_INS: &str = "rollcall_management_failed_log_ins_total";

pub(crate) fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(SECONDS, Unit::Seconds, "How long requests took, by method, route and status");
    describe_counter!(
        FAILED_LOG_INS,
        "Log-ins that were refused: an unknown or disabled user, or a wrong password"
    );
    // Whoever asks for a rate has to see the first one.
    counter!(FAILED_LOG_INS).increment(0);
}

/// A log-in was refused.
pub(crate) fn log_in_failed() {
    counter!(FAILED_LOG_INS).increment(1);
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
