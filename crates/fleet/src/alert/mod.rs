//! Alerts: what is trouble, how bad, and when.

mod glob;
mod maintenance;
mod metric;
mod rule;
mod shipped;
mod state;
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
