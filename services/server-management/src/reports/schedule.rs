//! Schedules of reports.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{Cron, Window, Zone, id::ScheduleId};
use registry::{ReportSchedule, ScheduleChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::{Body, Id},
        failure::{Failure, invalid_body},
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::By,
    reports::report::{
        ReportFilter, checked_filter, checked_format, checked_language, checked_recipients, checked_zone,
    },
};

/// How many of the next runs are shown.
const NEXT_RUNS: usize = 5;

/// How far ahead they are looked for: a 29 February comes at least every eight years.
const AHEAD: i64 = 9 * 366 * 86_400_000;

/// A schedule to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeReportSchedule)]
pub(crate) struct ScheduleToMake {
    /// Minute, hour, day, month, weekday (0 or 7 is Sunday), as in cron.
    #[schema(example = "59 23 * * *")]
    cron: String,
    /// Of the IANA database.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// What each report is about: `last_24h`, `yesterday`, `last_week` (Monday to Sunday) or `last_month`.
    #[schema(pattern = "^(last_24h|yesterday|last_week|last_month)$", example = "last_24h")]
    window: String,
    /// 1 to 50 addresses, in domains that MAIL_ALLOWED_DOMAINS names.
    #[schema(min_items = 1, max_items = 50, example = json!(["ops@example.org"]))]
    recipients: Vec<String>,
    /// Which servers; all of them unless set.
    filter: Option<ReportFilter>,
    /// As what the sheets are attached: `xlsx`, which it is unless set, or `csv`.
    #[schema(pattern = "^(xlsx|csv)$", example = "csv")]
    format: Option<String>,
    /// In which the reports are written: `en`, which it is unless set, `vi`, `zh` or `sq`.
    #[schema(pattern = "^(en|vi|zh|sq)$", example = "en")]
    language: Option<String>,
}

/// What is to change of a schedule; what is left out stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ReportScheduleChange {
    /// With another one, what was due before is not caught up.
    #[schema(example = "30 6 * * 1-5")]
    cron: Option<String>,
    /// The same.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    #[schema(pattern = "^(last_24h|yesterday|last_week|last_month)$", example = "yesterday")]
    window: Option<String>,
    #[schema(min_items = 1, max_items = 50, example = json!(["ops@example.org"]))]
    recipients: Option<Vec<String>>,
    /// The whole filter anew.
    filter: Option<ReportFilter>,
    #[schema(pattern = "^(xlsx|csv)$", example = "xlsx")]
    format: Option<String>,
    #[schema(pattern = "^(en|vi|zh|sq)$", example = "en")]
    language: Option<String>,
}

/// A schedule. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportSchedule)]
pub(crate) struct ScheduleItem {
    #[schema(value_type = String, format = "uuid")]
    id: ScheduleId,
    cron: String,
    time_zone: String,
    window: String,
    recipients: Vec<String>,
    filter: ReportFilter,
    /// `xlsx` or `csv`.
    #[schema(pattern = "^(xlsx|csv)$")]
    format: String,
    /// In which the reports are written.
    #[schema(pattern = "^(en|vi|zh|sq)$")]
    language: String,
    created_at: i64,
    updated_at: i64,
    next_runs: Vec<Run>,
}

/// A run to come, and what its report is about, half-open. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct Run {
    at: i64,
    /// By the wall clock of the time zone.
    #[schema(example = "2026-09-21T23:59")]
    local: String,
    from: i64,
    to: i64,
}

/// Make a schedule. Runs that are due from now on make a report each, however many processes look.
#[utoipa::path(
    post, path = "/report-schedules", operation_id = "make_report_schedule", tag = "reports",
    request_body = ScheduleToMake,
    responses((status = 201, description = "The schedule, with its next runs", body = ScheduleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["report:write"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    by: By,
    body: Body<ScheduleToMake>,
) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    let schedule = checked(&app, body.0, now)?;
    app.registry.make_schedule(&schedule, &by.0).await?;
    Ok(answer(HttpResponse::Created(), schedule, now))
}

/// What a schedule would do: the next runs, without making it.
#[utoipa::path(
    post, path = "/report-schedules/preview", operation_id = "preview_report_schedule", tag = "reports",
    request_body = ScheduleToMake,
    responses((status = 200, description = "The schedule as it would be", body = ScheduleItem)),
    security(("token" = ["report:read"]))
)]
pub(crate) async fn preview(
    app: Data<App>,
    body: Body<ScheduleToMake>,
) -> Result<Json<ScheduleItem>, Failure> {
    let now = app.clock.now();
    Ok(Json(item(checked(&app, body.0, now)?, now)))
}

/// List schedules, the newest first.
#[utoipa::path(
    get, path = "/report-schedules", operation_id = "list_report_schedules", tag = "reports", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<ScheduleItem>)),
    security(("token" = ["report:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<ScheduleItem>>, Failure> {
    let (page, now) = (paging.0.0, app.clock.now());
    let (schedules, total) = app.registry.schedules(page).await?;
    let items = schedules.into_iter().map(|schedule| item(schedule, now)).collect();
    Ok(Json(Listed::new(items, total, page)))
}

/// Read one schedule.
#[utoipa::path(
    get, path = "/report-schedules/{id}", operation_id = "show_report_schedule", tag = "reports",
    params(("id" = String, Path, description = "Id of the schedule")),
    responses((status = 200, description = "The schedule, with its next runs", body = ScheduleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["report:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<ScheduleId>) -> Result<HttpResponse, Failure> {
    let schedule = app.registry.schedule(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), schedule, app.clock.now()))
}

/// Change a schedule, if nobody did since it was read.
#[utoipa::path(
    patch, path = "/report-schedules/{id}", operation_id = "change_report_schedule", tag = "reports",
    params(("id" = String, Path, description = "Id of the schedule"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = ReportScheduleChange,
    responses((status = 200, description = "The schedule as it is now", body = ScheduleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["report:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    by: By,
    id: Id<ScheduleId>,
    seen: IfMatch,
    body: Body<ReportScheduleChange>,
) -> Result<HttpResponse, Failure> {
    let ReportScheduleChange { cron, time_zone, window, recipients, filter, format, language } = body.0;
    let now = app.clock.now();
    let change = ScheduleChange {
        cron: cron.map(|text| checked_cron(&text, now)).transpose()?,
        time_zone: time_zone.map(|text| checked_zone(&text)).transpose()?.map(|zone| zone.to_string()),
        window: window.map(|text| checked_window(&text)).transpose()?,
        recipients: recipients.map(|texts| checked_recipients(&app, &texts)).transpose()?,
        filter: filter.map(|filter| checked_filter(Some(filter))).transpose()?,
        format: format.map(|format| checked_format(Some(format))).transpose()?,
        language: language.map(|language| checked_language(Some(language))).transpose()?,
    };
    let changed = app.registry.change_schedule(id.0, seen.0.as_deref(), &change, &by.0, now).await??;
    Ok(answer(HttpResponse::Ok(), changed, now))
}

/// Delete a schedule. The reports that it made stay.
#[utoipa::path(
    delete, path = "/report-schedules/{id}", operation_id = "delete_report_schedule", tag = "reports",
    params(("id" = String, Path, description = "Id of the schedule"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "It makes no more reports")),
    security(("token" = ["report:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<ScheduleId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_schedule(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(with: HttpResponseBuilder, schedule: ReportSchedule, now: i64) -> HttpResponse {
    tagged(with, i64::try_from(schedule.version).unwrap_or(i64::MAX), item(schedule, now))
}

fn checked(app: &App, asked: ScheduleToMake, now: i64) -> Result<ReportSchedule, Problem> {
    Ok(ReportSchedule {
        id: ScheduleId::new(now, random()),
        cron: checked_cron(&asked.cron, now)?,
        time_zone: checked_zone(&asked.time_zone)?.to_string(),
        window: checked_window(&asked.window)?,
        recipients: checked_recipients(app, &asked.recipients)?,
        filter: checked_filter(asked.filter)?,
        format: checked_format(asked.format)?,
        language: checked_language(asked.language)?,
        since: now,
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

fn checked_cron(text: &str, now: i64) -> Result<String, Problem> {
    let cron: Cron = text.parse().map_err(|error| invalid_body(format!("cron {error}")))?;
    if cron.due(Zone::UTC, now, now + AHEAD, 1).is_empty() {
        return Err(invalid_body("cron never comes"));
    }
    Ok(cron.to_string())
}

fn checked_window(text: &str) -> Result<String, Problem> {
    let window: Window = text.parse().map_err(|error| invalid_body(format!("window {error}")))?;
    Ok(window.as_str().to_owned())
}

fn item(schedule: ReportSchedule, now: i64) -> ScheduleItem {
    let next_runs = next_runs(&schedule, now).unwrap_or_default();
    ScheduleItem {
        id: schedule.id,
        cron: schedule.cron,
        time_zone: schedule.time_zone,
        window: schedule.window,
        recipients: schedule.recipients,
        filter: serde_json::from_str(&schedule.filter).unwrap_or_default(),
        format: schedule.format,
        language: schedule.language,
        created_at: schedule.created_at,
        updated_at: schedule.updated_at,
        next_runs,
    }
}

/// When a schedule is due, in which zone, and what each report is about. `None` for what a later release wrote, or for
/// a zone that only a newer database of zones has: nothing can be said of when it is due.
pub(crate) fn read(schedule: &ReportSchedule) -> Option<(Cron, Zone, Window)> {
    let cron = schedule.cron.parse().ok()?;
    Some((cron, schedule.time_zone.parse().ok()?, schedule.window.parse().ok()?))
}

fn next_runs(schedule: &ReportSchedule, now: i64) -> Option<Vec<Run>> {
    let (cron, zone, window) = read(schedule)?;
    let run = |due: fleet::schedule::Due| {
        let (from, to) = window.range(zone, due.at)?;
        Some(Run { at: due.at, local: due.local, from, to })
    };
    cron.due(zone, now, now + AHEAD, NEXT_RUNS).into_iter().map(run).collect()
}
