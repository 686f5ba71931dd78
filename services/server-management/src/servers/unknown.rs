//! Servers that the registry never knew: they enrolled after the backup that was restored was made.

use actix_web::{
    HttpResponse,
    http::header::LOCATION,
    web::{Data, Json},
};
use cache::Unknown;
use chassis::Problem;
use fleet::ServerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::server::{ServerShown, shown};
use crate::{
    app::{App, RETRY_AFTER},
    http::{
        PREFIX,
        body::{Body, Id, label},
        failure::Failure,
        paging::{Listed, Paging},
        query::Parsed,
    },
    people::By,
};

/// A server that shows a credential of ours, and that the registry never knew.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnknownServer {
    #[schema(value_type = String, format = "uuid")]
    id: ServerId,
    /// Of the credential that it shows: when that was issued, in Unix seconds.
    generation: u32,
    /// When a snapshot of it was discarded or set aside last, in Unix ms. Later ones are not taken, and the agent keeps them.
    last_seen_at: i64,
}

/// How to take a server in.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Adoption {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "db-1")]
    name: String,
}

/// List the servers that the registry never knew: they enrolled after the backup that was restored was made. What they
/// measure stays with their agents for up to seven days. Forgotten 24 h after they were seen last; the newest 10,000.
#[utoipa::path(
    get, path = "/servers/unknown", operation_id = "list_unknown_servers", tag = "servers", params(Paging),
    responses((status = 200, description = "A page of them, by id", body = Listed<UnknownServer>)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<UnknownServer>>, Failure> {
    let (page, unknown) = (paging.0.0, unknown(&app).await?);
    let total = unknown.len() as u64;
    let before = (page.page as usize - 1).saturating_mul(page.page_size as usize);
    let items = unknown.into_iter().skip(before).take(page.page_size as usize);
    Ok(Json(Listed::new(items.map(UnknownServer::from).collect(), total, page)))
}

/// Take a server in that the registry never knew, with the credential that it has. Its agent needs nothing: what it kept
/// meanwhile comes with its next reports.
#[utoipa::path(
    post, path = "/servers/unknown/{id}/adopt", operation_id = "adopt_server", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")), request_body = Adoption,
    responses((status = 201, description = "The server", body = ServerShown,
        headers(("ETag" = String, description = "Its version, for `If-Match`"),
            ("Location" = String, description = "Where it is")))),
    security(("token" = ["agent:enroll"]))
)]
pub(crate) async fn adopt(
    app: Data<App>,
    by: By,
    id: Id<ServerId>,
    body: Body<Adoption>,
) -> Result<HttpResponse, Failure> {
    let (id, name) = (id.0, label("name", body.0.name)?);
    let found = unknown(&app).await?.into_iter().find(|one| one.server == id);
    let Unknown { generation, .. } = found.ok_or_else(Problem::not_found)?;
    app.registry.adopt(id, generation, &name, &by.0, app.clock.now()).await??;
    app.cache_trouble.watch(app.cache.forget_unknown(&[id]).await);
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{PREFIX}/servers/{id}")));
    shown(&app, id, answer).await
}

/// Nothing but the cache knows them.
async fn unknown(app: &App) -> Result<Vec<Unknown>, Problem> {
    let unknown = app.cache_trouble.watch(app.cache.unknown(app.clock.now()).await);
    unknown.ok_or_else(|| Problem::unavailable(RETRY_AFTER))
}

impl From<Unknown> for UnknownServer {
    fn from(Unknown { server, generation, last_seen }: Unknown) -> Self {
        Self { id: server, generation, last_seen_at: last_seen }
    }
}
