//! What `/metrics` tells of a worker: each name once, with its description.

use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Every stage from the queue to the ack.
pub struct Instruments {
    /// Messages.
    pub received: Counter,
    /// Messages.
    pub settled: Counter,
    /// Messages.
    pub handed_back: Counter,
    pub stored: Counter,
    pub unknown: Counter,
    pub deleted: Counter,
    pub revoked: Counter,
    pub refused: Counter,
    pub sightings: Counter,
    /// Rows of what breaks rules.
    pub observations: Counter,
    /// Results that are what became of their orders.
    pub results_counted: Counter,
    /// Results that are not: of another server's order, or of one that has a result.
    pub results_left: Counter,
    /// Snapshots.
    pub batch_size: Histogram,
    pub batch: Histogram,
    pub registry: Histogram,
    pub history: Histogram,
    pub cache: Histogram,
    pub alerts: Histogram,
    pub lag: Gauge,
}

/// How far rollups are behind.
pub struct Rollups {
    pub made: Counter,
    pub left: Gauge,
    pub packed: Counter,
}

impl Rollups {
    pub fn new() -> Self {
        describe_counter!(
            "rollcall_worker_rollups_made_total",
            "Hours that were rolled up by this worker, each server's by itself"
        );
        describe_gauge!(
            "rollcall_worker_rollups_left",
            "Closed hours that are still to be rolled up, each server's by itself, as the worker with the lease last saw"
        );
        describe_counter!(
            "rollcall_worker_packed_total",
            "Snapshots that this worker moved into blocks of closed hours"
        );
        Self {
            packed: counter!("rollcall_worker_packed_total"),
            made: counter!("rollcall_worker_rollups_made_total"),
            left: gauge!("rollcall_worker_rollups_left"),
        }
    }
}

impl Instruments {
    pub fn new() -> Self {
        describe();
        let snapshots = |outcome| counter!("rollcall_worker_snapshots_total", "outcome" => outcome);
        let store = |store| histogram!("rollcall_worker_store_seconds", "store" => store);
        Self {
            received: counter!("rollcall_worker_received_total"),
            settled: counter!("rollcall_worker_settled_total"),
            handed_back: counter!("rollcall_worker_handed_back_total"),
            stored: snapshots("stored"),
            unknown: snapshots("unknown"),
            deleted: snapshots("deleted"),
            revoked: snapshots("revoked"),
            refused: snapshots("refused"),
            sightings: counter!("rollcall_worker_sightings_written_total"),
            observations: counter!("rollcall_worker_alert_observations_total"),
            results_counted: counter!("rollcall_worker_order_results_total", "outcome" => "counted"),
            results_left: counter!("rollcall_worker_order_results_total", "outcome" => "left"),
            batch_size: histogram!("rollcall_worker_batch_snapshots"),
            batch: histogram!("rollcall_worker_batch_seconds"),
            registry: store("registry"),
            history: store("history"),
            cache: store("cache"),
            alerts: histogram!("rollcall_worker_alerts_seconds"),
            lag: gauge!("rollcall_worker_lag_seconds"),
        }
    }
}

fn describe() {
    describe_counter!("rollcall_worker_received_total", "Messages that the queue handed out to this worker");
    describe_counter!("rollcall_worker_settled_total", "Messages that are stored and acked");
    describe_counter!(
        "rollcall_worker_handed_back_total",
        "Messages that went back to the queue unsettled, because a store was away"
    );
    describe_counter!(
        "rollcall_worker_snapshots_total",
        "Snapshots of settled messages, by what became of them; what is refused is a dead letter, and so are the first 10,000 messages of unknown servers"
    );
    describe_counter!("rollcall_worker_sightings_written_total", "Rows written to the registry");
    describe_counter!(
        "rollcall_worker_alert_observations_total",
        "Rows about what breaks rules, sent to the registry"
    );
    describe_counter!(
        "rollcall_worker_order_results_total",
        "Results of orders: those that are what became of them, and those that are of another server's order or of one that has a result"
    );
    describe_histogram!(
        "rollcall_worker_alerts_seconds",
        Unit::Seconds,
        "Looking at a batch for what breaks rules, with what is asked and written"
    );
    describe_histogram!("rollcall_worker_batch_snapshots", "Snapshots that are stored together");
    describe_histogram!("rollcall_worker_batch_seconds", Unit::Seconds, "From a batch to its last ack");
    describe_histogram!(
        "rollcall_worker_store_seconds",
        Unit::Seconds,
        "Calls to each store, those that failed too"
    );
    describe_gauge!(
        "rollcall_worker_lag_seconds",
        Unit::Seconds,
        "Age of the oldest message in hand, or without one of the newest that is settled"
    );
}

/// The answer of a store, with the time that it took written down.
pub async fn timed<T>(histogram: &Histogram, call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = call.await;
    histogram.record(begun.elapsed());
    answer
}
