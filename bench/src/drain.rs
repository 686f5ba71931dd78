//! A worker that was stopped, and how fast it catches up while as much goes on coming.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result};
use chassis::Clock;
use fleet::Millis;
use simulator::{Journal, Kind, Load, drive};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    stage::{Settings, Stage},
    table::{Table, thousands},
};

/// For how long all is well first.
const BEFORE: Duration = Duration::from_secs(8);
/// It is through once it is less than this behind.
const BEHIND: f64 = 0.5;
/// Longest wait for it to catch up.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When it stopped, was back, and had caught up.
struct Marks {
    stopped: Millis,
    back: Millis,
    through: Millis,
    /// What it settled from then to then, and within how many seconds.
    drained: f64,
    seconds: f64,
}

pub async fn run<'a>(mut stage: Stage<'a>, settings: &Settings) -> Result<Stage<'a>> {
    eprintln!("{} arrive each second, and the worker stops for {} s", settings.arrival, settings.stopped);
    let load = Load { connections: settings.connections, rate: Some(settings.arrival), ..Load::default() };
    let stop = CancellationToken::new();
    let mut servers = std::mem::take(&mut stage.servers);
    let urls = stage.gate_urls();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let before = stage.settled_now().await?;
    let script = async {
        let _stop = stop.clone().drop_guard();
        interrupt(stage, &load, before, settings).await
    };
    let (sent, done) = tokio::join!(drive(&urls, &mut servers, &load, &stop), script);
    let (mut stage, marks) = done?;
    let sent = sent?;
    print(&sent, &marks, settings);
    stage.servers = servers;
    stage.journal.extend(sent);
    Ok(stage)
}

/// Stops the worker, starts another, and waits until that is through. `before` was settled before the load.
async fn interrupt<'a>(
    stage: Stage<'a>,
    load: &Load,
    before: f64,
    settings: &Settings,
) -> Result<(Stage<'a>, Marks)> {
    let clock = Clock::system();
    let acknowledged = || load.acknowledged.load(Ordering::Relaxed) as f64;
    sleep(BEFORE).await;
    let stopped = clock.now();
    let settled = stage.settled_now().await? - before;
    let Stage { fleet, gates, worker, management, servers, journal } = stage;
    worker.stop().await?;
    sleep(Duration::from_secs(settings.stopped)).await;
    let worker = fleet.start(Kind::Worker).await?;
    let stage = Stage { fleet, gates, worker, management, servers, journal };
    let (back, begun, first) = (clock.now(), Instant::now(), stage.settled_now().await?);
    let catching_up = async {
        loop {
            let now = stage.settled_now().await?;
            // What the first worker settled in its last moments is missing in this sum, which only lengthens the wait.
            if settled + now >= acknowledged() - BEHIND * settings.arrival {
                return anyhow::Ok(now - first);
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let drained = timeout(PATIENCE, catching_up).await.context("the worker does not catch up")??;
    let marks =
        Marks { stopped, back, through: clock.now(), drained, seconds: begun.elapsed().as_secs_f64() };
    Ok((stage, marks))
}

fn print(sent: &Journal, marks: &Marks, settings: &Settings) {
    let Marks { stopped, back, through, drained, seconds } = *marks;
    let mut table = Table::new(&["the worker", "s", "acknowledged/s", "refused", "median ms", "p99 ms"]);
    let phases = [
        ("runs", stopped - BEFORE.as_millis() as Millis, stopped),
        ("is stopped", stopped, back),
        ("catches up", back, through),
    ];
    for (name, from, to) in phases {
        let entries = sent.entries.iter().filter(|entry| (from..to).contains(&entry.sent));
        let part = Journal { entries: entries.copied().collect() };
        let lasting = (to - from).max(1) as f64 / 1e3;
        table.row([
            name.to_owned(),
            format!("{lasting:.1}"),
            thousands(part.acknowledged() as f64 / lasting),
            thousands(part.refused() as f64),
            format!("{:.1}", f64::from(part.took_us(0.5)) / 1e3),
            format!("{:.1}", f64::from(part.took_us(0.99)) / 1e3),
        ]);
    }
    table.print(&format!(
        "Fleet: {} snapshots/s go on coming while the worker is stopped",
        thousands(settings.arrival)
    ));
    println!(
        "\nCatching up it stored {} snapshots/s, {:.1} times as many as came; the target is 3.",
        thousands(drained / seconds),
        drained / seconds / settings.arrival
    );
}
