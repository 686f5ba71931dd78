//! Reports by mail: one is asked for, computed in the background, and sent to each recipient.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    Recipient, Zone,
    id::{DeliveryId, ReportId, ScheduleId},
    words::Language,
};
use registry::{Asked, Delivery, DeliveryState, NewReport, Report, ReportState, ServerFilter};
use serde::{Deserialize, Serialize};
use sheets::Format;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    app::App,
    http::{
        body::{Body, Id},
        document,
        failure::{Failure, invalid_body},
        paging::{Listed, Paging},
        query::{MAX_TEXT_BYTES, Parsed},
        ranges,
    },
    people::Caller,
    reports::budget,
    servers::{self, MAX_LABELS},
};

/// Most recipients of a report.
const MOST_RECIPIENTS: usize = 50;

/// A report to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeReport)]
pub(crate) struct ReportToMake {
    /// Start, in it: Unix ms or RFC 3339.
    #[schema(example = "2026-09-20T00:00:00Z")]
    from: Time,
    /// End, not in it: Unix ms or RFC 3339.
    #[schema(example = "2026-09-21T00:00:00Z")]
    to: Time,
    /// 1 to 50 addresses, in domains that MAIL_ALLOWED_DOMAINS names.
    #[schema(min_items = 1, max_items = 50, example = json!(["ops@example.org"]))]
    recipients: Vec<String>,
    /// Which servers; all of them unless set.
    filter: Option<ReportFilter>,
    /// In which its times are told: of the IANA database; UTC unless set.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// As what the sheet is attached: `xlsx`, which it is unless set, or `csv`.
    #[schema(pattern = "^(xlsx|csv)$", example = "csv")]
    format: Option<String>,
    /// In which it is written: `en`, which it is unless set, `vi`, `zh` or `sq`.
    #[schema(pattern = "^(en|vi|zh|sq)$", example = "en")]
    language: Option<String>,
}

/// A time as people and programs write it: Unix ms or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a time must be Unix ms or RFC 3339")]
pub(crate) enum Time {
    Millis(i64),
    Text(String),
}

/// Which servers, as the parameters of their list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReportFilter {
    /// In this state when the report is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(up|down|unknown|paused)$")]
    status: Option<String>,
    /// Of exactly this name, regardless of case.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Of exactly this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Name, address, hostname or a label's value contains this, regardless of case.
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<String>,
    /// With all of these labels, each `key:value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16, example = json!(["site:eu"]))]
    label: Vec<String>,
}

/// The report that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct AskedReport {
    #[schema(value_type = String, format = "uuid")]
    id: ReportId,
}

/// A report. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Report)]
pub(crate) struct ReportItem {
    #[schema(value_type = String, format = "uuid")]
    id: ReportId,
    /// What made it; null: somebody asked for it.
    #[schema(value_type = Option<String>, format = "uuid")]
    schedule_id: Option<ScheduleId>,
    from: i64,
    to: i64,
    time_zone: String,
    filter: ReportFilter,
    /// As what the sheet is attached: `xlsx` or `csv`.
    #[schema(pattern = "^(xlsx|csv)$")]
    format: String,
    /// In which it is written.
    #[schema(pattern = "^(en|vi|zh|sq)$")]
    language: String,
    /// `queued` (to be computed), `ready` (its mails are on their way) or `failed`.
    #[schema(pattern = "^(queued|ready|failed)$")]
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    created_at: i64,
    computed_at: Option<i64>,
    /// One for each recipient; only where one report is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryItem>>,
}

/// A mail to one recipient. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryItem {
    recipient: String,
    /// `queued`, `sending`, `sent`, `failed`, or `unknown`: it may have been sent, and is not sent again. Without a mail server
    /// `written`: it is a file, and was sent to nobody.
    #[schema(pattern = "^(queued|sending|sent|written|failed|unknown)$")]
    state: &'static str,
    /// How often it was tried.
    attempts: u32,
    /// Of the mail; null until it is tried.
    message_id: Option<String>,
    /// Why it failed, or did at the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    updated_at: i64,
}

/// Ask for a report by mail. It is computed once, in the background; `GET /reports/{id}` follows it.
///
/// Once the mails that a user asked for within an hour have 1,000,000 rows, the next request is 429. A mail has a row for
/// each server, and counts as 1,000 if it has fewer. Schedules do not count.
#[utoipa::path(
    post, path = "/reports", operation_id = "make_report", tag = "reports", request_body = ReportToMake,
    responses((status = 202, description = "It is on its way", body = AskedReport)),
    security(("token" = ["report:write"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    caller: Caller,
    body: Body<ReportToMake>,
) -> Result<HttpResponse, Failure> {
    let ReportToMake { from, to, recipients, filter, time_zone, format, language } = body.0;
    let (from, to) = (from.checked("from")?, to.checked("to")?);
    if from >= to {
        return Err(invalid_body("from must be before to").into());
    }
    let recipients = checked_recipients(&app, &recipients)?;
    let time_zone = time_zone.map_or(Ok(Zone::UTC), |zone| checked_zone(&zone))?;
    let (filter, format, now) = (checked_filter(filter)?, checked_format(format)?, app.clock.now());
    let ask = budget::ask(&app, caller.user.id, &filter, recipients.len()).await?;
    let sheet = Form { format, language: checked_language(language)? };
    let report = new_report((from, to), time_zone, filter, sheet, recipients, now);
    if let Asked::TooMuch { again_at } =
        app.registry.make_report(&report, Some(ask), &caller.actor, now).await?
    {
        return Err(budget::too_much(again_at, now).into());
    }
    Ok(HttpResponse::Accepted().json(AskedReport { id: report.id }))
}

/// List reports, the newest first.
#[utoipa::path(
    get, path = "/reports", operation_id = "list_reports", tag = "reports", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<ReportItem>)),
    security(("token" = ["report:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<ReportItem>>, Failure> {
    let page = paging.0.0;
    let (reports, total) = app.registry.reports(page).await?;
    let items = reports.into_iter().map(|report| item(report, None)).collect();
    Ok(Json(Listed::new(items, total, page)))
}

/// Follow one report.
#[utoipa::path(
    get, path = "/reports/{id}", operation_id = "show_report", tag = "reports",
    params(("id" = String, Path, description = "Id of the report")),
    responses((status = 200, description = "The report and its deliveries", body = ReportItem)),
    security(("token" = ["report:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<ReportId>) -> Result<Json<ReportItem>, Failure> {
    let (report, deliveries) = app.registry.report(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(item(report, Some(deliveries))))
}

/// How a report is written, as the registry keeps it.
pub(crate) struct Form {
    pub(crate) format: String,
    pub(crate) language: String,
}

/// A report and its deliveries, under ids of their own.
pub(crate) fn new_report(
    (from, to): (i64, i64),
    time_zone: Zone,
    filter: String,
    form: Form,
    recipients: Vec<String>,
    now: i64,
) -> NewReport {
    let address = |recipient| (DeliveryId::new(now, random()), recipient);
    NewReport {
        id: ReportId::new(now, random()),
        from,
        to,
        time_zone: time_zone.to_string(),
        filter,
        format: form.format,
        language: form.language,
        recipients: recipients.into_iter().map(address).collect(),
    }
}

/// Addresses in domains to which mail may go. One that is given twice counts once.
pub(crate) fn checked_recipients(app: &App, texts: &[String]) -> Result<Vec<String>, Problem> {
    if !(1..=MOST_RECIPIENTS).contains(&texts.len()) {
        return Err(invalid_body(format!("recipients must be 1 to {MOST_RECIPIENTS}")));
    }
    let mut checked: Vec<String> = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let recipient: Recipient =
            text.parse().map_err(|error| invalid_body(format!("recipients[{place}] {error}")))?;
        if !app.settings.allowed_domains.allow(&recipient) {
            let domain = recipient.domain();
            let detail =
                format!("recipients[{place}] is in {domain}, which MAIL_ALLOWED_DOMAINS does not name");
            return Err(invalid_body(detail));
        }
        if !checked.iter().any(|other| other.eq_ignore_ascii_case(recipient.as_str())) {
            checked.push(recipient.to_string());
        }
    }
    Ok(checked)
}

pub(crate) fn checked_zone(text: &str) -> Result<Zone, Problem> {
    text.parse().map_err(|error| invalid_body(format!("time_zone {error}")))
}

/// The format as the registry keeps it.
pub(crate) fn checked_format(format: Option<String>) -> Result<String, Problem> {
    let format: Result<Format, _> = format.map_or(Ok(Format::Xlsx), |text| text.parse());
    let format = format.map_err(|error| invalid_body(format!("format {error}")))?;
    Ok(format.extension().to_owned())
}

/// The language as the registry keeps it.
pub(crate) fn checked_language(language: Option<String>) -> Result<String, Problem> {
    let language: Result<Language, _> = language.map_or(Ok(Language::default()), |text| text.parse());
    Ok(language.map_err(|error| invalid_body(format!("language {error}")))?.to_string())
}

/// The filter as the registry keeps it.
pub(crate) fn checked_filter(filter: Option<ReportFilter>) -> Result<String, Problem> {
    let filter = filter.unwrap_or_default();
    filter.servers()?;
    serde_json::to_string(&filter).map_err(|_| Problem::internal())
}

/// The filter that [`checked_filter`] made a text of; `None` for a text that no release writes.
pub(crate) fn kept_filter(text: &str) -> Option<ServerFilter> {
    serde_json::from_str::<ReportFilter>(text).ok()?.servers().ok()
}

impl ReportFilter {
    fn servers(&self) -> Result<ServerFilter, Problem> {
        let Self { status, name, address, q, label } = self;
        let mut texts = [name, address, q].into_iter().flatten().chain(label);
        if texts.any(|text| text.len() > MAX_TEXT_BYTES || text.contains('\0')) || label.len() > MAX_LABELS {
            let detail =
                format!("filter must have at most {MAX_LABELS} labels and texts of {MAX_TEXT_BYTES} bytes");
            return Err(invalid_body(detail));
        }
        let labels = label.iter().map(|text| servers::read_label(text)).collect::<Result<_, _>>();
        let status = status.as_deref().map(servers::read_status).transpose();
        Ok(ServerFilter {
            status: status.map_err(|reason| invalid_body(format!("filter.status {reason}")))?,
            name: name.clone(),
            address: address.clone(),
            q: q.clone(),
            labels: labels.map_err(|reason| invalid_body(format!("filter.label {reason}")))?,
            ids: None,
        })
    }
}

impl utoipa::PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        document::time().description(Some("Unix ms or RFC 3339")).into()
    }
}

impl ToSchema for Time {}

impl Time {
    fn checked(self, field: &str) -> Result<i64, Problem> {
        let text = match self {
            Self::Millis(at) => at.to_string(),
            Self::Text(text) => text,
        };
        ranges::time(&text).map_err(|reason| invalid_body(format!("{field} {reason}")))
    }
}

fn item(report: Report, deliveries: Option<Vec<Delivery>>) -> ReportItem {
    let state = match report.state {
        ReportState::Queued => "queued",
        ReportState::Ready => "ready",
        ReportState::Failed => "failed",
    };
    ReportItem {
        id: report.id,
        schedule_id: report.schedule,
        from: report.from,
        to: report.to,
        time_zone: report.time_zone,
        filter: serde_json::from_str(&report.filter).unwrap_or_default(),
        format: report.format,
        language: report.language,
        state,
        error: report.error,
        created_at: report.created_at,
        computed_at: report.computed_at,
        deliveries: deliveries.map(|all| all.into_iter().map(DeliveryItem::from).collect()),
    }
}

impl From<Delivery> for DeliveryItem {
    fn from(delivery: Delivery) -> Self {
        let state = match delivery.state {
            DeliveryState::Queued => "queued",
            DeliveryState::Sending => "sending",
            DeliveryState::Sent => "sent",
            DeliveryState::Written => "written",
            DeliveryState::Failed => "failed",
            DeliveryState::Unknown => "unknown",
        };
        let Delivery { recipient, attempts, message_id, error, updated_at, .. } = delivery;
        Self { recipient, state, attempts, message_id, error, updated_at }
    }
}
