//! Silences: for some time some incidents are not told. They are there all the same.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    alert::route::{LONGEST_SILENCE, Silence},
    id::SilenceId,
};
use registry::{KeptSilence, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{channels::field, matching::MatchBody};
use crate::{
    app::App,
    http::{
        body::{Body, Id, given, label},
        failure::Failure,
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::By,
};

/// A silence to make. Times are Unix ms.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeSilence, example = json!({"match": {"labels": {"site": "eu"}}, "ends_at": 1790003600000i64}))]
pub(crate) struct SilenceToMake {
    #[serde(rename = "match")]
    matches: MatchBody,
    /// Now unless set.
    #[schema(example = 1790000000000i64)]
    starts_at: Option<i64>,
    /// At most 30 days after it starts.
    #[schema(example = 1790003600000i64)]
    ends_at: i64,
    #[schema(max_length = 256, example = "the provider works on it")]
    reason: Option<String>,
}

/// What is to change of a silence; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"reason": "it takes longer"}))]
pub(crate) struct SilenceChange {
    #[serde(default, rename = "match", deserialize_with = "given")]
    #[schema(value_type = Option<MatchBody>, nullable = false)]
    matches: Option<MatchBody>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, nullable = false, example = 1790000000000i64)]
    starts_at: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, nullable = false, example = 1790007200000i64)]
    ends_at: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 256)]
    reason: Option<Option<String>>,
}

/// A silence. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Silence)]
pub(crate) struct SilenceItem {
    #[schema(value_type = String, format = "uuid")]
    id: SilenceId,
    #[serde(rename = "match")]
    matches: MatchBody,
    starts_at: i64,
    ends_at: i64,
    reason: Option<String>,
    /// Name of who made it.
    made_by: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// List silences, newest first, those that ended too.
#[utoipa::path(
    get, path = "/silences", operation_id = "list_silences", tag = "alerts", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<SilenceItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<SilenceItem>>, Failure> {
    let page = paging.0.0;
    let (silences, total) = app.registry.silences(page).await?;
    Ok(Json(Listed::new(silences.into_iter().map(item).collect(), total, page)))
}

/// Make a silence. What is open at its end is told then, once.
#[utoipa::path(
    post, path = "/silences", operation_id = "make_silence", tag = "alerts", request_body = SilenceToMake,
    responses((status = 201, description = "The silence", body = SilenceItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn make(app: Data<App>, by: By, body: Body<SilenceToMake>) -> Result<HttpResponse, Failure> {
    let SilenceToMake { matches, starts_at, ends_at, reason } = body.0;
    let now = app.clock.now();
    let silence = Silence {
        id: SilenceId::new(now, random()),
        matches: matches.read()?,
        starts_at: starts_at.unwrap_or(now),
        ends_at,
    };
    check(&silence, now)?;
    let reason = reason.map(|reason| label("reason", reason)).transpose()?;
    let made = app.registry.make_silence(&silence, reason.as_deref(), &by.0, now).await??;
    Ok(answer(HttpResponse::Created(), made))
}

/// Read one silence.
#[utoipa::path(
    get, path = "/silences/{id}", operation_id = "show_silence", tag = "alerts",
    params(("id" = String, Path, description = "Id of the silence")),
    responses((status = 200, description = "The silence", body = SilenceItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<SilenceId>) -> Result<HttpResponse, Failure> {
    let silence = app.registry.silence(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), silence))
}

/// Change a silence, if nobody did since it was read.
#[utoipa::path(
    patch, path = "/silences/{id}", operation_id = "change_silence", tag = "alerts",
    params(("id" = String, Path, description = "Id of the silence"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = SilenceChange,
    responses((status = 200, description = "The silence as it is now", body = SilenceItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    by: By,
    id: Id<SilenceId>,
    seen: IfMatch,
    body: Body<SilenceChange>,
) -> Result<HttpResponse, Failure> {
    let KeptSilence { mut silence, mut reason, version, .. } =
        app.registry.silence(id.0).await?.ok_or_else(Problem::not_found)?;
    Refusal::unless_expected(seen.0.as_deref(), version)?;
    let (change, now) = (body.0, app.clock.now());
    if let Some(matches) = change.matches {
        silence.matches = matches.read()?;
    }
    if let Some(new) = change.reason {
        reason = new.map(|reason| label("reason", reason)).transpose()?;
    }
    let moved = change.starts_at.is_some() || change.ends_at.is_some();
    silence.starts_at = change.starts_at.unwrap_or(silence.starts_at);
    silence.ends_at = change.ends_at.unwrap_or(silence.ends_at);
    if moved {
        check(&silence, now)?;
    }
    let changed =
        app.registry.change_silence(Some(&[version]), &silence, reason.as_deref(), &by.0, now).await??;
    Ok(answer(HttpResponse::Ok(), changed))
}

/// End a silence: what is open is told from now on.
#[utoipa::path(
    delete, path = "/silences/{id}", operation_id = "delete_silence", tag = "alerts",
    params(("id" = String, Path, description = "Id of the silence"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "It is over")),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<SilenceId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_silence(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn check(silence: &Silence, now: i64) -> Result<(), Problem> {
    let Silence { starts_at, ends_at, .. } = *silence;
    if ends_at <= now || ends_at <= starts_at {
        return Err(field("ends_at", "must be later than now, and than starts_at"));
    }
    // Checked apart, so that no difference of two times overflows.
    if starts_at < 0 || ends_at.saturating_sub(starts_at) > LONGEST_SILENCE {
        return Err(field("ends_at", "must be at most 30 days after starts_at"));
    }
    Ok(())
}

fn answer(with: HttpResponseBuilder, silence: KeptSilence) -> HttpResponse {
    tagged(with, silence.version, item(silence))
}

fn item(kept: KeptSilence) -> SilenceItem {
    let Silence { id, matches, starts_at, ends_at } = kept.silence;
    SilenceItem {
        id,
        matches: matches.into(),
        starts_at,
        ends_at,
        reason: kept.reason,
        made_by: kept.made_by,
        created_at: kept.created_at,
        updated_at: kept.updated_at,
    }
}
