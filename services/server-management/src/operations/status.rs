//! How many servers are in each state, and how far behind the pipeline is.

use actix_web::web::{Data, Json};
use chassis::Room;
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
    /// The disk of the data folder; null where the stores are servers with disks of their own.
    disk: Option<DiskRoom>,
    /// Our clock.
    now: i64,
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

/// How many servers are in each state, and how late monitoring is.
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
        disk: disk.as_ref().as_ref().map(DiskRoom::of),
        now,
    }))
}
