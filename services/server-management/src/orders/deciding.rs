//! What people do about orders that are there.

use actix_web::{HttpResponse, web::Data};
use chassis::Problem;
use fleet::{
    id::OrderId,
    order::{Kind, check_signature},
    wire::v1::Signature,
};
use registry::OrderState;

use super::{
    bodies::Approve,
    host::Host,
    items::{OrderItem, item},
    making::scope_of,
    notices,
    signing::{KEY_NAME, Signing, invalid},
};
use crate::{
    app::App,
    http::{
        body::{Body, Id},
        failure::{Failure, conflict, insufficient_scope, invalid_body},
        precondition::tagged,
    },
    people::Caller,
};

/// Approve an order that waits for it.
///
/// Not by who asked for it. With the last approval that it needs it is signed and handed to its host, if who asked may still,
/// and the host takes such orders still and was not started anew.
#[utoipa::path(
    post, path = "/orders/{id}/approve", operation_id = "approve_order", tag = "orders",
    params(("id" = String, Path, description = "Id of the order")), request_body = Approve,
    responses((status = 200, description = "The order as it is now", body = OrderItem,
        headers(("ETag" = String, description = "Its version")))),
    security(("token" = ["order:approve"]))
)]
pub(crate) async fn approve(
    app: Data<App>,
    signing: Data<Signing>,
    caller: Caller,
    id: Id<OrderId>,
    body: Body<Approve>,
) -> Result<HttpResponse, Failure> {
    let given: Option<Signature> = body.0.signature.map(Into::into);
    if let Some(given) = &given {
        check_signature(given).map_err(|error| invalid(&error))?;
        if given.key == KEY_NAME {
            let detail = "signature.key must name a key that the suite does not have";
            return Err(invalid_body(detail).with("field", "signature.key").into());
        }
    }
    let order = app.registry.order(id.0).await?.ok_or_else(Problem::not_found)?;
    let kind: Kind = order.content.kind.parse().map_err(|_| Problem::internal())?;
    if order.state == OrderState::Awaiting
        && Host::of(&app, order.server).await?.boot_for(kind)? != order.content.boot
    {
        let detail = "the host was started anew since this was ordered; order it again";
        return Err(conflict("conflict", detail).into());
    }
    let ours = signing.key()?.sign(&order.envelope, &order.content).map_err(|error| {
        tracing::error!(order = %order.id, %error, "an order is not what was put into its envelope; it is not signed");
        Problem::internal()
    })?;
    let (scope, now) = (scope_of(kind), app.clock.now());
    let approved =
        app.registry.approve_order(id.0, given.as_ref(), &ours, scope, &caller.actor, now).await??;
    notices::tell(&app, approved.server).await?;
    Ok(tagged(HttpResponse::Ok(), approved.version, item(approved)))
}

/// Take an order back. What its host did already, it did: then its result counts all the same.
///
/// Whoever may ask for such an order, or approve it, may take it back.
#[utoipa::path(
    post, path = "/orders/{id}/cancel", operation_id = "cancel_order", tag = "orders",
    params(("id" = String, Path, description = "Id of the order")),
    responses((status = 200, description = "The order as it is now", body = OrderItem,
        headers(("ETag" = String, description = "Its version")))),
    security(("token" = ["process:signal"]), ("token" = ["unit:control"]), ("token" = ["order:approve"]))
)]
pub(crate) async fn cancel(app: Data<App>, caller: Caller, id: Id<OrderId>) -> Result<HttpResponse, Failure> {
    let order = app.registry.order(id.0).await?.ok_or_else(Problem::not_found)?;
    let kind: Kind = order.content.kind.parse().map_err(|_| Problem::internal())?;
    let may = [scope_of(kind), fleet::Scope::OrderApprove];
    if !may.iter().any(|scope| caller.user.scopes.contains(scope)) {
        return Err(insufficient_scope(scope_of(kind)).into());
    }
    let cancelled = app.registry.cancel_order(id.0, &caller.actor, app.clock.now()).await??;
    notices::tell(&app, cancelled.server).await?;
    Ok(tagged(HttpResponse::Ok(), cancelled.version, item(cancelled)))
}
