//! A report as text, as HTML, and as a sheet. The words are in `templates/`; names that hosts and people gave are
//! [escaped](crate::escape) in each of them.

use askama::Template;
use fleet::{
    Millis, Status, Zone,
    words::{Language, ReportWords, Words},
};
use registry::{NamedIncident, PeriodIncidents, Report, ReportRow};
use sheets::{Cell, Column, Format, WriteError, Writer};

use crate::{
    filter,
    summary::{Summary, cut_off, percent, uptime},
};

/// Most servers in the table of the mail itself. The sheet has all of them.
const MOST_LINES: usize = 200;

/// A report that is to be rendered.
pub struct Told<'a> {
    pub report: &'a Report,
    pub rows: &'a [ReportRow],
    pub summary: Summary<'a>,
    /// The format of the sheet.
    pub format: Format,
    /// Which servers; `None`: all.
    filter: Option<String>,
    zone: Zone,
    language: Language,
    /// Where people look at servers, without a slash at the end; without it there are no links.
    url: Option<&'a str>,
}

/// A server that is down when the report is computed is out up to the watermark, which is less than this behind.
const WATERMARK_SLACK: Millis = 5 * 60_000;

/// What the templates tell. They differ in form alone.
struct Content<'a> {
    language: &'static str,
    words: &'static ReportWords,
    subject: String,
    period: String,
    /// Which servers.
    about: String,
    summary: &'a Summary<'a>,
    uptime: String,
    worst: Vec<Line<'a>>,
    each: Vec<Line<'a>>,
    /// What is said of how many servers `each` leaves to the sheet; `None`: it leaves none.
    more: Option<String>,
    /// `None`: a release that did not tell of incidents computed it.
    incidents: Option<Incidents>,
    /// The page of uptime.
    link: Option<String>,
}

/// The incidents of the time.
struct Incidents {
    /// How many, how long the longest took, and how long until they were over.
    figures: Vec<String>,
    /// The longest by name: what, on what, how long.
    longest: Vec<(String, String)>,
}

/// A server.
struct Line<'a> {
    name: &'a str,
    /// The server's page, at the range of the report.
    link: Option<String>,
    state: &'static str,
    uptime: String,
    /// The longest.
    outage: String,
}

#[derive(Template)]
#[template(path = "subject.txt")]
struct Subject<'a> {
    of: &'a Content<'a>,
}

#[derive(Template)]
#[template(path = "report.txt")]
struct Text<'a> {
    of: &'a Content<'a>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Html<'a> {
    of: &'a Content<'a>,
}

impl<'a> Told<'a> {
    pub fn new(report: &'a Report, rows: &'a [ReportRow]) -> Self {
        // Times are in UTC if this release does not know the zone (any more).
        let zone = report.time_zone.parse().unwrap_or(Zone::UTC);
        // A workbook, if this release does not know the format.
        let format = report.format.parse().unwrap_or(Format::Xlsx);
        // In English, if this release does not speak the language.
        let language = report.language.parse().unwrap_or_default();
        let (summary, filter) = (Summary::of(rows), filter::told(&report.filter));
        Self { report, rows, summary, format, filter, zone, language, url: None }
    }

    /// The same with links to the pages at this address.
    pub fn linked(self, url: Option<&'a str>) -> Self {
        Self { url, ..self }
    }

    pub fn subject(&self) -> Result<String, askama::Error> {
        Subject { of: &self.content() }.render()
    }

    pub fn text(&self) -> Result<String, askama::Error> {
        Ok(Text { of: &self.content() }.render()? + "\n")
    }

    /// Line breaks and indentation of the template are not part of it: no value of it breaks a line.
    pub fn html(&self) -> Result<String, askama::Error> {
        let html = Html { of: &self.content() }.render()?;
        Ok(html.lines().map(str::trim_start).chain(["\n"]).collect())
    }

    fn words(&self) -> &'static Words {
        self.language.words()
    }

    fn content(&self) -> Content<'_> {
        let (words, summary) = (&self.words().report, &self.summary);
        let (from, to) = (self.zone.tell(self.report.from), self.zone.tell(self.report.to));
        let uptime = percent(summary.uptime);
        let more = self.rows.len().saturating_sub(MOST_LINES);
        Content {
            language: self.language.as_str(),
            words,
            subject: (words.subject)(summary.down, summary.servers(), &uptime, &from, &to),
            period: (words.period)(&from, &to),
            about: (words.about)(self.filter.as_deref().unwrap_or(words.about_all)),
            summary,
            uptime,
            worst: self.summary.worst.iter().map(|row| self.line(row)).collect(),
            each: self.rows.iter().take(MOST_LINES).map(|row| self.line(row)).collect(),
            more: (more > 0).then(|| (words.more)(more)),
            incidents: self.report.incidents.as_ref().map(|incidents| self.incidents(incidents)),
            link: self.url.map(|url| format!("{url}/#/uptime")),
        }
    }

    fn incidents(&self, PeriodIncidents { all, longest }: &PeriodIncidents) -> Incidents {
        let words = &self.words().report;
        if all.count == 0 {
            return Incidents { figures: vec![words.no_incident.to_owned()], longest: Vec::new() };
        }
        let longest_ms = all.longest_ms.map(|millis| (words.longest_incident)(&words.length(millis)));
        let mean = all.mean_ms().map(|millis| (words.mean)(&words.length(millis)));
        let counted = (words.counted)(all.count, all.open);
        Incidents {
            figures: [Some(counted), longest_ms, mean].into_iter().flatten().collect(),
            longest: longest.iter().map(|incident| self.named(incident)).collect(),
        }
    }

    fn named(&self, incident: &NamedIncident) -> (String, String) {
        let words = self.words();
        let server = match (incident.server.as_str(), incident.instance.as_str()) {
            ("", _) => words.suite.to_owned(),
            (server, "") => server.to_owned(),
            (server, instance) => format!("{server} {instance}"),
        };
        let lasted = self.lasted(incident.opened_at, incident.length_ms, incident.lasts);
        ((words.report.on)(&incident.rule, &server), lasted)
    }

    /// How long something was, from when, and whether it goes on.
    fn lasted(&self, at: Millis, millis: Millis, lasts: bool) -> String {
        let words = &self.words().report;
        let lasted = (words.lasted)(&words.length(millis), &self.zone.tell(at));
        if lasts { format!("{lasted}, {}", words.ongoing) } else { lasted }
    }

    fn line<'r>(&self, row: &'r ReportRow) -> Line<'r> {
        let words = &self.words().report;
        let Report { from, to, .. } = self.report;
        let outage = row.longest_outage.map(|(at, millis)| self.lasted(at, millis, self.lasts(row)));
        Line {
            name: &row.name,
            link: self.url.map(|url| format!("{url}/#/servers/{}?from={from}&to={to}", row.server)),
            state: match row.status {
                Status::Up => words.up,
                Status::Down => words.down,
                Status::Unknown => words.unknown,
                Status::Paused => words.paused,
            },
            uptime: percent(uptime(row)),
            outage: outage.unwrap_or_else(|| words.none.to_owned()),
        }
    }

    /// Name of the attached sheet.
    pub fn file_name(&self) -> String {
        let day = self.zone.tell(self.report.to).chars().take(10).collect::<String>();
        format!("rollcall-{day}.{}", self.format.extension())
    }

    /// Whether the longest outage had not ended: at the end of the range, or when the report was computed, whichever was first.
    fn lasts(&self, row: &ReportRow) -> bool {
        let Some((at, millis)) = row.longest_outage else { return false };
        let (end, computed_at) = (at + millis, self.report.computed_at.unwrap_or(self.report.to));
        end >= self.report.to || (row.status == Status::Down && end + WATERMARK_SLACK >= computed_at)
    }

    /// The sheet with every server. Blocks. Times are by the wall clock of the report's zone, which the column names; in csv
    /// they have its offset.
    pub fn sheet(&self) -> Result<Vec<u8>, WriteError> {
        let columns = [
            Column::new("name", 30),
            Column::new("status", 10),
            Column::new("uptime_percent", 16).percent(),
            Column::new("covered_s", 12),
            Column::new("expected_s", 12),
            Column::new("longest_outage_s", 18),
            Column::new(format!("longest_outage_at ({})", self.zone), 22),
            Column::new("longest_outage_ongoing", 10),
            Column::new("servers", 20),
            Column::new("id", 38),
            Column::new("incidents", 10),
            Column::new("longest_incident_s", 18),
            Column::new("mean_time_to_resolve_s", 18),
        ];
        let mut writer = Writer::new(self.format, "report", &columns, Vec::new())?;
        for row in self.rows {
            let seconds = |millis: Millis| Cell::Number(millis as f64 / 1_000.0);
            writer.write(&[
                Cell::Text(row.name.clone()),
                Cell::Text(row.status.as_str().to_owned()),
                uptime(row).map_or(Cell::Empty, |uptime| Cell::Number(cut_off(uptime))),
                seconds(row.covered_ms),
                seconds(row.expected_ms),
                row.longest_outage.map_or(Cell::Empty, |(_, length)| seconds(length)),
                row.longest_outage.map_or(Cell::Empty, |(at, _)| self.time(at)),
                row.longest_outage.map_or(Cell::Empty, |_| Cell::Bool(self.lasts(row))),
                Cell::Text(self.filter.clone().unwrap_or_else(|| "all".to_owned())),
                Cell::Text(row.server.to_string()),
                Cell::Number(row.incidents as f64),
                row.longest_incident_ms.map_or(Cell::Empty, seconds),
                row.resolved_in_ms.map_or(Cell::Empty, seconds),
            ])?;
        }
        writer.finish()
    }

    /// A workbook knows dates and no zones, a csv texts alone.
    fn time(&self, at: Millis) -> Cell {
        match self.format {
            Format::Xlsx => self.zone.wall(at).map_or(Cell::Empty, Cell::Time),
            Format::Csv => Cell::Text(self.zone.rfc3339(at)),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use fleet::{Status, id::ReportId};
    use registry::{IncidentFigures, ReportState};
    use sheets::{Limits, Upload};

    use super::*;
    use crate::summary::tests::row;

    pub fn report() -> Report {
        Report {
            id: ReportId::new(1_790_000_000_000, [1; 10]),
            schedule: None,
            from: 1_789_913_600_000,
            to: 1_790_000_000_000,
            time_zone: "Europe/Berlin".to_owned(),
            filter: "{}".to_owned(),
            format: "xlsx".to_owned(),
            language: "en".to_owned(),
            state: ReportState::Ready,
            error: None,
            created_at: 1_790_000_000_000,
            computed_at: Some(1_790_000_000_000),
            incidents: None,
        }
    }

    fn incidents() -> PeriodIncidents {
        let named = |rule: &str, server: &str, instance: &str, length_ms, lasts| NamedIncident {
            rule: rule.to_owned(),
            server: server.to_owned(),
            instance: instance.to_owned(),
            opened_at: 1_789_990_000_000,
            length_ms,
            lasts,
        };
        PeriodIncidents {
            all: IncidentFigures {
                count: 3,
                open: 1,
                longest_ms: Some(10_000_000),
                resolved: 2,
                resolved_in_ms: 360_000,
            },
            longest: vec![
                named("Silent <now>", "<b>web</b>\r\nBcc: x", "", 10_000_000, true),
                named("Disk", "db-1", "/var", 300_000, false),
                named("Monitoring is late", "", "", 60_000, false),
            ],
        }
    }

    #[test]
    fn a_report_names_the_incidents_of_its_time_in_every_language() {
        let rows = [row("web-1", Status::Up, 86_400_000, 0)];
        for language in Language::ALL {
            let mut report = report();
            report.language = language.to_string();
            // What a release before this one computed says nothing of them.
            let words = &language.words().report;
            assert!(!Told::new(&report, &rows).text().unwrap().contains(words.incidents));
            report.incidents = Some(PeriodIncidents::default());
            assert!(Told::new(&report, &rows).text().unwrap().contains(words.no_incident));
            report.incidents = Some(incidents());
            let told = Told::new(&report, &rows);
            let (text, html) = (told.text().unwrap(), told.html().unwrap());
            assert!(html.contains(&format!("lang=\"{language}\"")), "{html}");
            for said in [
                words.incidents.to_owned(),
                (words.counted)(3, 1),
                (words.longest_incident)(&words.length(10_000_000)),
                (words.mean)(&words.length(180_000)),
                (words.on)("Disk", "db-1 /var"),
                (words.on)("Monitoring is late", language.words().suite),
                words.ongoing.to_owned(),
            ] {
                assert!(text.contains(&said) && html.contains(&said), "{language}: {said} is not in {text}");
            }
            assert!(!html.contains("<b>web") && !text.contains("\nBcc"), "{text}");
        }
    }

    #[test]
    fn names_are_text_in_html_and_one_line_in_text() {
        let rows = [row("<img src=x onerror=\"alert('1')\">&\r\nBcc: x", Status::Down, 1, 7_000)];
        let report = report();
        let told = Told::new(&report, &rows);
        let html = told.html().unwrap();
        assert!(
            !html.contains("<img")
                && html.contains("&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;")
        );
        assert!(!told.text().unwrap().contains("\nBcc"));
        assert!(told.text().unwrap().contains("1 down, 0 up, 0 unknown, 0 paused"));
        assert!(told.subject().unwrap().is_ascii());
    }

    /// The golden files are the mail of such a report, to the byte. `GOLDEN_REWRITE=1` writes them anew.
    #[test]
    fn a_mail_is_as_it_was() {
        let golden = |name: &str, told: &str| {
            let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("GOLDEN_REWRITE").is_some() {
                std::fs::write(&path, told).unwrap();
            }
            assert_eq!(told, std::fs::read_to_string(&path).unwrap(), "{name}");
        };
        let mut report = report();
        report.incidents = Some(incidents());
        let mut rows = vec![
            row("<b>\"evil\" & 'co'</b>\r\nBcc: x\u{1b}[2J", Status::Down, 80_000_000, 6_400_000),
            row("Datenbank-München", Status::Paused, 86_400_000, 0),
            row("new {{ name }} {% if %}", Status::Unknown, 0, 0),
        ];
        rows[2].expected_ms = 0;
        report.filter = r#"{"label":["site:<eu>\n"],"q":"{{ & }}"}"#.to_owned();
        let told = Told::new(&report, &rows);
        golden("out.html", &told.html().unwrap());
        golden("out.txt", &told.text().unwrap());
        golden("out.subject.txt", &told.subject().unwrap());
        let mut rows = vec![row("web", Status::Up, 86_400_000, 0)];
        let report = self::report();
        golden("well.html", &Told::new(&report, &rows).html().unwrap());
        golden("well.txt", &Told::new(&report, &rows).text().unwrap());
        rows.resize(MOST_LINES + 1, row("w", Status::Up, 86_400_000, 0));
        let told = Told::new(&report, &rows);
        let end =
            |text: String| text.chars().rev().take(500).collect::<String>().chars().rev().collect::<String>();
        golden("end.html", &end(told.html().unwrap()));
        golden("end.txt", &end(told.text().unwrap()));
        golden("none.html", &Told::new(&report, &[]).html().unwrap());
        golden("none.txt", &Told::new(&report, &[]).text().unwrap());
    }

    #[test]
    fn links_lead_to_the_pages_where_people_look_and_without_an_address_there_are_none() {
        let (report, rows) = (report(), [row("web <1>", Status::Up, 86_400_000, 0)]);
        let told = Told::new(&report, &rows).linked(Some("https://rollcall.example.org"));
        let page = format!(
            "https://rollcall.example.org/#/servers/{}?from=1789913600000&amp;to=1790000000000",
            rows[0].server
        );
        let html = told.html().unwrap();
        assert!(
            html.contains(&format!("<a href=\"{page}\" style=\"color:#0969da\">web &lt;1&gt;</a></td>")),
            "{html}"
        );
        assert!(html.contains("<a href=\"https://rollcall.example.org/#/uptime\""), "{html}");
        let text = told.text().unwrap();
        assert!(text.ends_with("\nUptime by day: https://rollcall.example.org/#/uptime\n"), "{text}");
        let told = Told::new(&report, &rows);
        assert!(!told.html().unwrap().contains("href") && !told.text().unwrap().contains("http"));
    }

    #[test]
    fn an_outage_that_lasts_is_marked_in_mail_and_sheet() {
        let (mut report, hour) = (report(), 3_600_000);
        let out = |status, at: Millis, millis| {
            let mut row = row("web-1", status, 80_000_000, millis);
            row.longest_outage = Some((at, millis));
            row
        };
        let (from, to) = (report.from, report.to);
        // Up to the end of the range, whatever it is now; over before that; and of a range that is not over when it is computed.
        let rows = [out(Status::Up, to - hour, hour), out(Status::Down, from, hour)];
        let told = Told::new(&report, &rows);
        let marks: Vec<bool> = rows.iter().map(|row| told.lasts(row)).collect();
        assert_eq!(marks, [true, false]);
        let html = told.html().unwrap();
        assert!(html.contains("1 h from 2026-09-21 15:13 CEST, ongoing</td>"), "{html}");
        assert!(html.contains("1 h from 2026-09-20 16:13 CEST</td>"), "{html}");
        assert!(told.text().unwrap().contains("Longest outage: 1 h from 2026-09-21 15:13 CEST, ongoing\n"));
        report.computed_at = Some(to - 2 * hour);
        let rows = [
            out(Status::Down, to - 4 * hour, 2 * hour - 20_000),
            out(Status::Up, to - 4 * hour, 2 * hour - 20_000),
        ];
        let told = Told::new(&report, &rows);
        assert_eq!((told.lasts(&rows[0]), told.lasts(&rows[1])), (true, false));
    }

    #[test]
    fn the_filter_is_named_in_mail_and_sheet() {
        let rows = [row("web-1", Status::Up, 86_400_000, 0)];
        let mut report = report();
        report.format = "csv".to_owned();
        assert!(Told::new(&report, &rows).text().unwrap().contains("\nServers: all\n"));
        report.filter = r#"{"label":["site:<eu>"],"status":"up"}"#.to_owned();
        let told = Told::new(&report, &rows);
        assert!(
            told.text().unwrap().contains("\nServers: label: site:<eu>, status: up\n"),
            "{}",
            told.text().unwrap()
        );
        assert!(told.html().unwrap().contains("Servers: label: site:&lt;eu&gt;, status: up</p>"));
        let sheet = String::from_utf8(told.sheet().unwrap()).unwrap();
        assert!(sheet.contains(",\"label: site:<eu>, status: up\","), "{sheet}");
    }

    #[test]
    fn a_sheet_is_as_it_was() {
        let mut report = report();
        report.format = "csv".to_owned();
        let mut rows =
            [row("web-1", Status::Down, 86_399_999, 1_000), row("web-2", Status::Up, 86_400_000, 0)];
        rows[0].incidents = 2;
        (rows[0].longest_incident_ms, rows[0].resolved_in_ms) = (Some(3_600_000), Some(90_500));
        let id = rows[0].server;
        let sheet = String::from_utf8(Told::new(&report, &rows).sheet().unwrap()).unwrap();
        let expected = [
            "\u{feff}name,status,uptime_percent,covered_s,expected_s,longest_outage_s,longest_outage_at (Europe/Berlin),\
             longest_outage_ongoing,servers,id,incidents,longest_incident_s,mean_time_to_resolve_s".to_owned(),
            format!("web-1,down,99.99,86399.999,86400,1,2026-09-21T16:13:20+02:00,true,all,{id},2,3600,90.5"),
            format!("web-2,up,100,86400,86400,,,,all,{id},0,,"),
            String::new(),
        ];
        assert_eq!(sheet.split("\r\n").collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_workbook_has_dates_by_the_clock_of_the_zone_and_percentages() {
        let (report, rows) = (report(), [row("web-1", Status::Down, 86_399_999, 1_000)]);
        let sheet = Told::new(&report, &rows).sheet().unwrap();
        let mut upload = Upload::open(&sheet, Format::Xlsx, Limits::default()).unwrap();
        let rows: Vec<_> = upload.rows().unwrap().map(Result::unwrap).collect();
        let two_hours = 2 * 3_600_000;
        assert_eq!(
            *rows[0].get("longest_outage_at (Europe/Berlin)"),
            Cell::Time(1_790_000_000_000 + two_hours)
        );
        // Not rounded to 1, which would be shown as 100 %.
        let share = rows[0].get("uptime_percent").number().unwrap();
        assert!((share - 0.9999).abs() < 1e-9, "{share}");
        assert_eq!(*rows[0].get("longest_outage_ongoing"), Cell::Bool(true));
    }

    #[test]
    fn a_mail_tells_two_hundred_servers_and_the_sheet_all() {
        let rows: Vec<_> = (0..1_000).map(|n| row(&format!("web-{n}"), Status::Up, 86_400_000, 0)).collect();
        let report = report();
        let told = Told::new(&report, &rows);
        assert!(
            told.html().unwrap().contains("… and 800 more, in the sheet")
                && !told.html().unwrap().contains("web-200<")
        );
        assert!(
            told.text().unwrap().contains("No server was out.") && told.text().unwrap().contains("web-199:")
        );
        assert!(told.sheet().unwrap().starts_with(b"PK"));
        assert_eq!(told.file_name(), "rollcall-2026-09-21.xlsx");
        assert!(told.subject().unwrap().ends_with("2026-09-20 16:13 CEST to 2026-09-21 16:13 CEST"));
    }
}
