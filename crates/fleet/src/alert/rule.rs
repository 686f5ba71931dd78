//! Rules: what is looked at, from which value on it is trouble, and of which servers.

use std::collections::BTreeMap;

use super::{
    glob::Glob,
    metric::Metric,
    words::{Level, Op, RuleKind},
};
use crate::{Millis, ServerId};

/// For how long a value has to be inside the clear threshold unless a rule says otherwise.
pub const DEFAULT_CLEAR_HOLD: Millis = 60_000;

/// Longest time for which something has to last before it counts.
pub const MAX_HOLD: Millis = 7 * 86_400_000;

/// By how much of it the clear threshold lies inside the raise threshold unless a rule says otherwise.
const CLEAR_INSIDE: f64 = 0.05;

/// Most labels that a rule asks for, and that it excludes; most servers that it excludes by id.
const MAX_LABELS: usize = 16;
const MAX_EXCLUDED: usize = 500;

/// A rule as people write it and stores keep it, unchecked. Texts that do not apply are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// `silent`, `unheard`, `value` or `self`.
    pub kind: String,
    /// Of `value` a [`Metric`], of `self` a [`SelfCheck`].
    pub metric: String,
    /// Of a metric that has instances, a [`Glob`].
    pub instance: String,
    /// Of `value`: `above` or `below`.
    pub op: String,
    /// Of all but `value`: `warning` or `critical`.
    pub level: String,
    /// Thresholds of `value`.
    pub warning: Option<f64>,
    /// Where a warning is over.
    pub warning_clear: Option<f64>,
    /// Like `warning`.
    pub critical: Option<f64>,
    /// Like `warning_clear`.
    pub critical_clear: Option<f64>,
    /// For how long it has to last before it is raised, in ms.
    pub hold_ms: Millis,
    /// For how long a value has to be inside the clear threshold, in ms.
    pub clear_hold_ms: Millis,
    /// Which servers.
    pub binding: Binding,
}

/// Which servers a rule binds: those that have all of `needs`, and none of `excludes`, and are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// Labels, all of which a server must have. None: every server, future ones too.
    pub needs: Vec<(String, String)>,
    /// Labels, none of which a server may have.
    pub excludes: Vec<(String, String)>,
    /// Servers that it does not bind whatever their labels.
    pub exclude_servers: Vec<ServerId>,
}

/// A rule that can work.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What is looked at.
    pub watches: Watches,
    /// For how long it has to last before it is raised, in ms.
    pub hold: Millis,
    /// For how long a value has to be inside the clear threshold, in ms.
    pub clear_hold: Millis,
    /// Which servers.
    pub binding: Binding,
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Watches {
    /// Whether servers that were heard still are.
    Silent(Level),
    /// Whether servers that enrolled are ever heard.
    Unheard(Level),
    /// A measurement.
    Value(Watch),
    /// The suite itself.
    Itself(SelfCheck, Level),
}

/// A measurement that a rule looks at, and from where on it is trouble.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Which figure.
    pub metric: Metric,
    /// Of which mounts, interfaces or sensors.
    pub instance: Glob,
    /// On which side of a threshold the trouble is.
    pub op: Op,
    /// One at the least.
    pub warning: Option<Threshold>,
    /// One at the least.
    pub critical: Option<Threshold>,
}

/// From where on a value is trouble, and from where on it is none any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Trouble lies beyond it.
    pub raise: f64,
    /// What is not beyond it is no trouble.
    pub clear: f64,
}

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Beyond the raise threshold.
    Over,
    /// Between the two: what is raised stays, what is not does not become it.
    Between,
    /// Inside the clear threshold.
    Inside,
}

/// Which field of a rule cannot work, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct RuleFault {
    /// As the interface spells it.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

super::words::words! {
    /// What of the suite itself is looked at.
    SelfCheck: "late, deaf, dead_letters, mail, channel, disk, report, rule_too_wide" {
        /// What is stored is more than 2 min behind.
        Late = "late",
        /// All canaries fell silent, and nobody else is heard: the way to us is cut.
        Deaf = "deaf",
        /// Messages that no store takes were put aside.
        DeadLetters = "dead_letters",
        /// A mail failed, or may have been lost.
        Mail = "mail",
        /// A channel refuses what it is sent.
        Channel = "channel",
        /// The disk of the data folder is nearly full.
        Disk = "disk",
        /// A report could not be computed.
        Report = "report",
        /// A rule is broken so often that it writes no more.
        RuleTooWide = "rule_too_wide",
    }
}

impl Draft {
    /// The rule that it is.
    ///
    /// # Errors
    /// The first field that keeps it from working.
    pub fn check(&self) -> Result<Rule, RuleFault> {
        let kind: RuleKind = read("kind", &self.kind)?;
        let watches = match kind {
            RuleKind::Silent => Watches::Silent(self.plain_level(&[])?),
            RuleKind::Unheard => Watches::Unheard(self.plain_level(&[])?),
            RuleKind::Itself => {
                let level = self.plain_level(&["metric"])?;
                Watches::Itself(read("metric", &self.metric)?, level)
            }
            RuleKind::Value => Watches::Value(self.watch()?),
        };
        let hold = held("hold_ms", self.hold_ms)?;
        let clear_hold = held("clear_hold_ms", self.clear_hold_ms)?;
        self.binding.check()?;
        if kind == RuleKind::Itself && self.binding != Binding::default() {
            return Err(fault("needs", "must be empty: a rule about the suite itself is about no server"));
        }
        Ok(Rule { watches, hold, clear_hold, binding: self.binding.clone() })
    }

    /// The level of a rule that has no thresholds, nor anything else of a value but what is in `but`.
    fn plain_level(&self, but: &[&str]) -> Result<Level, RuleFault> {
        let Self { metric, instance, op, warning, warning_clear, critical, critical_clear, .. } = self;
        let texts = [("metric", metric), ("instance", instance), ("op", op)];
        let numbers = [
            ("warning", warning),
            ("warning_clear", warning_clear),
            ("critical", critical),
            ("critical_clear", critical_clear),
        ];
        let given = texts.iter().filter(|(_, text)| !text.is_empty()).map(|(field, _)| *field);
        let mut given = given.chain(numbers.iter().filter(|(_, n)| n.is_some()).map(|(field, _)| *field));
        if let Some(field) = given.find(|field| !but.contains(field)) {
            return Err(fault(field, "is of rules of the kind value alone"));
        }
        read("level", &self.level)
    }

    fn watch(&self) -> Result<Watch, RuleFault> {
        if !self.level.is_empty() {
            return Err(fault("level", "is not of rules of the kind value, which have thresholds for each"));
        }
        let metric: Metric = read("metric", &self.metric)?;
        let instance = match (metric.has_instances(), self.instance.as_str()) {
            (_, "") => Glob::any(),
            (true, text) => read("instance", text)?,
            (false, _) => {
                return Err(fault("instance", format!("must be empty: {metric} has one value a host")));
            }
        };
        let op = read("op", &self.op)?;
        let warning = threshold(op, ["warning", "warning_clear"], self.warning, self.warning_clear)?;
        let critical = threshold(op, ["critical", "critical_clear"], self.critical, self.critical_clear)?;
        match (&warning, &critical) {
            (None, None) => return Err(fault("critical", "or warning has to be given")),
            (Some(warning), Some(critical)) if op.is_beyond(warning.raise, critical.raise) => {
                return Err(fault("critical", "must not be reached before warning"));
            }
            _ => {}
        }
        Ok(Watch { metric, instance, op, warning, critical })
    }
}

impl Binding {
    fn check(&self) -> Result<(), RuleFault> {
        let Self { needs, excludes, exclude_servers } = self;
        for (field, labels) in [("needs", needs), ("excludes", excludes)] {
            if labels.len() > MAX_LABELS {
                return Err(fault(field, format!("must have at most {MAX_LABELS} labels")));
            }
        }
        if let Some((key, _)) =
            needs.iter().find(|(key, value)| needs.iter().any(|(k, v)| k == key && v != value))
        {
            return Err(fault(
                "needs",
                format!("asks for two values of the label {key}, and no server has both"),
            ));
        }
        if let Some((key, value)) = needs.iter().find(|label| excludes.contains(label)) {
            return Err(fault("excludes", format!("has {key}:{value}, which needs asks for")));
        }
        if exclude_servers.len() > MAX_EXCLUDED {
            return Err(fault(
                "exclude_servers",
                format!("must have at most {MAX_EXCLUDED} ids; use a label"),
            ));
        }
        Ok(())
    }

    /// Whether it is every server.
    pub fn is_everyone(&self) -> bool {
        self.needs.is_empty() && self.excludes.is_empty() && self.exclude_servers.is_empty()
    }

    /// Whether labels make a difference.
    pub fn asks_labels(&self) -> bool {
        !self.needs.is_empty() || !self.excludes.is_empty()
    }

    /// Whether it binds a server with these labels.
    pub fn binds(&self, server: ServerId, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): &(String, String)| labels.get(key) == Some(value);
        self.needs.iter().all(has)
            && !self.excludes.iter().any(has)
            && !self.exclude_servers.contains(&server)
    }
}

impl Watch {
    /// The levels that have a threshold.
    pub fn levels(&self) -> impl Iterator<Item = (Level, Threshold)> {
        let both = [(Level::Warning, self.warning), (Level::Critical, self.critical)];
        both.into_iter().filter_map(|(level, threshold)| Some((level, threshold?)))
    }

    /// Of one level.
    pub fn threshold(&self, level: Level) -> Option<Threshold> {
        match level {
            Level::Warning => self.warning,
            Level::Critical => self.critical,
        }
    }

    /// Whether a value is beyond any raise threshold.
    pub fn is_over(&self, value: f64) -> bool {
        self.levels().any(|(_, threshold)| threshold.verdict(self.op, value) == Verdict::Over)
    }
}

impl Threshold {
    /// Where a value lies.
    pub fn verdict(self, op: Op, value: f64) -> Verdict {
        if op.is_beyond(value, self.raise) {
            Verdict::Over
        } else if op.is_beyond(value, self.clear) {
            Verdict::Between
        } else {
            Verdict::Inside
        }
    }
}

impl Op {
    /// Whether a value is on the side of the trouble, seen from the threshold.
    pub fn is_beyond(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::Below => value < threshold,
        }
    }
}

fn threshold(
    op: Op,
    [field, clear_field]: [&'static str; 2],
    raise: Option<f64>,
    clear: Option<f64>,
) -> Result<Option<Threshold>, RuleFault> {
    let Some(raise) = raise else {
        return if clear.is_some() { Err(fault(clear_field, "needs its raise threshold")) } else { Ok(None) };
    };
    let inside = raise.abs() * CLEAR_INSIDE;
    let default = match op {
        Op::Above => raise - inside,
        Op::Below => raise + inside,
    };
    let clear = clear.unwrap_or(default);
    for (field, number) in [(field, raise), (clear_field, clear)] {
        if !number.is_finite() || number.abs() > 1e18 {
            return Err(fault(field, "must be a number of at most 1e18"));
        }
    }
    if op.is_beyond(clear, raise) {
        return Err(fault(clear_field, format!("must not lie {op} its raise threshold")));
    }
    Ok(Some(Threshold { raise, clear }))
}

fn held(field: &'static str, hold: Millis) -> Result<Millis, RuleFault> {
    if (0..=MAX_HOLD).contains(&hold) {
        return Ok(hold);
    }
    Err(fault(field, format!("must be 0 to {MAX_HOLD}")))
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, RuleFault> {
    text.parse().map_err(|error: T::Err| fault(field, error.to_string()))
}

fn fault(field: &'static str, reason: impl Into<String>) -> RuleFault {
    RuleFault { field, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Draft {
        Draft {
            kind: "value".to_owned(),
            metric: "disk.used_percent".to_owned(),
            op: "above".to_owned(),
            warning: Some(90.0),
            critical: Some(95.0),
            clear_hold_ms: DEFAULT_CLEAR_HOLD,
            ..Draft::default()
        }
    }

    #[test]
    fn what_cannot_work_is_told_by_its_field() {
        let text = |text: &str| text.to_owned();
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let binds =
            |needs: Vec<_>, excludes: Vec<_>| Binding { needs, excludes, exclude_servers: Vec::new() };
        let silent = Draft { kind: text("silent"), level: text("critical"), ..Draft::default() };
        for (field, draft) in [
            ("kind", Draft { kind: text("values"), ..disk() }),
            ("metric", Draft { metric: text("disk"), ..disk() }),
            ("op", Draft { op: String::new(), ..disk() }),
            ("instance", Draft { metric: text("cpu.total"), instance: text("*"), ..disk() }),
            ("instance", Draft { instance: "x".repeat(257), ..disk() }),
            ("critical", Draft { critical: Some(80.0), ..disk() }),
            ("critical", Draft { critical: None, warning: None, ..disk() }),
            ("critical", Draft { op: text("below"), ..disk() }),
            ("warning", Draft { warning: Some(f64::NAN), ..disk() }),
            ("warning_clear", Draft { warning_clear: Some(91.0), ..disk() }),
            ("critical_clear", Draft { critical: None, critical_clear: Some(1.0), ..disk() }),
            ("level", Draft { level: text("warning"), ..disk() }),
            ("hold_ms", Draft { hold_ms: -1, ..disk() }),
            ("clear_hold_ms", Draft { clear_hold_ms: MAX_HOLD + 1, ..disk() }),
            ("level", Draft { level: String::new(), ..silent.clone() }),
            ("warning", Draft { warning: Some(1.0), ..silent.clone() }),
            ("metric", Draft { metric: text("cpu.total"), ..silent.clone() }),
            ("metric", Draft { kind: text("self"), metric: text("cpu.total"), ..silent.clone() }),
            ("needs", Draft { binding: binds(vec![label("a", "1"), label("a", "2")], vec![]), ..disk() }),
            ("needs", Draft { binding: binds(vec![label("a", "1"); 17], vec![]), ..disk() }),
            ("excludes", Draft { binding: binds(vec![label("a", "1")], vec![label("a", "1")]), ..disk() }),
            (
                "needs",
                Draft {
                    kind: text("self"),
                    metric: text("late"),
                    binding: binds(vec![label("a", "1")], vec![]),
                    ..silent.clone()
                },
            ),
        ] {
            assert_eq!(draft.check().map_err(|fault| fault.field), Err(field), "{draft:?}");
        }
        assert!(disk().check().is_ok() && silent.check().is_ok());
    }

    #[test]
    fn a_clear_threshold_lies_five_percent_inside_unless_it_is_given() {
        let watch = |draft: Draft| match draft.check().unwrap().watches {
            Watches::Value(watch) => watch,
            other => panic!("{other:?}"),
        };
        let above = watch(disk());
        assert_eq!(above.warning, Some(Threshold { raise: 90.0, clear: 85.5 }));
        let below = Draft { op: "below".to_owned(), warning: Some(-100.0), critical: None, ..disk() };
        assert_eq!(watch(below).warning, Some(Threshold { raise: -100.0, clear: -95.0 }));
        let given = watch(Draft { warning_clear: Some(90.0), ..disk() });
        assert_eq!(given.warning, Some(Threshold { raise: 90.0, clear: 90.0 }));
    }

    #[test]
    fn a_value_on_the_threshold_is_not_beyond_it() {
        let threshold = Threshold { raise: 90.0, clear: 80.0 };
        for (value, verdict) in [
            (90.1, Verdict::Over),
            (90.0, Verdict::Between),
            (80.1, Verdict::Between),
            (80.0, Verdict::Inside),
            (f64::NEG_INFINITY, Verdict::Inside),
        ] {
            assert_eq!(threshold.verdict(Op::Above, value), verdict, "{value}");
        }
        let threshold = Threshold { raise: 10.0, clear: 20.0 };
        for (value, verdict) in [
            (9.9, Verdict::Over),
            (10.0, Verdict::Between),
            (19.9, Verdict::Between),
            (20.0, Verdict::Inside),
        ] {
            assert_eq!(threshold.verdict(Op::Below, value), verdict, "{value}");
        }
        let nothing = Threshold { raise: 0.0, clear: 0.0 };
        assert_eq!(nothing.verdict(Op::Above, 0.0), Verdict::Inside);
    }

    #[test]
    fn a_server_is_bound_by_all_that_is_needed_and_nothing_that_is_excluded() {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let server = ServerId::from_bytes([1; 16]);
        let labels: BTreeMap<String, String> = [label("env", "prod"), label("role", "db")].into();
        let mut binding = Binding::default();
        assert!(binding.is_everyone() && binding.binds(server, &BTreeMap::new()));
        binding.needs = vec![label("env", "prod"), label("role", "db")];
        assert!(binding.binds(server, &labels) && !binding.binds(server, &[label("env", "prod")].into()));
        binding.excludes = vec![label("role", "web"), label("role", "db")];
        assert!(!binding.binds(server, &labels));
        binding.excludes.clear();
        binding.exclude_servers = vec![server];
        assert!(!binding.binds(server, &labels) && !binding.is_everyone());
    }
}
