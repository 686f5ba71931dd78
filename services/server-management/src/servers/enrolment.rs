//! How servers come in: a person makes a short-lived token, an agent exchanges it for its server's own credential.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
};
use chassis::{Clock, Problem, Secret, random};
use fleet::{ServerId, id::EnrolmentTokenId};
use registry::{Actor, Enrol, Enrolled, EnrolmentToken, Refusal, Registry, RegistryError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::{AgentBody, Body, Id, bounded, label},
        client,
        failure::{Failure, invalid_body},
        paging::{Listed, Paging},
        query::Parsed,
        secret::{Minted, digest, mint},
        throttle::{self, Limit},
    },
    people::By,
    servers::labels,
};

/// How often and for how many seconds a token may be used.
const USES: std::ops::RangeInclusive<u32> = 1..=10_000;
const EXPIRES_IN: std::ops::RangeInclusive<i64> = 60..=86_400;
const DEFAULT_EXPIRES_IN: i64 = 3_600;

/// Lengths in bytes.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 1..=256;
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// Bad tokens of one address within 15 minutes.
const MOST_BAD: usize = 10;

/// An enrolment token to make.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewToken {
    /// How many servers it enrols.
    #[schema(minimum = 1, maximum = 10_000, default = 1)]
    uses: Option<u32>,
    /// For how many seconds it serves.
    #[schema(minimum = 60, maximum = 86_400, default = 3_600)]
    expires_in: Option<i64>,
    /// The servers that enrol with it get these labels; what a person said of a server stays.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A token to make for one server.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewServerToken {
    /// For how many seconds it serves.
    #[schema(minimum = 60, maximum = 86_400, default = 3_600)]
    expires_in: Option<i64>,
}

/// A new enrolment token.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeToken {
    #[schema(value_type = String, format = "uuid")]
    id: EnrolmentTokenId,
    /// Shown this once.
    token: String,
    uses: u32,
    /// Unix ms.
    expires_at: i64,
}

/// An enrolment token; what it is itself, nobody knows but who got it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenItem {
    #[schema(value_type = String, format = "uuid")]
    id: EnrolmentTokenId,
    /// How many servers it enrols.
    uses: u32,
    /// How many it has enrolled.
    used: u32,
    /// Unix ms.
    expires_at: i64,
    /// Unix ms; null while it is not revoked.
    revoked_at: Option<i64>,
    /// Unix ms.
    created_at: i64,
    /// The servers that enrol with it get these.
    labels: BTreeMap<String, String>,
    /// The one server whose credential it replaces; null: it enrols new ones.
    #[schema(value_type = Option<String>, format = "uuid")]
    server_id: Option<ServerId>,
}

/// What an agent enrols with.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewServer {
    /// The enrolment token.
    #[schema(max_length = 256)]
    token: String,
    /// Random text that the agent stored before it asked: the same token and key again give the same server, so that a
    /// lost answer burns nothing.
    #[schema(min_length = 16, max_length = 256)]
    enrolment_key: String,
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// A fact about the server, never its identity.
    #[schema(max_length = 256)]
    address: Option<String>,
}

/// What the agent keeps.
#[derive(Serialize, ToSchema)]
pub(crate) struct Issued {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    /// For `Authorization: Bearer …` of the snapshots.
    credential: String,
}

/// Make an enrolment token.
#[utoipa::path(
    post, path = "/enrolment-tokens", tag = "enrolment", request_body = NewToken,
    responses((status = 201, description = "The token, shown this once", body = MadeToken)),
    security(("token" = ["agent:enroll"]))
)]
pub(crate) async fn make_token(
    app: Data<App>,
    by: By,
    body: Body<NewToken>,
) -> Result<HttpResponse, Failure> {
    let NewToken { uses, expires_in, labels } = body.0;
    let order = Order { uses: uses.unwrap_or(1), expires_in, labels: labels::checked(labels)?, server: None };
    made(&app, order, &by).await
}

/// Make a token by which one server gets a new credential: after its host was set up anew, or to rotate it. The agent that
/// enrols with it stays this server, whatever name it gives; the credential that it had is refused from then on.
#[utoipa::path(
    post, path = "/servers/{id}/enrolment-tokens", operation_id = "make_server_token", tag = "enrolment",
    params(("id" = String, Path, description = "Id of the server")), request_body = NewServerToken,
    responses((status = 201, description = "The token, shown this once", body = MadeToken)),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn make_server_token(
    app: Data<App>,
    by: By,
    id: Id<ServerId>,
    body: Body<NewServerToken>,
) -> Result<HttpResponse, Failure> {
    if app.registry.standing(&[id.0]).await?.is_empty() {
        return Err(Problem::not_found().into());
    }
    let Body(NewServerToken { expires_in }) = body;
    made(&app, Order { uses: 1, expires_in, labels: BTreeMap::new(), server: Some(id.0) }, &by).await
}

/// A token for one server, to be used within the hour: for the host that monitors itself.
pub async fn make_enrolment_token(registry: &Registry, clock: &Clock) -> Result<Secret, RegistryError> {
    let order = Order { uses: 1, expires_in: None, labels: BTreeMap::new(), server: None };
    let (_, secret) = make(registry, clock, order, &Actor::system()).await?;
    Ok(Secret::new(secret.text))
}

/// A token as it is asked for.
struct Order {
    uses: u32,
    expires_in: Option<i64>,
    labels: BTreeMap<String, String>,
    server: Option<ServerId>,
}

async fn made(app: &App, order: Order, by: &By) -> Result<HttpResponse, Failure> {
    within("uses", order.uses, &USES)?;
    within("expires_in", order.expires_in.unwrap_or(DEFAULT_EXPIRES_IN), &EXPIRES_IN)?;
    let (token, secret) = make(&app.registry, &app.clock, order, &by.0).await?;
    let EnrolmentToken { id, uses, expires_at, .. } = token;
    Ok(HttpResponse::Created().json(MadeToken { id, token: secret.text, uses, expires_at }))
}

async fn make(
    registry: &Registry,
    clock: &Clock,
    order: Order,
    by: &Actor,
) -> Result<(EnrolmentToken, Minted), RegistryError> {
    let now = clock.now();
    let token = EnrolmentToken {
        id: EnrolmentTokenId::new(now, random()),
        uses: order.uses,
        used: 0,
        expires_at: now + order.expires_in.unwrap_or(DEFAULT_EXPIRES_IN) * 1_000,
        revoked_at: None,
        created_at: now,
        labels: order.labels,
        server: order.server,
    };
    let secret = mint();
    registry.make_enrolment_token(&token, secret.hash, by).await?;
    Ok((token, secret))
}

/// List enrolment tokens, the newest first.
#[utoipa::path(
    get, path = "/enrolment-tokens", tag = "enrolment", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<TokenItem>)),
    security(("token" = ["agent:enroll"]))
)]
pub(crate) async fn list_tokens(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<TokenItem>>, Failure> {
    let page = paging.0.0;
    let (tokens, total) = app.registry.enrolment_tokens(page).await?;
    Ok(Json(Listed::new(tokens.into_iter().map(TokenItem::from).collect(), total, page)))
}

/// Revoke an enrolment token. The servers that it enrolled stay.
#[utoipa::path(
    delete, path = "/enrolment-tokens/{id}", tag = "enrolment",
    params(("id" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "It serves no more")),
    security(("token" = ["agent:enroll"]))
)]
pub(crate) async fn revoke_token(
    app: Data<App>,
    by: By,
    id: Id<EnrolmentTokenId>,
) -> Result<HttpResponse, Failure> {
    app.registry.revoke_enrolment_token(id.0, &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// Exchange an enrolment token for a server's own credential.
///
/// Needs no log-in: the token is the permission. After 10 bad ones from an address within 15 minutes a further bad
/// one is 429; a good one is never throttled, since nobody guesses it.
#[utoipa::path(
    post, path = "/enrolments", tag = "enrolment", request_body = NewServer,
    responses((status = 201, description = "The server and its credential", body = Issued)), security(())
)]
pub(crate) async fn enrol(
    app: Data<App>,
    request: HttpRequest,
    body: AgentBody<NewServer>,
) -> Result<HttpResponse, Failure> {
    let NewServer { token, enrolment_key, name, address } = body.0;
    bounded("token", &token, TOKEN_BYTES)?;
    bounded("enrolment_key", &enrolment_key, KEY_BYTES)?;
    let name = label("name", name)?;
    let address = address.map(|address| label("address", address)).transpose()?;
    let (now, from) = (app.clock.now(), client::address(&request));
    let enrol = Enrol {
        token_hash: digest(&token),
        key_hash: digest(&enrolment_key),
        name: &name,
        address: address.as_deref(),
        server: ServerId::new(now, random()),
        from: Some(&from),
        now,
    };
    match app.registry.enrol(&enrol).await? {
        Ok(Enrolled { id, generation, replaces }) => {
            if replaces {
                app.publish_denylist().await?;
            }
            let credential = app.settings.keyring.issue(id, generation);
            Ok(HttpResponse::Created().json(Issued { server_id: id, credential }))
        }
        Err(Refusal::BadToken) => {
            let key = format!("enrol:address:{from}");
            let limits = [Limit { key, most: MOST_BAD, what: "bad enrolment tokens from this address" }];
            throttle::check(&app, &limits).await?;
            throttle::fail(&app, &limits).await;
            Err(Refusal::BadToken.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    bounds: &std::ops::RangeInclusive<T>,
) -> Result<(), Problem> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(invalid_body(format!("{field} must be {} to {}", bounds.start(), bounds.end())))
}

impl From<EnrolmentToken> for TokenItem {
    fn from(token: EnrolmentToken) -> Self {
        let EnrolmentToken { id, uses, used, expires_at, revoked_at, created_at, labels, server } = token;
        Self { id, uses, used, expires_at, revoked_at, created_at, labels, server_id: server }
    }
}
