//! Alerts: what is trouble, how bad it is, where it is told, in which words, and what becomes of a message.

pub mod channel;
pub mod fold;
pub mod guard;
pub mod message;
pub mod request;
pub mod route;
pub mod seal;
pub mod telling;
pub mod verdict;
mod words;

pub use words::{BadWord, IncidentEventKind, IncidentState, Level, Op, Phase, Resolution, RuleKind};
