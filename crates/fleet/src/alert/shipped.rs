//! The rules that a suite has from its first start.

use super::rule::{DEFAULT_CLEAR_HOLD, Draft, SelfCheck};

const MINUTE: i64 = 60_000;

/// Their names, and what they are. People change and delete them like any other.
pub fn shipped() -> Vec<(&'static str, Draft)> {
    let mut rules = vec![
        ("Server silent", plain("silent", "", "critical", 0)),
        ("Server enrolled but never heard", plain("unheard", "", "warning", 60 * MINUTE)),
        ("Disk nearly full", above("disk.used_percent", Some(90.0), Some(95.0), 0)),
        ("Memory nearly full", above("memory.used_percent", Some(90.0), Some(97.0), 5 * MINUTE)),
        ("Processor overloaded", above("cpu.total", Some(95.0), None, 10 * MINUTE)),
        ("Too hot", above("temperature", Some(85.0), Some(95.0), 2 * MINUTE)),
    ];
    for check in SelfCheck::ALL {
        let (name, level) = match check {
            SelfCheck::Late => ("Monitoring is late", "critical"),
            SelfCheck::Deaf => ("Monitoring hears nobody", "critical"),
            SelfCheck::DeadLetters => ("Messages were put aside", "warning"),
            SelfCheck::Mail => ("Mail fails", "warning"),
            SelfCheck::Channel => ("A channel fails", "critical"),
            SelfCheck::Disk => ("The disk of the data folder is nearly full", "critical"),
            SelfCheck::Report => ("A report failed", "warning"),
            SelfCheck::RuleTooWide => ("A rule is too wide", "warning"),
        };
        rules.push((name, plain("self", check.as_str(), level, 0)));
    }
    rules
}

fn plain(kind: &str, metric: &str, level: &str, hold_ms: i64) -> Draft {
    let [kind, metric, level] = [kind, metric, level].map(str::to_owned);
    Draft { kind, metric, level, hold_ms, clear_hold_ms: DEFAULT_CLEAR_HOLD, ..Draft::default() }
}

fn above(metric: &str, warning: Option<f64>, critical: Option<f64>, hold_ms: i64) -> Draft {
    Draft { op: "above".to_owned(), warning, critical, ..plain("value", metric, "", hold_ms) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rule_that_is_shipped_can_work_and_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for (name, draft) in shipped() {
            assert!(names.insert(name), "{name}");
            draft.check().unwrap_or_else(|fault| panic!("{name}: {fault}"));
        }
        assert_eq!(names.len(), 14);
    }
}
