//! Alerts: rules, what breaks them, incidents, and what is told of them.

mod incidents;
mod judge;
mod rules;
mod states;
mod windows;

pub(crate) use judge::drop_every_pending;

pub use incidents::{Incident, IncidentEvent, IncidentFilter, Response};
pub use judge::{Failures, Judged, Lasting, Raised, SilentServer};
pub use rules::AlertRule;
pub use states::{Observation, StateKey};
pub use windows::{InMaintenance, MaintenanceWindow, WindowMatch};
