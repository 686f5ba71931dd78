//! Which servers a report is about, for people.

use serde_json::Value;

/// The filter of a report in words, whatever it names: `label: site:eu, status: down`. `None`: all servers.
pub fn told(filter: &str) -> Option<String> {
    let Ok(Value::Object(parts)) = serde_json::from_str(filter) else {
        return Some("a filter that this release cannot read".to_owned());
    };
    let mut told = Vec::new();
    for (name, value) in &parts {
        match value {
            Value::Array(values) => told.extend(values.iter().map(|value| part(name, value))),
            Value::Null => {}
            value => told.push(part(name, value)),
        }
    }
    (!told.is_empty()).then(|| told.join(", "))
}

fn part(name: &str, value: &Value) -> String {
    let name = if name == "q" { "containing" } else { name };
    match value {
        Value::String(text) => format!("{name}: {text}"),
        value => format!("{name}: {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_filter_is_named() {
        let filter = r#"{"status":"down","q":"web","label":["site:eu","tier:1"],"name":null}"#;
        let words = "label: site:eu, label: tier:1, containing: web, status: down";
        assert_eq!(told(filter).as_deref(), Some(words));
        assert_eq!(told(r#"{"later":7}"#).as_deref(), Some("later: 7"));
        assert_eq!((told("{}"), told(r#"{"label":[]}"#)), (None, None));
        assert!(told("no JSON").is_some_and(|told| told.contains("cannot read")));
    }
}
