//! Logs to stdout and metrics for `/metrics`.

use std::{io::IsTerminal, sync::OnceLock, time::Duration};

use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{allocator, process, steps::Steps};

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Bounds of every histogram of seconds, from a fraction of a commit to a stalled store.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Every so many times memory is given back.
const TRIM_EVERY: u32 = 4;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log and the metrics of this process. Only a `main` calls it.
pub fn start(format: LogFormat, level: LevelFilter) {
    let wanted = Targets::new()
        .with_default(level)
        // How many threads it starts; what it listens on is told by whoever starts it.
        .with_target("actix_server", level.min(LevelFilter::WARN))
        // An error a line for each malformed request: whoever can connect could flood the log.
        .with_target("actix_http", LevelFilter::OFF)
        // The broker's driver tells of each lost connection several times over, as errors; the queue tells of it once.
        .with_target("lapin", LevelFilter::OFF)
        .with_target("amq_protocol", LevelFilter::OFF)
        .with_target("async_rs", LevelFilter::OFF);
    let log = tracing_subscriber::registry().with(wanted).with(Steps);
    let lines = fmt::layer().with_target(false);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(std::io::stdout().is_terminal())).init(),
        LogFormat::Json => {
            // A step is within the request, whose id has to be on the line all the same.
            let steps = level >= LevelFilter::DEBUG;
            log.with(lines.json().flatten_event(true).with_span_list(steps)).init();
        }
    }
    METRICS.get_or_init(install);
}

/// All metrics in the Prometheus text format; empty where telemetry was not started.
pub fn metrics() -> String {
    let told = METRICS.get().and_then(Option::as_ref).map(PrometheusHandle::render);
    told.map(|told| told + &process::render()).unwrap_or_default()
}

/// Keeps the process small for as long as it is polled: the histograms are folded, and the memory of bursts given back.
pub async fn upkeep() {
    for turn in 1_u32.. {
        tokio::time::sleep(UPKEEP).await;
        if turn.is_multiple_of(TRIM_EVERY) {
            allocator::trim();
        }
        if let Some(Some(handle)) = METRICS.get() {
            handle.run_upkeep();
        }
    }
}

fn install() -> Option<PrometheusHandle> {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
    match builder.map(PrometheusBuilder::install_recorder) {
        Ok(Ok(handle)) => Some(handle),
        Ok(Err(error)) | Err(error) => {
            tracing::warn!(%error, "metrics are off");
            None
        }
    }
}

/// The lines that `work` logs on this thread, each as level, message and fields.
#[cfg(test)]
pub fn logged(work: impl FnOnce()) -> Vec<String> {
    logged_at(LevelFilter::TRACE, work)
}

/// The same, at this level and with the steps.
#[cfg(test)]
pub fn logged_at(level: LevelFilter, work: impl FnOnce()) -> Vec<String> {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let written = Written::default();
    let writer = written.clone();
    let lines = fmt::layer().with_target(false).with_ansi(false).without_time();
    let log = tracing_subscriber::registry().with(level).with(Steps);
    let log = log.with(lines.with_writer(move || writer.clone()));
    tracing::subscriber::with_default(log, work);
    let bytes = written.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}
