//! Alerts: rules, incidents, maintenance windows, and where all of it is told.

use utoipa::OpenApi;

use crate::{app::App, people::Resource};

/// What is documented of them.
#[derive(OpenApi)]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    Vec::new()
}

/// What is done about them without being asked, until it is dropped.
pub(crate) async fn run(_app: &App) {
    // The judge comes first, then whoever tells what it found.
}
