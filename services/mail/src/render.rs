//! A report as text, as HTML, and as a sheet. Names that hosts and people gave are escaped in each of them.

use std::fmt::Write;

use fleet::{Millis, Status, Zone};
use registry::{Report, ReportRow};
use sheets::{Cell, Column, Format, WriteError, Writer};

use crate::{
    filter,
    summary::{Summary, cut_off, length, percent, uptime},
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
}

/// A server that is down when the report is computed is out up to the watermark, which is less than this behind.
const WATERMARK_SLACK: Millis = 5 * 60_000;

/// Colours on white that keep the contrast of WCAG AA.
const GOOD: &str = "#1a7f37";
const BAD: &str = "#b42318";
const NEUTRAL: &str = "#57606a";

/// What phones need beside the styles in place: most of their programs read this, and others lose only some margin.
const HEAD: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Rollcall</title>\
<style>@media (max-width:480px){body{padding:0!important}.card{padding:16px 12px!important;border:0!important}\
th,td{padding:6px 4px!important;font-size:13px!important}}</style></head>\
<body style=\"margin:0;padding:16px;background:#f6f8fa;color:#1f2328;\
font:15px/1.45 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif\">\
<div class=\"card\" style=\"max-width:720px;margin:0 auto;padding:24px;background:#ffffff;border:1px solid #d0d7de;border-radius:8px\">";

const TABLE: &str =
    "<table role=\"table\" cellspacing=\"0\" style=\"width:100%;border-collapse:collapse;font-size:14px\">";
const TH: &str =
    "<th style=\"text-align:left;padding:6px 8px;border-bottom:2px solid #d0d7de;vertical-align:bottom\">";
/// Short words and figures stay in one line; names and outages may take several, so that a table is never wider than a phone.
const TD: &str =
    "<td style=\"padding:6px 8px;border-bottom:1px solid #eaeef2;vertical-align:top;white-space:nowrap\">";
const TD_LONG: &str = "<td style=\"padding:6px 8px;border-bottom:1px solid #eaeef2;vertical-align:top\">";
const TD_NAME: &str = "<td style=\"padding:6px 8px;border-bottom:1px solid #eaeef2;vertical-align:top;\
word-break:break-word;overflow-wrap:anywhere\">";

impl<'a> Told<'a> {
    pub fn new(report: &'a Report, rows: &'a [ReportRow]) -> Self {
        // Times are in UTC if this release does not know the zone (any more).
        let zone = report.time_zone.parse().unwrap_or(Zone::UTC);
        // A workbook, if this release does not know the format.
        let format = report.format.parse().unwrap_or(Format::Xlsx);
        Self { report, rows, summary: Summary::of(rows), format, filter: filter::told(&report.filter), zone }
    }

    pub fn subject(&self) -> String {
        let Summary { down, uptime, .. } = &self.summary;
        let servers = self.summary.servers();
        format!("Rollcall: {down} of {servers} servers down, uptime {}, {}", percent(*uptime), self.period())
    }

    /// Name of the attached sheet.
    pub fn file_name(&self) -> String {
        let day = self.zone.tell(self.report.to).chars().take(10).collect::<String>();
        format!("rollcall-{day}.{}", self.format.extension())
    }

    fn period(&self) -> String {
        format!("{} to {}", self.zone.tell(self.report.from), self.zone.tell(self.report.to))
    }

    fn servers(&self) -> String {
        format!("Servers: {}", self.filter.as_deref().map_or("all".to_owned(), one_line))
    }

    fn outage(&self, row: &ReportRow) -> String {
        match row.longest_outage {
            Some((at, millis)) => {
                let end = if self.lasts(row) { ", ongoing" } else { "" };
                format!("{} from {}{end}", length(millis), self.zone.tell(at))
            }
            None => "none".to_owned(),
        }
    }

    /// Whether the longest outage had not ended: at the end of the range, or when the report was computed, whichever was first.
    fn lasts(&self, row: &ReportRow) -> bool {
        let Some((at, millis)) = row.longest_outage else { return false };
        let (end, computed_at) = (at + millis, self.report.computed_at.unwrap_or(self.report.to));
        end >= self.report.to || (row.status == Status::Down && end + WATERMARK_SLACK >= computed_at)
    }

    pub fn text(&self) -> String {
        let Summary { up, down, unknown, paused, uptime: all, worst } = &self.summary;
        let mut text = format!(
            "Rollcall report\n{}\n{}\n\n{down} down, {up} up, {unknown} unknown, {paused} paused\nFleet uptime {}\n",
            self.period(),
            self.servers(),
            percent(*all)
        );
        if worst.is_empty() {
            text.push_str("\nNo server was out.\n");
        } else {
            text.push_str("\nThe worst\n");
            for row in worst {
                text.push_str(&self.line(row));
            }
        }
        text.push_str("\nEach server\n");
        for row in self.rows.iter().take(MOST_LINES) {
            text.push_str(&self.line(row));
        }
        if let Some(more) = self.more() {
            text.push_str(&format!("  {more}\n"));
        }
        text.push_str("\nThe attached sheet has every server.\n");
        text
    }

    fn line(&self, row: &ReportRow) -> String {
        let outage = self.outage(row);
        let name = one_line(&row.name);
        format!("  {name}: {}, {}, longest outage {outage}\n", row.status.as_str(), percent(uptime(row)))
    }

    fn more(&self) -> Option<String> {
        let more = self.rows.len().checked_sub(MOST_LINES).filter(|more| *more > 0)?;
        Some(format!("… and {more} more, in the sheet"))
    }

    pub fn html(&self) -> String {
        let Summary { up, down, unknown, paused, uptime: all, worst } = &self.summary;
        let mut html = String::from(HEAD);
        html.push_str("<h1 style=\"margin:0;font-size:20px\">Rollcall report</h1>");
        put(&mut html, "<p style=\"margin:4px 0 0;color:#57606a\">", &self.period(), "</p>");
        put(
            &mut html,
            "<p style=\"margin:0 0 16px;color:#57606a;overflow-wrap:anywhere\">",
            &self.servers(),
            "</p>",
        );
        html.push_str("<div style=\"margin-bottom:8px\">");
        let percentage = percent(*all);
        let down_colour = if *down > 0 { BAD } else { NEUTRAL };
        for (figure, name, colour) in [
            (down.to_string(), "down", down_colour),
            (up.to_string(), "up", GOOD),
            (unknown.to_string(), "unknown", NEUTRAL),
            (paused.to_string(), "paused", NEUTRAL),
            (percentage, "fleet uptime", "#1f2328"),
        ] {
            tile(&mut html, &figure, name, colour);
        }
        html.push_str("</div>");
        if worst.is_empty() {
            html.push_str("<p style=\"margin:0 0 20px\">No server was out.</p>");
        } else {
            heading(&mut html, "The worst");
            self.table(&mut html, worst.iter().copied());
        }
        heading(&mut html, "Each server");
        self.table(&mut html, self.rows.iter().take(MOST_LINES));
        if let Some(more) = self.more() {
            put(&mut html, "<p>", &more, "</p>");
        }
        html.push_str("<p style=\"margin:20px 0 0;color:#57606a\">The attached sheet has every server.</p>");
        html.push_str("</div></body></html>\n");
        html
    }

    fn table<'r>(&self, html: &mut String, rows: impl Iterator<Item = &'r ReportRow>) {
        html.push_str(TABLE);
        html.push_str("<tr>");
        for name in ["Server", "State", "Uptime", "Longest outage"] {
            put(html, TH, name, "</th>");
        }
        html.push_str("</tr>");
        for row in rows {
            html.push_str("<tr>");
            put(html, TD_NAME, &one_line(&row.name), "</td>");
            for cell in [row.status.as_str(), &percent(uptime(row))] {
                put(html, TD, cell, "</td>");
            }
            put(html, TD_LONG, &self.outage(row), "</td>");
            html.push_str("</tr>");
        }
        html.push_str("</table>");
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

/// A figure over its name. They stand side by side as far as there is room, and go on in the next line.
fn tile(html: &mut String, figure: &str, name: &str, colour: &str) {
    html.push_str(
        "<div style=\"display:inline-block;min-width:84px;margin:0 16px 12px 0;vertical-align:top\">",
    );
    html.push_str("<div style=\"font-size:24px;font-weight:600;white-space:nowrap;color:");
    html.push_str(colour);
    put(html, "\">", figure, "</div>");
    put(html, "<div style=\"color:#57606a\">", name, "</div></div>");
}

fn heading(html: &mut String, text: &str) {
    put(html, "<h2 style=\"margin:20px 0 8px;font-size:16px\">", text, "</h2>");
}

/// Adds markup around a text, which is escaped.
fn put(html: &mut String, before: &'static str, text: &str, after: &'static str) {
    html.push_str(before);
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c if c.is_control() => drop(write!(html, "\u{fffd}")),
            c => html.push(c),
        }
    }
    html.push_str(after);
}

/// Replaces control characters, so that a name cannot begin a line of its own.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
pub mod tests {
    use fleet::{Status, id::ReportId};
    use registry::ReportState;
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
            state: ReportState::Ready,
            error: None,
            created_at: 1_790_000_000_000,
            computed_at: Some(1_790_000_000_000),
        }
    }

    #[test]
    fn names_are_text_in_html_and_one_line_in_text() {
        let rows = [row("<img src=x onerror=\"alert('1')\">&\r\nBcc: x", Status::Down, 1, 7_000)];
        let report = report();
        let told = Told::new(&report, &rows);
        let html = told.html();
        assert!(
            !html.contains("<img")
                && html.contains("&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;")
        );
        assert!(!told.text().contains("\nBcc"));
        assert!(told.text().contains("1 down, 0 up, 0 unknown, 0 paused"));
        assert!(told.subject().is_ascii());
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
        let html = told.html();
        assert!(html.contains("1 h from 2026-09-21 15:13 CEST, ongoing</td>"), "{html}");
        assert!(html.contains("1 h from 2026-09-20 16:13 CEST</td>"), "{html}");
        assert!(told.text().contains("longest outage 1 h from 2026-09-21 15:13 CEST, ongoing\n"));
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
        assert!(Told::new(&report, &rows).text().contains("\nServers: all\n"));
        report.filter = r#"{"label":["site:<eu>"],"status":"up"}"#.to_owned();
        let told = Told::new(&report, &rows);
        assert!(told.text().contains("\nServers: label: site:<eu>, status: up\n"), "{}", told.text());
        assert!(told.html().contains("Servers: label: site:&lt;eu&gt;, status: up</p>"));
        let sheet = String::from_utf8(told.sheet().unwrap()).unwrap();
        assert!(sheet.contains(",\"label: site:<eu>, status: up\","), "{sheet}");
    }

    #[test]
    fn a_sheet_is_as_it_was() {
        let mut report = report();
        report.format = "csv".to_owned();
        let rows = [row("web-1", Status::Down, 86_399_999, 1_000), row("web-2", Status::Up, 86_400_000, 0)];
        let id = rows[0].server;
        let sheet = String::from_utf8(Told::new(&report, &rows).sheet().unwrap()).unwrap();
        let expected = [
            "\u{feff}name,status,uptime_percent,covered_s,expected_s,longest_outage_s,longest_outage_at (Europe/Berlin),\
             longest_outage_ongoing,servers,id".to_owned(),
            format!("web-1,down,99.99,86399.999,86400,1,2026-09-21T16:13:20+02:00,true,all,{id}"),
            format!("web-2,up,100,86400,86400,,,,all,{id}"),
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
        assert!(told.html().contains("… and 800 more, in the sheet") && !told.html().contains("web-200<"));
        assert!(told.text().contains("No server was out.") && told.text().contains("web-199:"));
        assert!(told.sheet().unwrap().starts_with(b"PK"));
        assert_eq!(told.file_name(), "rollcall-2026-09-21.xlsx");
        assert!(told.subject().ends_with("2026-09-20 16:13 CEST to 2026-09-21 16:13 CEST"));
    }
}
