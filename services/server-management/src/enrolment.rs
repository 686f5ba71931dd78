//! How servers come in: a person makes a short-lived token, an agent exchanges it for its server's own credential.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Json},
};
use chassis::{Clock, Problem, Secret, random};
use fleet::{ServerId, id::EnrolmentTokenId};
use registry::{Enrol, Enrolled, EnrolmentToken, Registry, RegistryError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{
        client,
        throttle::{self, Limit},
    },
    body::{Body, Id, bounded, label},
    failure::{Failure, invalid_body, unauthorized},
    query::{Listed, Paging, Parsed},
    sessions::{Minted, digest, mint},
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
pub(crate) async fn make_token(app: Data<App>, body: Body<NewToken>) -> Result<HttpResponse, Failure> {
    let uses = body.0.uses.unwrap_or(1);
    let expires_in = body.0.expires_in.unwrap_or(DEFAULT_EXPIRES_IN);
    within("uses", uses, &USES)?;
    within("expires_in", expires_in, &EXPIRES_IN)?;
    let (token, secret) = make(&app.registry, &app.clock, uses, expires_in).await?;
    let EnrolmentToken { id, expires_at, .. } = token;
    Ok(HttpResponse::Created().json(MadeToken { id, token: secret.text, uses, expires_at }))
}

/// A token for one server, to be used within the hour: for the host that monitors itself.
pub async fn make_enrolment_token(registry: &Registry, clock: &Clock) -> Result<Secret, RegistryError> {
    let (_, secret) = make(registry, clock, 1, DEFAULT_EXPIRES_IN).await?;
    Ok(Secret::new(secret.text))
}

async fn make(
    registry: &Registry,
    clock: &Clock,
    uses: u32,
    expires_in: i64,
) -> Result<(EnrolmentToken, Minted), RegistryError> {
    let now = clock.now();
    let (id, expires_at) = (EnrolmentTokenId::new(now, random()), now + expires_in * 1_000);
    let token = EnrolmentToken { id, uses, used: 0, expires_at, revoked_at: None, created_at: now };
    let secret = mint();
    registry.make_enrolment_token(&token, secret.hash).await?;
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
pub(crate) async fn revoke_token(app: Data<App>, id: Id<EnrolmentTokenId>) -> Result<HttpResponse, Failure> {
    if app.registry.revoke_enrolment_token(id.0, app.clock.now()).await? {
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(Problem::not_found().into())
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
    body: Body<NewServer>,
) -> Result<HttpResponse, Failure> {
    let NewServer { token, enrolment_key, name, address } = body.0;
    bounded("token", &token, TOKEN_BYTES)?;
    bounded("enrolment_key", &enrolment_key, KEY_BYTES)?;
    let name = label("name", name)?;
    let address = address.map(|address| label("address", address)).transpose()?;
    let now = app.clock.now();
    let enrol = Enrol {
        token_hash: digest(&token),
        key_hash: digest(&enrolment_key),
        name: &name,
        address: address.as_deref(),
        server: ServerId::new(now, random()),
        now,
    };
    match app.registry.enrol(&enrol).await? {
        Enrolled::Server { id, generation } => {
            let credential = app.settings.keyring.issue(id, generation);
            Ok(HttpResponse::Created().json(Issued { server_id: id, credential }))
        }
        Enrolled::BadToken => {
            let key = format!("enrol:address:{}", client::address(&request));
            let limits = [Limit { key, most: MOST_BAD, what: "bad enrolment tokens from this address" }];
            throttle::check(&app, &limits).await?;
            throttle::fail(&app, &limits).await;
            let detail = "the enrolment token is unknown, expired, revoked or used up; ask for a new one";
            Err(unauthorized(detail).into())
        }
        Enrolled::NameTaken => {
            let detail = "another server has this name; enrol under another one";
            Err(Problem::new(StatusCode::CONFLICT, "name_taken", detail).into())
        }
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
        let EnrolmentToken { id, uses, used, expires_at, revoked_at, created_at } = token;
        Self { id, uses, used, expires_at, revoked_at, created_at }
    }
}
