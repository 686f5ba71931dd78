//! The system of record: servers and what workers saw of them, enrolments, people and their sessions.
//!
//! [`Registry`] has one variant for each engine and the same methods on both. A statement is one constant text in the
//! SQL that PostgreSQL and SQLite share, except where a batch goes in: `$1` placeholders, `ON CONFLICT … DO
//! UPDATE … WHERE excluded…`, `RETURNING`, `NULLS LAST` on columns that may be null, times as `BIGINT` Unix ms, ids as
//! text, and text that is compared regardless of case folded in Rust. `engine` runs it on either.
//!
//! Writers may be many on PostgreSQL: each transaction first takes, by a guarded `UPDATE … RETURNING`, the row that it is
//! about, and a batch writes at most one row a key, in the order of keys.
//!
//! What is read and not found is `Ok(None)`. What somebody asks for and does not get is `Ok(Err(refusal))`, see [`Refusal`],
//! and nothing of it is done. An error says what the caller can do about it, see [`RegistryError`]. Time is an argument of
//! every method that writes one.
//!
//! The rooms are three storeys. The ground knows no domain: `engine`, `audit` and `refusal`. Each domain is a folder:
//! `people`, `servers`, `pipeline`, `reports`, `alerts`, `orders` and `outbox`. A domain uses the ground, and of another domain only what its
//! `mod.rs` offers. The roof is `restored`, which joins the domains, and this file, which says what the crate offers.
#![warn(missing_docs)]

mod alerts;
mod audit;
mod engine;
mod orders;
mod outbox;
mod people;
mod pipeline;
mod refusal;
mod reports;
mod restored;
mod servers;

pub use alerts::{
    AlertRoute, AlertRule, Channel, Claim, ClaimedMessage, Failures, InMaintenance, Incident, IncidentEvent,
    IncidentFigures, IncidentFilter, Judged, KeptSilence, Lasting, MaintenanceWindow, NamedIncident,
    Notification, NotificationFilter, NotificationKind, NotificationState, Observation, PeriodIncidents,
    Raised, Response, SilentServer, StateKey, Told, WindowMatch,
};
pub use audit::{Action, Actor, AuditEntry, AuditFilter, Change, Who};
pub use engine::{
    BadDatabaseRole, BadUrl, DatabaseRole, Guest, Page, Postgres, PostgresUrl, Registry, RegistryError,
    Sqlite, fold_name,
};
pub use orders::{Approval, NewOrder, OrderCounts, OrderFilter, OrderState, StoredOrder, Taken};
pub use outbox::{Attempt, Delivery, DeliveryState};
pub use people::{
    Account, AccountChange, AccountFilter, ApiToken, NewAccount, OpenSession, PasswordChange, ROTATED_LATELY,
    Refresh, RefreshToken, Role, RoleChange, RoleId, SessionOf, User,
};
pub use refusal::Refusal;
pub use reports::{
    Ask, Asked, NewReport, Report, ReportCounts, ReportRow, ReportSchedule, ReportState, ScheduleChange,
};
pub use restored::Restored;
pub use servers::{
    APPROVALS, Counts, Enrol, Enrolled, EnrolmentToken, Entry, Forgetting, ImportFault, ImportOutcome,
    ImportRow, Marks, Pause, Profile, ProfileChange, Roll, Server, ServerFilter, Sighting, Sort, SortKey,
    Standing,
};
