//! Which incidents are told where, and which are not told for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Level, channel::Step};
use crate::{
    Millis, ServerId,
    id::{AlertRouteId, AlertRuleId, SilenceId},
};

/// Shortest time between two reminders.
pub const SHORTEST_REMINDER: Millis = 5 * 60_000;

/// Longest time that a silence lasts.
pub const LONGEST_SILENCE: Millis = 30 * 86_400_000;

/// Which incidents. What is left out narrows nothing: an empty one matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// All of these labels are the server's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// One of these rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AlertRuleId>,
    /// One of these servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerId>,
}

/// What a [`Match`] looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// The incident's rule; `None` of one whose rule has no id (any more).
    pub rule: Option<AlertRuleId>,
    /// Its server; `None`: the suite itself.
    pub server: Option<ServerId>,
    /// The server's labels.
    pub labels: BTreeMap<String, String>,
}

/// Which incidents are told on which channels, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: AlertRouteId,
    /// Which incidents.
    pub matches: Match,
    /// Of this level and above.
    pub min_level: Level,
    /// By their time.
    pub steps: Vec<Step>,
    /// How often an open incident is told again; 0: never.
    pub reminder_ms: Millis,
    /// Whether the routes after it are asked too.
    pub goes_on: bool,
}

/// For some time some incidents are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its id.
    pub id: SilenceId,
    /// Which incidents.
    pub matches: Match,
    /// From then on, in Unix ms.
    pub starts_at: Millis,
    /// Until then.
    pub ends_at: Millis,
}

impl Match {
    /// Whether it is all incidents.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether such an incident is among them. One of the suite itself has no labels and no server.
    pub fn takes(&self, traits: &Traits) -> bool {
        let label = |(key, value): (&String, &String)| traits.labels.get(key) == Some(value);
        let rule = self.rules.is_empty() || traits.rule.is_some_and(|rule| self.rules.contains(&rule));
        let server =
            self.servers.is_empty() || traits.server.is_some_and(|server| self.servers.contains(&server));
        rule && server && self.labels.iter().all(label)
    }
}

/// The routes by which an incident of this level is told: in their order, up to the first that does not go on.
pub fn routes_of<'a>(routes: &'a [Route], traits: &Traits, level: Level) -> Vec<&'a Route> {
    let mut taken = Vec::new();
    for route in routes {
        if level >= route.min_level && route.matches.takes(traits) {
            taken.push(route);
            if !route.goes_on {
                break;
            }
        }
    }
    taken
}

/// Until when such an incident is not told; `None`: it is.
pub fn silent_until(silences: &[Silence], traits: &Traits, now: Millis) -> Option<Millis> {
    let lasts = |silence: &&Silence| {
        (silence.starts_at..silence.ends_at).contains(&now) && silence.matches.takes(traits)
    };
    silences.iter().filter(lasts).map(|silence| silence.ends_at).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: u8) -> AlertRuleId {
        AlertRuleId::new(1, [number; 10])
    }

    fn server(number: u8) -> ServerId {
        ServerId::new(1, [number; 10])
    }

    fn traits() -> Traits {
        let labels = [("site", "eu"), ("tier", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        Traits { rule: Some(rule(1)), server: Some(server(1)), labels: labels.into() }
    }

    fn read(text: &str) -> Match {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_match_narrows_by_each_part_that_it_has() {
        assert!(read("{}").is_all() && read("{}").takes(&Traits::default()));
        assert!(read(r#"{"labels":{"site":"eu","tier":"1"}}"#).takes(&traits()));
        assert!(!read(r#"{"labels":{"site":"eu","tier":"2"}}"#).takes(&traits()));
        let both = Match { rules: vec![rule(2), rule(1)], servers: vec![server(1)], ..Match::default() };
        assert!(both.takes(&traits()));
        assert!(!Match { servers: vec![server(2)], ..both.clone() }.takes(&traits()));
        assert!(!both.takes(&Traits { server: None, ..traits() }));
        assert!(serde_json::from_str::<Match>(r#"{"label":{}}"#).is_err());
        assert_eq!(serde_json::to_string(&Match::default()).unwrap(), "{}");
    }

    #[test]
    fn the_first_route_that_takes_it_is_the_last_unless_it_goes_on() {
        let route = |number: u8, text: &str, min_level, goes_on| Route {
            id: AlertRouteId::new(1, [number; 10]),
            matches: read(text),
            min_level,
            steps: Vec::new(),
            reminder_ms: 0,
            goes_on,
        };
        let routes = [
            route(1, r#"{"labels":{"site":"us"}}"#, Level::Warning, false),
            route(2, "{}", Level::Critical, true),
            route(3, "{}", Level::Warning, false),
            route(4, "{}", Level::Warning, false),
        ];
        let taken =
            |level| routes_of(&routes, &traits(), level).iter().map(|route| route.id).collect::<Vec<_>>();
        assert_eq!(taken(Level::Critical), [routes[1].id, routes[2].id]);
        assert_eq!(taken(Level::Warning), [routes[2].id]);
    }

    #[test]
    fn a_silence_lasts_from_its_start_to_its_end() {
        let silence = |starts_at, ends_at| Silence {
            id: SilenceId::new(1, [1; 10]),
            matches: Match::default(),
            starts_at,
            ends_at,
        };
        let both = [silence(10, 20), silence(15, 30)];
        let until = |now| silent_until(&both, &traits(), now);
        assert_eq!([9, 10, 16, 20, 29, 30].map(until), [None, Some(20), Some(30), Some(30), Some(30), None]);
    }
}
