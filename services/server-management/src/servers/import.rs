//! An import of a sheet of servers: each row is judged; then the changes of all rows are made, or none.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use actix_multipart::{Multipart, MultipartError};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::StatusCode,
    web::{Bytes, Data},
};
use chassis::{Problem, http::made_room, random};
use fleet::{Millis, ServerId};
use futures_util::TryStreamExt;
use registry::{ImportFault, ImportOutcome, ImportRow, Profile, ProfileChange};
use serde::Serialize;
use serde_json::{Value, json};
use sheets::{Format, Limits, Row, SheetError, Upload};
use tokio::{
    task::spawn_blocking,
    time::{Duration, timeout},
};
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        body::label,
        document::{flag, parameter},
        failure::{Failure, invalid_body},
        query::{FromParameters, Parameters, Parsed},
    },
    people::By,
    servers::{export, labels},
};

/// How long an upload may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether only to say what would be done.
pub(crate) struct DryRun(bool);

/// The field `file` of a form.
pub(crate) struct File(Bytes);

/// A form with a file, for the document.
#[derive(ToSchema)]
#[schema(as = SheetFile)]
pub(crate) struct FileForm {
    /// An xlsx or a csv, told apart by what is in it; at most 5 MiB, 50 MiB inflated, 10,000 rows.
    #[schema(value_type = String, format = Binary, example = "name,address\nweb-2,192.0.2.7\n")]
    #[expect(dead_code, reason = "the document alone tells of it")]
    file: Vec<u8>,
}

/// What became of a sheet, or would.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportResult {
    /// How many servers are made.
    create: usize,
    /// How many are changed.
    update: usize,
    /// How many are as their row says.
    unchanged: usize,
    /// In the order of the rows. With any of them nothing is changed.
    errors: Vec<RowError>,
    /// All other rows, in their order.
    rows: Vec<RowResult>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RowError {
    /// Counted from 1, the header included, as spreadsheets show it.
    row: u32,
    /// Its name or, of a cell that cannot be read, its letters.
    column: String,
    /// Stable: `bad_cell`, `invalid_id`, `unknown_id`, `missing_name`, `invalid_name`, `name_taken`, `duplicate_name`,
    /// `duplicate_server`, `invalid_address`, `invalid_labels`.
    code: &'static str,
    /// For people.
    reason: String,
}

/// What becomes of a row.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowResult {
    row: u32,
    /// `create`, `update` or `unchanged`.
    #[schema(pattern = "^(create|update|unchanged)$")]
    verdict: &'static str,
    /// Null for a server that is not made yet.
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<ServerId>,
    /// Of an update: `name`, `address`, `labels`, each as it was and as it becomes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    changes: BTreeMap<&'static str, Difference>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Difference {
    before: Value,
    after: Value,
}

/// A sheet as far as it can be understood without the registry.
#[derive(Default)]
struct Sheet {
    rows: Vec<ImportRow>,
    errors: Vec<RowError>,
}

/// Make and change servers by a sheet, an export of them for one. A row is about the server of its `id` or, without one, of
/// its `name`; without such a server it makes one. Of the columns `name`, `address` and `labels` (`key:value`, one a line)
/// those that are there are taken as they are, an empty cell too; the other columns of an export are passed over. With
/// `dry_run` nothing is changed; without it all rows are done at once, or none if one of them is wrong.
#[utoipa::path(
    post, path = "/servers/import", operation_id = "import_servers", tag = "sheets", params(DryRun),
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "What became of each row or, with `dry_run`, would", body = ImportResult)),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn import(
    app: Data<App>,
    by: By,
    dry_run: Parsed<DryRun>,
    file: File,
) -> Result<HttpResponse, Failure> {
    let dry = dry_run.0.0;
    let now = app.clock.now();
    let _turn = app.turn_to_import().await?;
    let sheet = spawn_blocking(move || Sheet::read(&file.0, now)).await.map_err(|_| Problem::internal())?;
    let Sheet { rows, errors } = sheet.map_err(|error| unread(&error))?;
    let apply = !dry && errors.is_empty();
    let outcomes = app.registry.import(&rows, apply, &by.0, now).await?;
    let applied = apply && !outcomes.iter().any(|outcome| matches!(outcome, ImportOutcome::Wrong(_)));
    let result = ImportResult::of(&rows, outcomes, errors, applied);
    if dry || result.errors.is_empty() {
        return Ok(HttpResponse::Ok().json(result));
    }
    Err(result.refused().into())
}

/// The file as a whole cannot be taken.
fn unread(error: &SheetError) -> Problem {
    let (status, code) = match error {
        SheetError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_sheet"),
    };
    Problem::new(status, code, error.to_string())
}

impl FromParameters for DryRun {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        Ok(Self(parameters.flag("dry_run")?.unwrap_or(false)))
    }
}

impl utoipa::IntoParams for DryRun {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let flag = flag().default(Some(json!(false)));
        vec![parameter("dry_run", "Only say what would be done", flag)]
    }
}

impl FromRequest for File {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let form = Multipart::new(request.headers(), payload.take());
        Box::pin(async move {
            timeout(PATIENCE, read(form)).await.unwrap_or_else(|_| {
                let detail = "the file did not arrive in time";
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).into())
            })
        })
    }
}

async fn read(mut form: Multipart) -> Result<File, Failure> {
    let limit = Limits::default().sent;
    let unreadable = |error| match error {
        MultipartError::Payload(error) if made_room(&error) => Problem::no_room(),
        error => invalid_body(format!("the form cannot be read: {error}")),
    };
    while let Some(mut field) = form.try_next().await.map_err(unreadable)? {
        if field.name() != Some("file") {
            continue;
        }
        let bytes = field
            .bytes(limit)
            .await
            .map_err(|_| unread(&SheetError::TooLarge { what: "the file", limit: limit as u64 }))?;
        return Ok(File(bytes.map_err(unreadable)?));
    }
    Err(invalid_body("send multipart/form-data with the field file").into())
}

impl Sheet {
    /// Blocks; takes as long as the file is large.
    fn read(bytes: &[u8], now: Millis) -> Result<Self, SheetError> {
        // An xlsx is a zip, and no csv begins like a zip.
        let format = if bytes.starts_with(b"PK\x03\x04") { Format::Xlsx } else { Format::Csv };
        let mut upload = Upload::open(bytes, format, Limits::default())?;
        let mut rows = upload.rows()?;
        let known: Vec<&str> = export::columns().collect();
        if let Some(name) = rows.columns().unknown(&known).first() {
            return Err(SheetError::NotASheet { why: format!("there is no use for the column \"{name}\"") });
        }
        let has =
            export::READ_BACK.map(|name| rows.columns().names().any(|own| own.eq_ignore_ascii_case(name)));
        if !has[0] {
            rows.columns().require(&["name"])?;
        }
        let mut sheet = Self::default();
        loop {
            match rows.next_row() {
                Ok(None) => return Ok(sheet),
                Ok(Some(row)) => match parse(&row, has, now) {
                    Ok(row) => sheet.rows.push(row),
                    Err(error) => sheet.errors.push(error),
                },
                Err(SheetError::BadCell { row, column, why }) => {
                    sheet.errors.push(RowError { row, column, code: "bad_cell", reason: why.to_owned() });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// `has`: which of [`export::READ_BACK`] the sheet has.
fn parse(
    row: &Row,
    [_, has_name, has_address, has_labels]: [bool; 4],
    now: Millis,
) -> Result<ImportRow, RowError> {
    let cell =
        |column| row.get(column).text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let wrong = |column: &str, code, reason: String| RowError {
        row: row.number,
        column: column.to_owned(),
        code,
        reason,
    };
    let id = cell("id").map(|id| id.parse().map_err(|error| wrong("id", "invalid_id", format!("{error}"))));
    let id: Option<ServerId> = id.transpose()?;
    let name = match cell("name") {
        Some(name) => {
            Some(label("name", name).map_err(|problem| wrong("name", "invalid_name", said(&problem)))?)
        }
        None if has_name || id.is_none() => {
            return Err(wrong("name", "missing_name", "a server needs a name".to_owned()));
        }
        None => None,
    };
    let address = cell("address").map(|address| label("address", address));
    let address =
        address.transpose().map_err(|problem| wrong("address", "invalid_address", said(&problem)))?;
    let text = row.get("labels").text().unwrap_or_default();
    let labels =
        labels::from_cell(&text).map_err(|problem| wrong("labels", "invalid_labels", said(&problem)))?;
    let change = ProfileChange {
        name,
        address: has_address.then_some(address),
        labels: has_labels.then_some(labels),
        ..ProfileChange::default()
    };
    Ok(ImportRow { number: row.number, id, new_id: ServerId::new(now, random()), change })
}

/// The detail of a problem with a cell.
fn said(problem: &Problem) -> String {
    problem.detail().to_owned()
}

impl ImportResult {
    fn of(rows: &[ImportRow], outcomes: Vec<ImportOutcome>, errors: Vec<RowError>, applied: bool) -> Self {
        let mut result = Self { create: 0, update: 0, unchanged: 0, errors, rows: Vec::new() };
        for (row, outcome) in rows.iter().zip(outcomes) {
            let (verdict, id, changes) = match outcome {
                ImportOutcome::Create { id, .. } => ("create", Some(id).filter(|_| applied), BTreeMap::new()),
                ImportOutcome::Update { id, before, after } => {
                    ("update", Some(id), differences(&before, &after))
                }
                ImportOutcome::Unchanged { id } => ("unchanged", Some(id), BTreeMap::new()),
                ImportOutcome::Wrong(fault) => {
                    result.errors.push(wrong(row, fault));
                    continue;
                }
            };
            match verdict {
                "create" => result.create += 1,
                "update" => result.update += 1,
                _ => result.unchanged += 1,
            }
            result.rows.push(RowResult { row: row.number, verdict, id, changes });
        }
        result.errors.sort_by_key(|error| error.row);
        result
    }

    /// 422, and all there is to tell.
    fn refused(self) -> Problem {
        let detail = "some rows are wrong, and nothing was changed";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rows", detail)
            .with("create", self.create)
            .with("update", self.update)
            .with("unchanged", self.unchanged)
            .with("errors", self.errors)
            .with("rows", self.rows)
    }
}

fn differences(before: &Profile, after: &Profile) -> BTreeMap<&'static str, Difference> {
    let pairs = [
        ("name", json!(before.name), json!(after.name)),
        ("address", json!(before.address), json!(after.address)),
        ("labels", json!(before.labels), json!(after.labels)),
    ];
    let differ = pairs.into_iter().filter(|(_, before, after)| before != after);
    differ.map(|(column, before, after)| (column, Difference { before, after })).collect()
}

fn wrong(row: &ImportRow, fault: ImportFault) -> RowError {
    let (column, code, reason) = match fault {
        ImportFault::UnknownId => ("id", "unknown_id", "there is no server of this id".to_owned()),
        ImportFault::NoName => ("name", "missing_name", "a server needs a name".to_owned()),
        ImportFault::NameTaken => ("name", "name_taken", "another server has this name".to_owned()),
        ImportFault::Approvals => {
            let reason = "the label approvals is changed by PATCH servers/{id} alone".to_owned();
            ("labels", "approvals_locked", reason)
        }
        ImportFault::SameServer(other) => {
            let column = if row.id.is_some() { "id" } else { "name" };
            (column, "duplicate_server", format!("row {other} is about the same server"))
        }
        ImportFault::SameName(other) => ("name", "duplicate_name", format!("row {other} has the same name")),
    };
    RowError { row: row.number, column: column.to_owned(), code, reason }
}
