//! How snapshots lie in Elasticsearch.
//!
//! There is an index for each UTC day of `sampled_at`. Only `server` is searched, so only it is indexed. The other
//! figures are columns (doc values) in the order of server and time, so those of one server are read in one place.
//! The snapshot itself is kept as it came, unparsed.

use std::ops::Range;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Months, NaiveDate};
use fleet::{Millis, ServerId, retention::DAY, series::Figures};
use serde_json::{Map, Value, json};

use crate::HistoryError;

/// Most days that are named one by one. A longer range names all indices by a wildcard.
const MOST_NAMES: i64 = 40;

/// The column that is there where a snapshot tells of processes.
pub const PROCESS_CPU: &str = "process_cpu";

/// Names of everything that is ours.
pub struct Layout {
    prefix: String,
}

/// How a figure is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A share, a load, degrees: these have 32 bits on the wire too.
    Float,
    /// Bytes: whole numbers compress better as integers.
    Long,
    /// Any figure for which nothing is said yet.
    Double,
}

impl Layout {
    /// # Errors
    /// `Schema` for a prefix that cannot begin the name of an index.
    pub fn new(prefix: &str) -> Result<Self, HistoryError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let first =
            prefix.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        // With one of these in a prefix, the wildcard of one suite could match the indices of another.
        let ambiguous = ["-snapshots", "-rollups", "-commands"].iter().any(|part| prefix.contains(part));
        if !first || prefix.len() > 40 || !prefix.bytes().all(plain) || ambiguous {
            return Err(HistoryError::Schema(format!(
                "the prefix {prefix:?} does not do: up to 40 of a-z, 0-9, '-', '_' and '.', a letter or digit first, \
                 without \"-snapshots\", \"-rollups\" and \"-commands\""
            )));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// All daily indices.
    pub fn all(&self) -> String {
        format!("{}-snapshots-*", self.prefix)
    }

    /// The index of a day.
    pub fn index(&self, day: i64) -> String {
        let date = DateTime::from_timestamp(day * (DAY / 1_000), 0).unwrap_or_default();
        format!("{}-snapshots-{}", self.prefix, date.format("%Y.%m.%d"))
    }

    /// The day of an index; `None` for one that is not ours.
    pub fn day(&self, index: &str) -> Option<i64> {
        let date = index.strip_prefix(&self.prefix)?.strip_prefix("-snapshots-")?;
        let date = NaiveDate::parse_from_str(date, "%Y.%m.%d").ok()?;
        let day = day(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis());
        (self.index(day) == index).then_some(day)
    }

    /// The indices of what is sampled in `[first, last]`, some of which may not exist.
    pub fn indices(&self, first: Millis, last: Millis) -> String {
        let (first, last) = (day(first), day(last));
        if last.saturating_sub(first) >= MOST_NAMES {
            return self.all();
        }
        let names: Vec<String> = (first..=last.max(first)).map(|day| self.index(day)).collect();
        names.join(",")
    }

    /// All indices of rollups.
    pub fn all_rollups(&self) -> String {
        format!("{}-rollups-*", self.prefix)
    }

    /// The index of the rollups of an hour, which is that of its month.
    pub fn rollups(&self, hour: i64) -> String {
        let date = DateTime::from_timestamp(hour.saturating_mul(3_600), 0).unwrap_or_default();
        format!("{}-rollups-{}", self.prefix, date.format("%Y.%m"))
    }

    /// The hour after the last one whose rollup is in this index; `None` for one that is not ours.
    pub fn rollups_end(&self, index: &str) -> Option<i64> {
        let month = index.strip_prefix(&self.prefix)?.strip_prefix("-rollups-")?;
        let first = NaiveDate::parse_from_str(&format!("{month}.01"), "%Y.%m.%d").ok()?;
        let next = first.checked_add_months(Months::new(1))?;
        let hour = next.and_hms_opt(0, 0, 0)?.and_utc().timestamp().div_euclid(3_600);
        (self.rollups(hour - 1) == index).then_some(hour)
    }

    /// The indices of the rollups of these hours, some of which may not exist.
    pub fn rollups_of(&self, hours: &Range<i64>) -> String {
        let days = [hours.start, hours.end.max(hours.start + 1) - 1].map(|hour| hour.div_euclid(24));
        if days[1].saturating_sub(days[0]) >= 28 * MOST_NAMES {
            return self.all_rollups();
        }
        let mut names: Vec<String> = (days[0]..=days[1]).map(|day| self.rollups(day * 24)).collect();
        names.dedup();
        names.join(",")
    }

    /// All indices of command lines.
    pub fn all_commands(&self) -> String {
        format!("{}-commands-*", self.prefix)
    }

    /// The index of the command lines that came with samples of this time, which is that of its month.
    pub fn commands(&self, at: Millis) -> String {
        let date = DateTime::from_timestamp_millis(at).unwrap_or_default();
        format!("{}-commands-{}", self.prefix, date.format("%Y.%m"))
    }

    /// The end of the month whose command lines are in this index; `None` for one that is not ours.
    pub fn commands_end(&self, index: &str) -> Option<Millis> {
        let month = index.strip_prefix(&self.prefix)?.strip_prefix("-commands-")?;
        let first = NaiveDate::parse_from_str(&format!("{month}.01"), "%Y.%m.%d").ok()?;
        let next = first.checked_add_months(Months::new(1))?;
        let end = next.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
        (self.commands(end - 1) == index).then_some(end)
    }

    /// The index with a document a server, which says what of it is rolled up.
    pub fn rolled(&self) -> String {
        format!("{}-rolled", self.prefix)
    }

    /// The index with a document for each hour of a server that a late snapshot has touched.
    pub fn dirty(&self) -> String {
        format!("{}-dirty", self.prefix)
    }

    /// The template of the daily indices.
    pub fn template_name(&self) -> String {
        format!("{}-snapshots", self.prefix)
    }

    /// The index with the one document that says how far back history is kept.
    pub fn horizon(&self) -> String {
        format!("{}-horizon", self.prefix)
    }

    /// Body of the template.
    pub fn template(&self) -> Value {
        json!({
            "index_patterns": [self.all()],
            "priority": 500,
            // A write to a day that was deleted must fail, not bring the day back.
            "allow_auto_create": false,
            "template": {
                "settings": {"index": {
                    "number_of_shards": 1,
                    // One replica where there is a second node.
                    "auto_expand_replicas": "0-1",
                    "codec": "best_compression",
                    // Rows of one server lie together: that compresses better and makes reading one server quicker.
                    "sort.field": ["server", "sampled_at"],
                    "sort.order": ["asc", "asc"],
                    // Every read refreshes first, so the regular refresh can be seldom, which makes writing cheaper.
                    "refresh_interval": "30s",
                    // What was acknowledged is on disk.
                    "translog.durability": "request",
                }},
                "mappings": mappings(),
            },
        })
    }
}

impl Layout {
    /// What is put besides the template of the daily indices: the names of templates and their bodies.
    pub fn other_templates(&self) -> [(String, Value); 4] {
        let searched = |kind: &str| json!({"type": kind});
        let properties = json!({"server": searched("keyword"), "hour": searched("long")});
        let dirty = json!({"dynamic": "strict", "properties": properties});
        // Found by its id, which is its hash.
        let text = json!({"type": "keyword", "index": false, "doc_values": false});
        let commands = json!({"dynamic": "strict", "properties": {"text": text}});
        let of = |pattern: String, mappings: Value, sort: bool| {
            let mut settings = json!({
                "number_of_shards": 1,
                "auto_expand_replicas": "0-1",
                "codec": "best_compression",
                // Every read refreshes first.
                "refresh_interval": "30s",
            });
            if sort {
                settings["sort.field"] = json!(["server", "hour"]);
                settings["sort.order"] = json!(["asc", "asc"]);
            }
            let template = json!({"settings": {"index": settings}, "mappings": mappings});
            json!({"index_patterns": [pattern], "priority": 500, "template": template})
        };
        [
            (format!("{}-rollups", self.prefix), of(self.all_rollups(), rollup_mappings(), true)),
            (self.rolled(), of(self.rolled(), rolled_mappings(), false)),
            (self.dirty(), of(self.dirty(), dirty, false)),
            (format!("{}-commands", self.prefix), of(self.all_commands(), commands, false)),
        ]
    }
}

/// The names of the columns of a figure in a rollup: how many told it, their sum, the greatest and the least.
pub fn summary_columns(name: &str) -> [String; 4] {
    ["n", "sum", "max", "min"].map(|part| format!("{name}_{part}"))
}

/// The mapping of the index that says what is rolled up. Fields may be added, never changed.
pub fn rolled_mappings() -> Value {
    let column = |name: &str| (name.to_owned(), json!({"type": "long", "index": false}));
    let mut properties: Map<String, Value> =
        ["first", "until", "oldest_start", "newest", "forgotten"].map(column).into_iter().collect();
    properties.insert("server".into(), json!({"type": "keyword"}));
    json!({"dynamic": "strict", "properties": properties})
}

/// The mapping of an index of rollups. Fields may be added, never changed.
fn rollup_mappings() -> Value {
    let column = |kind: &str| json!({"type": kind, "index": false});
    let mut properties = Map::new();
    properties.insert("server".into(), json!({"type": "keyword"}));
    properties.insert("hour".into(), json!({"type": "long"}));
    properties.insert("covered".into(), column("long"));
    properties.insert("count".into(), column("long"));
    // Pieces of the hour, each as its start and its length.
    properties.insert("stretches".into(), column("keyword"));
    for name in Figures::NAMES {
        let [told, sum, max, min] = summary_columns(name);
        let kind = match kind(name) {
            Kind::Float => "float",
            Kind::Long => "long",
            Kind::Double => "double",
        };
        properties.insert(told, column("long"));
        properties.insert(sum, column("double"));
        properties.insert(max, column(kind));
        properties.insert(min, column(kind));
    }
    json!({"dynamic": "strict", "properties": properties})
}

/// The mapping of a daily index. Fields may be added, never changed.
pub fn mappings() -> Value {
    let column = |kind: &str| json!({"type": kind, "index": false});
    let mut properties = Map::new();
    properties.insert("server".into(), json!({"type": "keyword"}));
    for time in ["sampled_at", "from", "covers", "link"] {
        properties.insert(time.into(), column("long"));
    }
    for name in Figures::NAMES {
        let kind = match kind(name) {
            Kind::Float => "float",
            Kind::Long => "long",
            Kind::Double => "double",
        };
        properties.insert(name.into(), column(kind));
    }
    // The processor use of the row that used most; there where a snapshot tells of processes.
    properties.insert(PROCESS_CPU.into(), column("float"));
    properties.insert("body".into(), json!({"type": "object", "enabled": false}));
    json!({"dynamic": "strict", "properties": properties})
}

/// How the figure of this name is stored. It must not be changed for a figure that was released.
pub fn kind(name: &str) -> Kind {
    match name {
        "cpu" | "iowait" | "load" | "temperature" => Kind::Float,
        "memory" | "swap" | "disk_used" | "disk_read" | "disk_written" | "received" | "sent" => Kind::Long,
        _ => Kind::Double,
    }
}

/// The id of a snapshot's document within its index. It is in base64, which Elasticsearch stores as the bytes that it
/// encodes.
pub fn id(server: ServerId, sampled_at: Millis) -> String {
    let mut bytes = [0; 22];
    bytes[..16].copy_from_slice(server.as_bytes());
    // 48 bits hold the greatest time that a snapshot may have.
    bytes[16..].copy_from_slice(&sampled_at.to_be_bytes()[2..]);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The id of the rollup of an hour of a server, or of what says that it is dirty.
pub fn hour_id(server: ServerId, hour: i64) -> String {
    id(server, hour)
}

/// Days after the epoch.
pub fn day(at: Millis) -> i64 {
    at.div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_named_by_its_day() {
        let layout = Layout::new("roll.call_1").unwrap();
        assert_eq!(layout.index(0), "roll.call_1-snapshots-1970.01.01");
        assert_eq!(layout.index(20_778), "roll.call_1-snapshots-2026.11.21");
        for number in [0, 1, 59, 20_000, day(fleet::snapshot::MAX_TIME)] {
            assert_eq!(layout.day(&layout.index(number)), Some(number));
        }
        for name in
            ["x-snapshots-1970.01.01", "roll.call_1-snapshots-1970.1.1", "roll.call_1-snapshots-1970.01.01-x"]
        {
            assert_eq!(layout.day(name), None, "{name}");
        }
    }

    #[test]
    fn a_short_range_names_its_days_and_a_long_one_all() {
        let layout = Layout::new("p").unwrap();
        assert_eq!(layout.indices(5, 6), "p-snapshots-1970.01.01");
        assert_eq!(layout.indices(DAY - 1, DAY), "p-snapshots-1970.01.01,p-snapshots-1970.01.02");
        assert_eq!(layout.indices(0, fleet::snapshot::MAX_TIME), "p-snapshots-*");
        assert_eq!(layout.indices(i64::MIN, i64::MAX), "p-snapshots-*");
        assert_eq!(layout.indices(9, 3), "p-snapshots-1970.01.01");
    }

    #[test]
    fn rollups_are_indexed_by_the_month() {
        let layout = Layout::new("p").unwrap();
        assert_eq!(layout.rollups(0), "p-rollups-1970.01");
        assert_eq!(layout.rollups(31 * 24 - 1), "p-rollups-1970.01");
        assert_eq!(layout.rollups_end("p-rollups-1970.01"), Some(31 * 24));
        assert_eq!(layout.rollups_end("p-rollups-1970.12"), Some(365 * 24));
        for name in ["p-rollups-1970.1", "p-rollups-1970.01.02", "q-rollups-1970.01", "p-rollups-1970.13"] {
            assert_eq!(layout.rollups_end(name), None, "{name}");
        }
        assert_eq!(layout.rollups_of(&(31 * 24 - 1..31 * 24 + 1)), "p-rollups-1970.01,p-rollups-1970.02");
        assert_eq!(layout.rollups_of(&(5..5)), "p-rollups-1970.01");
        assert_eq!(layout.rollups_of(&(0..2_000_000)), "p-rollups-*");
    }

    #[test]
    fn command_lines_are_indexed_by_the_month() {
        let layout = Layout::new("p").unwrap();
        assert_eq!(layout.commands(31 * DAY - 1), "p-commands-1970.01");
        assert_eq!(layout.commands_end("p-commands-1970.01"), Some(31 * DAY));
        for name in ["p-commands-1970.1", "p-rollups-1970.01", "q-commands-1970.01"] {
            assert_eq!(layout.commands_end(name), None, "{name}");
        }
    }

    #[test]
    fn a_prefix_that_could_name_anything_else_is_refused() {
        for prefix in [
            "",
            "_p",
            "-p",
            ".p",
            "P",
            "a*",
            "a,b",
            "a/b",
            "a b",
            "a-snapshots-b",
            "a-rollups-b",
            "a-commands-b",
            &"a".repeat(41),
        ] {
            assert!(Layout::new(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn ids_differ_as_identities_do() {
        let server = |n| ServerId::new(1, [n; 10]);
        assert_eq!(id(server(1), 7).len(), 30);
        assert_ne!(id(server(1), 7), id(server(1), 8));
        assert_ne!(id(server(1), 7), id(server(2), 7));
        assert_ne!(
            id(server(1), fleet::snapshot::MAX_TIME),
            id(server(1), fleet::snapshot::MAX_TIME - (1 << 47))
        );
    }

    #[test]
    fn every_figure_is_stored_as_something_known() {
        for name in Figures::NAMES {
            assert_ne!(kind(name), Kind::Double, "{name}: say how it is stored");
        }
    }
}
