//! Incidents, as people read them and respond to them.

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{ServerId, id::IncidentId};
use registry::{Incident, IncidentEvent, NotificationFilter, Page, RegistryError, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    alerts::{
        listing::IncidentListing,
        notifications::{self, NotificationItem},
    },
    app::App,
    http::{
        body::{Body, Id, label},
        failure::Failure,
        paging::{Listed, Paging},
        query::Parsed,
    },
    people::By,
};

/// Most messages that one incident is shown with.
const MOST_SHOWN: u32 = 500;

/// One trouble, from its opening to its resolution. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Incident)]
pub(crate) struct IncidentItem {
    #[schema(value_type = String, format = "uuid")]
    id: IncidentId,
    /// Of the rule, which may be gone.
    rule_id: String,
    /// Name of the rule when it opened.
    rule: String,
    #[schema(pattern = "^(silent|unheard|value|self)$")]
    kind: &'static str,
    /// Null of the kinds `silent` and `unheard`.
    metric: Option<String>,
    /// Null: it is about the suite itself.
    #[schema(value_type = Option<String>, format = "uuid")]
    server_id: Option<ServerId>,
    /// Name of the server when it opened.
    server: Option<String>,
    /// Which mount, interface or sensor.
    instance: Option<String>,
    /// The worst that it was.
    #[schema(pattern = "^(warning|critical)$")]
    level: &'static str,
    #[schema(pattern = "^(open|acknowledged|resolved)$")]
    state: &'static str,
    /// Rises with every change.
    transition: i64,
    /// When it was found.
    opened_at: i64,
    /// When the trouble began.
    began_at: i64,
    /// The value at its last change.
    value: Option<f64>,
    acknowledged_by: Option<String>,
    acknowledged_at: Option<i64>,
    resolved_at: Option<i64>,
    /// Why it is over. Only `recovered` says that what was wrong is right again.
    #[schema(pattern = "^(recovered|paused|rule_gone|server_gone|closed)$")]
    resolution: Option<&'static str>,
}

/// An incident, and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentInFull)]
pub(crate) struct IncidentShown {
    #[serde(flatten)]
    incident: IncidentItem,
    /// The oldest first.
    events: Vec<EventItem>,
    /// Messages that told of it, newest first, at most 500.
    notifications: Vec<NotificationItem>,
}

/// What became of an incident. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentEvent)]
pub(crate) struct EventItem {
    number: u64,
    at: i64,
    #[schema(pattern = "^(opened|raised|acknowledged|unacknowledged|commented|resolved)$")]
    kind: &'static str,
    /// The transition of the incident after it.
    transition: i64,
    #[schema(pattern = "^(warning|critical)$")]
    level: &'static str,
    value: Option<f64>,
    resolution: Option<&'static str>,
    /// Who did it; null: the suite itself.
    by: Option<String>,
    note: Option<String>,
}

/// What somebody has to say when they respond.
#[derive(Deserialize, ToSchema)]
pub(crate) struct IncidentNote {
    #[schema(max_length = 256, example = "the disk is being cleaned")]
    note: Option<String>,
}

/// What somebody says of an incident.
#[derive(Deserialize, ToSchema)]
pub(crate) struct IncidentComment {
    #[schema(min_length = 1, max_length = 256, example = "seen before, after the backup")]
    note: String,
}

/// List incidents, those that opened last first. With `from` and `to`: those that lasted at some time in between.
#[utoipa::path(
    get, path = "/incidents", operation_id = "list_incidents", tag = "alerts", params(IncidentListing),
    responses((status = 200, description = "A page of them", body = Listed<IncidentItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    listing: Parsed<IncidentListing>,
) -> Result<Json<Listed<IncidentItem>>, Failure> {
    let IncidentListing { filter, paging: Paging(page) } = listing.0;
    let (incidents, total) = app.registry.incidents(&filter, page).await?;
    Ok(Json(Listed::new(incidents.into_iter().map(item).collect(), total, page)))
}

/// Read one incident, with what became of it.
#[utoipa::path(
    get, path = "/incidents/{id}", operation_id = "show_incident", tag = "alerts",
    params(("id" = String, Path, description = "Id of the incident")),
    responses((status = 200, description = "The incident", body = IncidentShown)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<IncidentId>) -> Result<Json<IncidentShown>, Failure> {
    let (incident, events) = app.registry.incident(id.0).await?.ok_or_else(Problem::not_found)?;
    let events = events.into_iter().map(event).collect();
    let told = NotificationFilter { incident: Some(id.0), ..NotificationFilter::default() };
    let (sent, _) = app.registry.notifications(&told, Page { page: 1, page_size: MOST_SHOWN }).await?;
    let notifications = sent.into_iter().map(notifications::item).collect::<Vec<_>>();
    Ok(Json(IncidentShown { incident: item(incident), events, notifications }))
}

/// Take an incident on: nobody is reminded of it, and it goes no further.
#[utoipa::path(
    post, path = "/incidents/{id}/acknowledge", operation_id = "acknowledge_incident", tag = "alerts",
    params(("id" = String, Path, description = "Id of the incident")), request_body = IncidentNote,
    responses((status = 200, description = "The incident as it is now", body = IncidentItem)),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn acknowledge(
    app: Data<App>,
    by: By,
    id: Id<IncidentId>,
    body: Body<IncidentNote>,
) -> Result<Json<IncidentItem>, Failure> {
    respond(&app, &by, id.0, Response::Acknowledge, body.0.note).await
}

/// Give an incident back: it is open again.
#[utoipa::path(
    post, path = "/incidents/{id}/unacknowledge", operation_id = "unacknowledge_incident", tag = "alerts",
    params(("id" = String, Path, description = "Id of the incident")), request_body = IncidentNote,
    responses((status = 200, description = "The incident as it is now", body = IncidentItem)),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn unacknowledge(
    app: Data<App>,
    by: By,
    id: Id<IncidentId>,
    body: Body<IncidentNote>,
) -> Result<Json<IncidentItem>, Failure> {
    respond(&app, &by, id.0, Response::Unacknowledge, body.0.note).await
}

/// Close an incident, though what is wrong may last: there is no new one until it was right once.
#[utoipa::path(
    post, path = "/incidents/{id}/close", operation_id = "close_incident", tag = "alerts",
    params(("id" = String, Path, description = "Id of the incident")), request_body = IncidentNote,
    responses((status = 200, description = "The incident as it is now", body = IncidentItem)),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn close(
    app: Data<App>,
    by: By,
    id: Id<IncidentId>,
    body: Body<IncidentNote>,
) -> Result<Json<IncidentItem>, Failure> {
    respond(&app, &by, id.0, Response::Close, body.0.note).await
}

/// Say something of an incident, which changes nothing of it.
#[utoipa::path(
    post, path = "/incidents/{id}/comments", operation_id = "comment_incident", tag = "alerts",
    params(("id" = String, Path, description = "Id of the incident")), request_body = IncidentComment,
    responses((status = 200, description = "The incident as it is", body = IncidentItem)),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn comment(
    app: Data<App>,
    by: By,
    id: Id<IncidentId>,
    body: Body<IncidentComment>,
) -> Result<Json<IncidentItem>, Failure> {
    respond(&app, &by, id.0, Response::Comment, Some(body.0.note)).await
}

async fn respond(
    app: &App,
    by: &By,
    id: IncidentId,
    response: Response,
    note: Option<String>,
) -> Result<Json<IncidentItem>, Failure> {
    let note = note.map(|note| label("note", note)).transpose()?;
    let done = app.registry.respond(id, response, note.as_deref(), &by.0, app.clock.now()).await??;
    Ok(Json(item(done)))
}

/// What is not resolved of a server, those that opened last first.
pub(crate) async fn open_of(app: &App, server: ServerId) -> Result<Vec<IncidentItem>, RegistryError> {
    Ok(app.registry.open_incidents(server).await?.into_iter().map(item).collect())
}

pub(super) fn item(incident: Incident) -> IncidentItem {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    IncidentItem {
        id: incident.id,
        rule_id: incident.rule,
        rule: incident.rule_name,
        kind: incident.kind.as_str(),
        metric: some(incident.metric),
        server_id: incident.server,
        server: some(incident.server_name),
        instance: some(incident.instance),
        level: incident.level.as_str(),
        state: incident.state.as_str(),
        transition: incident.transition,
        opened_at: incident.opened_at,
        began_at: incident.began_at,
        value: incident.value,
        acknowledged_by: incident.acknowledged_by,
        acknowledged_at: incident.acknowledged_at,
        resolved_at: incident.resolved_at,
        resolution: incident.resolution.map(|resolution| resolution.as_str()),
    }
}

fn event(event: IncidentEvent) -> EventItem {
    EventItem {
        number: event.number,
        at: event.at,
        kind: event.kind.as_str(),
        transition: event.transition,
        level: event.level.as_str(),
        value: event.value,
        resolution: event.resolution.map(|resolution| resolution.as_str()),
        by: event.actor_name,
        note: event.note,
    }
}
