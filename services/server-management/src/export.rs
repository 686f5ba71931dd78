//! Servers as a sheet, passed on while it is made: neither the fleet nor the file is ever in memory as a whole.

use std::io;

use actix_web::{
    HttpResponse,
    http::header::CONTENT_DISPOSITION,
    web::{Bytes, Data},
};
use fleet::wire::v1::Host;
use futures_util::stream::poll_fn;
use registry::{Registry, RegistryError, Roll, Server, ServerFilter};
use sheets::{Cell, Chunks, Column, Format, WriteError, Writer};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    task::spawn_blocking,
    time::{Duration, timeout},
};

use crate::{
    app::App,
    failure::Failure,
    labels,
    query::{Export, Parsed},
};

/// Servers that are read at once.
const PART: u32 = 1_000;
/// Chunks of 64 KiB that wait for whoever reads.
const WAITING: usize = 4;
/// How long whoever reads may take for a chunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an import reads; the rest of an export is for people.
pub(crate) const READ_BACK: [&str; 4] = ["id", "name", "address", "labels"];

/// Names and widths, in the order of [`cells`].
const COLUMNS: [(&str, u16); 18] = [
    ("id", 36),
    ("name", 24),
    ("address", 24),
    ("labels", 30),
    ("status", 10),
    ("interval_ms", 12),
    ("last_seen_at", 20),
    ("hostname", 24),
    ("os", 24),
    ("kernel", 20),
    ("arch", 10),
    ("cpu_model", 30),
    ("boot_at", 20),
    ("agent_version", 14),
    ("paused_at", 20),
    ("enrolled_at", 20),
    ("created_at", 20),
    ("updated_at", 20),
];

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Sheet(#[from] WriteError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Servers as they are read for one export.
struct Parts {
    registry: Registry,
    filter: ServerFilter,
    roll: Roll,
}

/// The names of all columns.
pub(crate) fn columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(name, _)| *name)
}

/// Servers as a sheet, by name, narrowed as their list. `last_seen_at` is up to 5 minutes behind. A body that breaks off is
/// incomplete: a store went away, or nobody took it for 30 s.
#[utoipa::path(
    get, path = "/servers/export", operation_id = "export_servers", tag = "sheets", params(Export),
    responses((status = 200, description = "The sheet; an import of it changes nothing", content(
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")))),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn export(app: Data<App>, asked: Parsed<Export>) -> Result<HttpResponse, Failure> {
    let Export { format, filter } = asked.0;
    let turn = app.turn_to_export().await?;
    let parts = Parts { registry: app.registry.clone(), filter, roll: app.roll().await? };
    // Before the answer begins, so that it can still be another.
    let first = parts.after(None).await?;
    let (pass, mut passed) = mpsc::channel(WAITING);
    let runtime = Handle::current();
    drop(spawn_blocking(move || run(turn, format, &parts, first, &pass, &runtime)));
    let disposition = format!("attachment; filename=\"servers.{}\"", format.extension());
    Ok(HttpResponse::Ok()
        .content_type(format.mime_type())
        .insert_header((CONTENT_DISPOSITION, disposition))
        .streaming(poll_fn(move |context| passed.poll_recv(context))))
}

type Pass = mpsc::Sender<io::Result<Bytes>>;

/// Holds its turn to its end.
fn run(
    turn: OwnedSemaphorePermit,
    format: Format,
    parts: &Parts,
    first: Vec<Server>,
    pass: &Pass,
    runtime: &Handle,
) {
    if let Err(error) = write(format, parts, first, pass, runtime) {
        if !pass.is_closed() {
            tracing::warn!(%error, "an export broke off");
        }
        // Without it the body would end as if it were whole.
        drop(pass.try_send(Err(io::ErrorKind::BrokenPipe.into())));
    }
    drop(turn);
}

fn write(
    format: Format,
    parts: &Parts,
    first: Vec<Server>,
    pass: &Pass,
    runtime: &Handle,
) -> Result<(), Broken> {
    let sink = Chunks::new(|chunk| {
        let sent = runtime.block_on(timeout(PATIENCE, pass.send(Ok(Bytes::from(chunk)))));
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    });
    let columns = COLUMNS.map(|(name, width)| Column::new(name, width));
    let mut writer = Writer::new(format, "servers", &columns, sink)?;
    let mut part = first;
    loop {
        for server in &part {
            writer.write(&cells(server))?;
        }
        let Some(last) = part.last() else { break };
        part = runtime.block_on(parts.after(Some(&last.name)))?;
    }
    writer.finish()?;
    Ok(())
}

impl Parts {
    async fn after(&self, name: Option<&str>) -> Result<Vec<Server>, RegistryError> {
        self.registry.servers_after(&self.filter, name, PART, &self.roll).await
    }
}

fn cells(server: &Server) -> [Cell; COLUMNS.len()] {
    let text = |text: Option<&str>| text.map_or(Cell::Empty, |text| Cell::Text(text.to_owned()));
    let time = |at: Option<i64>| at.map_or(Cell::Empty, Cell::Time);
    let none = Host::default();
    let host = server.facts.as_ref().unwrap_or(&none);
    [
        Cell::Text(server.id.to_string()),
        text(Some(&server.name)),
        text(server.address.as_deref()),
        Cell::Text(labels::to_cell(&server.labels)),
        text(Some(crate::query::spell(server.status))),
        server.interval_ms.map_or(Cell::Empty, |interval| Cell::Number(interval as f64)),
        time(server.last_seen_at),
        text(host.hostname.as_deref()),
        text(host.os.as_deref()),
        text(host.kernel.as_deref()),
        text(host.arch.as_deref()),
        text(host.cpu_model.as_deref()),
        time(host.boot_at),
        text(host.agent_version.as_deref()),
        time(server.paused.as_ref().map(|(since, _)| *since)),
        time(server.enrolled_at),
        time(Some(server.created_at)),
        time(Some(server.updated_at)),
    ]
}
