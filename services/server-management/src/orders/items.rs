//! Orders, as people read them.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::Problem;
use fleet::{
    Millis, ServerId,
    id::OrderId,
    wire::v1::{Order, OrderResult, ProcessTarget, UnitState},
};
use registry::{Approval, OrderFilter, OrderState, StoredOrder};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        body::Id,
        document::{parameter, text},
        failure::Failure,
        paging::{Listed, Paging},
        precondition::tagged,
        query::{FromParameters, Parameters, Parsed},
    },
};

/// An order to a host, and what became of it. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderItem {
    #[schema(value_type = String, format = "uuid")]
    id: OrderId,
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    /// Name of the server when it was made.
    server: String,
    kind: String,
    process: Option<TargetItem>,
    unit: Option<String>,
    dry_run: bool,
    reason: String,
    /// Only `awaiting` and `pending` are open; `unknown`: the host cannot tell whether it was done.
    #[schema(value_type = String, pattern = "^(awaiting|pending|done|refused|failed|unknown|expired|cancelled)$")]
    state: &'static str,
    /// Name of who asked for it.
    asked_by: String,
    not_after: i64,
    /// How many others have to approve it.
    approvals_needed: u32,
    approvals: Vec<ApprovalItem>,
    /// When the suite signed it; null: it did not.
    signed_at: Option<i64>,
    /// The keys that signed it.
    signed_by: Vec<String>,
    /// What is signed, in base64url: for `rollcall-agent sign`.
    payload: String,
    /// Name of who took it back.
    cancelled_by: Option<String>,
    /// What the host says; null: nothing yet.
    result: Option<ResultItem>,
    created_at: i64,
    updated_at: i64,
}

/// A process of one boot.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderedProcess)]
struct TargetItem {
    pid: u32,
    /// In ms after the boot.
    start_ms: u64,
    pin: Option<u64>,
    executable: Option<String>,
}

/// That somebody approved it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderApproval)]
struct ApprovalItem {
    /// Their name then.
    by: String,
    at: i64,
}

/// What a host says became of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderResult)]
struct ResultItem {
    /// Why it is not `done`, such as `not_allowed`.
    code: Option<String>,
    detail: Option<String>,
    /// By the host's clock.
    at: i64,
    /// Nothing was done, only checked.
    dry_run: bool,
    /// With `host_clock`: by how many ms the host's clock is ahead.
    host_ahead_ms: Option<i64>,
    /// With `unit.…`: the unit afterwards.
    unit: Option<UnitItem>,
}

/// A unit as its host told of it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderedUnit)]
struct UnitItem {
    active: String,
    sub: String,
    result: String,
    main_pid: u32,
}

/// Which orders, and which page of them.
pub(crate) struct OrderListing {
    filter: OrderFilter,
    paging: Paging,
}

/// List orders, newest first.
#[utoipa::path(
    get, path = "/orders", operation_id = "list_orders", tag = "orders", params(OrderListing),
    responses((status = 200, description = "A page of them", body = Listed<OrderItem>)),
    security(("token" = ["process:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    listing: Parsed<OrderListing>,
) -> Result<Json<Listed<OrderItem>>, Failure> {
    let OrderListing { filter, paging: Paging(page) } = listing.0;
    let (orders, total) = app.registry.orders(&filter, page).await?;
    Ok(Json(Listed::new(orders.into_iter().map(item).collect(), total, page)))
}

/// Read one order.
#[utoipa::path(
    get, path = "/orders/{id}", operation_id = "show_order", tag = "orders",
    params(("id" = String, Path, description = "Id of the order")),
    responses((status = 200, description = "The order", body = OrderItem,
        headers(("ETag" = String, description = "Its version")))),
    security(("token" = ["process:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<OrderId>) -> Result<HttpResponse, Failure> {
    let order = app.registry.order(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(tagged(HttpResponse::Ok(), order.version, item(order)))
}

pub(super) fn item(order: StoredOrder) -> OrderItem {
    let StoredOrder { id, server, server_name, state, content, envelope, signed_at, .. } = order;
    let StoredOrder { approvals_needed, approvals, cancelled_by, not_after, result, .. } = order;
    let Order { kind, process, unit, dry_run, by, reason, .. } = content;
    OrderItem {
        id,
        server_id: server,
        server: server_name,
        kind,
        process: process.map(TargetItem::from),
        unit,
        dry_run,
        reason,
        state: state.as_str(),
        asked_by: by,
        not_after,
        approvals_needed,
        approvals: approvals
            .into_iter()
            .map(|Approval { name, at, .. }| ApprovalItem { by: name, at })
            .collect(),
        signed_at,
        signed_by: envelope.signatures.into_iter().map(|signature| signature.key).collect(),
        payload: envelope.payload,
        cancelled_by,
        result: result.map(ResultItem::from),
        created_at: order.created_at,
        updated_at: order.updated_at,
    }
}

impl From<ProcessTarget> for TargetItem {
    fn from(target: ProcessTarget) -> Self {
        let ProcessTarget { pid, start_ms, pin, executable } = target;
        Self { pid, start_ms, pin, executable }
    }
}

impl From<OrderResult> for ResultItem {
    fn from(result: OrderResult) -> Self {
        let OrderResult { code, detail, at, dry_run, host_ahead_ms, unit, .. } = result;
        let unit = unit.map(|UnitState { active, sub, result, main_pid }| UnitItem {
            active,
            sub,
            result,
            main_pid,
        });
        Self { code, detail, at, dry_run, host_ahead_ms, unit }
    }
}

impl FromParameters for OrderListing {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let state = |text: &str| OrderState::of(text).ok_or("is no state of an order");
        let filter = OrderFilter {
            server: parameters
                .parsed("server", |text| text.parse().map_err(|_| "must be the id of a server"))?,
            state: parameters.parsed("state", state)?,
        };
        Ok(Self { filter, paging: Paging::take(parameters, now)? })
    }
}

impl utoipa::IntoParams for OrderListing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let states = OrderState::ALL.map(OrderState::as_str);
        let mut parameters = vec![
            parameter("server", "To the server of this id", text()),
            parameter("state", "In this state", text().enum_values(Some(states))),
        ];
        parameters.extend(Paging::into_params(place));
        parameters
    }
}
