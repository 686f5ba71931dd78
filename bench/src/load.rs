//! What a snapshot costs each process of the fleet composition, at several loads.

use std::time::Duration;

use anyhow::{Result, ensure};
use simulator::{Load, drive, process::cpu};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    elastic::Elastic,
    servers::Party,
    stage::{Settings, Stage},
    table::{Table, median, micros, own, thousands},
};

/// Of our services and the servers below them.
const PARTIES: usize = 7;

/// One run of one load.
struct Outcome {
    acknowledged: f64,
    stored: f64,
    p99_ms: f64,
    /// Microseconds per snapshot.
    cpu: [f64; PARTIES],
    generator: f64,
}

pub async fn run(stage: &mut Stage<'_>, servers: Vec<Party>, settings: &Settings) -> Result<()> {
    let mut parties = stage.parties();
    parties.extend(servers);
    let rates = settings.loads.iter().copied().map(Some).chain([None]);
    let mut loads: Vec<(Option<f64>, Vec<Outcome>)> = rates.map(|rate| (rate, Vec::new())).collect();
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        for (rate, runs) in &mut loads {
            let outcome = drive_one(stage, &parties, *rate, settings).await?;
            let (taken, stored) = (thousands(outcome.acknowledged), thousands(outcome.stored));
            eprintln!("  {}: {taken}/s acknowledged, {stored}/s stored", name(*rate));
            runs.push(outcome);
        }
    }
    print(&loads, &parties, settings);
    Ok(())
}

/// It counts until all of it is stored and can be found: the index then did its work too.
async fn drive_one(
    stage: &mut Stage<'_>,
    parties: &[Party],
    rate: Option<f64>,
    settings: &Settings,
) -> Result<Outcome> {
    let elastic = Elastic::new(&stage.fleet.urls.elasticsearch)?;
    let lasting = Duration::from_secs(settings.seconds);
    let load = Load { connections: settings.connections, rate, lasting, ..Load::default() };
    let before = stage.settled_now().await?;
    let times = parties.iter().map(Party::cpu).collect::<Result<Vec<_>>>()?;
    let (generator, begun) = (cpu(&[own()])?, Instant::now());
    let urls = stage.gate_urls();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let sent = drive(&urls, &mut stage.servers, &load, &CancellationToken::new()).await?;
    let (took, generator) = (begun.elapsed(), cpu(&[own()])? - generator);
    let count = sent.acknowledged() as f64;
    ensure!(count > 0.0, "nothing was acknowledged");
    let p99_ms = f64::from(sent.took_us(0.99)) / 1e3;
    stage.journal.extend(sent);
    stage.settled(before + count).await?;
    let stored = begun.elapsed();
    elastic.refresh(&format!("{}-snapshots-*", stage.fleet.prefix())).await?;
    let mut cpu = [0.0; PARTIES];
    for ((place, party), before) in cpu.iter_mut().zip(parties).zip(times) {
        *place = micros(party.cpu()?.saturating_sub(before)) / count;
    }
    Ok(Outcome {
        acknowledged: count / took.as_secs_f64(),
        stored: count / stored.as_secs_f64(),
        p99_ms,
        cpu,
        generator: micros(generator) / count,
    })
}

fn name(rate: Option<f64>) -> String {
    rate.map_or("as fast as it goes".to_owned(), |rate| format!("{}/s", thousands(rate)))
}

fn print(loads: &[(Option<f64>, Vec<Outcome>)], parties: &[Party], settings: &Settings) {
    let mut head = vec!["load", "acknowledged/s", "stored/s", "p99 ms", "CPU µs/snapshot"];
    head.extend(parties.iter().map(|party| party.name));
    head.push("generator");
    let mut table = Table::new(&head);
    for (rate, runs) in loads {
        let median_of = |figure: &dyn Fn(&Outcome) -> f64| median(runs.iter().map(figure).collect());
        let mut row = vec![
            name(*rate),
            thousands(median_of(&|run| run.acknowledged)),
            thousands(median_of(&|run| run.stored)),
            format!("{:.1}", median_of(&|run| run.p99_ms)),
            format!("{:.0}", median_of(&|run| run.cpu.iter().sum())),
        ];
        row.extend((0..PARTIES).map(|at| format!("{:.1}", median_of(&|run| run.cpu[at]))));
        row.push(format!("{:.1}", median_of(&|run| run.generator)));
        table.rows([row]);
    }
    let Settings { servers, connections, runs, seconds, .. } = settings;
    table.print(&format!(
        "Fleet: {servers} servers over {connections} connections, one snapshot a request, {runs} runs of {seconds} s"
    ));
}
