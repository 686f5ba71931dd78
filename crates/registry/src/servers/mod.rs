//! Servers: what people say of them, what workers saw of them, and the list of them.

mod adoption;
mod edit;
mod enrolment;
mod forgetting;
mod import;
mod list;
mod pause;
mod profile;
mod revocation;
mod server;
mod sighting;

pub(crate) use enrolment::revoke_every_token;
pub(crate) use list::{push_labelled, status_of};
pub(crate) use pause::{is_expected, paused};
pub(crate) use profile::hold;
pub(crate) use revocation::learn;

pub use enrolment::{Enrol, Enrolled, EnrolmentToken};
pub use forgetting::Forgetting;
pub use import::{ImportFault, ImportOutcome, ImportRow};
pub use list::{Counts, Entry, Roll, ServerFilter, Sort, SortKey};
pub use pause::Pause;
pub use profile::{APPROVALS, Profile, ProfileChange};
pub use server::Server;
pub use sighting::{Marks, Sighting, Standing};
