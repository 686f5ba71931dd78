//! Local time: when something is due, and which piece of the calendar it is about.

pub mod schedule;
pub mod window;

pub use schedule::{BadCron, BadZone, Cron, Due, Zone};
pub use window::{BadWindow, Window, days};
