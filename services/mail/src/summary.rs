//! The figures that sum up a report.

use fleet::{Millis, Status};
use registry::ReportRow;

/// How many of the worst servers are named.
const WORST: usize = 10;

/// The figures that a manager reads first.
#[derive(Debug, PartialEq)]
pub struct Summary<'a> {
    pub up: usize,
    pub down: usize,
    pub unknown: usize,
    pub paused: usize,
    /// Of all servers together, 0 to 1; `None` where nothing was expected.
    pub uptime: Option<f64>,
    /// Those with the lowest uptime below 100 %, the lowest first.
    pub worst: Vec<&'a ReportRow>,
}

impl<'a> Summary<'a> {
    pub fn of(rows: &'a [ReportRow]) -> Self {
        let count = |status| rows.iter().filter(|row| row.status == status).count();
        let sum = |part: fn(&ReportRow) -> Millis| rows.iter().map(part).sum::<Millis>();
        let mut worst: Vec<&ReportRow> = rows.iter().filter(|row| row.covered_ms < row.expected_ms).collect();
        let longest = |row: &ReportRow| row.longest_outage.map_or(0, |(_, length)| length);
        worst.sort_by(|one, other| {
            let by_uptime = uptime(one).unwrap_or(1.0).total_cmp(&uptime(other).unwrap_or(1.0));
            by_uptime.then(longest(other).cmp(&longest(one))).then(one.name.cmp(&other.name))
        });
        worst.truncate(WORST);
        Self {
            up: count(Status::Up),
            down: count(Status::Down),
            unknown: count(Status::Unknown),
            paused: count(Status::Paused),
            uptime: ratio(sum(|row| row.covered_ms), sum(|row| row.expected_ms)),
            worst,
        }
    }

    pub fn servers(&self) -> usize {
        self.up + self.down + self.unknown + self.paused
    }
}

/// The uptime of one server, 0 to 1; `None` where nothing was expected.
pub fn uptime(row: &ReportRow) -> Option<f64> {
    ratio(row.covered_ms, row.expected_ms)
}

fn ratio(covered: Millis, expected: Millis) -> Option<f64> {
    (expected > 0).then(|| (covered as f64 / expected as f64).clamp(0.0, 1.0))
}

/// A percentage for people. It is [cut off](cut_off).
pub fn percent(uptime: Option<f64>) -> String {
    match uptime {
        Some(uptime) => format!("{:.2} %", cut_off(uptime)),
        None => "–".to_owned(),
    }
}

/// A percentage with two digits. It is cut off, not rounded, so that a server which was down for a second does not show
/// 100 %.
pub fn cut_off(uptime: f64) -> f64 {
    (uptime * 10_000.0 + 1e-7).floor() / 100.0
}

#[cfg(test)]
pub mod tests {
    use fleet::ServerId;

    use super::*;

    pub fn row(name: &str, status: Status, covered_ms: Millis, longest: Millis) -> ReportRow {
        ReportRow {
            server: ServerId::new(1_790_000_000_000, [1; 10]),
            name: name.to_owned(),
            status,
            covered_ms,
            expected_ms: 86_400_000,
            longest_outage: (longest > 0).then_some((1_790_000_000_000, longest)),
            incidents: 0,
            longest_incident_ms: None,
            resolved_in_ms: None,
        }
    }

    #[test]
    fn a_summary_counts_and_names_the_worst() {
        let mut rows: Vec<_> = (0..20).map(|n| row(&format!("ok-{n}"), Status::Up, 86_400_000, 0)).collect();
        rows.extend((0..12).map(|n| row(&format!("bad-{n}"), Status::Down, 80_000_000 + n * 1_000, 5)));
        rows.push(row("never", Status::Unknown, 0, 0));
        rows[32].expected_ms = 0;
        let summary = Summary::of(&rows);
        assert_eq!((summary.up, summary.down, summary.unknown, summary.paused), (20, 12, 1, 0));
        let names: Vec<_> = summary.worst.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names[0], names[9], names.len()), ("bad-0", "bad-9", 10));
        assert_eq!(summary.servers(), 33);
        assert_eq!(Summary::of(&[]).uptime, None);
    }

    #[test]
    fn a_percentage_never_says_all_of_what_was_not() {
        assert_eq!(percent(Some(1.0)), "100.00 %");
        assert_eq!(percent(Some(0.999_999)), "99.99 %");
        assert_eq!(percent(Some(0.5731)), "57.31 %");
        assert_eq!(percent(None), "–");
    }
}
