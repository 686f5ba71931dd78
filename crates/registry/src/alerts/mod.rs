//! Alerts: rules, what breaks them, incidents, and what is told of them.

mod channels;
mod mailed;
mod notifications;
mod routes;
mod sent;
mod silences;
mod telling;

pub(crate) use notifications::doubt;

pub use channels::Channel;
pub use notifications::{Claim, ClaimedMessage, NotificationKind};
pub use routes::AlertRoute;
pub use sent::{Notification, NotificationFilter, NotificationState};
pub use silences::KeptSilence;
pub use telling::Told;
mod binding;
mod filter;
mod gone;
mod incidents;
mod judge;
mod response;
mod rules;
mod runs;
mod silence;
mod states;
mod windows;

pub(crate) use gone::drop_every_pending;

pub use filter::IncidentFilter;
pub use gone::Failures;
pub use incidents::{Incident, IncidentEvent};
pub use judge::Judged;
pub use response::Response;
pub use rules::AlertRule;
pub use runs::InMaintenance;
pub use silence::{Lasting, Raised, SilentServer};
pub use states::{Observation, StateKey};
pub use windows::{MaintenanceWindow, WindowMatch};
