//! What a message says: lines for people, in the language of the channel and within what its kind can hold.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    Level,
    channel::Kind,
    fold::fold,
    template::{Piece, pieces},
};
use crate::{
    Millis,
    calendar::Zone,
    id::IncidentId,
    words::{Language, Words},
};

/// Most servers of one trouble that have a line of their own.
const MOST_ALONE: usize = 3;

/// Longest name in a line, in characters, and longest list of folded names.
const MAX_NAME: usize = 80;
const MAX_NAMES: usize = 600;

/// What is said of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is there.
    Alert,
    /// It is worse.
    Rise,
    /// It is there still.
    Reminder,
    /// It is over.
    Recovery,
    /// Nobody looks at it any more.
    Unwatched,
}

/// One incident in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What is said of it.
    pub what: What,
    /// Which one.
    pub incident: IncidentId,
    /// Which change of it.
    pub transition: i64,
    /// Its level then.
    pub level: Level,
    /// Name of the rule.
    pub rule: String,
    /// Name of the server; empty: the suite itself.
    pub server: String,
    /// Which disk, interface or sensor; empty: none.
    pub instance: String,
    /// What was measured; empty: nothing.
    pub metric: String,
    /// How much of it.
    pub value: Option<f64>,
    /// Since when, in Unix ms.
    pub since: Millis,
}

/// How a message is told.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// In which language.
    pub language: Language,
    /// By which clock.
    pub zone: Zone,
    /// A line for each incident in the operator's own words.
    pub template: Option<&'a str>,
    /// Where the suite is, without a slash at the end; `None`: no links.
    pub url: Option<&'a str>,
}

impl What {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Alert, Self::Rise, Self::Reminder, Self::Recovery, Self::Unwatched];

    /// As the registry and the interface spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Rise => "rise",
            Self::Reminder => "reminder",
            Self::Recovery => "recovery",
            Self::Unwatched => "unwatched",
        }
    }

    /// What that text names.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == text)
    }

    /// Whether the trouble is over with it.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Recovery | Self::Unwatched)
    }
}

impl Item {
    /// The state of its incident, for programs.
    pub const fn state(&self) -> &'static str {
        if self.what.ends() { "resolved" } else { "open" }
    }

    /// What is before it: its level, or that it is over.
    pub fn title(&self, words: &Words) -> String {
        let level = match self.level {
            Level::Critical => words.critical,
            Level::Warning => words.warning,
        };
        match self.what {
            What::Alert | What::Rise => level.to_owned(),
            What::Reminder => format!("{} ({level})", words.reminder),
            What::Recovery => words.recovered.to_owned(),
            What::Unwatched => words.unwatched.to_owned(),
        }
    }

    fn server(&self, words: &Words) -> String {
        if self.server.is_empty() { words.suite.to_owned() } else { cut(&self.server, MAX_NAME) }
    }

    /// Metric, instance and value, as far as there are any.
    fn measured(&self) -> String {
        let value = self.value.filter(|_| !self.metric.is_empty()).map(|value| amount(&self.metric, value));
        let parts = [cut(&self.metric, MAX_NAME), cut(&self.instance, MAX_NAME), value.unwrap_or_default()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    }

    /// The address of the incident.
    pub fn url(&self, base: Option<&str>) -> String {
        base.map(|base| format!("{base}/#/incidents/{}", self.incident)).unwrap_or_default()
    }
}

/// A number with the unit of its metric.
fn amount(metric: &str, value: f64) -> String {
    let rounded = |value: f64| {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    let bytes = |value: f64| {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut scaled = (value, 0);
        while scaled.0.abs() >= 1024.0 && scaled.1 + 1 < units.len() {
            scaled = (scaled.0 / 1024.0, scaled.1 + 1);
        }
        format!("{} {}", rounded(scaled.0), units[scaled.1])
    };
    let (group, name) = metric.split_once('.').unwrap_or((metric, ""));
    match (group, name) {
        ("cpu", _) | (_, "used_percent") | ("process", "cpu") => format!("{} %", rounded(value)),
        ("temperature", _) => format!("{} °C", rounded(value)),
        ("disk", "read" | "written") | ("network", _) => format!("{}/s", bytes(value)),
        ("disk", "free") | ("memory", "available") | ("process", "memory") => bytes(value),
        ("agent", "skew_ms") => format!("{} ms", rounded(value)),
        _ => rounded(value),
    }
}

/// What a channel of a kind can hold, and how its texts are written so that a name is text.
#[derive(Debug, Clone, Copy)]
struct Paper {
    kind: Kind,
    most: usize,
}

impl Paper {
    fn of(kind: Kind) -> Self {
        let most = match kind {
            Kind::Wecom | Kind::Telegram | Kind::Webhook => 4_096,
            // Slack takes more, and shows no more.
            Kind::Slack => 4_000,
            Kind::Discord => 2_000,
            Kind::Mail => 100_000,
        };
        Self { kind, most }
    }

    /// The size of a text as the receiver counts it.
    fn size(self, text: &str) -> usize {
        match self.kind {
            Kind::Telegram | Kind::Discord => text.encode_utf16().count(),
            Kind::Wecom | Kind::Slack | Kind::Webhook | Kind::Mail => text.len(),
        }
    }

    /// Whatever a name is, it is shown as text: it mentions nobody, links nowhere, and begins no line.
    fn escape(self, text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            let c = if deceives(c) { '\u{fffd}' } else { c };
            match (self.kind, c) {
                (Kind::Wecom, '<') => escaped.push('＜'),
                (Kind::Wecom, '>') => escaped.push('＞'),
                (Kind::Wecom, '[') => escaped.push('［'),
                (Kind::Wecom, ']') => escaped.push('］'),
                (Kind::Wecom, '`') => escaped.push('｀'),
                (Kind::Wecom, '*') => escaped.push('＊'),
                (Kind::Slack, '&') => escaped.push_str("&amp;"),
                (Kind::Slack, '<') => escaped.push_str("&lt;"),
                (Kind::Slack, '>') => escaped.push_str("&gt;"),
                (Kind::Discord, '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '>' | '#' | '@') => {
                    escaped.extend(['\\', c]);
                }
                (_, c) => escaped.push(c),
            }
        }
        escaped
    }
}

/// Control characters, separators of lines, and what turns text around on the screen.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The text of a message about these incidents, at most as long as the kind can hold. What there is no room for is counted.
pub fn text(kind: Kind, items: &[Item], manner: &Manner<'_>) -> String {
    let (paper, words) = (Paper::of(kind), manner.language.words());
    let lines: Vec<(String, usize)> = match manner.template {
        Some(template) => items.iter().map(|item| (fill(template, item, manner, paper), 1)).collect(),
        None => lines(items, manner, paper),
    };
    let link = match (manner.template, items) {
        // A template has its own, if any.
        (Some(_), _) => String::new(),
        (None, [one]) => one.url(manner.url),
        (None, _) => manner.url.map(|base| format!("{base}/#/incidents")).unwrap_or_default(),
    };
    fit(paper, &lines, &link, words)
}

/// The text of a message that only shows that a channel works.
pub fn test_text(kind: Kind, channel: &str, manner: &Manner<'_>) -> String {
    let paper = Paper::of(kind);
    (manner.language.words().test)(&paper.escape(&cut(channel, MAX_NAME)))
}

/// Lines that are whole, as many as there is room for, with how many incidents each stands for.
fn fit(paper: Paper, lines: &[(String, usize)], link: &str, words: &Words) -> String {
    let total: usize = lines.iter().map(|(_, count)| count).sum();
    let rest = paper.size(&(words.more)(total)) + paper.size(link) + 2;
    let (mut told, mut count) = (String::new(), 0);
    for (line, incidents) in lines {
        if paper.size(&told) + paper.size(line) + 1 + rest > paper.most {
            break;
        }
        told.push_str(line);
        told.push('\n');
        count += incidents;
    }
    if count < total {
        told.push_str(&(words.more)(total - count));
        told.push('\n');
    }
    told.push_str(link);
    told.trim_end().to_owned()
}

/// What is the same but for the server, in the order of its lines: whether it is over, what is said, how bad, rule, instance.
type Group<'a> = (bool, What, Reverse<Level>, &'a str, &'a str);

/// The incidents in lines, the worst first: what is the same but for the server is one line.
fn lines(items: &[Item], manner: &Manner<'_>, paper: Paper) -> Vec<(String, usize)> {
    let words = manner.language.words();
    // Open before over, critical before warning; within that by rule and instance, so that equal things stand together.
    let mut groups: BTreeMap<Group<'_>, Vec<&Item>> = BTreeMap::new();
    for item in items {
        let key =
            (item.what.ends(), item.what, Reverse(item.level), item.rule.as_str(), item.instance.as_str());
        groups.entry(key).or_default().push(item);
    }
    let mut lines = Vec::new();
    for group in groups.values() {
        if group.len() > MOST_ALONE {
            lines.push((line_of_many(group, manner, paper, words), group.len()));
        } else {
            lines.extend(group.iter().map(|item| (line_of_one(item, manner, paper, words), 1)));
        }
    }
    lines
}

fn line_of_one(item: &Item, manner: &Manner<'_>, paper: Paper, words: &Words) -> String {
    let measured = item.measured();
    let parts = [cut(&item.rule, MAX_NAME), item.server(words), measured];
    let parts = parts.iter().filter(|part| !part.is_empty()).map(|part| paper.escape(part));
    let told = parts.collect::<Vec<_>>().join(" · ");
    format!("{}: {told} ({})", item.title(words), (words.since)(&manner.zone.tell(item.since)))
}

fn line_of_many(group: &[&Item], manner: &Manner<'_>, paper: Paper, words: &Words) -> String {
    let first = group[0];
    let servers: Vec<String> = group.iter().map(|item| item.server(words)).collect();
    let folded = fold(servers.iter().map(String::as_str));
    let (mut names, mut left) = (String::new(), folded.len());
    for one in &folded {
        let separator = if names.is_empty() { "" } else { ", " };
        if names.len() + separator.len() + one.text.len() > MAX_NAMES {
            break;
        }
        names.push_str(separator);
        names.push_str(&one.text);
        left -= 1;
    }
    let more = if left > 0 { " …" } else { "" };
    let since = group.iter().map(|item| item.since).min().unwrap_or(first.since);
    let instance = match first.instance.as_str() {
        "" => String::new(),
        instance => format!(" · {}", paper.escape(&cut(instance, MAX_NAME))),
    };
    let (rule, names) = (paper.escape(&cut(&first.rule, MAX_NAME)), paper.escape(&names));
    let count = (words.servers)(folded.iter().map(|one| one.names).sum());
    let since = (words.since)(&manner.zone.tell(since));
    format!("{}: {rule} · {count}: {names}{more}{instance} ({since})", first.title(words))
}

/// A line in the operator's words. What is between the places is the operator's, and so is its markup.
fn fill(template: &str, item: &Item, manner: &Manner<'_>, paper: Paper) -> String {
    let words = manner.language.words();
    let value = item.value.map(|value| amount(&item.metric, value)).unwrap_or_default();
    let place = |name: &str| match name {
        "server" => paper.escape(&item.server(words)),
        "level" => item.title(words),
        "metric" => paper.escape(&cut(&item.metric, MAX_NAME)),
        "value" => paper.escape(&value),
        "since" => manner.zone.tell(item.since),
        _ => item.url(manner.url),
    };
    pieces(template)
        .unwrap_or_default()
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Place(name) => place(name),
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::template::{BadTemplate, check_template};

    pub fn item(what: What, server: &str) -> Item {
        Item {
            what,
            incident: IncidentId::new(1_790_000_000_000, [7; 10]),
            transition: 1,
            level: Level::Critical,
            rule: "Silent".to_owned(),
            server: server.to_owned(),
            instance: String::new(),
            metric: String::new(),
            value: None,
            since: 1_790_000_000_000,
        }
    }

    pub fn manner(language: Language) -> Manner<'static> {
        Manner { language, zone: Zone::UTC, template: None, url: Some("https://rollcall.example.org") }
    }

    #[test]
    fn one_trouble_is_a_line_and_its_link() {
        let disk = Item {
            rule: "Disk".to_owned(),
            metric: "disk.used_percent".to_owned(),
            instance: "/var".to_owned(),
            value: Some(96.04),
            ..item(What::Alert, "web-1")
        };
        let id = disk.incident;
        let told = text(Kind::Telegram, &[disk], &manner(Language::English));
        let expected = format!(
            "CRITICAL: Disk · web-1 · disk.used_percent /var 96 % (since 2026-09-21 14:13 UTC)\n\
             https://rollcall.example.org/#/incidents/{id}"
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn many_are_one_line_that_counts_them() {
        let many: Vec<Item> =
            (1..=380).map(|number| item(What::Alert, &format!("web-{number:03}"))).collect();
        let told = text(Kind::Slack, &many, &manner(Language::Chinese));
        assert!(
            told.starts_with("严重: Silent · 380 台服务器: web-[001-380] (自 2026-09-21 14:13 UTC 起)\n"),
            "{told}"
        );
        assert!(told.ends_with("https://rollcall.example.org/#/incidents"), "{told}");
    }

    #[test]
    fn the_worst_comes_first_and_what_is_over_last() {
        let warning = Item { level: Level::Warning, ..item(What::Alert, "b") };
        let items = [
            item(What::Recovery, "a"),
            warning,
            item(What::Alert, "c"),
            item(What::Unwatched, "d"),
            item(What::Reminder, "e"),
        ];
        let told = text(Kind::Telegram, &items, &manner(Language::English));
        let titles: Vec<&str> = told.lines().filter_map(|line| line.split(':').next()).take(5).collect();
        assert_eq!(
            titles,
            ["CRITICAL", "WARNING", "STILL OPEN (CRITICAL)", "RECOVERED", "No longer watched"]
        );
    }

    #[test]
    fn a_trouble_of_the_suite_names_no_server() {
        let told = text(Kind::Telegram, &[item(What::Alert, "")], &manner(Language::English));
        assert!(told.contains("Silent · Rollcall itself"), "{told}");
    }

    #[test]
    fn a_template_is_checked_when_it_is_saved_and_filled_by_line() {
        for good in ["{server} is {level}: {metric} {value} since {since} {url}", "{{plain}}", "no place"] {
            assert_eq!(check_template(good), Ok(()), "{good}");
        }
        for bad in ["{name}", "{server", "server}", "{ server }", "{{server}"] {
            assert_eq!(check_template(bad), Err(BadTemplate::Place), "{bad}");
        }
        assert_eq!(check_template(&"x".repeat(1_001)), Err(BadTemplate::Length));
        assert_eq!(check_template(" "), Err(BadTemplate::Length));
        let manner = Manner { template: Some("{{{server}}} {level}"), ..manner(Language::English) };
        let told = text(Kind::Slack, &[item(What::Alert, "<a>"), item(What::Recovery, "b")], &manner);
        assert_eq!(told, "{&lt;a&gt;} CRITICAL\n{b} RECOVERED");
    }

    #[test]
    fn amounts_have_units() {
        for (metric, value, told) in [
            ("cpu.total", 95.0, "95 %"),
            ("disk.free", 1_610_612_736.0, "1.5 GiB"),
            ("network.sent", 512.0, "512 B/s"),
            ("temperature", 85.25, "85.2 °C"),
            ("load.1", 3.0, "3"),
            ("agent.skew_ms", 40.0, "40 ms"),
        ] {
            assert_eq!(amount(metric, value), told);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_message_fits_and_counts_what_it_leaves_out(
            names in proptest::collection::vec("\\PC{1,200}", 1..120), rules in 1usize..60,
        ) {
            let items: Vec<Item> = names.iter().enumerate()
                .map(|(index, name)| Item { rule: format!("rule {}", index % rules), ..item(What::Alert, name) })
                .collect();
            for kind in Kind::ALL {
                for language in Language::ALL {
                    let told = text(kind, &items, &manner(language));
                    let paper = Paper::of(kind);
                    prop_assert!(paper.size(&told) <= paper.most, "{} {}", kind, paper.size(&told));
                    prop_assert!(told.ends_with("/#/incidents") || items.len() == 1);
                }
            }
        }

        #[test]
        fn a_name_begins_no_line_and_mentions_nobody(name in "(\\PC|[\u{0}-\u{1f}]|[<>@&*\\[\\]`\\\\]){0,60}") {
            for kind in Kind::ALL {
                let told = text(kind, &[item(What::Alert, &format!("x{name}"))], &manner(Language::English));
                prop_assert_eq!(told.lines().count(), 2);
                if kind == Kind::Wecom {
                    prop_assert!(!told.contains(['<', '`', '*', '[']));
                }
                if kind == Kind::Slack {
                    prop_assert!(!told.contains(['<', '>']));
                }
            }
        }
    }
}
