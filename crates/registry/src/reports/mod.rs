//! Reports, and the schedules that make them.

mod ask;
mod report;
mod schedule;

pub use ask::{Ask, Asked};
pub use report::{NewReport, Report, ReportRow, ReportState};
pub use schedule::{ReportSchedule, ScheduleChange};
