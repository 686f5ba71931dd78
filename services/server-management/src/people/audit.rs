//! Reading who changed what.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::Problem;
use fleet::Millis;
use registry::{AuditEntry, AuditFilter, Page};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use sheets::{Cell, Format};
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        document::{parameter, text},
        download::{PART, Sheet},
        failure::Failure,
        paging::{Listed, Paging},
        query::{FromParameters, Parameters, Parsed},
        ranges::Bounds,
    },
};

/// Names and widths, in the order of [`cells`].
const COLUMNS: [(&str, u16); 10] = [
    ("at", 20),
    ("actor_kind", 10),
    ("actor_id", 36),
    ("actor_name", 24),
    ("address", 24),
    ("action", 20),
    ("object_kind", 16),
    ("object_id", 36),
    ("before", 60),
    ("after", 60),
];

/// A change by a person or a program, or a log-in that was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct EntryItem {
    /// Rises with time; unique.
    id: u64,
    /// Unix ms.
    at: i64,
    actor: ActorItem,
    /// Such as `user.change` or `session.refuse`.
    #[schema(example = "user.change")]
    action: String,
    object: ObjectItem,
    /// What matters of it as it was; null: it was not there.
    #[schema(value_type = Option<Object>)]
    before: Option<Box<RawValue>>,
    /// The same as it became; null: it is not there any more.
    #[schema(value_type = Option<Object>)]
    after: Option<Box<RawValue>>,
}

/// Who did it, and from where.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditActor)]
pub(crate) struct ActorItem {
    /// `user`, `token` (an API token), `enrolment` (a host by an enrolment token), `system` (the suite itself) or `stranger`
    /// (who proved nothing).
    #[schema(pattern = "^(user|token|enrolment|system|stranger)$")]
    kind: String,
    /// Of the user or the token.
    id: Option<String>,
    /// Name of the user, of a token that of its maker, as it was then.
    name: Option<String>,
    /// Network address.
    address: Option<String>,
}

/// On what.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditObject)]
pub(crate) struct ObjectItem {
    /// Such as `user` or `server`.
    kind: String,
    /// Null when it is none that we know.
    id: Option<String>,
}

/// Which entries.
struct Audit {
    filter: AuditFilter,
}

/// Which entries, which page.
pub(crate) struct AuditPage {
    filter: AuditFilter,
    page: Page,
}

/// Which entries, as what.
pub(crate) struct AuditExport {
    filter: AuditFilter,
}

/// List who changed what, the newest first.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "audit", params(AuditPage),
    responses((status = 200, description = "A page of entries", body = Listed<EntryItem>)),
    security(("token" = ["audit:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    asked: Parsed<AuditPage>,
) -> Result<Json<Listed<EntryItem>>, Failure> {
    let AuditPage { filter, page } = asked.0;
    let (entries, total) = app.registry.audit(&filter, page).await?;
    Ok(Json(Listed::new(entries.into_iter().map(EntryItem::from).collect(), total, page)))
}

/// The same as csv, whole. A body that breaks off is incomplete: the registry went away, or nobody took it for 30 s.
#[utoipa::path(
    get, path = "/audit/export", operation_id = "export_audit", tag = "audit", params(AuditExport),
    responses((status = 200, description = "The sheet, the newest first", body = String, content_type = "text/csv")),
    security(("token" = ["audit:read"]))
)]
pub(crate) async fn export(app: Data<App>, asked: Parsed<AuditExport>) -> Result<HttpResponse, Failure> {
    let turn = app.turn_to_export().await?;
    let (registry, filter) = (app.registry.clone(), asked.0.filter);
    let after = async move |last: Option<&AuditEntry>| registry.audit_after(&filter, last, PART).await;
    let first = after(None).await?;
    let sheet = Sheet { format: Format::Csv, name: "audit", columns: COLUMNS, cells };
    Ok(sheet.answer(turn, first, async move |last: &AuditEntry| after(Some(last)).await))
}

fn cells(entry: &AuditEntry) -> [Cell; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().map_or(Cell::Empty, Cell::Text);
    [
        Cell::Time(entry.at),
        Cell::Text(entry.actor_kind.clone()),
        text(&entry.actor_id),
        text(&entry.actor_name),
        text(&entry.address),
        Cell::Text(entry.action.clone()),
        Cell::Text(entry.object_kind.clone()),
        text(&entry.object_id),
        text(&entry.before),
        text(&entry.after),
    ]
}

impl FromParameters for Audit {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let actor = parameters.one("actor")?;
        let action = parameters.one("action")?;
        let object = parameters.one("object")?;
        let Bounds { from, to } = Bounds::take(parameters, now)?;
        Ok(Self { filter: AuditFilter { actor, action, object, from, to } })
    }
}

impl FromParameters for AuditPage {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let Audit { filter } = Audit::take(parameters, now)?;
        let Paging(page) = Paging::take(parameters, now)?;
        Ok(Self { filter, page })
    }
}

impl FromParameters for AuditExport {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let csv = |text: &str| if text == "csv" { Ok(()) } else { Err("must be csv") };
        parameters.parsed("format", csv)?;
        Ok(Self { filter: Audit::take(parameters, now)?.filter })
    }
}

impl utoipa::IntoParams for Audit {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let actor = "By this: the id of a user or API token, or a user name regardless of case";
        let mut parameters = vec![
            parameter("actor", actor, text()),
            parameter("action", "Exactly this", text().examples([json!("user.change")])),
            parameter("object", "On this: an id, or a kind such as `user`", text()),
        ];
        parameters.extend(Bounds::into_params(place));
        parameters
    }
}

impl utoipa::IntoParams for AuditPage {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = Audit::into_params(&place);
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

impl utoipa::IntoParams for AuditExport {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let formats = text().enum_values(Some(["csv"]));
        let mut parameters = Audit::into_params(place);
        parameters.push(parameter("format", "Of the sheet; `csv` by default", formats));
        parameters
    }
}

impl From<AuditEntry> for EntryItem {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { number, at, actor_kind, actor_id, actor_name, address, .. } = entry;
        // We wrote it as JSON; what is damaged is left out.
        let raw = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            id: number,
            at,
            actor: ActorItem { kind: actor_kind, id: actor_id, name: actor_name, address },
            action: entry.action,
            object: ObjectItem { kind: entry.object_kind, id: entry.object_id },
            before: raw(entry.before),
            after: raw(entry.after),
        }
    }
}
