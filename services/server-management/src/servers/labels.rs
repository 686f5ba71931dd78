//! The labels of a server: bounded, and in a sheet one a line.

use std::collections::BTreeMap;

use chassis::Problem;

use crate::http::{body::label, failure::invalid_body};

/// Most labels of one server. All of them fit a cell of a sheet.
const MOST: usize = 32;
/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// Labels within their bounds, each text cleaned. A key has no colon, since a filter reads `key:value`.
pub(crate) fn checked(
    labels: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut checked = BTreeMap::new();
    for (key, value) in labels {
        let key = label("a label's key", key)?;
        if key.len() > MAX_KEY_BYTES || key.contains(':') {
            return Err(invalid_body(format!(
                "a label's key must have at most {MAX_KEY_BYTES} bytes and no colon"
            )));
        }
        let value = label("a label's value", value)?;
        if checked.insert(key, value).is_some() {
            return Err(invalid_body("a label is given twice"));
        }
        if checked.len() > MOST {
            return Err(invalid_body(format!("a server has at most {MOST} labels")));
        }
    }
    Ok(checked)
}

/// As a cell of a sheet holds them: `key:value`, one a line.
pub(crate) fn to_cell(labels: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    lines.join("\n")
}

/// Out of a cell of a sheet. Empty lines are passed over.
pub(crate) fn from_cell(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut labels = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let pair =
            line.split_once(':').ok_or_else(|| invalid_body("labels must be key:value, one a line"))?;
        labels.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    checked(labels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_label_is_refused() {
        for text in ["env", ":prod", "env:", "env:a\nenv:b", &format!("{}:a", "k".repeat(65))] {
            assert!(from_cell(text).is_err(), "{text}");
        }
        let many: String = (0..33).map(|n| format!("k{n}:v\n")).collect();
        assert!(from_cell(&many).is_err());
        assert_eq!(from_cell(" env : prod \r\n\n").unwrap(), BTreeMap::from([("env".into(), "prod".into())]));
    }

    proptest! {
        #[test]
        fn labels_survive_their_cell(pairs in proptest::collection::vec((".{0,20}", "\\PC{0,20}|.{0,20}"), 0..6)) {
            if let Ok(labels) = checked(pairs) {
                prop_assert_eq!(from_cell(&to_cell(&labels)).unwrap(), labels);
            }
        }
    }
}
