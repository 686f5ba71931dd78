//! Servers as a sheet.

use actix_web::{HttpResponse, web::Data};
use chassis::Problem;
use fleet::{Millis, wire::v1::Host};
use registry::{Server, ServerFilter};
use serde_json::json;
use sheets::{Cell, Format};
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::{
    app::App,
    http::{
        document::{parameter, text},
        download::{PART, Sheet},
        failure::Failure,
        query::{FromParameters, Parameters, Parsed},
    },
    servers::{
        figures::Figures,
        labels,
        listing::{Above, measured_filters},
    },
};

/// The columns that an import reads; the other columns of an export are for people.
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

/// Which servers, as a sheet of which kind.
pub(crate) struct Export {
    format: Format,
    filter: ServerFilter,
    above: Vec<Above>,
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
pub(crate) async fn export(
    app: Data<App>,
    figures: Data<Figures>,
    asked: Parsed<Export>,
) -> Result<HttpResponse, Failure> {
    let Export { format, filter, above } = asked.0;
    let turn = app.turn_to_export().await?;
    let (registry, roll) = (app.registry.clone(), app.roll().await?);
    let filter = figures.narrowed(&app, filter, &above, &roll).await?;
    let after = async move |name: Option<&str>| registry.servers_after(&filter, name, PART, &roll).await;
    let first = after(None).await?;
    let sheet = Sheet { format, name: "servers", columns: COLUMNS, cells };
    Ok(sheet.answer(turn, first, async move |last: &Server| after(Some(&last.name)).await))
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
        text(Some(server.status.as_str())),
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

impl FromParameters for Export {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let format = parameters.parsed("format", str::parse)?.unwrap_or(Format::Xlsx);
        Ok(Self { format, filter: ServerFilter::take(parameters, now)?, above: Above::take(parameters)? })
    }
}

impl utoipa::IntoParams for Export {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let formats = text().enum_values(Some(["xlsx", "csv"])).default(Some(json!("xlsx")));
        let mut parameters = vec![parameter("format", "Which kind of sheet", formats)];
        parameters.extend(measured_filters());
        parameters
    }
}
