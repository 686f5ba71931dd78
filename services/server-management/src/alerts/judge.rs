//! The judge: once a second, in every replica, it looks who fell silent, and makes incidents of what is raised and
//! resolutions of what is cleared. While monitoring itself is late, that is the one thing that is raised.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::Ordering,
};

use chassis::{Room, Trouble, random};
use fleet::{
    Millis, Pipeline, ServerId,
    alert::{Level, SelfCheck},
    id::{AlertRuleId, IncidentId},
    liveness::{LATE_AFTER, SIGHTING_SLACK},
};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use registry::{Lasting, Raised, RegistryError, Roll, SilentServer};

use super::{edge::Edge, watched::Rules};
use crate::{app::App, operations::DeadLetters};

/// A lag above it is raised, in ms. It is over once monitoring is not late any more.
const LATE: Millis = 120_000;

/// What the registry alone tells is looked at this often, in ms.
const RECONCILE_EVERY: Millis = 60_000;

/// What is paused, and what is wrong with the suite, is looked at this often, in ms.
pub(super) const LOOK_EVERY: Millis = 5_000;

/// Most of what lasts that is looked at in one turn, and most servers in one statement.
const SET: usize = 1_000;
const LOOKED_AT: u32 = 5_000;

/// Most sets of one turn: a turn ends, whatever there is.
const MOST_SETS: usize = 100;

/// The disk of the data folder is nearly full while it has less than this many times what is kept free of it.
const NEARLY_FULL: u64 = 2;

/// For how long a failed mail or report is told, in ms.
const FAILED_FOR: Millis = 3_600_000;

const INCIDENTS: &str = "rollcall_incidents";
const OPENED: &str = "rollcall_incidents_opened_total";
const RESOLVED: &str = "rollcall_incidents_resolved_total";
const TURN: &str = "rollcall_judge_timestamp_seconds";

pub(super) fn describe() {
    describe_gauge!(INCIDENTS, Unit::Count, "Incidents that are not resolved, by state and level");
    describe_counter!(OPENED, "Incidents that this process opened");
    describe_counter!(RESOLVED, "Incidents that this process resolved");
    describe_gauge!(TURN, Unit::Seconds, "Unix time when this process judged last");
}

/// What a judge knows from turn to turn. All of it can be lost: a new one finds it again.
pub(crate) struct Judge {
    /// The rules by which the judge itself raises.
    rules: Rules,
    /// Servers that were found silent and raised, with the moment from which they count as silent.
    known: HashMap<ServerId, Millis>,
    reconciled_at: Option<Millis>,
    looked_at: Option<Millis>,
    /// Where it goes on among what lasts.
    cursor: Option<ServerId>,
    edge: Edge,
    /// Who is silent was not raised, because it may be us who hear nobody.
    held: bool,
    trouble: Trouble,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            known: HashMap::new(),
            reconciled_at: None,
            looked_at: None,
            cursor: None,
            edge: Edge::default(),
            held: false,
            trouble: Trouble::new("judging"),
        }
    }
}

impl Judge {
    /// One turn, whose failure is logged when it begins and when it is over.
    pub(crate) async fn turn(&mut self, app: &App, dead_letters: &DeadLetters, disk: Option<&Room>) {
        let turned = self.judge(app, dead_letters, disk).await;
        if self.trouble.watch(turned).is_some() {
            gauge!(TURN).set(app.clock.now() as f64 / 1_000.0);
        }
    }

    /// The same; what it does not do for want of a store, the next turn does.
    pub(crate) async fn judge(
        &mut self,
        app: &App,
        dead_letters: &DeadLetters,
        disk: Option<&Room>,
    ) -> Result<(), RegistryError> {
        if app.awaited.registry.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = app.clock.now();
        self.refresh(app).await?;
        let pipeline = Pipeline::of(&app.registry.progress().await?, now);
        let late = self.judge_lag(app, pipeline, now).await?;
        let looks = is_due(self.looked_at, now, LOOK_EVERY);
        let mut reconciles = is_due(self.reconciled_at, now, RECONCILE_EVERY);
        if !late {
            let hears = self.edge.listen(app, self.own_rule(SelfCheck::Deaf), pipeline, now).await?;
            if hears && self.held {
                self.known.clear();
                reconciles = true;
            }
            self.held = !hears;
            // Whoever was not heard while we were deaf has four intervals from when we hear again.
            let open_since = pipeline.open_since.map(|open| open.max(self.edge.hears_since.unwrap_or(open)));
            self.raise_silence(app, Pipeline { open_since, ..pipeline }, reconciles).await?;
            if reconciles && hears {
                self.raise_unheard(app, pipeline).await?;
            }
            if looks {
                self.judge_suite(app, dead_letters, disk, now).await?;
            }
        }
        self.clear_heard(app, pipeline).await?;
        if looks {
            while app.registry.resolve_paused(now).await? == SET {}
            self.looked_at = Some(now);
        }
        if reconciles {
            self.reconcile(app, now).await?;
            self.reconciled_at = Some(now);
        }
        // While it is late, that is the one thing that is raised.
        let rule = self.own_rule(SelfCheck::Late).map(|(rule, _)| rule);
        let only = late.then(|| rule.unwrap_or(AlertRuleId::from_bytes([0; 16])));
        judge_states(app, only, now).await?;
        app.registry.tell_of_judge(now).await
    }

    /// Reads the rules again if they have changed since.
    async fn refresh(&mut self, app: &App) -> Result<(), RegistryError> {
        if app.registry.alert_rules_version().await? != self.rules.version {
            let (version, rules) = app.registry.enabled_alert_rules().await?;
            self.rules = Rules::of(version, rules);
            self.known.clear();
            self.reconciled_at = None;
        }
        Ok(())
    }

    /// Raises that monitoring is late, or clears it. Answers whether it is, so that nothing else is raised.
    async fn judge_lag(&self, app: &App, pipeline: Pipeline, now: Millis) -> Result<bool, RegistryError> {
        let lag = pipeline.lag(now).unwrap_or(0);
        let began_at = pipeline.watermark.unwrap_or(now);
        let level = (lag > LATE).then_some((began_at, lag as f64));
        if level.is_some() || lag <= LATE_AFTER {
            self.own(
                app,
                SelfCheck::Late,
                level.map(|(at, lag)| (String::new(), at, lag)).into_iter().collect(),
            )
            .await?;
        }
        Ok(lag > LATE)
    }

    /// Whoever fell silent, by what the cache knows; at times also by what the registry alone knows. While it may be us who
    /// hear nobody they are not raised, and what is pending of them goes all the same.
    async fn raise_silence(&mut self, app: &App, pipeline: Pipeline, all: bool) -> Result<(), RegistryError> {
        let Some(watermark) = pipeline.watermark else { return Ok(()) };
        if all {
            self.known.clear();
        }
        let silent = app.cache.silent(watermark - SIGHTING_SLACK, watermark).await;
        let mut silent = app.cache_trouble.watch(silent).unwrap_or_default();
        silent.retain(|(server, at)| self.known.get(server).is_none_or(|known| known < at));
        let moments: HashMap<ServerId, Millis> = silent.iter().copied().collect();
        let down = app.registry.silent_servers(&Roll { pipeline, silent }, all).await?;
        for set in down.chunks(SET) {
            self.raise_down(app, set, &moments, watermark).await?;
        }
        Ok(())
    }

    async fn raise_down(
        &mut self,
        app: &App,
        down: &[SilentServer],
        moments: &HashMap<ServerId, Millis>,
        watermark: Millis,
    ) -> Result<(), RegistryError> {
        let servers: Vec<ServerId> = down.iter().map(|one| one.server).collect();
        app.registry.drop_pending(&servers).await?;
        if self.held {
            let moment =
                |one: &SilentServer| (one.server, moments.get(&one.server).copied().unwrap_or(one.silent_at));
            self.known.extend(down.iter().map(moment));
            return Ok(());
        }
        let asks = self.rules.silent.iter().any(|silence| silence.rule.binding.asks_labels());
        let labels = if asks { app.registry.labels(&servers).await? } else { HashMap::new() };
        let none = BTreeMap::new();
        let mut raised = Vec::new();
        for one in down {
            let began_at = moments.get(&one.server).map_or(one.silent_at, |at| one.silent_at.max(*at));
            let labels = labels.get(&one.server).unwrap_or(&none);
            let mut waits = false;
            for silence in &self.rules.silent {
                if !silence.rule.binding.binds(one.server, labels) {
                    continue;
                }
                if watermark <= began_at + silence.rule.hold {
                    waits = true;
                    continue;
                }
                raised.push(silence.raised(one.server, began_at));
            }
            if !waits {
                self.known.insert(one.server, began_at);
            }
        }
        app.registry.raise(&raised).await
    }

    async fn raise_unheard(&self, app: &App, pipeline: Pipeline) -> Result<(), RegistryError> {
        let Some(watermark) = pipeline.watermark else { return Ok(()) };
        for unheard in &self.rules.unheard {
            let found = app.registry.unheard_servers(unheard.id, watermark - unheard.rule.hold).await?;
            let servers: Vec<ServerId> = found.iter().map(|(server, _)| *server).collect();
            let labels = app.registry.labels(&servers).await?;
            let none = BTreeMap::new();
            let bound = found.into_iter().filter(|(server, _)| {
                unheard.rule.binding.binds(*server, labels.get(server).unwrap_or(&none))
            });
            let raised: Vec<Raised> = bound.map(|(server, at)| unheard.raised(server, at)).collect();
            app.registry.raise(&raised).await?;
        }
        Ok(())
    }

    /// Whoever is heard again is cleared at once: by its sighting, or by what the cache knows of it. That nobody is known to
    /// be silent clears nobody.
    async fn clear_heard(&mut self, app: &App, pipeline: Pipeline) -> Result<(), RegistryError> {
        let Some(watermark) = pipeline.watermark else { return Ok(()) };
        let unheard: HashSet<AlertRuleId> = self.rules.unheard.iter().map(|silence| silence.id).collect();
        let rules: Vec<AlertRuleId> =
            self.rules.silent.iter().chain(&self.rules.unheard).map(|silence| silence.id).collect();
        let lasting = app.registry.lasting(&rules, self.cursor, LOOKED_AT).await?;
        let full = lasting.len() == LOOKED_AT as usize;
        self.cursor = if full { lasting.last().and_then(|last| last.server) } else { None };
        let servers: Vec<ServerId> = lasting.iter().filter_map(|one| one.server).collect();
        let cached = app.cache_trouble.watch(app.cache.silent_at(&servers).await).unwrap_or_default();
        let is_heard = |one: &Lasting| {
            let cached = one.server.and_then(|server| cached.get(&server).copied());
            let newest = one.silent_at.max(cached);
            newest.is_some_and(|at| unheard.contains(&one.rule) || at > one.began_at && at >= watermark)
        };
        let heard: Vec<Lasting> = lasting.into_iter().filter(is_heard).collect();
        for set in heard.chunks(SET) {
            app.registry.clear(set).await?;
            for one in set.iter().filter_map(|one| one.server) {
                self.known.remove(&one);
            }
        }
        Ok(())
    }

    /// What is wrong with the suite beside that it is late.
    async fn judge_suite(
        &self,
        app: &App,
        dead_letters: &DeadLetters,
        disk: Option<&Room>,
        now: Millis,
    ) -> Result<(), RegistryError> {
        let one = |value: f64| (String::new(), now, value);
        if let Some(dead) = dead_letters.known(now) {
            let letters = f64::from(dead.snapshots) + f64::from(dead.mail);
            self.own(
                app,
                SelfCheck::DeadLetters,
                (letters > 0.0).then(|| one(letters)).into_iter().collect(),
            )
            .await?;
        }
        if let Some(disk) = disk {
            let short = disk.full() || disk.free() < NEARLY_FULL.saturating_mul(disk.reserve());
            self.own(app, SelfCheck::Disk, short.then(|| one(disk.free() as f64)).into_iter().collect())
                .await?;
        }
        let failures = app.registry.failures_since(now - FAILED_FOR).await?;
        for (check, count) in [(SelfCheck::Mail, failures.mails), (SelfCheck::Report, failures.reports)] {
            let found = (count > 0).then(|| one(count as f64)).into_iter().collect();
            self.own(app, check, found).await?;
        }
        let channels = failures.channels.into_iter().map(|channel| (channel, now, 0.0)).collect();
        self.own(app, SelfCheck::Channel, channels).await?;
        let wide = app.registry.widest_rules().await?;
        let wide = wide.into_iter().map(|(rule, states)| (rule, now, states as f64)).collect();
        self.own(app, SelfCheck::RuleTooWide, wide).await
    }

    fn own_rule(&self, check: SelfCheck) -> Option<(AlertRuleId, Level)> {
        self.rules.own.get(check.as_str()).copied()
    }

    /// Raises what was found of a check, by the instance that it is of, and clears what was not found any more.
    async fn own(
        &self,
        app: &App,
        check: SelfCheck,
        found: Vec<(String, Millis, f64)>,
    ) -> Result<(), RegistryError> {
        let Some((rule, level)) = self.own_rule(check) else { return Ok(()) };
        let lasting = app.registry.lasting(&[rule], None, LOOKED_AT).await?;
        let lasts = |instance: &str| lasting.iter().any(|one| one.instance == instance);
        let is_found = |one: &&Lasting| found.iter().any(|(instance, ..)| *instance == one.instance);
        let over: Vec<Lasting> = lasting.iter().filter(|one| !is_found(one)).cloned().collect();
        let raised: Vec<Raised> = found
            .iter()
            .filter(|(instance, ..)| !lasts(instance))
            .take(SET)
            .map(|(instance, began_at, value)| Raised {
                server: None,
                rule,
                instance: instance.clone(),
                level,
                began_at: *began_at,
                value: *value,
            })
            .collect();
        app.registry.raise(&raised).await?;
        app.registry.clear(&over).await
    }

    /// What has gone: servers, rules, and servers that rules do not bind any more.
    async fn reconcile(&self, app: &App, now: Millis) -> Result<(), RegistryError> {
        while app.registry.resolve_gone(now).await? == SET {}
        while app.registry.resolve_stateless(now).await? == SET {}
        let none = BTreeMap::new();
        for (id, rule) in &self.rules.narrow {
            let mut after = None;
            for _ in 0..MOST_SETS {
                let servers = app.registry.servers_of_rule(*id, after).await?;
                let labels = app.registry.labels(&servers).await?;
                let binds =
                    |server: &ServerId| rule.binding.binds(*server, labels.get(server).unwrap_or(&none));
                let unbound: Vec<ServerId> =
                    servers.iter().filter(|server| !binds(server)).copied().collect();
                app.registry.unbind(*id, &unbound, now).await?;
                after = servers.last().copied();
                if servers.len() < SET {
                    break;
                }
            }
        }
        Ok(())
    }
}

async fn judge_states(app: &App, only: Option<AlertRuleId>, now: Millis) -> Result<(), RegistryError> {
    let mut new = || IncidentId::new(now, random());
    // They are told before there is anything to count.
    let (opened, resolved) = (counter!(OPENED), counter!(RESOLVED));
    for _ in 0..MOST_SETS {
        let Some(judged) = app.registry.judge_states(only, &mut new, now).await? else { break };
        opened.increment(judged.opened as u64);
        resolved.increment(judged.resolved as u64);
    }
    Ok(())
}

/// A clock that steps back makes it due.
pub(super) fn is_due(last: Option<Millis>, now: Millis, every: Millis) -> bool {
    last.is_none_or(|last| !(last..last + every).contains(&now))
}

/// Counts incidents for the metrics.
pub(super) async fn count(app: &App) -> Result<(), RegistryError> {
    let counts = app.registry.incident_counts().await?;
    for state in ["open", "acknowledged"] {
        for level in Level::ALL {
            let of = counts.iter().find(|(s, l, _)| s.as_str() == state && *l == level);
            let incidents = of.map_or(0, |(.., incidents)| *incidents);
            gauge!(INCIDENTS, "state" => state, "level" => level.as_str()).set(incidents as f64);
        }
    }
    Ok(())
}
