//! What `/metrics` tells of a gate: each name once, with its description.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

const REFUSED: &str = "rollcall_gate_refused_requests_total";

/// What every request counts.
pub struct Instruments {
    /// Snapshots that were answered by a 202.
    pub accepted: Counter,
    /// Requests with a credential of the previous key.
    pub previous_key: Counter,
    /// From a checked request to the confirm of all of it.
    pub confirm: Histogram,
    pub open_since: Gauge,
    /// Polls that had to wait.
    pub held_polls: Counter,
    /// Results of orders that were answered by a 202.
    pub results: Counter,
}

/// What packing counts.
#[derive(Clone)]
pub struct PackInstruments {
    pub records: Histogram,
    pub waiting: Gauge,
}

impl Instruments {
    pub fn new() -> Self {
        describe_counter!(REFUSED, "Requests that were not taken, by the code of their answer");
        // Whoever asks for a rate has to see the first one.
        for code in ["rate_limited", "unauthorized", "unavailable"] {
            counter!(REFUSED, "code" => code).increment(0);
        }
        Self {
            accepted: described_counter(
                "rollcall_gate_accepted_snapshots_total",
                "Snapshots that the queue confirmed",
            ),
            previous_key: described_counter(
                "rollcall_gate_previous_key_total",
                "Accepted requests with a credential of the previous key",
            ),
            held_polls: described_counter(
                "rollcall_gate_held_polls_total",
                "Polls of agents that had to wait, for an order or in vain",
            ),
            results: described_counter(
                "rollcall_gate_results_total",
                "Results of orders that the queue confirmed",
            ),
            confirm: described_histogram(
                "rollcall_gate_confirm_seconds",
                Unit::Seconds,
                "From a checked request to the confirm of all of it",
            ),
            open_since: described_gauge(
                "rollcall_gate_open_since_timestamp_seconds",
                Unit::Seconds,
                "Unix time since when this gate's ticks were confirmed without a gap",
            ),
        }
    }

    /// A request was not taken.
    pub fn refused(&self, code: &'static str) {
        counter!(REFUSED, "code" => code).increment(1);
    }
}

impl PackInstruments {
    pub fn new() -> Self {
        Self {
            records: described_histogram(
                "rollcall_gate_message_records",
                Unit::Count,
                "Snapshots in each message that the queue confirmed",
            ),
            waiting: described_gauge(
                "rollcall_gate_waiting_bytes",
                Unit::Bytes,
                "Memory taken by what the queue has not confirmed yet",
            ),
        }
    }
}

/// By how much this clock is ahead of the cache's.
pub fn clock_skew() -> Gauge {
    described_gauge(
        "rollcall_gate_clock_skew_seconds",
        Unit::Seconds,
        "By how much this clock is ahead of the cache's",
    )
}

fn described_counter(name: &'static str, description: &'static str) -> Counter {
    describe_counter!(name, description);
    counter!(name)
}

fn described_gauge(name: &'static str, unit: Unit, description: &'static str) -> Gauge {
    describe_gauge!(name, unit, description);
    gauge!(name)
}

fn described_histogram(name: &'static str, unit: Unit, description: &'static str) -> Histogram {
    describe_histogram!(name, unit, description);
    histogram!(name)
}
