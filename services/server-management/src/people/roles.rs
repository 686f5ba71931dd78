//! Roles and what there is to put into them.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{Scope, id::UserId};
use registry::{Role, RoleChange, RoleId};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    app::App,
    http::{
        body::{Body, Id, label},
        document::text,
        failure::{Failure, invalid_body},
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::guard::Caller,
};

/// A role to make.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewRole {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "operator")]
    name: String,
    /// Of those that `GET scopes` lists.
    #[schema(value_type = Vec<ScopeName>, example = json!(["server:read", "server:write"]))]
    scopes: Vec<String>,
}

/// What is to change of a role; what is left out stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RolePatch {
    #[schema(min_length = 1, max_length = 256)]
    name: Option<String>,
    /// All of them.
    #[schema(value_type = Option<Vec<ScopeName>>)]
    scopes: Option<Vec<String>>,
}

/// A named set of scopes.
#[derive(Serialize, ToSchema)]
#[schema(as = Role)]
pub(crate) struct RoleItem {
    /// A UUID; of a role that is built in, its name.
    id: String,
    /// Unique regardless of case.
    name: String,
    /// There from the first minute, and never changed.
    built_in: bool,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
    /// Unix ms; 0 of one that is built in.
    created_at: i64,
    /// Unix ms; 0 of one that is built in.
    updated_at: i64,
}

/// What a role can be made of.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scopes {
    items: Vec<ScopeItem>,
}

/// The name of a scope, for the document.
pub(crate) struct ScopeName;

/// One permission.
#[derive(Serialize, ToSchema)]
#[schema(as = Scope)]
pub(crate) struct ScopeItem {
    scope: &'static str,
    /// What it lets one do.
    description: &'static str,
}

/// List every scope there is.
#[utoipa::path(
    get, path = "/scopes", operation_id = "list_scopes", tag = "roles",
    responses((status = 200, description = "All of them", body = Scopes)),
    security(("token" = ["user:read"]))
)]
pub(crate) async fn list_scopes() -> Json<Scopes> {
    let item = |scope: Scope| ScopeItem { scope: scope.as_str(), description: described(scope) };
    Json(Scopes { items: Scope::ALL.into_iter().map(item).collect() })
}

fn described(scope: Scope) -> &'static str {
    match scope {
        Scope::ServerRead => "Read servers, their snapshots, status and uptime",
        Scope::ServerWrite => "Change, pause, revoke and delete servers",
        Scope::UserRead => "Read users, roles and scopes",
        Scope::UserWrite => "Change users and roles, as far as one's own scopes reach",
        Scope::ReportRead => "Read reports and schedules",
        Scope::ReportWrite => "Ask for reports and change schedules",
        Scope::AgentEnroll => "Make, list and revoke enrolment tokens",
        Scope::AuditRead => "Read the audit log",
        Scope::AlertRead => "Read rules for alerts, incidents, routes, silences, windows and what was sent",
        Scope::AlertRespond => "Acknowledge, comment and close incidents; silence",
        Scope::AlertWrite => "Change rules for alerts, routes and maintenance windows",
        Scope::ChannelWrite => "Change where alerts are sent",
        Scope::ProcessRead => "Read what runs on servers, but for command lines",
        Scope::ProcessCommand => "Read command lines too",
        Scope::ProcessSignal => "Have processes ended; only who is logged in and gave the password just now",
        Scope::UnitControl => "Have units started, stopped and restarted; likewise",
        Scope::OrderApprove => "Approve what others ordered, and say how many have to; likewise",
    }
}

/// List roles: those that are built in first, then by name.
#[utoipa::path(
    get, path = "/roles", operation_id = "list_roles", tag = "roles", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<RoleItem>)),
    security(("token" = ["user:read"]))
)]
pub(crate) async fn list(app: Data<App>, paging: Parsed<Paging>) -> Result<Json<Listed<RoleItem>>, Failure> {
    let page = paging.0.0;
    let (roles, total) = app.registry.roles(page).await?;
    Ok(Json(Listed::new(roles.into_iter().map(RoleItem::from).collect(), total, page)))
}

/// Read one role.
#[utoipa::path(
    get, path = "/roles/{id}", operation_id = "show_role", tag = "roles",
    params(("id" = String, Path, description = "Id of the role")),
    responses((status = 200, description = "The role", body = RoleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<RoleId>) -> Result<HttpResponse, Failure> {
    let role = app.registry.role(&id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), role))
}

/// Make a role. Nobody gives away more than they have.
#[utoipa::path(
    post, path = "/roles", operation_id = "make_role", tag = "roles", request_body = NewRole,
    responses((status = 201, description = "The role", body = RoleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    caller: Caller,
    body: Body<NewRole>,
) -> Result<HttpResponse, Failure> {
    let name = label("name", body.0.name)?;
    let scopes = scopes(&body.0.scopes)?;
    let now = app.clock.now();
    let id = RoleId::from(UserId::new(now, random()));
    let reach = &caller.user.scopes;
    let made = app.registry.make_role(&id, &name, &scopes, reach, &caller.actor, now).await??;
    Ok(answer(HttpResponse::Created(), made))
}

/// Change a role, if nobody did since it was read. Its users have the new scopes within 10 s; those that are built in stay as they are.
#[utoipa::path(
    patch, path = "/roles/{id}", operation_id = "change_role", tag = "roles", request_body = RolePatch,
    params(("id" = String, Path, description = "Id of the role"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    responses((status = 200, description = "The role as it is now", body = RoleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    caller: Caller,
    id: Id<RoleId>,
    seen: IfMatch,
    body: Body<RolePatch>,
) -> Result<HttpResponse, Failure> {
    let name = body.0.name.map(|name| label("name", name)).transpose()?;
    let scopes = body.0.scopes.as_deref().map(scopes).transpose()?;
    let change = RoleChange { name: name.as_deref(), scopes: scopes.as_deref() };
    let (seen, reach, now) = (seen.0.as_deref(), &caller.user.scopes, app.clock.now());
    let changed = app.registry.change_role(&id.0, seen, change, reach, &caller.actor, now).await??;
    Ok(answer(HttpResponse::Ok(), changed))
}

/// Delete a role that no user has.
#[utoipa::path(
    delete, path = "/roles/{id}", operation_id = "delete_role", tag = "roles",
    params(("id" = String, Path, description = "Id of the role"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "There is no such role any more")),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn delete(
    app: Data<App>,
    caller: Caller,
    id: Id<RoleId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    let (seen, reach, now) = (seen.0.as_deref(), &caller.user.scopes, app.clock.now());
    app.registry.delete_role(&id.0, seen, reach, &caller.actor, now).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(with: HttpResponseBuilder, role: Role) -> HttpResponse {
    tagged(with, role.version, RoleItem::from(role))
}

/// Scopes as they are spelt; 422 for one that there is not.
pub(crate) fn scopes(texts: &[String]) -> Result<Vec<Scope>, Problem> {
    let scope = |text: &String| text.parse().map_err(|_| invalid_body("scopes holds one that there is not"));
    texts.iter().map(scope).collect()
}

impl utoipa::PartialSchema for ScopeName {
    fn schema() -> RefOr<Schema> {
        text().enum_values(Some(Scope::ALL.map(Scope::as_str))).into()
    }
}

impl ToSchema for ScopeName {}

impl From<Role> for RoleItem {
    fn from(role: Role) -> Self {
        let Role { id, name, built_in, scopes, created_at, updated_at, .. } = role;
        let scopes = scopes.into_iter().map(Scope::as_str).collect();
        Self { id: id.to_string(), name, built_in, scopes, created_at, updated_at }
    }
}
