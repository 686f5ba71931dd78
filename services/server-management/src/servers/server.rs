//! Servers, from when a person makes them to when a person deletes them.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::LOCATION,
    web::{Data, Json},
};
use cache::Latest;
use chassis::{Problem, random};
use fleet::{Millis, Scope, ServerId, Status, snapshot::MAX_TIME, wire::v1::Host};
use registry::{Pause, Profile, ProfileChange, Refusal, Server};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    alerts::{self, InMaintenance, IncidentItem},
    app::App,
    http::{
        PREFIX,
        body::{Body, Id, given, label},
        failure::{Failure, elevation_required, invalid_body},
        paging::Listed,
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::{By, Caller},
    servers::{
        figures::Figures,
        labels,
        listing::MeasuredListing,
        measured::{Facts, Snapshot},
    },
};

/// A monitored host.
#[derive(Serialize, ToSchema)]
#[schema(as = Server)]
pub(crate) struct ServerItem {
    #[schema(value_type = String, format = "uuid")]
    id: ServerId,
    /// Unique regardless of case.
    name: String,
    /// A fact about it, never its identity.
    address: Option<String>,
    /// `up`, `down` (silent), `unknown` (never heard) or `paused`.
    #[schema(value_type = String, pattern = "^(up|down|unknown|paused)$")]
    status: Status,
    labels: BTreeMap<String, String>,
    /// Unix ms, by our clock; null: never heard.
    last_seen_at: Option<i64>,
    /// How often it reports; null: never heard.
    interval_ms: Option<i64>,
    /// Two agents report with its credential, as when a machine was cloned: revoke it, and let each enrol by itself.
    conflict: bool,
    /// Null while it is expected to report.
    paused: Option<PausedItem>,
    /// Unix ms; null: it was made here and has had no credential yet.
    enrolled_at: Option<i64>,
    /// Unix ms; when it was made here, or enrolled.
    created_at: i64,
    /// Unix ms; last change by a person.
    updated_at: i64,
    /// What it told of itself; null: nothing yet.
    #[schema(value_type = Option<Facts>)]
    facts: Option<Host>,
    /// Its newest snapshot, in the shape in which it came; null while the cache does not know it.
    #[schema(value_type = Option<Snapshot>)]
    latest: Option<Box<RawValue>>,
}

/// A monitored host, and what is wrong with it.
#[derive(Serialize, ToSchema)]
#[schema(as = ServerInFull)]
pub(crate) struct ServerShown {
    #[serde(flatten)]
    server: ServerItem,
    /// What is not resolved, those that opened last first; a hundred at the most.
    open_incidents: Vec<IncidentItem>,
    /// The maintenance that it is in, which is one more reason to be paused; null: none.
    maintenance: Option<InMaintenance>,
}

/// A pause that lasts. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Paused)]
pub(crate) struct PausedItem {
    since: i64,
    /// When it ends by itself; null: when somebody ends it.
    until: Option<i64>,
    reason: Option<String>,
}

/// A server to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeServer)]
pub(crate) struct ServerToMake {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "web-1")]
    name: String,
    /// A fact about it, never its identity.
    #[schema(max_length = 256, example = "192.0.2.7")]
    address: Option<String>,
    /// At most 32; keys of at most 64 bytes without a colon, values of at most 256 bytes.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What of a server is to be different; what is left out stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ServerChange {
    /// Unique regardless of case.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    name: Option<String>,
    /// Null: none any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 256)]
    address: Option<Option<String>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable = false)]
    labels: Option<BTreeMap<String, String>>,
}

/// For how long and why a server is not expected to report.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PauseRequest {
    /// Unix ms, in the future; left out: until somebody resumes it.
    until: Option<i64>,
    #[schema(max_length = 256, example = "new disks")]
    reason: Option<String>,
}

/// List servers.
///
/// To sort or filter by cpu, memory or disk is for up to 50,000 servers, by figures that are at most 5 s old; beyond that it is 400
/// `too_many_servers`.
#[utoipa::path(
    get, path = "/servers", operation_id = "list_servers", tag = "servers", params(MeasuredListing),
    responses((status = 200, description = "A page of them", body = Listed<ServerItem>)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    figures: Data<Figures>,
    listing: Parsed<MeasuredListing>,
) -> Result<Json<Listed<ServerItem>>, Failure> {
    let roll = app.roll().await?;
    let known = listing.0.known();
    let MeasuredListing { filter, above, order, page } = listing.0;
    let (servers, total) = match known {
        Some(sort) => app.registry.servers(&filter, &sort, page, &roll).await?,
        None => figures.page(&app, &filter, &above, &order, page, &roll).await?,
    };
    Ok(Json(Listed::new(items(&app, servers).await, total, page)))
}

/// Read one server.
#[utoipa::path(
    get, path = "/servers/{id}", operation_id = "show_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 200, description = "The server", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<ServerId>) -> Result<HttpResponse, Failure> {
    shown(&app, id.0, HttpResponse::Ok()).await
}

/// Make a server. It has no credential yet: whoever enrols under its name, with a token that is good, takes it over, once.
#[utoipa::path(
    post, path = "/servers", operation_id = "make_server", tag = "servers", request_body = ServerToMake,
    responses((status = 201, description = "The server", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`"),
            ("Location" = String, description = "Where it is")))),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn make(app: Data<App>, by: By, body: Body<ServerToMake>) -> Result<HttpResponse, Failure> {
    let ServerToMake { name, address, labels } = body.0;
    let profile = Profile {
        name: label("name", name)?,
        address: address.map(|address| label("address", address)).transpose()?,
        labels: labels::checked(labels)?,
    };
    let now = app.clock.now();
    let id = ServerId::new(now, random());
    app.registry.make_server(id, &profile, &by.0, now).await??;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{PREFIX}/servers/{id}")));
    shown(&app, id, answer).await
}

/// Change the name, address or labels of a server, if nobody did since it was read.
///
/// The label `approvals` says how many others have to approve each order to the server: changing it asks for the scope
/// `order:approve` too, and for the password (`POST sessions/elevate`).
#[utoipa::path(
    patch, path = "/servers/{id}", operation_id = "change_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = ServerChange,
    responses((status = 200, description = "The server as it is now", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    caller: Caller,
    id: Id<ServerId>,
    seen: IfMatch,
    body: Body<ServerChange>,
) -> Result<HttpResponse, Failure> {
    let ServerChange { name, address, labels } = body.0;
    let address = address.map(|address| address.map(|address| label("address", address)).transpose());
    let (approves, now) = (caller.user.scopes.contains(&Scope::OrderApprove), app.clock.now());
    let change = ProfileChange {
        name: name.map(|name| label("name", name)).transpose()?,
        address: address.transpose()?,
        labels: labels.map(labels::checked).transpose()?,
        may_change_approvals: approves && caller.is_elevated(now),
    };
    let changed = app.registry.change_server(id.0, seen.0.as_deref(), &change, &caller.actor, now).await?;
    match changed {
        Err(Refusal::Beyond(Scope::OrderApprove)) if approves => return Err(elevation_required().into()),
        changed => changed?,
    }
    shown(&app, id.0, HttpResponse::Ok()).await
}

/// Delete a server. Its credential is refused from now on, its name is free, and what history holds of it goes in the background.
#[utoipa::path(
    delete, path = "/servers/{id}", operation_id = "delete_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "It is gone")),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<ServerId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_server(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    app.publish_denylist().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// From now on the server is not expected to report: it is neither up nor down, and its uptime does not fall. One that is
/// paused stays so, and ends as this says.
#[utoipa::path(
    post, path = "/servers/{id}/pause", operation_id = "pause_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")), request_body = PauseRequest,
    responses((status = 200, description = "The server as it is now", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn pause(
    app: Data<App>,
    by: By,
    id: Id<ServerId>,
    body: Body<PauseRequest>,
) -> Result<HttpResponse, Failure> {
    let PauseRequest { until, reason } = body.0;
    let now = app.clock.now();
    if until.is_some_and(|until| until <= now || until > MAX_TIME) {
        return Err(invalid_body("until must be Unix milliseconds in the future").into());
    }
    let reason = reason.map(|reason| label("reason", reason)).transpose()?;
    app.registry.pause(id.0, &Pause { until, reason }, &by.0, now).await??;
    shown(&app, id.0, HttpResponse::Ok()).await
}

/// From now on the server is expected to report again.
#[utoipa::path(
    post, path = "/servers/{id}/resume", operation_id = "resume_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 200, description = "The server as it is now", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn resume(app: Data<App>, by: By, id: Id<ServerId>) -> Result<HttpResponse, Failure> {
    app.registry.resume(id.0, &by.0, app.clock.now()).await??;
    shown(&app, id.0, HttpResponse::Ok()).await
}

/// Refuse every credential that the server has: it can only come back by a person's hand.
#[utoipa::path(
    post, path = "/servers/{id}/revoke", operation_id = "revoke_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 204, description = "What it sends from now on is refused")),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn revoke(app: Data<App>, by: By, id: Id<ServerId>) -> Result<HttpResponse, Failure> {
    app.registry.revoke(id.0, &by.0, app.clock.now()).await??;
    app.publish_denylist().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The server, with its version; 404 if it is gone.
pub(super) async fn shown(
    app: &App,
    id: ServerId,
    answer: HttpResponseBuilder,
) -> Result<HttpResponse, Failure> {
    let server = app.registry.server(id, &app.roll().await?).await?.ok_or_else(Problem::not_found)?;
    let version = server.version;
    let open_incidents = alerts::open_incidents(app, id).await?;
    let maintenance = alerts::maintenance_of(app, id).await?;
    let server = items(app, vec![server]).await.pop().ok_or_else(Problem::internal)?;
    Ok(tagged(answer, version, ServerShown { server, open_incidents, maintenance }))
}

/// Adds what the cache knows. Without it there is no `latest`, and `last_seen_at` is up to 5 min behind.
async fn items(app: &App, servers: Vec<Server>) -> Vec<ServerItem> {
    let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
    let mut latest = app.cache_trouble.watch(app.cache.latest(&ids).await).unwrap_or_default();
    let now = app.clock.now();
    servers.into_iter().map(|server| item(latest.remove(&server.id), server, now)).collect()
}

fn item(latest: Option<Latest>, server: Server, now: Millis) -> ServerItem {
    let Server { interval_ms, enrolled_at, created_at, updated_at, .. } = server;
    let Server { id, name, address, status, labels, last_seen_at, facts, paused, alternation, .. } = server;
    let pause = |(since, Pause { until, reason })| PausedItem { since, until, reason };
    ServerItem {
        id,
        name,
        address,
        status,
        labels,
        last_seen_at: last_seen_at.max(latest.as_ref().map(|latest| latest.received_at)),
        interval_ms,
        conflict: alternation.is_some_and(|alternation| alternation.is_conflict(now)),
        paused: paused.map(pause),
        enrolled_at,
        created_at,
        updated_at,
        facts,
        // What is damaged in the cache is left out, as if the cache did not know it.
        latest: latest.and_then(|latest| RawValue::from_string(latest.snapshot.to_string()).ok()),
    }
}
