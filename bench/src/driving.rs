//! One run of the generator against one endpoint.

use std::time::Instant;

use anyhow::Result;
use simulator::{Journal, Load, Simulated, drive, process::cpu};
use tokio_util::sync::CancellationToken;

use crate::table::{micros, own, thousands};

/// One run of one contender.
pub struct Outcome {
    pub rate: f64,
    /// CPU time per snapshot in microseconds: of the contender, and of the generator.
    pub cpu: f64,
    pub generator_cpu: f64,
    /// Of the time that an answer takes.
    pub p99_ms: Option<f64>,
}

/// Drives `url`, which the process `pid` serves.
pub async fn drive_one(
    url: &str,
    pid: u32,
    servers: &mut Vec<Simulated>,
    load: &Load,
) -> Result<(Outcome, Journal)> {
    let (theirs, ours, begun) = (cpu(&[pid])?, cpu(&[own()])?, Instant::now());
    let journal = drive(&[url], servers, load, &CancellationToken::new()).await?;
    let took = begun.elapsed();
    let (theirs, ours) = (cpu(&[pid])? - theirs, cpu(&[own()])? - ours);
    let answered =
        journal.entries.iter().filter(|entry| matches!(entry.status, Some(202 | 204))).count() as f64;
    let outcome = Outcome {
        rate: answered / took.as_secs_f64(),
        cpu: micros(theirs) / answered,
        generator_cpu: micros(ours) / answered,
        p99_ms: Some(f64::from(journal.took_us(0.99)) / 1e3),
    };
    eprintln!("  {url}: {}/s, {} entries", thousands(outcome.rate), journal.entries.len());
    Ok((outcome, journal))
}
