//! The rules by which the judge itself raises.

use std::collections::BTreeMap;

use fleet::{
    Millis, ServerId,
    alert::{Level, Rule, Watches},
    id::AlertRuleId,
};
use registry::{AlertRule, Raised};

#[derive(Default)]
pub(super) struct Rules {
    pub(super) version: i64,
    pub(super) silent: Vec<Silence>,
    pub(super) unheard: Vec<Silence>,
    pub(super) own: BTreeMap<&'static str, (AlertRuleId, Level)>,
    /// Those that do not bind everybody.
    pub(super) narrow: Vec<(AlertRuleId, Rule)>,
}

pub(super) struct Silence {
    pub(super) id: AlertRuleId,
    pub(super) level: Level,
    pub(super) rule: Rule,
}

impl Rules {
    pub(super) fn of(version: i64, rules: Vec<AlertRule>) -> Self {
        let mut read = Self { version, ..Self::default() };
        for AlertRule { id, draft, .. } in rules {
            // What a later release wrote is left to it.
            let Ok(rule) = draft.check() else { continue };
            if !rule.binding.is_everyone() {
                read.narrow.push((id, rule.clone()));
            }
            match rule.watches {
                Watches::Silent(level) => read.silent.push(Silence { id, level, rule }),
                Watches::Unheard(level) => read.unheard.push(Silence { id, level, rule }),
                Watches::Itself(check, level) => drop(read.own.insert(check.as_str(), (id, level))),
                Watches::Value(_) => {}
            }
        }
        read
    }
}

impl Silence {
    pub(super) fn raised(&self, server: ServerId, began_at: Millis) -> Raised {
        let Self { id, level, .. } = self;
        Raised {
            server: Some(server),
            rule: *id,
            instance: String::new(),
            level: *level,
            began_at,
            value: 0.0,
        }
    }
}
