//! What makes reports without being asked: finding what is due, computing, and bringing mail jobs to the queue. Any
//! number of processes do so at once; each works on the rows that it has claimed.

use chassis::{Problem, Trouble};
use fleet::{
    MailJob, Millis, ServerId,
    uptime::{Piece, Uptime},
};
use futures_util::{StreamExt, stream};
use queue::Publisher;
use registry::{
    Page, PeriodIncidents, Registry, RegistryError, Report, ReportRow, Roll, Server, Sort, SortKey,
};
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::{
    app::App,
    http::{failure::Failure, ranges::Range},
    reports::{
        report::{Form, kept_filter, new_report},
        schedule::read,
    },
    servers,
};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// How often to look for what is due, for reports to compute, for mails to publish.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs that were due longer ago are not caught up.
const CATCH_UP: Millis = DAY;

/// Most runs of a schedule in that time: one a minute, and the hour that comes twice counts once.
const MOST_RUNS: usize = 24 * 60;

/// Schedules read at once.
const SCHEDULES: u32 = 500;

/// For how long nobody else computes a report that one process computes.
const LEASE: Millis = 2 * MINUTE;

/// A report that could not be computed for this long fails.
const GIVE_UP: Millis = DAY;

/// Servers read and computed at once.
const SERVERS: u32 = 2_500;

/// Mails whose jobs are published at once. A job is published again after `AGAIN`, in case it did not reach the queue,
/// and after `NET`, in case the queue lost it.
const JOBS: u32 = 100;
const AGAIN: Millis = MINUTE;
const NET: Millis = HOUR;

/// How often old reports are forgotten, and how old they become.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const KEEP: Millis = 90 * DAY;

pub(crate) async fn run(app: &App, jobs: &Publisher<MailJob>) {
    tokio::join!(tick(app), compute(app), relay(app, jobs), forget(app));
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut due = interval(period);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

async fn tick(app: &App) {
    let registry = Trouble::new("finding due reports");
    let mut due = every(LOOK_EVERY);
    let mut looked = None;
    loop {
        due.tick().await;
        let now = app.clock.now();
        // Runs are due on the minute: within a minute nothing new becomes due.
        let minute = now.div_euclid(MINUTE);
        if looked != Some(minute) && registry.watch(make_due(app, now).await).is_some() {
            looked = Some(minute);
        }
    }
}

/// Makes a report of every run that is due and has none.
pub(crate) async fn make_due(app: &App, now: Millis) -> Result<(), RegistryError> {
    let mut page = Page { page: 1, page_size: SCHEDULES };
    let known = app.registry.ticks(now - CATCH_UP).await?;
    loop {
        let (schedules, total) = app.registry.schedules(page).await?;
        for schedule in &schedules {
            let Some((cron, zone, window)) = read(schedule) else { continue };
            for due in cron.due(zone, (now - CATCH_UP).max(schedule.since), now, MOST_RUNS) {
                let Some(range) = window.range(zone, due.at) else { continue };
                if known.contains(&(schedule.id, due.local.clone())) {
                    continue;
                }
                let filter = schedule.filter.clone();
                let form = Form { format: schedule.format.clone(), language: schedule.language.clone() };
                let report = new_report(range, zone, filter, form, schedule.recipients.clone(), now);
                if app.registry.tick(schedule, &due, &report, now).await? {
                    tracing::info!(schedule = %schedule.id, due = due.local, report = %report.id, "a report is due");
                }
            }
        }
        if u64::from(page.page) * u64::from(SCHEDULES) >= total {
            return Ok(());
        }
        page.page += 1;
    }
}

async fn compute(app: &App) {
    let registry = Trouble::new("finding reports to compute");
    let mut due = every(LOOK_EVERY);
    loop {
        due.tick().await;
        let now = app.clock.now();
        while let Some(Some(report)) = registry.watch(app.registry.claim_report(now, now + LEASE).await) {
            registry.watch(compute_one(app, &report).await);
        }
    }
}

async fn compute_one(app: &App, report: &Report) -> Result<(), RegistryError> {
    let begun = app.clock.now();
    match rows(app, report).await {
        Ok((rows, incidents)) => {
            let (now, servers) = (app.clock.now(), rows.len());
            if app.registry.finish_report(report.id, &rows, &incidents, now).await? {
                tracing::info!(report = %report.id, servers, took_ms = now - begun, "a report is computed");
            }
            Ok(())
        }
        // Somebody claims it anew when the lease is over. Where it failed, the reason was logged.
        Err(failure) if failure.may_pass() && begun - report.created_at < GIVE_UP => Ok(()),
        Err(failure) => app.registry.fail_report(report.id, &failure.to_string(), begun).await,
    }
}

/// Every server that the filter lets through, by name, and the incidents of them. Of a report about all servers these are all
/// incidents: those of servers that are gone, and of the suite itself, too.
async fn rows(app: &App, report: &Report) -> Result<(Vec<ReportRow>, PeriodIncidents), Failure> {
    let filter = kept_filter(&report.filter).ok_or_else(Problem::internal)?;
    let (range, roll) = (Range { from: report.from, to: report.to }, app.roll().await?);
    let sort = [Sort { key: SortKey::Name, descending: false }];
    let mut page = Page { page: 1, page_size: SERVERS };
    let mut rows: Vec<ReportRow> = Vec::new();
    loop {
        let (servers, total) = app.registry.servers(&filter, &sort, page, &roll).await?;
        rows.extend(rows_of(app, servers, range, &roll).await?);
        if u64::from(page.page) * u64::from(SERVERS) >= total {
            break;
        }
        page.page += 1;
    }
    // A server that was made or renamed between two pages may be on both.
    let mut seen = std::collections::HashSet::new();
    rows.retain(|row| seen.insert(row.server));
    let servers: Option<Vec<ServerId>> =
        (!filter.is_everyone()).then(|| rows.iter().map(|row| row.server).collect());
    // What has not ended by now lasts until now, also where the time of the report goes on.
    let until = report.to.min(app.clock.now());
    let (incidents, of_servers) =
        app.registry.incidents_of_period(report.from, until, servers.as_deref()).await?;
    for row in &mut rows {
        if let Some(figures) = of_servers.get(&row.server) {
            row.incidents = figures.count;
            row.longest_incident_ms = figures.longest_ms;
            row.resolved_in_ms = figures.mean_ms();
        }
    }
    Ok((rows, incidents))
}

async fn rows_of(
    app: &App,
    servers: Vec<Server>,
    range: Range,
    roll: &Roll,
) -> Result<Vec<ReportRow>, Failure> {
    let asked = servers::expected(app, &servers, range, roll).await?;
    let covered = app.history.covered(&asked).await?;
    let figures: Vec<Uptime> =
        asked.iter().zip(covered).map(|((_, pieces), covered)| figure(pieces, covered)).collect();
    let longest = longest_outages(app, &asked, &figures).await?;
    let lines = servers.into_iter().zip(figures).zip(longest);
    let row =
        |((server, Uptime { covered_ms, expected_ms, .. }), longest): ((Server, Uptime), Option<Piece>)| {
            let Server { id, name, status, .. } = server;
            let longest_outage = longest.map(|gap| (gap.from, gap.length()));
            ReportRow {
                server: id,
                name,
                status,
                covered_ms,
                expected_ms,
                longest_outage,
                incidents: 0,
                longest_incident_ms: None,
                resolved_in_ms: None,
            }
        };
    Ok(lines.map(row).collect())
}

fn figure(pieces: &[Piece], covered: Millis) -> Uptime {
    Uptime::new(covered, pieces.iter().map(Piece::length).sum())
}

/// The longest outage of each. History is asked only for servers whose figures show that there was one.
async fn longest_outages(
    app: &App,
    asked: &[(ServerId, Vec<Piece>)],
    figures: &[Uptime],
) -> Result<Vec<Option<Piece>>, Failure> {
    let broken = asked.iter().zip(figures).filter(|(_, figure)| figure.covered_ms < figure.expected_ms);
    let broken: Vec<(ServerId, Vec<Piece>)> = broken.map(|(asked, _)| asked.clone()).collect();
    let mut found = app.history.longest_gaps(&broken).await?.into_iter();
    let longest = figures.iter().map(|figure| match figure.covered_ms < figure.expected_ms {
        true => found.next().flatten(),
        false => None,
    });
    Ok(longest.collect())
}

async fn relay(app: &App, jobs: &Publisher<MailJob>) {
    let registry = Trouble::new("the outbox of mail");
    let queue = Trouble::new("the queue of mail");
    let mut due = every(LOOK_EVERY);
    loop {
        due.tick().await;
        let (now, again) = (app.clock.now(), app.clock.now() + AGAIN);
        let taken = registry.watch(app.registry.take_due_deliveries(now, again, JOBS).await);
        let publish = stream::iter(taken.unwrap_or_default()).for_each_concurrent(None, async |job| {
            let delivery = job.delivery;
            if queue.watch(jobs.publish(job).await).is_some() {
                registry.watch(app.registry.published(delivery, again, now + NET).await);
            }
        });
        publish.await;
    }
}

async fn forget(app: &App) {
    let registry = Trouble::new("forgetting old reports");
    let mut due = every(FORGET_EVERY);
    loop {
        due.tick().await;
        while registry.watch(forget_some(&app.registry, app.clock.now()).await) == Some(true) {}
    }
}

async fn forget_some(registry: &Registry, now: Millis) -> Result<bool, RegistryError> {
    registry.forget_reports(now - KEEP).await
}
