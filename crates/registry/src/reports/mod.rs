//! Reports, and the schedules that make them.

mod ask;
mod counts;
mod forgetting;
mod report;
mod schedule;

pub(crate) use schedule::forgo_runs;

pub use ask::{Ask, Asked};
pub use counts::ReportCounts;
pub use report::{NewReport, Report, ReportRow, ReportState};
pub use schedule::{ReportSchedule, ScheduleChange};
