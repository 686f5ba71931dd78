//! Orders to hosts: who asks for what, who approves it, and how it gets to the gates.

mod bodies;
mod deciding;
mod host;
mod items;
mod making;
mod notices;
mod signing;

use fleet::Scope::{OrderApprove, ProcessRead, ProcessSignal, UnitControl};
use utoipa::OpenApi;

use crate::people::{
    Access::{Acts, Needs, Public},
    Resource, get, list, post,
};

pub use self::signing::{BadOrderKey, OrderKey};
pub(crate) use self::{
    notices::{describe, keep, run},
    signing::Signing,
};

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(paths(making::make, items::list, items::show, deciding::approve, deciding::cancel, signing::show))]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    vec![
        ("/servers/{id}/orders", vec![post(Acts(&[ProcessSignal, UnitControl]), making::make)]),
        ("/orders", vec![list(Needs(ProcessRead), items::list)]),
        ("/orders/{id}", vec![get(Needs(ProcessRead), items::show)]),
        ("/orders/{id}/approve", vec![post(Acts(&[OrderApprove]), deciding::approve)]),
        (
            "/orders/{id}/cancel",
            vec![post(Acts(&[ProcessSignal, UnitControl, OrderApprove]), deciding::cancel)],
        ),
        ("/order-key", vec![get(Public, signing::show)]),
    ]
}
