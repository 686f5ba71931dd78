//! Alerts: what is trouble, and how bad.

mod words;

pub use words::{BadWord, IncidentEventKind, IncidentState, Level, Op, Phase, Resolution, RuleKind};
