//! Alerts: rules, what breaks them, incidents, and what is told of them.

mod binding;
mod channels;
mod filter;
mod gone;
mod hearing;
mod incidents;
mod judge;
mod lease;
mod mailed;
mod notifications;
mod period;
mod response;
mod routes;
mod rules;
mod runs;
mod sent;
mod silence;
mod silences;
mod states;
mod telling;
mod windows;

pub(crate) use gone::drop_every_pending;
pub(crate) use lease::forgo_reporter_lease;
pub(crate) use notifications::doubt;

pub use channels::Channel;
pub use filter::IncidentFilter;
pub use gone::Failures;
pub use incidents::{Incident, IncidentEvent};
pub use judge::Judged;
pub use notifications::{Claim, ClaimedMessage, NotificationKind};
pub use period::{IncidentFigures, NamedIncident, PeriodIncidents};
pub use response::Response;
pub use routes::AlertRoute;
pub use rules::AlertRule;
pub use runs::InMaintenance;
pub use sent::{Notification, NotificationFilter, NotificationState};
pub use silence::{Lasting, Raised, SilentServer};
pub use silences::KeptSilence;
pub use states::{Observation, StateKey};
pub use telling::Told;
pub use windows::{MaintenanceWindow, WindowMatch};
