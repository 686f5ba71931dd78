//! Reports: asked for in one transaction with the mails that they become, computed once.

use fleet::{
    Millis, ServerId, Status, Subject,
    id::{DeliveryId, ReportId, ScheduleId},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    alerts::PeriodIncidents,
    audit::{self, Action, Actor, Change},
    engine::{Page, PerEngine, Registry, RegistryError, Tx, corrupt, count, id, json, query, row},
    outbox::{self, Delivery},
    reports::ask::{self, Ask, Asked},
    servers::status_of,
};

/// Rows in one statement.
const BATCH: usize = 5_000;

/// A report to be computed, and to whom it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReport {
    /// Its id.
    pub id: ReportId,
    /// Start of the time that it is about, which belongs to it; Unix ms.
    pub from: Millis,
    /// End of that time, which does not belong to it.
    pub to: Millis,
    /// The time zone in which its times are told.
    pub time_zone: String,
    /// Which servers, as JSON; to the registry it is a text.
    pub filter: String,
    /// The format in which its sheet is attached; to the registry it is a text.
    pub format: String,
    /// The language in which it is written; to the registry it is a text.
    pub language: String,
    /// Each mail: its id and where it goes.
    pub recipients: Vec<(DeliveryId, String)>,
}

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState {
    /// Waits to be computed.
    Queued,
    /// Its rows are there.
    Ready,
    /// It cannot be computed.
    Failed,
}

/// A report without its rows. Times in Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its id.
    pub id: ReportId,
    /// The schedule that made it, which may be gone; `None`: a person or a program asked for it.
    pub schedule: Option<ScheduleId>,
    /// Start of the time that it is about, which belongs to it.
    pub from: Millis,
    /// End of that time, which does not belong to it.
    pub to: Millis,
    /// The time zone in which its times are told.
    pub time_zone: String,
    /// Which servers, as JSON.
    pub filter: String,
    /// The format in which its sheet is attached.
    pub format: String,
    /// The language in which it is written.
    pub language: String,
    /// How far it is.
    pub state: ReportState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Millis,
    /// When its rows were written.
    pub computed_at: Option<Millis>,
    /// The incidents of its time; `None`: it was computed by a release that did not tell of them, or not yet.
    pub incidents: Option<PeriodIncidents>,
}

/// What a report says of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Which.
    pub server: ServerId,
    /// Its name when the report was computed.
    pub name: String,
    /// Its state when the report was computed.
    pub status: Status,
    /// Time for which its snapshots vouch.
    pub covered_ms: Millis,
    /// Time for which they were expected to.
    pub expected_ms: Millis,
    /// Its longest outage, start and length.
    pub longest_outage: Option<(Millis, Millis)>,
    /// How many incidents it had in that time.
    pub incidents: u64,
    /// How long the longest of them lasted.
    pub longest_incident_ms: Option<Millis>,
    /// How long it took on average until they were over.
    pub resolved_in_ms: Option<Millis>,
}

row! {
    struct Row {
        id: String, schedule_id: Option<String>, from_at: Millis, to_at: Millis, time_zone: String,
        server_filter: String, sheet_format: String, language: String, state: String, error: Option<String>,
        created_at: Millis, computed_at: Option<Millis>, incidents: Option<String>,
    }
}

row! {
    struct StoredRow {
        server_id: String, name: String, status: String,
        covered_ms: Millis, expected_ms: Millis, longest_ms: Millis, longest_at: Option<Millis>,
        incidents: i64, longest_incident_ms: Option<Millis>, resolved_in_ms: Option<Millis>,
    }
}

/// A row as the statement takes it.
#[derive(Serialize)]
struct Written<'a> {
    place: usize,
    server_id: ServerId,
    name: &'a str,
    status: &'static str,
    covered_ms: Millis,
    expected_ms: Millis,
    longest_ms: Millis,
    longest_at: Option<Millis>,
    incidents: u64,
    longest_incident_ms: Option<Millis>,
    resolved_in_ms: Option<Millis>,
}

const ADD: &str = "INSERT INTO reports
(id, schedule_id, from_at, to_at, time_zone, server_filter, sheet_format, language, state, claimed_until, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', 0, $9)";
const ONE: &str =
    "SELECT id, schedule_id, from_at, to_at, time_zone, server_filter, sheet_format, language, state, error,
created_at, computed_at, incidents FROM reports WHERE id = $1";
const LIST: &str =
    "SELECT id, schedule_id, from_at, to_at, time_zone, server_filter, sheet_format, language, state, error,
created_at, computed_at, incidents FROM reports ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM reports";
/// Mostly no report waits, and to look for one takes no lock.
const ANY: &str = "SELECT id FROM reports WHERE state = 'queued' AND claimed_until <= $1 LIMIT 1";
/// Guarded a second time outside the inner query: of two that found the same report, the second waits for the first, and
/// then finds it claimed.
const CLAIM: &str = "UPDATE reports SET claimed_until = $2 WHERE id = (SELECT id FROM reports
WHERE state = 'queued' AND claimed_until <= $1 ORDER BY claimed_until, created_at, id LIMIT 1)
AND state = 'queued' AND claimed_until <= $1
RETURNING id, schedule_id, from_at, to_at, time_zone, server_filter, sheet_format, language, state, error,
created_at, computed_at, incidents";
const READY: &str = "UPDATE reports SET state = 'ready', computed_at = $2, incidents = $3 WHERE id = $1 AND state = 'queued' RETURNING id";
const FAIL: &str =
    "UPDATE reports SET state = 'failed', error = $2 WHERE id = $1 AND state = 'queued' RETURNING id";
const ADD_ROWS: PerEngine = PerEngine {
    sqlite: "INSERT INTO report_rows
        (report_id, place, server_id, name, status, covered_ms, expected_ms, longest_ms, longest_at, incidents,
        longest_incident_ms, resolved_in_ms)
        SELECT $1, value ->> 'place', value ->> 'server_id', value ->> 'name', value ->> 'status',
        value ->> 'covered_ms', value ->> 'expected_ms', value ->> 'longest_ms', value ->> 'longest_at',
        value ->> 'incidents', value ->> 'longest_incident_ms', value ->> 'resolved_in_ms' FROM json_each($2)",
    postgres: "INSERT INTO report_rows
        (report_id, place, server_id, name, status, covered_ms, expected_ms, longest_ms, longest_at, incidents,
        longest_incident_ms, resolved_in_ms)
        SELECT $1, place, server_id, name, status, covered_ms, expected_ms, longest_ms, longest_at,
        incidents, longest_incident_ms, resolved_in_ms FROM jsonb_to_recordset(CAST($2 AS JSONB)) AS line (place BIGINT, server_id TEXT, name TEXT, status TEXT,
        covered_ms BIGINT, expected_ms BIGINT, longest_ms BIGINT, longest_at BIGINT, incidents BIGINT,
        longest_incident_ms BIGINT, resolved_in_ms BIGINT)",
};
const ROWS: &str =
    "SELECT server_id, name, status, covered_ms, expected_ms, longest_ms, longest_at, incidents,
longest_incident_ms, resolved_in_ms FROM report_rows WHERE report_id = $1 AND place >= $2 ORDER BY place LIMIT $3";

/// Writes a report to be computed, and its deliveries.
pub(super) async fn add(
    tx: &mut Tx<'_>,
    report: &NewReport,
    schedule: Option<ScheduleId>,
    now: Millis,
) -> Result<(), RegistryError> {
    let NewReport { id, from, to, time_zone, filter, format, language, recipients } = report;
    let add = query(ADD)
        .bind(id.to_string())
        .bind(schedule.map(|schedule| schedule.to_string()))
        .bind(*from)
        .bind(*to)
        .bind(time_zone)
        .bind(filter)
        .bind(format)
        .bind(language)
        .bind(now);
    tx.run(add).await?;
    outbox::add(tx, &Subject::Report(*id), recipients, now).await
}

impl Registry {
    /// Makes a report to be computed, with its deliveries, unless whoever asks has done so for too much lately. `None`:
    /// nobody in particular asks.
    #[crate::engine::boxed]
    pub async fn make_report(
        &self,
        report: &NewReport,
        ask: Option<Ask>,
        by: &Actor,
        now: Millis,
    ) -> Result<Asked, RegistryError> {
        let NewReport { id, from, to, time_zone: _, filter, format, language, recipients } = report;
        let addresses: Vec<&str> = recipients.iter().map(|(_, address)| address.as_str()).collect();
        let filter = serde_json::from_str(filter).unwrap_or(serde_json::Value::Null);
        let after = json!({
            "from": from, "to": to, "recipients": addresses, "filter": filter, "format": format,
            "language": language,
        });
        let change = Change::new(by, now, Action::ReportCreate, id).after(after);
        self.write(async |tx| {
            if let Some(ask) = &ask
                && let Some(again_at) = ask::asked_too_much(tx, ask, now).await?
            {
                return Ok(Asked::TooMuch { again_at });
            }
            add(tx, report, None, now).await?;
            if let Some(ask) = &ask {
                ask::note(tx, *id, ask).await?;
            }
            audit::record(tx, &[change]).await?;
            Ok(Asked::Made)
        })
        .await
    }

    /// One page of all reports, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn reports(&self, page: Page) -> Result<(Vec<Report>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let reports = rows.into_iter().map(Row::report).collect::<Result<_, _>>()?;
        Ok((reports, count("reports", "total", "", total)?))
    }

    /// A report and its deliveries, both of one moment; `None`: there is none of this id.
    #[crate::engine::boxed]
    pub async fn report(&self, id: ReportId) -> Result<Option<(Report, Vec<Delivery>)>, RegistryError> {
        let (row, deliveries): (Option<Row>, Vec<Delivery>) = self
            .read(async |tx| {
                Ok((
                    tx.maybe(query(ONE).bind(id.to_string())).await?,
                    outbox::of(tx, &Subject::Report(id)).await?,
                ))
            })
            .await?;
        Ok(row.map(Row::report).transpose()?.map(|report| (report, deliveries)))
    }

    /// Takes a report that waits to be computed, so that nobody else does before `until`.
    #[crate::engine::boxed]
    pub async fn claim_report(&self, now: Millis, until: Millis) -> Result<Option<Report>, RegistryError> {
        if !self.reader().any(query(ANY).bind(now)).await? {
            return Ok(None);
        }
        let row: Option<Row> = self.writer().maybe(query(CLAIM).bind(now).bind(until)).await?;
        row.map(Row::report).transpose()
    }

    /// Writes what a report says; its deliveries are due from then on. False: another process has done so; its rows stay.
    #[crate::engine::boxed]
    pub async fn finish_report(
        &self,
        id: ReportId,
        rows: &[ReportRow],
        incidents: &PeriodIncidents,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let (key, incidents) = (id.to_string(), json(incidents)?);
        let mut batches = Vec::new();
        for (number, batch) in rows.chunks(BATCH).enumerate() {
            let written: Vec<_> = batch.iter().zip(number * BATCH..).map(Written::of).collect();
            batches.push(json(&written)?);
        }
        self.write(async |tx| {
            if !tx.any(query(READY).bind(&key).bind(now).bind(&incidents)).await? {
                return Ok(false);
            }
            for batch in batches {
                tx.run(query(ADD_ROWS).bind(&key).bind(batch)).await?;
            }
            outbox::send(tx, &Subject::Report(id), now, now).await?;
            Ok(true)
        })
        .await
    }

    /// The report will never be computed; its deliveries fail with the same reason.
    #[crate::engine::boxed]
    pub async fn fail_report(&self, id: ReportId, reason: &str, now: Millis) -> Result<(), RegistryError> {
        self.write(async |tx| {
            if tx.any(query(FAIL).bind(id.to_string()).bind(reason)).await? {
                outbox::fail(tx, &Subject::Report(id), reason, now).await?;
            }
            Ok(())
        })
        .await
    }

    /// What a report says, in its order, from the row at this place on; `most` at the most.
    #[crate::engine::boxed]
    pub async fn report_rows(
        &self,
        id: ReportId,
        place: u32,
        most: u32,
    ) -> Result<Vec<ReportRow>, RegistryError> {
        let rows = query(ROWS).bind(id.to_string()).bind(i64::from(place)).bind(i64::from(most));
        self.reader().all::<StoredRow>(rows).await?.into_iter().map(StoredRow::row).collect()
    }
}

impl Row {
    fn report(self) -> Result<Report, RegistryError> {
        let state = match self.state.as_str() {
            "queued" => ReportState::Queued,
            "ready" => ReportState::Ready,
            "failed" => ReportState::Failed,
            _ => return Err(corrupt("reports", "state", &self.id)),
        };
        let schedule =
            self.schedule_id.map(|schedule| id("reports", "schedule_id", &schedule)).transpose()?;
        let incidents = self.incidents.as_deref().map(serde_json::from_str).transpose();
        let incidents = incidents.map_err(|_| corrupt("reports", "incidents", &self.id))?;
        Ok(Report {
            id: id("reports", "id", &self.id)?,
            schedule,
            from: self.from_at,
            to: self.to_at,
            time_zone: self.time_zone,
            filter: self.server_filter,
            format: self.sheet_format,
            language: self.language,
            state,
            error: self.error,
            created_at: self.created_at,
            computed_at: self.computed_at,
            incidents,
        })
    }
}

impl StoredRow {
    fn row(self) -> Result<ReportRow, RegistryError> {
        Ok(ReportRow {
            server: id("report_rows", "server_id", &self.server_id)?,
            name: self.name,
            status: status_of(&self.status)?,
            covered_ms: self.covered_ms,
            expected_ms: self.expected_ms,
            longest_outage: self.longest_at.map(|at| (at, self.longest_ms)),
            incidents: count("report_rows", "incidents", &self.server_id, self.incidents)?,
            longest_incident_ms: self.longest_incident_ms,
            resolved_in_ms: self.resolved_in_ms,
        })
    }
}

impl<'a> Written<'a> {
    fn of((row, place): (&'a ReportRow, usize)) -> Self {
        Self {
            place,
            server_id: row.server,
            name: &row.name,
            status: row.status.as_str(),
            covered_ms: row.covered_ms,
            expected_ms: row.expected_ms,
            longest_ms: row.longest_outage.map_or(0, |(_, length)| length),
            longest_at: row.longest_outage.map(|(at, _)| at),
            incidents: row.incidents,
            longest_incident_ms: row.longest_incident_ms,
            resolved_in_ms: row.resolved_in_ms,
        }
    }
}
