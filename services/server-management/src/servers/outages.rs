//! When a server was not heard though it was expected to be. By history or not at all.

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{
    ServerId,
    uptime::{Outages, Piece},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body::Id, failure::Failure, query::Parsed, ranges::Range},
    servers::uptime::{self, Resolution},
};

/// Most outages in one answer.
const MOST: usize = 10_000;

/// Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Outages)]
pub(crate) struct OutageList {
    /// In order of time; their lengths add up to what was expected less what is covered.
    outages: Vec<Outage>,
    /// There were more than 10,000, of which these are the latest: ask again with `to` set to this. Null: these are all.
    more_before: Option<i64>,
    /// `hour` if some of them are exact to the hour alone: of an hour with very many outages only their sum is kept, which
    /// then stands at its end. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

/// Half-open. Pauses divide an outage.
#[derive(Serialize, ToSchema)]
pub(crate) struct Outage {
    from: i64,
    to: i64,
    length_ms: i64,
}

/// When a server was not heard though it was expected to be, by the rule of its uptime.
#[utoipa::path(
    get, path = "/servers/{id}/outages", operation_id = "list_outages", tag = "uptime",
    params(("id" = String, Path, description = "Id of the server"), Range),
    responses((status = 200, description = "The gaps, none where nothing was expected", body = OutageList)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    id: Id<ServerId>,
    range: Parsed<Range>,
) -> Result<Json<OutageList>, Failure> {
    let roll = app.roll().await?;
    let server = app.registry.server(id.0, &roll).await?.ok_or_else(Problem::not_found)?;
    let expected = uptime::expected(&app, &[server], range.0, &roll).await?;
    let (server, pieces) = expected.into_iter().next().ok_or_else(Problem::internal)?;
    Ok(Json(app.history.outages(server, pieces, MOST).await?.into()))
}

impl From<Outages> for OutageList {
    fn from(Outages { gaps, more_before, rounded }: Outages) -> Self {
        let outage = |gap: Piece| Outage { from: gap.from, to: gap.to, length_ms: gap.length() };
        let resolution = Resolution::rounded(rounded);
        Self { outages: gaps.into_iter().map(outage).collect(), more_before, resolution }
    }
}
