//! Uptime of many servers by day: a page of the matrix that people look at.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{
    Millis, ServerId, Zone,
    calendar::days,
    uptime::{Piece, Uptime},
};
use registry::{Page, Server};
use serde::Serialize;
use serde_json::json;
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        document::{self, parameter, text, whole},
        failure::{Failure, invalid_parameter},
        query::{FromParameters, Parameters, Parsed},
        ranges::{Range, time},
    },
    servers::{
        listing::Listing,
        uptime::{Resolution, expected},
    },
};

/// Most days of one answer.
const MOST_DAYS: u32 = 92;
const USUAL_DAYS: u32 = 30;
/// Most cells of one answer: servers on a page times days.
const MOST_CELLS: u32 = 10_000;

/// Which days, of which zone.
pub(crate) struct Calendar {
    /// When each day begins, and at last when the last one ends.
    bounds: Vec<Millis>,
}

/// A page of servers by day. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct UptimeDays {
    /// When each day begins. It is as long as it is in the zone: the next one begins where it ends.
    days: Vec<i64>,
    /// When the last day ends, which may be later than now.
    to: i64,
    items: Vec<DaysLine>,
    /// Servers on all pages together.
    total: u64,
    /// From 1.
    page: u32,
    page_size: u32,
}

/// A server by day, by the rule of its uptime.
#[derive(Serialize, ToSchema)]
struct DaysLine {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    name: String,
    labels: BTreeMap<String, String>,
    /// Of each day, for how long its snapshots vouch.
    covered_ms: Vec<i64>,
    /// Of each day, for how long they were expected to; 0 where nothing was.
    expected_ms: Vec<i64>,
    /// Of all days together, 0 to 1; null where nothing was expected.
    uptime: Option<f64>,
    /// `hour` if some of it is exact to the hour alone; left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

/// Uptime of many servers by day, by the same filters as their list.
///
/// A day is one of the zone's calendar. `page_size` times `days` is at most 10,000.
#[utoipa::path(
    get, path = "/uptime/days", operation_id = "list_uptime_days", tag = "uptime", params(Listing, Calendar),
    responses((status = 200, description = "A page of servers, each with a figure a day", body = UptimeDays)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    query: Parsed<(Listing, Calendar)>,
) -> Result<Json<UptimeDays>, Failure> {
    let (Listing { filter, sort, page }, Calendar { mut bounds }) = query.0;
    bounded(page, bounds.len() - 1)?;
    let roll = app.roll().await?;
    let (servers, total) = app.registry.servers(&filter, &sort, page, &roll).await?;
    let range = Range { from: bounds[0], to: bounds[bounds.len() - 1] };
    let whole = expected(&app, &servers, range, &roll).await?;
    let asked: Vec<(ServerId, Vec<Piece>)> = whole
        .iter()
        .flat_map(|(id, pieces)| bounds.windows(2).map(|day| (*id, within(pieces, day[0], day[1]))))
        .collect();
    let covered = app.history.measured(&asked).await?;
    let mut figures = asked.iter().zip(covered);
    let days = bounds.len() - 1;
    let line = |server: Server| {
        let (mut covered_ms, mut expected_ms, mut rounded) = (Vec::new(), Vec::new(), false);
        for ((_, pieces), covered) in figures.by_ref().take(days) {
            let of = Uptime::new(covered.covered, pieces.iter().map(Piece::length).sum());
            covered_ms.push(of.covered_ms);
            expected_ms.push(of.expected_ms);
            rounded |= covered.rounded;
        }
        let uptime = Uptime::new(covered_ms.iter().sum(), expected_ms.iter().sum()).uptime;
        let Server { id: server_id, name, labels, .. } = server;
        let resolution = Resolution::rounded(rounded);
        DaysLine { server_id, name, labels, covered_ms, expected_ms, uptime, resolution }
    };
    let items = servers.into_iter().map(line).collect();
    let to = bounds.pop().unwrap_or_default();
    let Page { page, page_size } = page;
    Ok(Json(UptimeDays { days: bounds, to, items, total, page, page_size }))
}

/// What of these pieces lies in a day.
fn within(pieces: &[Piece], from: Millis, to: Millis) -> Vec<Piece> {
    let cut = pieces.iter().map(|piece| Piece { from: piece.from.max(from), to: piece.to.min(to) });
    cut.filter(|piece| piece.from < piece.to).collect()
}

fn bounded(page: Page, days: usize) -> Result<(), Problem> {
    let days = u32::try_from(days).unwrap_or(u32::MAX);
    if page.page_size.saturating_mul(days) <= MOST_CELLS {
        return Ok(());
    }
    let most = MOST_CELLS / days.max(1);
    Err(invalid_parameter("page_size", format!("must be at most {most} for {days} days")))
}

impl FromParameters for Calendar {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let zone = parameters.parsed("zone", str::parse)?.unwrap_or(Zone::UTC);
        let at = parameters.parsed("to", time)?.unwrap_or(now);
        let count = parameters.number("days", MOST_DAYS)?.unwrap_or(USUAL_DAYS);
        let bounds = days(zone, at, count).ok_or_else(|| invalid_parameter("to", "is in no calendar"))?;
        Ok(Self { bounds })
    }
}

impl utoipa::IntoParams for Calendar {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let zones = text().default(Some(json!("UTC"))).examples([json!("Europe/Tirane")]);
        vec![
            parameter("days", "How many days", whole(MOST_DAYS, USUAL_DAYS)),
            parameter(
                "to",
                "A moment of the last day: Unix ms or RFC 3339. Now by default",
                document::time(),
            ),
            parameter("zone", "The zone whose days they are, as IANA names it", zones),
        ]
    }
}
