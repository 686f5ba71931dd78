//! Making an order.

use actix_web::{HttpResponse, http::header::LOCATION, web::Data};
use chassis::{Problem, random};
use fleet::{
    Millis, Scope, ServerId,
    id::OrderId,
    order::{Kind, Wish},
    wire::v1::{Order, VERSION},
};
use registry::{NewOrder, Roll};

use super::{
    bodies::OrderToMake,
    host::Host,
    items::{OrderItem, item},
    notices,
    signing::{Signing, invalid},
};
use crate::{
    app::App,
    http::{
        PREFIX,
        body::{Body, Id, label},
        failure::{Failure, insufficient_scope, invalid_body},
        precondition::tagged,
    },
    people::Caller,
};

/// For how long an order stands unless it says otherwise, and at most.
const USUAL: Millis = 5 * 60_000;
const LONGEST: Millis = 24 * 3_600_000;

/// Order something of a host.
///
/// It is signed and handed to the host at once, or, where the server's label `approvals` says so, once as many others have
/// approved it. Who asks needs the scope of the kind, and gives the password again (`POST sessions/elevate`); at most ten
/// orders a minute. The host decides by its own `hand.conf`; its newest snapshot says which kinds it takes, others are 409
/// `no_hand`.
#[utoipa::path(
    post, path = "/servers/{id}/orders", operation_id = "make_order", tag = "orders",
    params(("id" = String, Path, description = "Id of the server")), request_body = OrderToMake,
    responses((status = 201, description = "The order", body = OrderItem,
        headers(("ETag" = String, description = "Its version"), ("Location" = String, description = "Where it is")))),
    security(("token" = ["process:signal"]), ("token" = ["unit:control"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    signing: Data<Signing>,
    caller: Caller,
    id: Id<ServerId>,
    body: Body<OrderToMake>,
) -> Result<HttpResponse, Failure> {
    let OrderToMake { kind, process, unit, dry_run, reason, not_after } = body.0;
    let kind: Kind = kind.parse().map_err(|error| invalid(&error))?;
    let scope = scope_of(kind);
    if !caller.user.scopes.contains(&scope) {
        return Err(insufficient_scope(scope).into());
    }
    let (process, now) = (process.map(Into::into), app.clock.now());
    Wish::check(kind, process.clone(), unit.clone()).map_err(|error| invalid(&error))?;
    let reason = label("reason", reason)?;
    let not_after = not_after.unwrap_or(now + USUAL);
    if not_after <= now || not_after > now + LONGEST {
        let detail = "not_after must be in the future, and at most 24 hours ahead";
        return Err(invalid_body(detail).with("field", "not_after").into());
    }
    if app.registry.server(id.0, &Roll::default()).await?.is_none() {
        return Err(Problem::not_found().into());
    }
    let key = signing.key()?;
    let boot = Host::of(&app, id.0).await?.boot_for(kind)?;
    let order = OrderId::new(now, random());
    let content = Order {
        version: VERSION,
        order: order.to_string(),
        server: id.0.to_string(),
        boot,
        kind: kind.to_string(),
        process,
        unit,
        dry_run,
        not_after,
        by: caller.user.username.clone(),
        reason,
    };
    let envelope = key.seal(&content).map_err(|error| invalid(&error))?;
    let new = NewOrder { id: order, server: id.0, content, envelope };
    let made = app.registry.make_order(&new, &caller.actor, now).await??;
    notices::tell(&app, id.0).await?;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{PREFIX}/orders/{order}")));
    Ok(tagged(answer, made.version, item(made)))
}

/// What who asks for this kind has to have.
pub(super) fn scope_of(kind: Kind) -> Scope {
    if kind.is_of_units() { Scope::UnitControl } else { Scope::ProcessSignal }
}
