//! Reports, and the schedules that make them.

mod report;
mod schedule;

pub use report::{NewReport, Report, ReportRow, ReportState};
pub use schedule::{ReportSchedule, ScheduleChange};
