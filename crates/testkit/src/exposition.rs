//! What `/metrics` says, who judges it, and what the documentation says of it.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

/// A row of the table of all metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentedMetric {
    /// Its name, without labels.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `summary`.
    pub kind: String,
    /// Such as `seconds`; empty where it only counts.
    pub unit: String,
    /// Which processes tell it.
    pub told_by: String,
}

/// The metrics in this text, each with its type.
pub fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The table below a heading of a page, whose columns are name, type, unit, process and meaning.
///
/// # Panics
/// When there is none, which fails the test.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub fn documented_metrics(page: &str, heading: &str) -> Vec<DocumentedMetric> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_end_matches('`').to_owned());
            let mut next = || cells.next().expect("a row has five cells");
            let (name, kind, unit, told_by) = (next(), next(), next(), next());
            let name = name.split('{').next().unwrap_or_default().to_owned();
            DocumentedMetric { name, kind, unit, told_by }
        })
        .collect();
    assert!(!rows.is_empty(), "no row below {heading}");
    rows
}

/// Has `promtool check metrics` judge this text.
///
/// # Panics
/// When it finds fault with anything, or is not there; that fails the test.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub fn promtool(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = command.spawn().expect("promtool: `dev/services python` installs it");
    judge.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads its input");
    let output = judge.wait_with_output().expect("it ends");
    let found = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && found.is_empty(), "{}\n{text}", String::from_utf8_lossy(&found));
}
