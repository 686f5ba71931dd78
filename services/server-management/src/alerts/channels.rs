//! Channels: where alerts are told. Their secrets go in and never come out.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    Zone,
    alert::{
        channel::{Config, Kind, target_key},
        template::check_template,
    },
    id::{ChannelId, NotificationId},
    words::Language,
};
use registry::{Channel, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    notifications::NotificationItem,
    sealing::{Sealing, refused},
};
use crate::{
    app::App,
    http::{
        body::{Body, Id, given, label},
        failure::{Failure, invalid_body},
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::By,
};

/// A channel to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeChannel, example = json!({"name": "ops", "kind": "webhook", "config": {"form": "standard"},
    "secret": {"url": "https://hooks.example.org/rollcall"}}))]
pub(crate) struct ChannelToMake {
    /// No other channel has it, regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "ops")]
    name: String,
    #[schema(pattern = "^(wecom|telegram|slack|discord|webhook|mail)$", example = "webhook")]
    kind: String,
    /// `en`, which it is unless set, `vi`, `zh` or `sq`.
    #[schema(pattern = "^(en|vi|zh|sq)$", example = "en")]
    language: Option<String>,
    /// Of the IANA database; UTC unless set.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// A line for each incident, which may name `{server}`, `{level}`, `{metric}`, `{value}`, `{since}` and `{url}`; unless set
    /// the suite has its own words.
    #[schema(max_length = 1_000, example = "{level}: {server} {metric} {value} {url}")]
    template: Option<String>,
    /// telegram: `{chat_id}`; webhook: `{form}`, `standard` or `plain`; mail: `{recipients}`; of the others nothing.
    #[schema(value_type = Option<Object>, example = json!({"form": "standard"}))]
    config: Option<Value>,
    /// wecom: `{key}`; telegram: `{token}`; slack and discord: `{url}`; webhook: `{url, key}`, where `key` is `whsec_…` and may
    /// be left out; mail has none. Nobody can read it again.
    #[schema(value_type = Option<Object>, example = json!({"url": "https://hooks.example.org/rollcall"}))]
    secret: Option<Value>,
}

/// What is to change of a channel; what is left out stays. Its kind stays.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"name": "ops", "language": "vi"}))]
pub(crate) struct ChannelChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256, example = "ops")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, pattern = "^(en|vi|zh|sq)$", example = "vi")]
    language: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, example = "Asia/Ho_Chi_Minh")]
    time_zone: Option<String>,
    /// Null: the suite's own words again.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1_000)]
    template: Option<Option<String>>,
    /// All of it anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>, nullable = false, example = json!({}))]
    config: Option<Value>,
    /// All of it anew. It enables the channel again.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>, nullable = false)]
    secret: Option<Value>,
    /// Null enables a channel again that was disabled because it refused.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 0)]
    disabled_reason: Option<Option<String>>,
}

/// A channel. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Channel)]
pub(crate) struct ChannelItem {
    #[schema(value_type = String, format = "uuid")]
    id: ChannelId,
    name: String,
    #[schema(pattern = "^(wecom|telegram|slack|discord|webhook|mail)$")]
    kind: &'static str,
    #[schema(pattern = "^(en|vi|zh|sq)$")]
    language: &'static str,
    time_zone: String,
    template: Option<String>,
    #[schema(value_type = Object)]
    config: Value,
    /// When its secret was set; null of a kind that has none.
    secret_set_at: Option<i64>,
    /// Of a hook's URL all that is shown: scheme, host and port.
    secret_origin: Option<String>,
    /// Since when nothing is told on it, because it refuses for good.
    disabled_at: Option<i64>,
    disabled_reason: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// List channels, by name.
#[utoipa::path(
    get, path = "/channels", operation_id = "list_channels", tag = "alerts", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<ChannelItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<ChannelItem>>, Failure> {
    let page = paging.0.0;
    let (channels, total) = app.registry.channels(page).await?;
    Ok(Json(Listed::new(channels.into_iter().map(item).collect(), total, page)))
}

/// Make a channel. Nothing is told on it until a route leads there.
#[utoipa::path(
    post, path = "/channels", operation_id = "make_channel", tag = "alerts", request_body = ChannelToMake,
    responses((status = 201, description = "The channel, without its secret", body = ChannelItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["channel:write"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    sealing: Data<Sealing>,
    by: By,
    body: Body<ChannelToMake>,
) -> Result<HttpResponse, Failure> {
    let ChannelToMake { name, kind, language, time_zone, template, config, secret } = body.0;
    let (now, id) = (app.clock.now(), ChannelId::new(app.clock.now(), random()));
    let kind: Kind = kind.parse().map_err(|error| field("kind", error))?;
    let config = read_config(&app, kind, &config.unwrap_or_else(|| json!({})))?;
    let mut channel = Channel {
        id,
        name: label("name", name)?,
        target_key: target_key(id, &config, None),
        language: language.map(|text| read_language(&text)).transpose()?.unwrap_or_default(),
        time_zone: time_zone.map(|text| read_zone(&text)).transpose()?.unwrap_or_else(|| "UTC".to_owned()),
        template: template.map(read_template).transpose()?,
        config,
        secret: None,
        secret_origin: None,
        secret_set_at: None,
        disabled: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    match secret {
        Some(secret) => sealing.set(&mut channel, &secret, now)?,
        None if kind.has_secret() => return Err(field("secret", "is missing").into()),
        None => {}
    }
    app.registry.make_channel(&channel, &by.0).await??;
    Ok(answer(HttpResponse::Created(), channel))
}

/// Read one channel.
#[utoipa::path(
    get, path = "/channels/{id}", operation_id = "show_channel", tag = "alerts",
    params(("id" = String, Path, description = "Id of the channel")),
    responses((status = 200, description = "The channel, without its secret", body = ChannelItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<ChannelId>) -> Result<HttpResponse, Failure> {
    let channel = app.registry.channel(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), channel))
}

/// Change a channel, if nobody did since it was read. What waits goes where it leads then.
#[utoipa::path(
    patch, path = "/channels/{id}", operation_id = "change_channel", tag = "alerts",
    params(("id" = String, Path, description = "Id of the channel"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = ChannelChange,
    responses((status = 200, description = "The channel as it is now", body = ChannelItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["channel:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    sealing: Data<Sealing>,
    by: By,
    id: Id<ChannelId>,
    seen: IfMatch,
    body: Body<ChannelChange>,
) -> Result<HttpResponse, Failure> {
    let mut channel = app.registry.channel(id.0).await?.ok_or_else(Problem::not_found)?;
    Refusal::unless_expected(seen.0.as_deref(), channel.version)?;
    let (now, change) = (app.clock.now(), body.0);
    if let Some(name) = change.name {
        channel.name = label("name", name)?;
    }
    if let Some(language) = change.language {
        channel.language = read_language(&language)?;
    }
    if let Some(zone) = change.time_zone {
        channel.time_zone = read_zone(&zone)?;
    }
    if let Some(template) = change.template {
        channel.template = template.map(read_template).transpose()?;
    }
    if let Some(config) = &change.config {
        channel.config = read_config(&app, channel.kind(), config)?;
    }
    match change.disabled_reason {
        Some(None) => channel.disabled = None,
        Some(Some(_)) => return Err(field("disabled_reason", "must be null").into()),
        None => {}
    }
    match &change.secret {
        Some(secret) => sealing.set(&mut channel, secret, now)?,
        None if change.config.is_some() => sealing.lead_anew(&mut channel)?,
        None => {}
    }
    app.registry.change_channel(&channel, &by.0, now).await??;
    let changed = app.registry.channel(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), changed))
}

/// Delete a channel. What waits to be told on it is not told; what was told stays in the list.
#[utoipa::path(
    delete, path = "/channels/{id}", operation_id = "delete_channel", tag = "alerts",
    params(("id" = String, Path, description = "Id of the channel"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "Nothing is told on it any more")),
    security(("token" = ["channel:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<ChannelId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_channel(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// Send a message that only shows that the channel works, by the same way and within the same budget as any other. What
/// becomes of it, `GET notifications/{id}` tells.
#[utoipa::path(
    post, path = "/channels/{id}/test", operation_id = "test_channel", tag = "alerts",
    params(("id" = String, Path, description = "Id of the channel")),
    responses((status = 202, description = "The message, which waits for its turn", body = NotificationItem)),
    security(("token" = ["channel:write"]))
)]
pub(crate) async fn test(app: Data<App>, by: By, id: Id<ChannelId>) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    let made =
        app.registry.test_channel(id.0, NotificationId::new(now, random()), random, &by.0, now).await??;
    Ok(HttpResponse::Accepted().json(super::notifications::item(made)))
}

/// 422: what is wrong with which field.
pub(super) fn field(name: &str, reason: impl std::fmt::Display) -> Problem {
    invalid_body(format!("{name} {reason}")).with("field", name)
}

fn read_config(app: &App, kind: Kind, config: &Value) -> Result<Config, Problem> {
    let config = Config::read(kind, config).map_err(|error| refused(&error))?;
    if let Config::Mail { recipients } = &config
        && let Some(other) = recipients.iter().find(|one| !app.settings.allowed_domains.allow(one))
    {
        let domain = other.domain();
        return Err(field(
            "config.recipients",
            format!("has one in {domain}, which MAIL_ALLOWED_DOMAINS does not name"),
        ));
    }
    Ok(config)
}

fn read_language(text: &str) -> Result<Language, Problem> {
    text.parse().map_err(|error| field("language", error))
}

fn read_zone(text: &str) -> Result<String, Problem> {
    let zone: Zone = text.parse().map_err(|error| field("time_zone", error))?;
    Ok(zone.to_string())
}

fn read_template(text: String) -> Result<String, Problem> {
    check_template(&text).map_err(|error| field("template", error))?;
    Ok(text)
}

fn answer(with: HttpResponseBuilder, channel: Channel) -> HttpResponse {
    tagged(with, channel.version, item(channel))
}

fn item(channel: Channel) -> ChannelItem {
    let (kind, config) = (channel.kind().as_str(), channel.config.write());
    let (disabled_at, disabled_reason) = channel.disabled.unzip();
    ChannelItem {
        id: channel.id,
        name: channel.name,
        kind,
        language: channel.language.as_str(),
        time_zone: channel.time_zone,
        template: channel.template,
        config,
        secret_set_at: channel.secret_set_at,
        secret_origin: channel.secret_origin,
        disabled_at,
        disabled_reason,
        created_at: channel.created_at,
        updated_at: channel.updated_at,
    }
}
