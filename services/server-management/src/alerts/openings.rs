//! What maintenance windows do when they are due, and who is in maintenance.

use std::collections::HashMap;

use fleet::{
    Millis, ServerId,
    alert::{BACK, MAX_WINDOW},
    id::MaintenanceWindowId,
};
use registry::RegistryError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{alerts::windows::read, app::App};

/// Most openings of one window that are begun in one turn.
const MOST: usize = 1_000;

/// What is known of windows from turn to turn: up to when the openings of which version of them were looked at.
#[derive(Default)]
pub(super) struct Openings(HashMap<MaintenanceWindowId, (i64, Millis)>);

/// The maintenance that a server is in.
#[derive(Serialize, ToSchema)]
pub(crate) struct InMaintenance {
    /// Id of the window.
    #[schema(value_type = String, format = "uuid")]
    window: MaintenanceWindowId,
    /// Its name; null once it is deleted.
    name: Option<String>,
    /// Unix ms.
    until: i64,
}

/// The maintenance that a server is in, if it is.
pub(crate) async fn of(app: &App, server: ServerId) -> Result<Option<InMaintenance>, RegistryError> {
    let found = app.registry.maintenance_of(server).await?;
    Ok(found.map(|registry::InMaintenance { window, name, until }| InMaintenance { window, name, until }))
}

impl Openings {
    /// Begins the openings that are due, those that were missed too, and ends the runs that are over.
    pub(super) async fn turn(&mut self, app: &App) -> Result<(), RegistryError> {
        let now = app.clock.now();
        app.registry.end_maintenance(now).await?;
        for window in app.registry.enabled_maintenance_windows().await? {
            // What a later release wrote is left to it.
            let Some(maintenance) = read(&window) else { continue };
            let known = self.0.get(&window.id).filter(|(version, _)| *version == window.version);
            let after = known.map_or(window.since.max(now - BACK - MAX_WINDOW), |(_, until)| *until);
            let openings = maintenance.openings(after, now, MOST);
            let begun = if openings.is_empty() {
                Default::default()
            } else {
                app.registry.maintenance_runs(window.id, after).await?
            };
            for opening in openings.iter().filter(|opening| !begun.contains(&opening.local_start)) {
                app.registry.begin_maintenance(&window, opening, now).await?;
            }
            let until = openings.last().filter(|_| openings.len() == MOST).map_or(now, |last| last.starts_at);
            self.0.insert(window.id, (window.version, until));
        }
        // What was missed may be over by now.
        app.registry.end_maintenance(now).await.map(drop)
    }
}
