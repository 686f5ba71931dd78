//! What runs on servers: at a moment, and who used how much over a time.

mod asked;
mod moment;
mod show;
mod usage;

use fleet::Scope;
use utoipa::OpenApi;

use crate::people::{Access::Needs, Resource, get};

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(paths(show::show))]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    vec![("/servers/{id}/processes", vec![get(Needs(Scope::ProcessRead), show::show)])]
}
