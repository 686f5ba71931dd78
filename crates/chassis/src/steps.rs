//! How long the steps of a request, or of a batch, took: a line of the log for each, at the level `debug` alone.
//!
//! A step is a span of the level `debug` and the target [`TARGET`], in whichever crate:
//! `tracing::debug_span!(target: "steps", "history.append")`, or `#[tracing::instrument(target = "steps", level = "debug",
//! skip_all)]`. At any other level the span is never made, which costs one comparison.

use std::time::Instant;

use tracing::{Subscriber, span};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// What makes a span a step.
const TARGET: &str = "steps";

/// Tells of each step that has ended, with all spans around it.
pub struct Steps;

/// When a step began.
struct Began(Instant);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Steps {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if attributes.metadata().target() == TARGET
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Began(Instant::now()));
        }
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(took) = span.extensions().get::<Began>().map(|Began(at)| at.elapsed()) else { return };
        let (step, parent) = (span.name(), span.parent().map(|parent| parent.id()));
        let took_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        // The step itself is gone when a line is written; its parent is there.
        tracing::debug!(target: TARGET, parent: parent, step, took_ms, "took");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::{Instrument, debug_span, error_span, level_filters::LevelFilter};
    use tracing_subscriber::layer::SubscriberExt;

    use crate::telemetry::logged_at;

    fn lines(level: LevelFilter) -> Vec<String> {
        logged_at(level, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let append = async || {
                let append = debug_span!(target: "steps", "history.append");
                tokio::time::sleep(Duration::from_millis(5)).instrument(append).await;
            };
            let batch =
                async || append().instrument(debug_span!(target: "steps", "batch", records = 7)).await;
            runtime.block_on(batch().instrument(error_span!("request", request_id = "r-1")));
            debug_span!("of another crate").in_scope(|| ());
        })
    }

    #[test]
    fn a_step_tells_how_long_it_took_within_what_and_for_which_request() {
        let lines = lines(LevelFilter::DEBUG);
        let took = |line: &str| line.rsplit_once("took_ms=").unwrap().1.parse::<f64>().unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let inner =
            "DEBUG request{request_id=\"r-1\"}:batch{records=7}: took step=\"history.append\" took_ms=";
        assert!(lines[0].starts_with(inner) && took(&lines[0]) >= 5.0, "{lines:?}");
        let outer = "DEBUG request{request_id=\"r-1\"}: took step=\"batch\" took_ms=";
        assert!(lines[1].starts_with(outer) && took(&lines[1]) >= took(&lines[0]), "{lines:?}");
    }

    #[test]
    fn at_any_other_level_there_is_no_step() {
        assert_eq!(lines(LevelFilter::INFO), Vec::<String>::new());
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(LevelFilter::INFO).with(super::Steps),
            || assert!(debug_span!(target: "steps", "history.append").is_disabled()),
        );
    }
}
