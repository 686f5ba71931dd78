//! Schedules of reports, and their ticks: one for each run, whoever finds it due.

use std::collections::HashSet;

use fleet::{Millis, id::ScheduleId, schedule::Due};
use serde_json::{Value, json};

use super::report::{self, NewReport};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Registry, RegistryError, Tx, corrupt, count, id, json, query, row},
    refusal::Refusal,
};

/// What makes a report again and again. What its texts mean, the registry does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSchedule {
    /// Its id.
    pub id: ScheduleId,
    /// When: a cron expression.
    pub cron: String,
    /// In which time zone.
    pub time_zone: String,
    /// About which piece of time before the run.
    pub window: String,
    /// To whom.
    pub recipients: Vec<String>,
    /// Which servers, as JSON.
    pub filter: String,
    /// The format in which the sheets are attached.
    pub format: String,
    /// The language in which the reports are written.
    pub language: String,
    /// A run that was due at this time (Unix ms) or before does not count.
    pub since: Millis,
    /// Rises with each change.
    pub version: u64,
    /// Unix ms.
    pub created_at: Millis,
    /// Unix ms.
    pub updated_at: Millis,
}

/// What to change of a schedule; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleChange {
    /// When: a cron expression.
    pub cron: Option<String>,
    /// In which time zone.
    pub time_zone: Option<String>,
    /// About which piece of time before the run.
    pub window: Option<String>,
    /// To whom.
    pub recipients: Option<Vec<String>>,
    /// Which servers, as JSON.
    pub filter: Option<String>,
    /// The format in which the sheets are attached.
    pub format: Option<String>,
    /// The language in which the reports are written.
    pub language: Option<String>,
}

row! {
    struct Row {
        id: String,
        cron: String,
        time_zone: String,
        about: String,
        recipients: String,
        server_filter: String,
        sheet_format: String,
        language: String,
        since: Millis,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

const ADD: &str = "INSERT INTO report_schedules
(id, cron, time_zone, about, recipients, server_filter, sheet_format, language, since, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $9, $8, 1, $8, $8)";
/// Changes nothing, and holds the row.
const TAKE: &str = "UPDATE report_schedules SET version = version WHERE id = $1
RETURNING id, cron, time_zone, about, recipients, server_filter, sheet_format, language, since, version, created_at,
updated_at";
const CHANGE: &str = "UPDATE report_schedules
SET cron = $2, time_zone = $3, about = $4, recipients = $5, server_filter = $6, sheet_format = $7, language = $10, since = $8,
version = version + 1, updated_at = $9 WHERE id = $1";
const DELETE: &str = "DELETE FROM report_schedules WHERE id = $1
RETURNING id, cron, time_zone, about, recipients, server_filter, sheet_format, language, since, version, created_at,
updated_at";
const ONE: &str =
    "SELECT id, cron, time_zone, about, recipients, server_filter, sheet_format, language, since, version, created_at,
updated_at
FROM report_schedules WHERE id = $1";
const LIST: &str =
    "SELECT id, cron, time_zone, about, recipients, server_filter, sheet_format, language, since, version, created_at,
updated_at
FROM report_schedules ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM report_schedules";

const TICKS: &str = "SELECT schedule_id, local_due FROM report_ticks WHERE due_at > $1";
/// Only while the schedule is of the version that was found due: one that was changed meanwhile may not be due any more.
const TICK: &str = "INSERT INTO report_ticks (schedule_id, local_due, due_at, report_id)
SELECT id, $2, $3, $4 FROM report_schedules WHERE id = $1 AND version = $5
ON CONFLICT (schedule_id, local_due) DO NOTHING RETURNING report_id";
/// Runs that were due before do not count any more. A process that has read the schedule before this writes no run.
const FORGO: &str =
    "UPDATE report_schedules SET since = $1, version = version + 1, updated_at = $1 WHERE since < $1";

/// No schedule makes up for runs that were due before now. Answers how many schedules there are.
pub(crate) async fn forgo_runs(tx: &mut Tx<'_>, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(FORGO).bind(now)).await
}

impl Registry {
    /// Makes a schedule.
    #[crate::engine::boxed]
    pub async fn make_schedule(&self, schedule: &ReportSchedule, by: &Actor) -> Result<(), RegistryError> {
        let ReportSchedule { id, cron, time_zone, window, filter, format, created_at, .. } = schedule;
        let change = Change::new(by, *created_at, Action::ReportScheduleCreate, id).after(schedule.told());
        self.write(async |tx| {
            let add = query(ADD)
                .bind(id.to_string())
                .bind(cron)
                .bind(time_zone)
                .bind(window)
                .bind(json(&schedule.recipients)?)
                .bind(filter)
                .bind(format)
                .bind(*created_at)
                .bind(&schedule.language);
            tx.run(add).await?;
            audit::record(tx, &[change]).await
        })
        .await
    }

    /// One page of all schedules, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn schedules(&self, page: Page) -> Result<(Vec<ReportSchedule>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let schedules = rows.into_iter().map(Row::schedule).collect::<Result<_, _>>()?;
        Ok((schedules, count("report_schedules", "total", "", total)?))
    }

    /// One schedule; `None` if there is none of this id.
    #[crate::engine::boxed]
    pub async fn schedule(&self, id: ScheduleId) -> Result<Option<ReportSchedule>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(id.to_string())).await?;
        row.map(Row::schedule).transpose()
    }

    /// Changes a schedule and answers what it is now. With `expected`, only if its version is one of these. When its cron or its zone changes, runs
    /// that were due before do not count any more.
    #[crate::engine::boxed]
    pub async fn change_schedule(
        &self,
        id: ScheduleId,
        expected: Option<&[i64]>,
        wanted: &ScheduleChange,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<ReportSchedule, Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            let row: Option<Row> = tx.maybe(query(TAKE).bind(&key)).await?;
            let row = row.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, row.version)?;
            let before = row.schedule()?;
            let after = before.changed(wanted, now);
            let update = query(CHANGE)
                .bind(&key)
                .bind(&after.cron)
                .bind(&after.time_zone)
                .bind(&after.window)
                .bind(json(&after.recipients)?)
                .bind(&after.filter)
                .bind(&after.format)
                .bind(after.since)
                .bind(after.updated_at)
                .bind(&after.language);
            tx.run(update).await?;
            let change = Change::new(by, now, Action::ReportScheduleChange, id);
            audit::record(tx, &[change.before(before.told()).after(after.told())]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a schedule; its reports stay. With `expected`, only if its version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_schedule(
        &self,
        id: ScheduleId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            let row: Option<Row> = tx.maybe(query(DELETE).bind(id.to_string())).await?;
            let row = row.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, row.version)?;
            let before = row.schedule()?;
            let change = Change::new(by, now, Action::ReportScheduleDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// The runs due after this time that have their tick, as schedule and local due time.
    #[crate::engine::boxed]
    pub async fn ticks(&self, after: Millis) -> Result<HashSet<(ScheduleId, String)>, RegistryError> {
        let rows: Vec<(String, String)> = self.reader().all(query(TICKS).bind(after)).await?;
        let tick =
            |(schedule, local): (String, String)| Ok((id("report_ticks", "schedule_id", &schedule)?, local));
        rows.into_iter().map(tick).collect()
    }

    /// Makes the tick of a run, and its report with the deliveries, in one transaction. False: another process has made the
    /// tick, or the schedule was changed or deleted since it was read.
    #[crate::engine::boxed]
    pub async fn tick(
        &self,
        schedule: &ReportSchedule,
        due: &Due,
        report: &NewReport,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let version = i64::try_from(schedule.version).unwrap_or(i64::MAX);
        self.write(async |tx| {
            let tick = query(TICK)
                .bind(schedule.id.to_string())
                .bind(&due.local)
                .bind(due.at)
                .bind(report.id.to_string())
                .bind(version);
            if !tx.any(tick).await? {
                return Ok(false);
            }
            report::add(tx, report, Some(schedule.id), now).await?;
            Ok(true)
        })
        .await
    }
}

impl ReportSchedule {
    fn changed(&self, wanted: &ScheduleChange, now: Millis) -> Self {
        let or = |new: &Option<String>, old: &String| new.as_ref().unwrap_or(old).clone();
        let cron = or(&wanted.cron, &self.cron);
        let time_zone = or(&wanted.time_zone, &self.time_zone);
        let other_runs = cron != self.cron || time_zone != self.time_zone;
        Self {
            since: if other_runs { now } else { self.since },
            cron,
            time_zone,
            window: or(&wanted.window, &self.window),
            recipients: wanted.recipients.as_ref().unwrap_or(&self.recipients).clone(),
            filter: or(&wanted.filter, &self.filter),
            format: or(&wanted.format, &self.format),
            language: or(&wanted.language, &self.language),
            version: self.version + 1,
            updated_at: now,
            ..self.clone()
        }
    }

    fn told(&self) -> Value {
        let filter = serde_json::from_str(&self.filter).unwrap_or(Value::Null);
        let Self { cron, time_zone, window, recipients, format, language, .. } = self;
        json!({
            "cron": cron, "time_zone": time_zone, "window": window, "recipients": recipients, "filter": filter,
            "format": format,
            "language": language,
        })
    }
}

impl Row {
    fn schedule(self) -> Result<ReportSchedule, RegistryError> {
        let corrupt = |column| corrupt("report_schedules", column, &self.id);
        let recipients = serde_json::from_str(&self.recipients).map_err(|_| corrupt("recipients"))?;
        let version = u64::try_from(self.version).map_err(|_| corrupt("version"))?;
        Ok(ReportSchedule {
            id: id("report_schedules", "id", &self.id)?,
            cron: self.cron,
            time_zone: self.time_zone,
            window: self.about,
            recipients,
            filter: self.server_filter,
            format: self.sheet_format,
            language: self.language,
            since: self.since,
            version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
