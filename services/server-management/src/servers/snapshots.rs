//! What a server measured over a range, reduced to points.

use std::borrow::Cow;

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{
    ServerId,
    series::{Figures, Point},
};
use history::Chart;
use registry::Roll;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type},
};

use crate::{
    app::App,
    http::{body::Id, failure::Failure, query::Parsed, ranges::Points},
    servers::uptime::Resolution,
};

/// A range as points. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct Series {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    from: i64,
    to: i64,
    /// In order, empty ones left out.
    #[schema(value_type = Vec<PointShape>)]
    points: Vec<Point>,
    /// `hour` if snapshots of the range are gone and only rollups of its hours are kept: an hour then counts in the bucket
    /// in which it begins. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

/// A point, for the document: [`Point`] stands where nobody knows of it.
struct PointShape;

/// Of the snapshots in a bucket.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document alone tells of it")]
struct Extent {
    /// The mean.
    avg: f64,
    max: f64,
}

impl utoipa::PartialSchema for PointShape {
    fn schema() -> RefOr<Schema> {
        let whole = |description: &str| {
            let kind = SchemaFormat::KnownFormat(KnownFormat::Int64);
            ObjectBuilder::new().schema_type(Type::Integer).format(Some(kind)).description(Some(description))
        };
        let point = ObjectBuilder::new()
            .description(Some(
                "One of the equal parts of a range. What the server did not tell in it is left out. `cpu` and `iowait` are in \
                 percent; `memory`, `swap` and `disk_used` in bytes; `disk_read`, `disk_written`, `received` and `sent` in bytes \
                 per second; `temperature` in degrees Celsius; `load` is the average over a minute.",
            ))
            .property("at", whole("Its start, in Unix ms"))
            .property("count", whole("Snapshots in it"))
            .required("at")
            .required("count");
        let extent = |point: ObjectBuilder, name| point.property(name, Ref::from_schema_name("Extent"));
        Figures::NAMES.into_iter().fold(point, extent).into()
    }
}

impl ToSchema for PointShape {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Point")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Extent".to_owned(), <Extent as utoipa::PartialSchema>::schema()));
    }
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
    let Chart { points, rounded } = app.history.chart(id.0, range.from, range.to, points).await?;
    let (from, to, resolution) = (range.from, range.to, Resolution::rounded(rounded));
    Ok(Json(Series { server_id: id.0, from, to, points, resolution }))
}
