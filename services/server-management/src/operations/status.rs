//! How many servers are in each state, and how far behind the pipeline is.

use actix_web::web::{Data, Json};
use chassis::Room;
use fleet::{Millis, ServerId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::App, http::failure::Failure, operations::dead_letters::DeadLetters};

/// The fleet at a glance. Times are Unix ms by the gates' clock.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetStatus {
    up: u64,
    /// Silent, while we listened.
    down: u64,
    /// Never heard.
    unknown: u64,
    paused: u64,
    total: u64,
    /// How far behind the pipeline is; null before anything was stored.
    pipeline_lag_ms: Option<i64>,
    /// More than 30 s behind: states are those of the watermark.
    late: bool,
    /// Messages that no store takes, put aside for a person; null while the broker does not answer.
    dead_letters: Option<u32>,
    /// Messages in the queue of mail that are no jobs, put aside likewise; null while the broker does not answer.
    mail_dead_letters: Option<u32>,
    /// Everything that gates took before this is stored.
    watermark: Option<i64>,
    /// Since when gates listen without a gap.
    open_since: Option<i64>,
    /// Who writes most, the most first: the first ten of the last ten minutes. Null while the cache does not answer.
    writers: Option<Vec<Writer>>,
    /// The disk of the data folder; null where the stores are servers with disks of their own.
    disk: Option<DiskRoom>,
    /// Our clock.
    now: i64,
}

/// A server of which much is stored. With several workers its figures are at least these.
#[derive(Serialize, ToSchema)]
pub(crate) struct Writer {
    #[schema(value_type = String, format = "uuid")]
    id: ServerId,
    name: String,
    /// About how many bytes came of it in the last ten minutes.
    bytes: u64,
    /// How many snapshots came of it in the last ten minutes.
    snapshots: u64,
}

/// Room on the disk of the data folder.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiskRoom {
    free_bytes: u64,
    /// Kept free for what people change.
    reserve_bytes: u64,
    /// No snapshots are taken until there is room again; agents keep theirs meanwhile.
    full: bool,
}

impl DiskRoom {
    fn of(room: &Room) -> Self {
        Self { free_bytes: room.free(), reserve_bytes: room.reserve(), full: room.full() }
    }
}

/// Of those that were deleted since nothing is told.
async fn writers(app: &App, now: Millis) -> Result<Option<Vec<Writer>>, Failure> {
    let Some(most) = app.cache_trouble.watch(app.cache.writers(now).await) else { return Ok(None) };
    let ids: Vec<ServerId> = most.iter().map(|writer| writer.server).collect();
    let mut names = app.registry.names(&ids).await?;
    let told = most.into_iter().filter_map(|writer| {
        let cache::Writer { server, bytes, snapshots } = writer;
        Some(Writer { id: server, name: names.remove(&server)?, bytes, snapshots })
    });
    Ok(Some(told.collect()))
}

/// How many servers are in each state, how late monitoring is, and who writes most.
#[utoipa::path(
    get, path = "/status", operation_id = "show_status", tag = "status",
    responses((status = 200, description = "The fleet at a glance", body = FleetStatus)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    dead_letters: Data<DeadLetters>,
    disk: Data<Option<Room>>,
) -> Result<Json<FleetStatus>, Failure> {
    let roll = app.roll().await?;
    let counts = app.registry.counts(&roll).await?;
    let now = app.clock.now();
    let dead = dead_letters.known(now);
    Ok(Json(FleetStatus {
        up: counts.up,
        down: counts.down,
        unknown: counts.unknown,
        paused: counts.paused,
        total: counts.up + counts.down + counts.unknown + counts.paused,
        pipeline_lag_ms: roll.pipeline.lag(now),
        late: roll.pipeline.late(now),
        dead_letters: dead.map(|dead| dead.snapshots),
        mail_dead_letters: dead.map(|dead| dead.mail),
        watermark: roll.pipeline.watermark,
        open_since: roll.pipeline.open_since,
        writers: writers(&app, now).await?,
        disk: disk.as_ref().as_ref().map(DiskRoom::of),
        now,
    }))
}
