//! Routes: which incidents are told on which channels, and when.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    alert::{
        Level,
        channel::Step,
        route::{Route, SHORTEST_REMINDER},
    },
    id::{AlertRouteId, ChannelId},
};
use registry::{AlertRoute, Refusal};
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

/// Most steps of a route, and most channels of a step.
const MOST_STEPS: usize = 10;
const MOST_CHANNELS: usize = 20;

/// The latest step, and the rarest reminder: after a week.
const WEEK: i64 = 7 * 86_400_000;

/// On which channels, and how long after the incident was opened unless somebody acknowledged it by then.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = AlertRouteStep, example = json!({"after_ms": 0, "channels": []}))]
pub(crate) struct StepBody {
    #[schema(minimum = 0, maximum = 604_800_000, example = 0)]
    after_ms: i64,
    /// Ids of channels.
    #[schema(value_type = Vec<String>, max_items = 20, example = json!([]))]
    channels: Vec<ChannelId>,
}

/// A route to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeAlertRoute, example = json!({"match": {}, "steps": []}))]
pub(crate) struct RouteToMake {
    /// For people.
    #[schema(max_length = 256, example = "everything to ops")]
    name: Option<String>,
    /// From 1; the last one unless set. Routes are asked in their order.
    #[schema(minimum = 1, maximum = 200, example = 1)]
    position: Option<u32>,
    #[serde(rename = "match")]
    matches: MatchBody,
    /// `warning`, which it is unless set, or `critical`.
    #[schema(pattern = "^(warning|critical)$", example = "warning")]
    min_level: Option<String>,
    /// By their time. Without any, incidents that it takes are told nowhere.
    #[schema(max_items = 10, example = json!([]))]
    steps: Vec<StepBody>,
    /// How often an open incident is told again until somebody acknowledges it, 300,000 or more; 0, which it is unless set: never.
    #[schema(minimum = 0, maximum = 604_800_000, example = 3_600_000)]
    reminder_ms: Option<i64>,
    /// Whether the routes after it are asked too; false unless set.
    #[serde(rename = "continue")]
    goes_on: Option<bool>,
}

/// What is to change of a route; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"name": "all of it"}))]
pub(crate) struct AlertRouteChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, max_length = 256)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 200)]
    position: Option<u32>,
    #[serde(default, rename = "match", deserialize_with = "given")]
    #[schema(value_type = Option<MatchBody>, nullable = false)]
    matches: Option<MatchBody>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, pattern = "^(warning|critical)$")]
    min_level: Option<String>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<StepBody>>, nullable = false, max_items = 10, example = json!([]))]
    steps: Option<Vec<StepBody>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, nullable = false, minimum = 0, maximum = 604_800_000, example = 0)]
    reminder_ms: Option<i64>,
    #[serde(default, rename = "continue", deserialize_with = "given")]
    #[schema(value_type = Option<bool>, nullable = false)]
    goes_on: Option<bool>,
}

/// A route. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertRoute)]
pub(crate) struct RouteItem {
    #[schema(value_type = String, format = "uuid")]
    id: AlertRouteId,
    name: String,
    position: u32,
    #[serde(rename = "match")]
    matches: MatchBody,
    #[schema(pattern = "^(warning|critical)$")]
    min_level: &'static str,
    steps: Vec<StepBody>,
    reminder_ms: i64,
    #[serde(rename = "continue")]
    goes_on: bool,
    created_at: i64,
    updated_at: i64,
}

/// List routes, in the order in which they are asked. Without any nothing is told.
#[utoipa::path(
    get, path = "/alert-routes", operation_id = "list_alert_routes", tag = "alerts", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<RouteItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(app: Data<App>, paging: Parsed<Paging>) -> Result<Json<Listed<RouteItem>>, Failure> {
    let page = paging.0.0;
    let (routes, total) = app.registry.alert_routes(page).await?;
    Ok(Json(Listed::new(routes.into_iter().map(item).collect(), total, page)))
}

/// Make a route. What is open is told by it at once.
#[utoipa::path(
    post, path = "/alert-routes", operation_id = "make_alert_route", tag = "alerts", request_body = RouteToMake,
    responses((status = 201, description = "The route", body = RouteItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn make(app: Data<App>, by: By, body: Body<RouteToMake>) -> Result<HttpResponse, Failure> {
    let RouteToMake { name, position, matches, min_level, steps, reminder_ms, goes_on } = body.0;
    let now = app.clock.now();
    let route = Route {
        id: AlertRouteId::new(now, random()),
        matches: matches.read()?,
        min_level: min_level.map_or(Ok(Level::Warning), |text| read_level(&text))?,
        steps: read_steps(&app, steps).await?,
        reminder_ms: read_reminder(reminder_ms.unwrap_or(0))?,
        goes_on: goes_on.unwrap_or(false),
    };
    let name = read_name(name.unwrap_or_default())?;
    let made = app.registry.make_alert_route(&route, &name, read_position(position)?, &by.0, now).await??;
    Ok(answer(HttpResponse::Created(), made))
}

/// Read one route.
#[utoipa::path(
    get, path = "/alert-routes/{id}", operation_id = "show_alert_route", tag = "alerts",
    params(("id" = String, Path, description = "Id of the route")),
    responses((status = 200, description = "The route", body = RouteItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<AlertRouteId>) -> Result<HttpResponse, Failure> {
    let route = app.registry.alert_route(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), route))
}

/// Change a route, if nobody did since it was read.
#[utoipa::path(
    patch, path = "/alert-routes/{id}", operation_id = "change_alert_route", tag = "alerts",
    params(("id" = String, Path, description = "Id of the route"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = AlertRouteChange,
    responses((status = 200, description = "The route as it is now", body = RouteItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    by: By,
    id: Id<AlertRouteId>,
    seen: IfMatch,
    body: Body<AlertRouteChange>,
) -> Result<HttpResponse, Failure> {
    let AlertRoute { mut route, mut name, version, .. } =
        app.registry.alert_route(id.0).await?.ok_or_else(Problem::not_found)?;
    Refusal::unless_expected(seen.0.as_deref(), version)?;
    let change = body.0;
    if let Some(new) = change.name {
        name = read_name(new)?;
    }
    if let Some(matches) = change.matches {
        route.matches = matches.read()?;
    }
    if let Some(level) = change.min_level {
        route.min_level = read_level(&level)?;
    }
    if let Some(steps) = change.steps {
        route.steps = read_steps(&app, steps).await?;
    }
    if let Some(reminder) = change.reminder_ms {
        route.reminder_ms = read_reminder(reminder)?;
    }
    route.goes_on = change.goes_on.unwrap_or(route.goes_on);
    let (position, now) = (read_position(change.position)?, app.clock.now());
    let changed =
        app.registry.change_alert_route(Some(&[version]), &route, &name, position, &by.0, now).await??;
    Ok(answer(HttpResponse::Ok(), changed))
}

/// Delete a route.
#[utoipa::path(
    delete, path = "/alert-routes/{id}", operation_id = "delete_alert_route", tag = "alerts",
    params(("id" = String, Path, description = "Id of the route"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "Nothing is told by it any more")),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<AlertRouteId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_alert_route(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn read_name(name: String) -> Result<String, Problem> {
    if name.trim().is_empty() { Ok(String::new()) } else { label("name", name) }
}

fn read_level(text: &str) -> Result<Level, Problem> {
    text.parse().map_err(|error| field("min_level", error))
}

fn read_position(position: Option<u32>) -> Result<Option<u32>, Problem> {
    match position {
        Some(0 | 201..) => Err(field("position", "must be 1 to 200")),
        position => Ok(position),
    }
}

fn read_reminder(reminder: i64) -> Result<i64, Problem> {
    if reminder == 0 || (SHORTEST_REMINDER..=WEEK).contains(&reminder) {
        return Ok(reminder);
    }
    Err(field("reminder_ms", "must be 0, or 300000 to 604800000"))
}

/// Steps lead to channels that there are, each step later than the one before.
async fn read_steps(app: &App, steps: Vec<StepBody>) -> Result<Vec<Step>, Failure> {
    if steps.len() > MOST_STEPS {
        return Err(field("steps", "must be 10 at most").into());
    }
    let mut read: Vec<Step> = Vec::with_capacity(steps.len());
    for StepBody { after_ms, mut channels } in steps {
        let later = read.last().is_none_or(|before| before.after_ms < after_ms);
        if !(0..=WEEK).contains(&after_ms) || !later {
            return Err(field(
                "steps",
                "must each have an after_ms of 0 to 604800000, later than the one before",
            )
            .into());
        }
        channels.sort_unstable();
        channels.dedup();
        if channels.len() > MOST_CHANNELS {
            return Err(field("steps", "must have 20 channels at most").into());
        }
        for channel in &channels {
            if app.registry.channel(*channel).await?.is_none() {
                return Err(field("steps", format!("names {channel}, which is no channel")).into());
            }
        }
        read.push(Step { after_ms, channels });
    }
    Ok(read)
}

fn answer(with: HttpResponseBuilder, route: AlertRoute) -> HttpResponse {
    tagged(with, route.version, item(route))
}

fn item(kept: AlertRoute) -> RouteItem {
    let Route { id, matches, min_level, steps, reminder_ms, goes_on } = kept.route;
    let step = |Step { after_ms, channels }: Step| StepBody { after_ms, channels };
    RouteItem {
        id,
        name: kept.name,
        position: kept.position,
        matches: matches.into(),
        min_level: min_level.as_str(),
        steps: steps.into_iter().map(step).collect(),
        reminder_ms,
        goes_on,
        created_at: kept.created_at,
        updated_at: kept.updated_at,
    }
}
