//! Whether the way to us is cut, as canaries tell it: then we are deaf, which is one incident, and nobody is called silent.

use fleet::{
    Interval, Millis, Pipeline, ServerId,
    alert::{
        Level, SelfCheck,
        deaf::{Canary, doubt},
    },
    id::AlertRuleId,
    liveness::SILENT_INTERVALS,
};
use registry::{Lasting, Raised, RegistryError};

use super::judge::{LOOK_EVERY, is_due};
use crate::app::App;

/// No server that reports counts as silent later than so long after now.
const FAR: Millis = 86_400_000;

/// Most servers of which is asked at once whether they were heard.
const ASKED: usize = 5_000;

/// What a judge knows of it from turn to turn. All of it can be lost: a new one finds it again.
#[derive(Default)]
pub(super) struct Edge {
    /// By their sightings.
    canaries: Vec<(ServerId, Canary)>,
    read_at: Option<Millis>,
    /// Somebody else was heard at this time, or later.
    heard: Option<Millis>,
    /// We are deaf, and until when, if somebody was heard by now.
    deaf: Option<Option<Millis>>,
    /// Since when we hear again, after we were deaf.
    pub(super) hears_since: Option<Millis>,
}

impl Edge {
    /// Whether we hear, as far as canaries tell; raises that we do not, and clears it. Without a rule or without canaries we
    /// do, and while the cache does not answer nothing changes.
    pub(super) async fn listen(
        &mut self,
        app: &App,
        rule: Option<(AlertRuleId, Level)>,
        pipeline: Pipeline,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let (Some((rule, level)), Some(watermark)) = (rule, pipeline.watermark) else { return Ok(true) };
        let reads = is_due(self.read_at, now, LOOK_EVERY);
        if reads {
            self.canaries = app.registry.canaries(watermark).await?;
        }
        if self.read_at.is_none()
            && let Some(ended) = app.registry.own_trouble_ended(SelfCheck::Deaf.as_str()).await?
        {
            self.hear_since(ended);
        }
        if reads {
            self.read_at = Some(now);
        }
        if !reads && self.canaries.is_empty() && self.deaf.is_none() {
            return Ok(true);
        }
        let lasting = app.registry.lasting(&[rule], None, 1).await?.pop();
        let Some(canaries) = self.canaries_now(app).await else { return Ok(lasting.is_none()) };
        if let Some(lasting) = lasting {
            return self.go_on(app, &lasting, &canaries, watermark).await;
        }
        if let Some(until) = self.deaf.take() {
            self.hear_since(until.unwrap_or(watermark));
        }
        let Some(doubt) = doubt(&canaries, watermark) else { return Ok(true) };
        if self.is_heard(app, doubt.heard_since, watermark).await? {
            return Ok(true);
        }
        if let Some(began_at) = doubt.silent_since {
            let (instance, value) = (String::new(), canaries.len() as f64);
            let raised = Raised { server: None, rule, instance, level, began_at, value };
            app.registry.raise(&[raised]).await?;
            self.deaf = Some(None);
        }
        Ok(false)
    }

    /// What was cut is cut until a canary, or anybody else, was heard for four intervals.
    async fn go_on(
        &mut self,
        app: &App,
        lasting: &Lasting,
        canaries: &[Canary],
        watermark: Millis,
    ) -> Result<bool, RegistryError> {
        let heard = canaries.iter().map(|canary| canary.silent_at).filter(|at| *at > watermark).min();
        let over_at = match heard {
            Some(at) => Some(at),
            // Nobody is left to tell.
            None if canaries.is_empty() => Some(watermark),
            None => {
                let others = self.is_heard(app, lasting.began_at, watermark).await?;
                others.then(|| watermark + self.four_intervals())
            }
        };
        let over_at = lasting.clear_at.filter(|_| over_at.is_some()).or(over_at);
        self.deaf = Some(over_at);
        if let Some(at) = over_at.filter(|at| watermark >= *at) {
            app.registry.clear(std::slice::from_ref(lasting)).await?;
            self.deaf = None;
            self.hear_since(at);
            return Ok(true);
        }
        if over_at != lasting.clear_at {
            app.registry.clear_at(lasting, over_at).await?;
        }
        Ok(false)
    }

    /// Who was heard four intervals before deafness was over had that long to be heard.
    fn hear_since(&mut self, over_at: Millis) {
        self.hears_since = self.hears_since.max(Some(over_at - self.four_intervals()));
    }

    fn four_intervals(&self) -> Millis {
        let shortest = self.canaries.iter().map(|(_, canary)| canary.interval.millis()).min();
        SILENT_INTERVALS * shortest.unwrap_or(Interval::DEFAULT.millis())
    }

    /// The canaries as the cache knows them; `None`: it does not answer.
    async fn canaries_now(&self, app: &App) -> Option<Vec<Canary>> {
        let servers: Vec<ServerId> = self.canaries.iter().map(|(server, _)| *server).collect();
        let cached = app.cache_trouble.watch(app.cache.silent_at(&servers).await)?;
        let newest = |(server, canary): &(ServerId, Canary)| {
            let silent_at = cached.get(server).map_or(canary.silent_at, |at| canary.silent_at.max(*at));
            Canary { silent_at, ..*canary }
        };
        Some(self.canaries.iter().map(newest).collect())
    }

    /// Whether anybody but the canaries was heard at this time or later.
    async fn is_heard(&mut self, app: &App, since: Millis, watermark: Millis) -> Result<bool, RegistryError> {
        if self.heard.is_some_and(|heard| since <= heard) {
            return Ok(true);
        }
        let canaries: Vec<ServerId> = self.canaries.iter().map(|(server, _)| *server).collect();
        let mut heard = app.registry.is_sighted_since(since, &canaries).await?;
        if !heard {
            let from = since + SILENT_INTERVALS * Interval::MIN.millis();
            let silent = app.cache_trouble.watch(app.cache.silent(from, watermark + FAR).await);
            let mut silent = silent.unwrap_or_default();
            silent.retain(|(server, _)| !canaries.contains(server));
            // Who counts as silent last was most probably heard.
            silent.sort_unstable_by_key(|(_, at)| std::cmp::Reverse(*at));
            for set in silent.chunks(ASKED) {
                heard = heard || app.registry.is_heard_since(since, set).await?;
            }
        }
        if heard {
            self.heard = Some(since);
        }
        Ok(heard)
    }
}
