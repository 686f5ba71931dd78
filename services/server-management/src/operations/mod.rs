//! How the suite itself is: its state for people and programs, and the page that shows it.

mod after_restore;
mod dashboard;
mod dead_letters;
mod metrics;
mod status;
mod watch;

use fleet::Scope;
use utoipa::OpenApi;

pub use self::{
    after_restore::{AfterRestore, AfterRestoreError, after_restore},
    dead_letters::DeadLetterQueues,
};
pub(crate) use self::{dashboard::mount as mount_dashboard, dead_letters::DeadLetters, watch::watch};
use crate::people::{Access::Needs, Resource, get};

/// Describes what `/metrics` tells of the suite as a whole.
pub(crate) fn describe() {
    dead_letters::describe();
    watch::describe();
}

/// What is documented of it.
#[derive(OpenApi)]
#[openapi(paths(status::show))]
pub(crate) struct Document;

/// The metrics of the process, for those who are not on its host.
pub(crate) fn metrics_resource() -> Resource {
    ("/metrics", vec![get(Needs(Scope::ServerRead), metrics::show)])
}

/// Where its URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    vec![("/status", vec![get(Needs(Scope::ServerRead), status::show)])]
}
