//! Servers, and the list of them.

pub mod edit;
pub mod enrolment;
pub mod import;
pub mod large;
pub mod list;
pub mod sighting;
pub mod status;
