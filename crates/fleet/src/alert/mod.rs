//! Alerts: what is trouble, how bad and when, where it is told, in which words, and what becomes of a message.

pub mod channel;
pub mod deaf;
mod fields;
pub mod fold;
mod glob;
pub mod guard;
pub mod hindsight;
pub mod lease;
mod maintenance;
pub mod message;
mod metric;
pub mod request;
pub mod route;
mod rule;
pub mod seal;
mod shipped;
mod state;
pub mod telling;
pub mod template;
pub mod verdict;
mod words;

pub use glob::{BadGlob, Glob};
pub use maintenance::{BACK, MAX_WINDOW, Maintenance, Opening};
pub use metric::Metric;
pub use rule::{
    Binding, DEFAULT_CLEAR_HOLD, Draft, MAX_HOLD, Rule, RuleFault, SelfCheck, Threshold, Verdict, Watch,
    Watches,
};
pub use shipped::shipped;
pub use state::{BACK_FILL, Holds, IN_TIME, MOST_STATES, Sample, State};
pub use words::{BadWord, IncidentEventKind, IncidentState, Level, Op, Phase, Resolution, RuleKind};
