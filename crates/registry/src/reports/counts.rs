//! How many reports there are, and what became of mails: for whoever watches the suite.

use fleet::Millis;

use crate::{
    engine::{Registry, RegistryError, corrupt, count},
    outbox,
};

/// Reports and mails that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportCounts {
    /// How many reports are in each state, every state once.
    pub reports: Vec<(&'static str, u64)>,
    /// How many mails are in each state, every state once.
    pub deliveries: Vec<(&'static str, u64)>,
    /// When the rows of a report were written last, in Unix ms.
    pub computed_at: Option<Millis>,
}

const REPORTS: &str = "SELECT state, COUNT(*) FROM reports GROUP BY state";
const NEWEST: &str = "SELECT MAX(computed_at) FROM reports";

const REPORT_STATES: [&str; 3] = ["queued", "ready", "failed"];
const DELIVERY_STATES: [&str; 6] = ["queued", "sending", "sent", "written", "failed", "unknown"];

impl Registry {
    /// Counts them.
    #[crate::engine::boxed]
    pub async fn report_counts(&self) -> Result<ReportCounts, RegistryError> {
        let (reports, deliveries, (computed_at,)) = self
            .read(async |tx| Ok((tx.all(REPORTS).await?, outbox::counts(tx).await?, tx.one(NEWEST).await?)))
            .await?;
        let reports = by_state("reports", &REPORT_STATES, &reports)?;
        Ok(ReportCounts {
            reports,
            deliveries: by_state("deliveries", &DELIVERY_STATES, &deliveries)?,
            computed_at,
        })
    }
}

fn by_state(
    table: &'static str,
    states: &[&'static str],
    rows: &[(String, i64)],
) -> Result<Vec<(&'static str, u64)>, RegistryError> {
    if let Some((state, _)) = rows.iter().find(|(state, _)| !states.contains(&state.as_str())) {
        return Err(corrupt(table, "state", state));
    }
    let number =
        |wanted: &str| rows.iter().find(|(state, _)| state == wanted).map_or(0, |(_, number)| *number);
    states.iter().map(|state| Ok((*state, count(table, "state", state, number(state))?))).collect()
}
