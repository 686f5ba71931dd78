//! Reading servers, and revoking their credentials.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use cache::Latest;
use chassis::Problem;
use fleet::{ServerId, Status, wire::v1::Host};
use registry::Server;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    body::Id,
    failure::Failure,
    query::{Listed, Listing, Parsed},
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
    /// Unix ms; when it enrolled.
    created_at: i64,
    /// Unix ms; last change by a person.
    updated_at: i64,
    /// What it told of itself: hostname, os, kernel, arch, cpu_model, boot_at, agent_version.
    #[schema(value_type = Option<Object>)]
    facts: Option<Host>,
    /// Its newest snapshot, in the shape in which it came; null while the cache does not know it.
    #[schema(value_type = Option<Object>)]
    latest: Option<Box<RawValue>>,
}

/// List servers.
#[utoipa::path(
    get, path = "/servers", operation_id = "list_servers", tag = "servers", params(Listing),
    responses((status = 200, description = "A page of them", body = Listed<ServerItem>)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    listing: Parsed<Listing>,
) -> Result<Json<Listed<ServerItem>>, Failure> {
    let Listing { filter, sort, page } = listing.0;
    let (servers, total) = app.registry.servers(&filter, &sort, page, &app.roll().await?).await?;
    Ok(Json(Listed::new(items(&app, servers).await, total, page)))
}

/// Read one server.
#[utoipa::path(
    get, path = "/servers/{id}", operation_id = "show_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 200, description = "The server", body = ServerItem)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<ServerId>) -> Result<Json<ServerItem>, Failure> {
    let server = app.registry.server(id.0, &app.roll().await?).await?;
    let item = items(&app, server.into_iter().collect()).await.pop();
    Ok(Json(item.ok_or_else(Problem::not_found)?))
}

/// Refuse every credential that the server has: it can only come back by a person's hand.
#[utoipa::path(
    post, path = "/servers/{id}/revoke", operation_id = "revoke_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 204, description = "What it sends from now on is refused")),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn revoke(app: Data<App>, id: Id<ServerId>) -> Result<HttpResponse, Failure> {
    if app.registry.revoke(id.0, app.clock.now()).await?.is_none() {
        return Err(Problem::not_found().into());
    }
    app.publish_denylist().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Adds what the cache knows. Without it there is no `latest`, and `last_seen_at` is up to 5 min behind.
async fn items(app: &App, servers: Vec<Server>) -> Vec<ServerItem> {
    let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
    let mut latest = app.cache_trouble.watch(app.cache.latest(&ids).await).unwrap_or_default();
    servers.into_iter().map(|server| item(latest.remove(&server.id), server)).collect()
}

fn item(latest: Option<Latest>, server: Server) -> ServerItem {
    let Server { id, name, address, status, labels, last_seen_at, created_at, updated_at, facts, .. } =
        server;
    ServerItem {
        id,
        name,
        address,
        status,
        labels,
        last_seen_at: last_seen_at.max(latest.as_ref().map(|latest| latest.received_at)),
        created_at,
        updated_at,
        facts,
        // A cache full of garbage is a cache that knows nothing.
        latest: latest.and_then(|latest| RawValue::from_string(latest.snapshot.to_string()).ok()),
    }
}
