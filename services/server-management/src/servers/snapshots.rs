//! What a server measured over a range, reduced to points.

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{ServerId, series::Point};
use registry::Roll;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body::Id, failure::Failure, query::Parsed, ranges::Points},
};

/// A range as points. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct Series {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    from: i64,
    to: i64,
    /// In order, empty ones left out: `at` (the bucket's start), `count`, and mean (`avg`) and `max` of each of `cpu`,
    /// `iowait` (percent), `load`, `memory`, `swap`, `disk_used` (bytes), `disk_read`, `disk_written`, `received`, `sent`
    /// (bytes per second), `temperature` (degrees Celsius) that the server told.
    #[schema(value_type = Vec<Object>)]
    points: Vec<Point>,
}

/// Snapshots of one server over a range, as that many equal buckets.
#[utoipa::path(
    get, path = "/servers/{id}/snapshots", operation_id = "show_snapshots", tag = "servers",
    params(("id" = String, Path, description = "Id of the server"), Points),
    responses((status = 200, description = "The points", body = Series)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    id: Id<ServerId>,
    asked: Parsed<Points>,
) -> Result<Json<Series>, Failure> {
    let Points { range, points } = asked.0;
    // Whether it exists is all that is asked, whatever its state.
    if app.registry.server(id.0, &Roll::default()).await?.is_none() {
        return Err(Problem::not_found().into());
    }
    let points = app.history.points(id.0, range.from, range.to, points).await?;
    Ok(Json(Series { server_id: id.0, from: range.from, to: range.to, points }))
}
