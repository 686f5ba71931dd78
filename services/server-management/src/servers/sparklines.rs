//! How a page of servers did lately, in one answer: small lines, and which of their last intervals they were heard in.

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{
    Interval, Millis, ServerId, Snapshot,
    series::Reduction,
    uptime::{Piece, Uptime},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use registry::{Page, Server, ServerFilter};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::{ArrayBuilder, SchemaFormat},
    },
};

use crate::{
    app::App,
    http::{
        document::{parameter, text},
        failure::{Failure, invalid_parameter},
        query::{FromParameters, Parameters, Parsed},
        ranges::Range,
    },
    servers::{figures::Shares, uptime::expected},
};

const HOUR: Millis = 3_600_000;
/// Most servers of one answer.
const MOST: usize = 100;
/// Into how many parts the hour is divided.
const POINTS: u32 = 20;
/// How many intervals are told of.
const INTERVALS: Millis = 30;
/// Servers that history is asked about at the same time.
const AT_ONCE: usize = 8;

/// Of which servers.
pub(crate) struct Asked(Vec<ServerId>);

/// How some servers did lately. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sparklines {
    /// An hour before `to`; it is divided into 20 equal parts.
    from: i64,
    to: i64,
    /// In the order asked, without those that there are not.
    items: Vec<Sparkline>,
}

/// How a server did lately.
#[derive(Serialize, ToSchema)]
struct Sparkline {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    /// Of each part of the hour what was measured last in it, in whole percent; null where nothing was.
    cpu: Vec<Option<u8>>,
    memory: Vec<Option<u8>>,
    /// The fullest.
    disk: Vec<Option<u8>>,
    /// Of the last 24 h, 0 to 1; null where nothing was expected.
    uptime: Option<f64>,
    /// Of each of the server's last 30 intervals how much snapshots vouch for, in whole percent of what was expected; null where
    /// nothing was.
    heard: Vec<Option<u8>>,
}

/// How some servers did lately: the last hour in 20 parts, and their last 30 intervals.
#[utoipa::path(
    get, path = "/servers/sparklines", operation_id = "list_sparklines", tag = "servers", params(Asked),
    responses((status = 200, description = "A line for each", body = Sparklines)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn list(app: Data<App>, asked: Parsed<Asked>) -> Result<Json<Sparklines>, Failure> {
    let Asked(ids) = asked.0;
    let now = app.clock.now();
    let roll = app.roll().await?;
    let filter = ServerFilter { ids: Some(ids.clone()), ..ServerFilter::default() };
    let page = Page { page: 1, page_size: MOST as u32 };
    let (mut servers, _) = app.registry.servers(&filter, &[], page, &roll).await?;
    servers.sort_by_key(|server| ids.iter().position(|id| *id == server.id));
    let longest = servers.iter().map(interval).max().unwrap_or_default();
    let range = Range { from: (now - INTERVALS * longest).max(0), to: now };
    let pieces = expected(&app, &servers, range, &roll).await?;
    let day = expected(&app, &servers, Range { from: (now - 24 * HOUR).max(0), to: now }, &roll).await?;
    let covered = app.history.covered(&day).await?;
    let uptimes = day
        .iter()
        .zip(covered)
        .map(|((_, pieces), covered)| Uptime::new(covered, pieces.iter().map(Piece::length).sum()).uptime);
    let app = &*app;
    let lines = servers.iter().zip(pieces).zip(uptimes).map(async |((server, (_, pieces)), uptime)| {
        let samples = app.history.samples(server.id, now - HOUR, now, POINTS).await?;
        let heard = heard(app, server, pieces, now).await?;
        Ok::<_, Failure>(Sparkline { uptime, ..line(server.id, &samples, heard, now) })
    });
    let items = stream::iter(lines).buffered(AT_ONCE).try_collect().await?;
    Ok(Json(Sparklines { from: now - HOUR, to: now, items }))
}

fn interval(server: &Server) -> Millis {
    server.interval_ms.unwrap_or(Interval::DEFAULT.millis())
}

/// How much of each of its last intervals is vouched for.
async fn heard(
    app: &App,
    server: &Server,
    pieces: Vec<Piece>,
    now: Millis,
) -> Result<Vec<Option<u8>>, Failure> {
    let interval = interval(server);
    let begin = now - INTERVALS * interval;
    let pieces: Vec<Piece> = pieces
        .into_iter()
        .map(|piece| Piece { from: piece.from.max(begin), ..piece })
        .filter(|piece| piece.from < piece.to)
        .collect();
    let gaps = match pieces.is_empty() {
        true => Vec::new(),
        false => app.history.outages(server.id, pieces.clone(), 10 * INTERVALS as usize).await?.gaps,
    };
    let sum = |pieces: &[Piece], from| {
        pieces.iter().map(|piece| piece.overlap(from, from + interval)).sum::<Millis>()
    };
    let share = |index| {
        let from = begin + index * interval;
        let expected = sum(&pieces, from);
        let covered = expected - sum(&gaps, from);
        u8::try_from((100 * covered).checked_div(expected)?).ok()
    };
    Ok((0..INTERVALS).map(share).collect())
}

fn line(server_id: ServerId, samples: &[Snapshot], heard: Vec<Option<u8>>, now: Millis) -> Sparkline {
    let buckets = Reduction::new(now - HOUR, now, POINTS);
    let mut shares = vec![Shares::default(); POINTS as usize];
    for sample in samples {
        let place = buckets.bucket(sample.sampled_at()).and_then(|bucket| shares.get_mut(bucket));
        if let Some(place) = place {
            *place = Shares::of_snapshot(sample.as_wire());
        }
    }
    let column = |of: fn(&Shares) -> Option<u8>| shares.iter().map(of).collect();
    let (cpu, memory, disk) = (column(|of| of.cpu), column(|of| of.memory), column(|of| of.disk));
    Sparkline { server_id, cpu, memory, disk, uptime: None, heard }
}

impl FromParameters for Asked {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let texts = parameters.all("id");
        if texts.is_empty() || texts.len() > MOST {
            return Err(invalid_parameter("id", format!("must be given 1 to {MOST} times")));
        }
        let ids = texts.iter().map(|text| text.parse()).collect::<Result<Vec<ServerId>, _>>();
        Ok(Self(ids.map_err(|_| invalid_parameter("id", "must be the id of a server"))?))
    }
}

impl utoipa::IntoParams for Asked {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let ids = ArrayBuilder::new()
            .items(text().format(Some(SchemaFormat::Custom("uuid".into()))))
            .min_items(Some(1))
            .max_items(Some(MOST));
        let mut id = parameter("id", "Id of a server; repeatable", ids);
        id.required = utoipa::openapi::Required::True;
        vec![id]
    }
}
