//! Uptime of one server and of many. By history or not at all: without it the answer is 503, never a wrong number.

use std::collections::HashMap;

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{
    ServerId, Status, retention,
    uptime::{Expected, Piece, Uptime},
};
use history::Covered;
use registry::{Roll, Server, ServerFilter};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::Id,
        failure::{Failure, too_many_servers},
        paging::Listed,
        query::Parsed,
        ranges::Range,
    },
    servers::{
        figures::MOST,
        listing::{Filtered, Listing},
    },
};

const DAY: i64 = 86_400_000;
/// Servers of which history is asked at once.
const TOGETHER: u32 = 500;

/// Uptime of a server over a range. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Uptime)]
pub(crate) struct Line {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    /// Its name; only where many are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    from: i64,
    to: i64,
    /// Time for which its snapshots vouch.
    covered_ms: i64,
    /// Time for which they were expected to: from its enrolment on, to its newest snapshot or, for a server that is
    /// down, to the watermark.
    expected_ms: i64,
    /// Their ratio, 0 to 1; null where nothing was expected.
    uptime: Option<f64>,
    /// `hour` if the figure is exact to the hour alone, as the range cuts an hour of which only a sum is kept; left out
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

/// How exact an answer is about time that is past.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resolution {
    /// To the hour.
    Hour,
}

impl Resolution {
    /// `None`: to the millisecond.
    pub(crate) fn rounded(rounded: bool) -> Option<Self> {
        rounded.then_some(Self::Hour)
    }
}

/// Uptime of one server.
#[utoipa::path(
    get, path = "/servers/{id}/uptime", operation_id = "show_uptime", tag = "uptime",
    params(("id" = String, Path, description = "Id of the server"), Range),
    responses((status = 200, description = "The figure", body = Line)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    id: Id<ServerId>,
    range: Parsed<Range>,
) -> Result<Json<Line>, Failure> {
    let roll = app.roll().await?;
    let server = app.registry.server(id.0, &roll).await?.ok_or_else(Problem::not_found)?;
    let line = lines(&app, vec![server], range.0, &roll).await?.pop().ok_or_else(Problem::internal)?;
    Ok(Json(Line { name: None, ..line }))
}

/// Uptime of many servers, by the same filters as their list.
#[utoipa::path(
    get, path = "/uptime", operation_id = "list_uptime", tag = "uptime", params(Listing, Range),
    responses((status = 200, description = "A page of figures, one for each server", body = Listed<Line>)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    query: Parsed<(Listing, Range)>,
) -> Result<Json<Listed<Line>>, Failure> {
    let (Listing { filter, sort, page }, range) = query.0;
    let roll = app.roll().await?;
    let (servers, total) = app.registry.servers(&filter, &sort, page, &roll).await?;
    Ok(Json(Listed::new(lines(&app, servers, range, &roll).await?, total, page)))
}

/// Uptime of many servers together. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotalUptime {
    from: i64,
    to: i64,
    /// How many servers the filter lets through.
    servers: u64,
    /// Of all of them together.
    covered_ms: i64,
    expected_ms: i64,
    /// Their ratio, 0 to 1; null where nothing was expected.
    uptime: Option<f64>,
}

/// Uptime of all servers that a filter lets through, as one figure.
///
/// Beyond 50,000 servers it is 400 `too_many_servers`.
#[utoipa::path(
    get, path = "/uptime/total", operation_id = "show_total_uptime", tag = "uptime", params(Filtered, Range),
    responses((status = 200, description = "The figure", body = TotalUptime)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn total(
    app: Data<App>,
    query: Parsed<(Filtered, Range)>,
) -> Result<Json<TotalUptime>, Failure> {
    let (Filtered(filter), range) = query.0;
    let roll = app.roll().await?;
    let (mut servers, mut covered, mut expected, mut after) = (0, 0, 0, None);
    loop {
        let part = app.registry.servers_after(&filter, after.as_deref(), TOGETHER, &roll).await?;
        let Some(last) = part.last() else { break };
        after = Some(last.name.clone());
        servers += part.len() as u64;
        if servers > u64::from(MOST) {
            return Err(too_many_servers(MOST).into());
        }
        for line in lines(&app, part, range, &roll).await? {
            covered += line.covered_ms;
            expected += line.expected_ms;
        }
    }
    let Uptime { covered_ms, expected_ms, uptime } = Uptime::new(covered, expected);
    let Range { from, to } = range;
    Ok(Json(TotalUptime { from, to, servers, covered_ms, expected_ms, uptime }))
}

/// The uptime of the 24 h before `now` of every server of which something was expected. `too_many_servers` beyond 50,000.
pub(super) async fn of_all(app: &App, now: i64, roll: &Roll) -> Result<HashMap<ServerId, f64>, Failure> {
    let range = Range { from: (now - DAY).max(0), to: now };
    let (mut all, mut after, mut servers) = (HashMap::new(), None, 0);
    loop {
        let filter = ServerFilter::default();
        let part = app.registry.servers_after(&filter, after.as_deref(), TOGETHER, roll).await?;
        let Some(last) = part.last() else { return Ok(all) };
        after = Some(last.name.clone());
        servers += part.len();
        if servers > MOST as usize {
            return Err(too_many_servers(MOST).into());
        }
        let lines = lines(app, part, range, roll).await?;
        all.extend(lines.into_iter().filter_map(|line| Some((line.server_id, line.uptime?))));
    }
}

/// A line for each server, in their order.
async fn lines(app: &App, servers: Vec<Server>, range: Range, roll: &Roll) -> Result<Vec<Line>, Failure> {
    let asked = expected(app, &servers, range, roll).await?;
    let covered = app.history.measured(&asked).await?;
    let figures = servers.into_iter().zip(asked).zip(covered);
    Ok(figures.map(|((server, (_, pieces)), covered)| line(server, range, &pieces, covered)).collect())
}

/// When each server was expected to be heard, in their order.
pub(crate) async fn expected(
    app: &App,
    servers: &[Server],
    range: Range,
    roll: &Roll,
) -> Result<Vec<(ServerId, Vec<Piece>)>, Failure> {
    app.arrived(|awaited| &awaited.retention)?;
    let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
    let pauses = app.registry.pauses(&ids).await?;
    let extents = app.history.extents(&ids).await?;
    let rolled_from = app.history.rolled_from(&ids).await?;
    let (now, kept) = (app.clock.now(), app.settings.kept);
    // Less may be kept than the setting says, if it was raised lately: what is gone stays gone.
    let raw = retention::oldest_retained(now, kept.raw).max(app.history.oldest_retained());
    let rollups = retention::oldest_retained(now, kept.rollups);
    let mut asked: Vec<(ServerId, Vec<Piece>)> = Vec::with_capacity(servers.len());
    for ((server, extent), rolled_from) in servers.iter().zip(extents).zip(rolled_from) {
        // The oldest hour that is held of it, whatever it is held as.
        let oldest_retained = rolled_from.map_or(raw, |rolled_from| rolled_from.max(rollups).min(raw));
        let expected = Expected {
            from: range.from,
            to: range.to,
            enrolled_at: server.enrolled_at.unwrap_or(server.created_at),
            oldest_retained: oldest_retained.max(server.history_from.unwrap_or(0)),
            oldest_start: extent.map(|extent| extent.oldest_start),
            newest: extent.map(|extent| extent.newest),
            down_at: roll.pipeline.watermark.filter(|_| server.status == Status::Down),
            pauses: pauses.get(&server.id).map_or(&[], Vec::as_slice),
        };
        asked.push((server.id, expected.pieces()));
    }
    Ok(asked)
}

fn line(server: Server, range: Range, pieces: &[Piece], Covered { covered, rounded }: Covered) -> Line {
    let expected = pieces.iter().map(Piece::length).sum();
    let Uptime { covered_ms, expected_ms, uptime } = Uptime::new(covered, expected);
    let Range { from, to } = range;
    let (server_id, name, resolution) = (server.id, Some(server.name), Resolution::rounded(rounded));
    Line { server_id, name, from, to, covered_ms, expected_ms, uptime, resolution }
}
