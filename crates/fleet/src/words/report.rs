//! What a report by mail says.

use crate::Millis;

/// The words of a report.
#[derive(Debug)]
pub struct ReportWords {
    /// Its heading.
    pub title: &'static str,
    /// From this time to that.
    pub period: fn(&str, &str) -> String,
    /// Which servers it is about: what narrows them.
    pub about: fn(&str) -> String,
    /// The same, where nothing does.
    pub about_all: &'static str,
    /// Of a server that is silent.
    pub down: &'static str,
    /// Of one that is not.
    pub up: &'static str,
    /// Of one that was never heard.
    pub unknown: &'static str,
    /// Of one that nobody expects to report.
    pub paused: &'static str,
    /// Above a server's name.
    pub server: &'static str,
    /// Above its state.
    pub state: &'static str,
    /// Above its uptime.
    pub uptime: &'static str,
    /// Beside the uptime of all.
    pub fleet_uptime: &'static str,
    /// Above its longest outage.
    pub longest_outage: &'static str,
    /// Where there was none.
    pub none: &'static str,
    /// Of what had not ended.
    pub ongoing: &'static str,
    /// So long, from this time on.
    pub lasted: fn(&str, &str) -> String,
    /// Above the servers that were out for longest.
    pub worst: &'static str,
    /// Where there was none.
    pub nobody_out: &'static str,
    /// Above all of them.
    pub each: &'static str,
    /// So many more, for which there is no room.
    pub more: fn(usize) -> String,
    /// What the sheet has.
    pub sheet: &'static str,
    /// The link to the page of uptime.
    pub by_day: &'static str,
    /// The subject: so many are down, of so many, the uptime, from this time to that.
    pub subject: fn(usize, usize, &str, &str, &str) -> String,
    /// Above what is said of incidents.
    pub incidents: &'static str,
    /// Where there was none.
    pub no_incident: &'static str,
    /// So many incidents, so many of which had not ended.
    pub counted: fn(u64, u64) -> String,
    /// How long the longest took.
    pub longest_incident: fn(&str) -> String,
    /// How long they took on average.
    pub mean: fn(&str) -> String,
    /// A rule and the server that broke it.
    pub on: fn(&str, &str) -> String,
    /// Of days, hours, minutes and seconds.
    pub units: [&'static str; 4],
}

impl ReportWords {
    /// A length of time in its two largest units.
    pub fn length(&self, millis: Millis) -> String {
        let seconds = millis / 1_000;
        let lengths = [86_400, 3_600, 60, 1];
        let largest = lengths.iter().position(|unit| seconds >= *unit).unwrap_or(3);
        let mut rest = seconds;
        let mut parts = Vec::new();
        for (unit, name) in lengths.iter().zip(self.units).skip(largest).take(2) {
            if rest / unit > 0 || parts.is_empty() {
                parts.push(format!("{} {name}", rest / unit));
            }
            rest %= unit;
        }
        parts.join(" ")
    }
}

#[cfg(test)]
impl ReportWords {
    /// Where in [`all`](Self::all) which arguments have to be found again.
    pub(super) const ARGUMENTS: &[(usize, &str)] = &[
        (17, "<1>"),
        (17, "<2>"),
        (18, "<1>"),
        (19, "<1>"),
        (19, "<2>"),
        (20, "1234"),
        (21, "1234"),
        (21, "5678"),
        (21, "<1>"),
        (21, "<2>"),
        (21, "<3>"),
        (22, "1234"),
        (22, "5678"),
        (23, "<1>"),
        (24, "<1>"),
        (25, "<1>"),
        (25, "<2>"),
    ];

    /// All that it says, but for units, some of which are the same everywhere.
    pub(super) fn all(&self) -> Vec<String> {
        let plain = [
            self.title,
            self.about_all,
            self.down,
            self.up,
            self.unknown,
            self.paused,
            self.server,
            self.state,
            self.uptime,
            self.fleet_uptime,
            self.longest_outage,
            self.none,
            self.ongoing,
            self.worst,
            self.nobody_out,
            self.each,
            self.sheet,
        ];
        let made = [
            (self.period)("<1>", "<2>"),
            (self.about)("<1>"),
            (self.lasted)("<1>", "<2>"),
            (self.more)(1_234),
            (self.subject)(1_234, 5_678, "<1>", "<2>", "<3>"),
            (self.counted)(1_234, 5_678),
            (self.longest_incident)("<1>"),
            (self.mean)("<1>"),
            (self.on)("<1>", "<2>"),
            self.incidents.to_owned(),
            self.no_incident.to_owned(),
        ];
        plain.map(str::to_owned).into_iter().chain(made).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Language;

    #[test]
    fn a_length_has_its_two_largest_units() {
        let words = &Language::English.words().report;
        for (millis, told) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (3_723_000, "1 h 2 min"),
            (90_000_000, "1 d 1 h"),
            (86_400_000 + 60_000, "1 d"),
        ] {
            assert_eq!(words.length(millis), told);
        }
        assert_eq!(Language::Chinese.words().report.length(3_723_000), "1 小时 2 分钟");
    }
}
