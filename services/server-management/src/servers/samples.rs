//! What a server measured of each of its disks, interfaces, cores and sensors over a range: charts of parts, where `snapshots`
//! has sums alone.

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{Millis, ServerId, Snapshot, wire::v1};
use registry::Roll;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        body::Id,
        document::{parameter, whole},
        failure::Failure,
        query::{FromParameters, Parameters, Parsed},
        ranges::{self, Range},
    },
    servers::measured,
};

const HOUR: Millis = 3_600_000;
/// Most samples of one answer: each is a whole snapshot.
const MOST: u32 = 300;
const USUAL: u32 = 60;

/// A range and into how many buckets it is divided; the last hour in 60 unless said otherwise.
pub(crate) struct Sampled {
    range: Range,
    points: u32,
}

/// What a server said at some moments of a range. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct Samples {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    from: i64,
    to: i64,
    /// Of each bucket the newest, in order of time; none of buckets in which the server was not heard, or of days of which
    /// snapshots are not kept any more.
    samples: Vec<Sample>,
}

/// What a server said at one moment. What the system does not tell is left out.
#[derive(Serialize, ToSchema)]
struct Sample {
    /// In Unix ms by the agent's clock.
    sampled_at: i64,
    /// Facts about the host; sent when they change and from time to time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<measured::Facts>, nullable = false)]
    host: Option<v1::Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<measured::Cpu>, nullable = false)]
    cpu: Option<v1::Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<measured::Memory>, nullable = false)]
    memory: Option<v1::Memory>,
    /// Mounted file systems.
    #[schema(value_type = Vec<measured::Disk>, max_items = 64)]
    disks: Vec<v1::Disk>,
    /// Network interfaces.
    #[schema(value_type = Vec<measured::Network>, max_items = 64)]
    networks: Vec<v1::Network>,
    /// Sensors.
    #[schema(value_type = Vec<measured::Temperature>, max_items = 128)]
    temperatures: Vec<v1::Temperature>,
}

/// What a server said at some moments of a range.
///
/// The range is divided into that many equal buckets, and of each the newest snapshot is told with all its disks, interfaces,
/// cores and sensors. What lies between is left out: `servers/{id}/snapshots` has means and maxima, of sums.
#[utoipa::path(
    get, path = "/servers/{id}/samples", operation_id = "show_samples", tag = "servers",
    params(("id" = String, Path, description = "Id of the server"), Sampled),
    responses((status = 200, description = "The samples", body = Samples)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    id: Id<ServerId>,
    asked: Parsed<Sampled>,
) -> Result<Json<Samples>, Failure> {
    let Sampled { range: Range { from, to }, points } = asked.0;
    // Whether it exists is all that is asked, whatever its state.
    if app.registry.server(id.0, &Roll::default()).await?.is_none() {
        return Err(Problem::not_found().into());
    }
    let samples = app.history.samples(id.0, from, to, points).await?;
    Ok(Json(Samples { server_id: id.0, from, to, samples: samples.into_iter().map(Sample::from).collect() }))
}

impl From<Snapshot> for Sample {
    /// Names what is told, so that what a snapshot has besides, such as processes, is told to nobody by accident.
    fn from(snapshot: Snapshot) -> Self {
        let v1::Snapshot { sampled_at, host, cpu, memory, disks, networks, temperatures, .. } =
            snapshot.as_wire().clone();
        Self { sampled_at, host, cpu, memory, disks, networks, temperatures }
    }
}

impl FromParameters for Sampled {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let range = Range::ending_now(parameters, now, HOUR)?;
        Ok(Self { range, points: parameters.number("points", MOST)?.unwrap_or(USUAL) })
    }
}

impl utoipa::IntoParams for Sampled {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = ranges::parameters("1 h");
        parameters.push(parameter("points", "Into how many equal buckets", whole(MOST, USUAL)));
        parameters
    }
}
