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
mod incidents;
mod judge;
mod rules;
mod states;

pub use incidents::{Incident, IncidentEvent, IncidentFilter, Response};
pub use judge::{Failures, Judged, Lasting, Raised, SilentServer};
pub use rules::AlertRule;
pub use states::{Observation, StateKey};
