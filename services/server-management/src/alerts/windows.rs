//! Maintenance windows.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::LOCATION,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    Cron, Millis, Zone,
    alert::{BACK, MAX_WINDOW, Maintenance, Opening},
    id::MaintenanceWindowId,
    snapshot::MAX_TIME,
};
use registry::{MaintenanceWindow, WindowMatch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    alerts::fields::{ServerMatch, faulty, ids, labels, spelt},
    app::App,
    http::{
        PREFIX,
        body::{Body, Id, given, label},
        failure::Failure,
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::By,
};

/// How many of the next openings are shown, and how far ahead they are looked for: a 29 February comes at least every eight
/// years.
const NEXT: usize = 5;
const AHEAD: Millis = 9 * 366 * 86_400_000;

/// A window to make: once, with `starts_at` and `ends_at`, or again and again, with `cron` and `duration_ms`.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeMaintenanceWindow)]
pub(crate) struct WindowToMake {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "Patches")]
    name: String,
    /// Whether it opens; true unless set.
    enabled: Option<bool>,
    /// Unix ms; not further back than 35 days.
    starts_at: Option<i64>,
    /// Unix ms; at most 31 days after it starts.
    ends_at: Option<i64>,
    /// Minute, hour, day, month, weekday (0 or 7 is Sunday), as in cron.
    #[schema(example = "30 2 * * 0")]
    cron: Option<String>,
    /// For how long it is open each time; at most 31 days.
    #[schema(minimum = 1, maximum = 2_678_400_000_i64, example = 7_200_000)]
    duration_ms: Option<i64>,
    /// Of the IANA database; UTC unless set.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Which servers; all of them unless set.
    #[serde(rename = "match", default)]
    matches: ServerMatch,
    #[schema(max_length = 256, example = "monthly patches")]
    reason: Option<String>,
}

/// What is to change of a window; what is left out stays. What lasts of it ends, and begins again if it is then still open.
#[derive(Deserialize, ToSchema)]
pub(crate) struct MaintenanceWindowChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>, nullable = false)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    starts_at: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    ends_at: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "30 3 * * 0")]
    cron: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 2_678_400_000_i64, example = 3_600_000)]
    duration_ms: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// The whole of it anew.
    #[serde(rename = "match", default, deserialize_with = "given")]
    #[schema(value_type = Option<ServerMatch>, nullable = false)]
    matches: Option<ServerMatch>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 256)]
    reason: Option<Option<String>>,
}

/// A window. Times are Unix ms; what does not apply is null.
#[derive(Serialize, ToSchema)]
#[schema(as = MaintenanceWindow)]
pub(crate) struct WindowItem {
    #[schema(value_type = String, format = "uuid")]
    id: MaintenanceWindowId,
    name: String,
    enabled: bool,
    starts_at: Option<i64>,
    ends_at: Option<i64>,
    cron: Option<String>,
    duration_ms: Option<i64>,
    time_zone: String,
    #[serde(rename = "match")]
    matches: ServerMatch,
    reason: Option<String>,
    created_at: i64,
    updated_at: i64,
    /// That begin from now on.
    next: Vec<OpeningItem>,
}

/// One time that a window is open. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = MaintenanceOpening)]
pub(crate) struct OpeningItem {
    /// By the wall clock of the time zone.
    #[schema(example = "2026-09-21T02:30")]
    local: String,
    starts_at: i64,
    ends_at: i64,
}

/// What a window would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct MaintenancePreview {
    /// How many servers it is about now.
    servers: u64,
    /// The next openings; of one that is once that one, though it began.
    openings: Vec<OpeningItem>,
}

/// List windows, by name.
#[utoipa::path(
    get, path = "/maintenance-windows", operation_id = "list_maintenance_windows", tag = "alerts", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<WindowItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<WindowItem>>, Failure> {
    let (page, now) = (paging.0.0, app.clock.now());
    let (windows, total) = app.registry.maintenance_windows(page).await?;
    let items = windows.into_iter().map(|window| item(window, now)).collect();
    Ok(Json(Listed::new(items, total, page)))
}

/// Make a window. While it is open, its servers are not expected to report: they are paused, nothing of them is raised, and
/// their uptime does not fall. Its end resumes nobody whom a person paused.
#[utoipa::path(
    post, path = "/maintenance-windows", operation_id = "make_maintenance_window", tag = "alerts",
    request_body = WindowToMake,
    responses((status = 201, description = "The window", body = WindowItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`"),
            ("Location" = String, description = "Where it is")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn make(app: Data<App>, by: By, body: Body<WindowToMake>) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    let window = checked(body.0, now)?;
    app.registry.make_maintenance_window(&window, &by.0).await??;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{PREFIX}/maintenance-windows/{}", window.id)));
    Ok(answered(answer, window, now))
}

/// What a window would do, without making it.
#[utoipa::path(
    post, path = "/maintenance-windows/preview", operation_id = "preview_maintenance_window", tag = "alerts",
    request_body = WindowToMake,
    responses((status = 200, description = "Whom it is about, and when", body = MaintenancePreview)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn preview(
    app: Data<App>,
    body: Body<WindowToMake>,
) -> Result<Json<MaintenancePreview>, Failure> {
    let now = app.clock.now();
    let window = checked(body.0, now)?;
    let servers = app.registry.matched_servers(&window.matches).await?;
    let openings = next(&window, window.once.map_or(now, |(starts_at, _)| starts_at - 1));
    Ok(Json(MaintenancePreview { servers, openings }))
}

/// Read one window.
#[utoipa::path(
    get, path = "/maintenance-windows/{id}", operation_id = "show_maintenance_window", tag = "alerts",
    params(("id" = String, Path, description = "Id of the window")),
    responses((status = 200, description = "The window", body = WindowItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<MaintenanceWindowId>) -> Result<HttpResponse, Failure> {
    let window = app.registry.maintenance_window(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answered(HttpResponse::Ok(), window, app.clock.now()))
}

/// Change a window, if nobody did since it was read.
#[utoipa::path(
    patch, path = "/maintenance-windows/{id}", operation_id = "change_maintenance_window", tag = "alerts",
    params(("id" = String, Path, description = "Id of the window"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = MaintenanceWindowChange,
    responses((status = 200, description = "The window as it is now", body = WindowItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    by: By,
    id: Id<MaintenanceWindowId>,
    seen: IfMatch,
    body: Body<MaintenanceWindowChange>,
) -> Result<HttpResponse, Failure> {
    let before = app.registry.maintenance_window(id.0).await?.ok_or_else(Problem::not_found)?;
    // What was read is what is changed: whoever does not mind which version that is, does not mind this one.
    let version = [before.version];
    let expected = seen.0.as_deref().unwrap_or(&version);
    let now = app.clock.now();
    let wanted = checked(body.0.applied_to(&before), now)?;
    // What began before a window that recurs was changed does not begin again.
    let wanted = MaintenanceWindow { id: before.id, ..wanted };
    let changed = app.registry.change_maintenance_window(&wanted, Some(expected), &by.0, now).await??;
    Ok(answered(HttpResponse::Ok(), changed, now))
}

/// Delete a window. What lasts of it ends.
#[utoipa::path(
    delete, path = "/maintenance-windows/{id}", operation_id = "delete_maintenance_window", tag = "alerts",
    params(("id" = String, Path, description = "Id of the window"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "It opens no more")),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<MaintenanceWindowId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_maintenance_window(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// `None` for what a later release wrote, or for a zone that only a newer database of zones has.
pub(super) fn read(window: &MaintenanceWindow) -> Option<Maintenance> {
    match (window.once, &window.recurring) {
        (Some((starts_at, ends_at)), _) => Some(Maintenance::Once { starts_at, ends_at }),
        (None, Some((cron, duration))) => Some(Maintenance::Recurring {
            cron: cron.parse().ok()?,
            zone: window.time_zone.parse().ok()?,
            duration: *duration,
        }),
        (None, None) => None,
    }
}

fn checked(asked: WindowToMake, now: Millis) -> Result<MaintenanceWindow, Problem> {
    let zone: Zone = match &asked.time_zone {
        Some(text) => text.parse().map_err(|bad| faulty("time_zone", bad))?,
        None => Zone::UTC,
    };
    let once = once(&asked, now)?;
    let recurring = recurring(&asked, zone, now)?;
    match (&once, &recurring) {
        (Some(_), Some(_)) => {
            return Err(faulty("cron", "is of windows that recur, and starts_at of one that is once"));
        }
        (None, None) => return Err(faulty("starts_at", "or cron has to be given")),
        _ => {}
    }
    let ServerMatch { labels: texts, servers } = asked.matches;
    let servers = ids("match.servers", servers)?;
    if texts.len() > 16 || servers.len() > 500 {
        return Err(faulty("match", "must have at most 16 labels and 500 servers"));
    }
    Ok(MaintenanceWindow {
        id: MaintenanceWindowId::new(now, random()),
        name: label("name", asked.name)?,
        enabled: asked.enabled.unwrap_or(true),
        once,
        recurring,
        time_zone: zone.to_string(),
        matches: WindowMatch { labels: labels("match.labels", texts)?, servers },
        reason: asked.reason.map(|reason| label("reason", reason)).transpose()?,
        since: once.map_or(now, |(starts_at, _)| starts_at - 1),
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

fn once(asked: &WindowToMake, now: Millis) -> Result<Option<(Millis, Millis)>, Problem> {
    let (starts_at, ends_at) = match (asked.starts_at, asked.ends_at) {
        (None, None) => return Ok(None),
        (Some(starts_at), Some(ends_at)) => (starts_at, ends_at),
        (Some(_), None) => return Err(faulty("ends_at", "has to be given with starts_at")),
        (None, Some(_)) => return Err(faulty("starts_at", "has to be given with ends_at")),
    };
    if !(now - BACK..=MAX_TIME).contains(&starts_at) {
        return Err(faulty("starts_at", "must be Unix milliseconds, not further back than 35 days"));
    }
    if ends_at <= starts_at || ends_at - starts_at > MAX_WINDOW {
        return Err(faulty("ends_at", "must be after starts_at, by 31 days at the most"));
    }
    Ok(Some((starts_at, ends_at)))
}

fn recurring(asked: &WindowToMake, zone: Zone, now: Millis) -> Result<Option<(String, Millis)>, Problem> {
    let (text, duration) = match (&asked.cron, asked.duration_ms) {
        (None, None) => return Ok(None),
        (Some(cron), Some(duration)) => (cron, duration),
        (Some(_), None) => return Err(faulty("duration_ms", "has to be given with cron")),
        (None, Some(_)) => return Err(faulty("cron", "has to be given with duration_ms")),
    };
    let cron: Cron = text.parse().map_err(|bad| faulty("cron", bad))?;
    if cron.due(zone, now, now + AHEAD, 1).is_empty() {
        return Err(faulty("cron", "never comes"));
    }
    if !(1..=MAX_WINDOW).contains(&duration) {
        return Err(faulty("duration_ms", format!("must be 1 to {MAX_WINDOW}")));
    }
    Ok(Some((cron.to_string(), duration)))
}

impl MaintenanceWindowChange {
    /// The window that is asked for. Whoever gives it the other kind of time takes the one that it had.
    fn applied_to(self, before: &MaintenanceWindow) -> WindowToMake {
        let becomes_once = matches!(self.starts_at, Some(Some(_)));
        let becomes_recurring = matches!(self.cron, Some(Some(_)));
        let once = before.once.filter(|_| !becomes_recurring);
        let recurring = before.recurring.clone().filter(|_| !becomes_once);
        let (cron, duration) = recurring.unzip();
        WindowToMake {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            enabled: Some(self.enabled.unwrap_or(before.enabled)),
            starts_at: self.starts_at.unwrap_or(once.map(|once| once.0)),
            ends_at: self.ends_at.unwrap_or(once.map(|once| once.1)),
            cron: self.cron.unwrap_or(cron),
            duration_ms: self.duration_ms.unwrap_or(duration),
            time_zone: Some(self.time_zone.unwrap_or_else(|| before.time_zone.clone())),
            matches: self.matches.unwrap_or_else(|| spelt(&before.matches)),
            reason: self.reason.unwrap_or_else(|| before.reason.clone()),
        }
    }
}

fn answered(with: HttpResponseBuilder, window: MaintenanceWindow, now: Millis) -> HttpResponse {
    tagged(with, window.version, item(window, now))
}

fn next(window: &MaintenanceWindow, after: Millis) -> Vec<OpeningItem> {
    let openings = read(window).map(|maintenance| maintenance.openings(after, after + AHEAD, NEXT));
    let shown =
        |Opening { local_start, starts_at, ends_at }| OpeningItem { local: local_start, starts_at, ends_at };
    openings.unwrap_or_default().into_iter().map(shown).collect()
}

fn item(window: MaintenanceWindow, now: Millis) -> WindowItem {
    let next = if window.enabled { next(&window, now) } else { Vec::new() };
    let matches = spelt(&window.matches);
    let (cron, duration_ms) = window.recurring.unzip();
    WindowItem {
        id: window.id,
        name: window.name,
        enabled: window.enabled,
        starts_at: window.once.map(|once| once.0),
        ends_at: window.once.map(|once| once.1),
        cron,
        duration_ms,
        time_zone: window.time_zone,
        matches,
        reason: window.reason,
        created_at: window.created_at,
        updated_at: window.updated_at,
        next,
    }
}
