//! What is said of an incident on each channel: the difference between what was told there and what is.

use std::collections::{BTreeMap, BTreeSet};

use super::{IncidentState, Level, Resolution, channel::Step, message::What, route::Route};
use crate::{Millis, id::ChannelId};

const MINUTE: Millis = 60_000;

/// Two alerts about one thing on a channel are at least so far apart.
pub const APART: Millis = 5 * MINUTE;

/// How long an alert about a measurement waits for others like it.
pub const RESOURCES_WAIT: Millis = 2_000;

/// If so many servers fall silent within so long, they are waited for, at most so long.
pub const STORM: usize = 3;
/// How far ahead those who are about to fall silent are looked for.
pub const STORM_AHEAD: Millis = 30_000;
/// How long is waited for them at most.
pub const STORM_WAIT: Millis = 60_000;

/// After a message failed the channel is tried again after this long, doubling up to the longest.
const RETRY: Millis = 5 * MINUTE;
const LONGEST_RETRY: Millis = 60 * MINUTE;

/// A recovery that was not sent for so long is not sent any more.
pub const RECOVERIES_LAST: Millis = 24 * 60 * MINUTE;

/// How soon to look again at what is being sent.
const LOOK_AGAIN: Millis = 1_000;

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It waits to be sent.
    Queued,
    /// It is being sent.
    Sending,
    /// It was sent, or may have been.
    Gone,
    /// It was not taken, at this time.
    Failed(Millis),
}

/// What was said of an incident on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub what: What,
    /// Of which level it was then.
    pub level: Level,
    /// How many reminders there were by then.
    pub reminder: i64,
    /// When it was said.
    pub at: Millis,
    /// What became of it.
    pub fate: Fate,
}

/// An incident, as far as telling depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// How far it is.
    pub state: IncidentState,
    /// How bad it is.
    pub level: Level,
    /// Since when the steps of routes count: since it was opened, or opened again.
    pub escalates_from: Millis,
    /// How many steps have come since then.
    pub step: i64,
    /// When it was over, and why.
    pub resolved: Option<(Millis, Resolution)>,
    /// Until when it is not told, because of a silence.
    pub silent_until: Option<Millis>,
    /// Alerts wait until then, for others like it.
    pub wait_until: Option<Millis>,
}

/// What is known of the channels.
#[derive(Debug, Clone, Copy)]
pub struct Channels<'a> {
    /// Those that there are and that are not disabled.
    pub usable: &'a BTreeSet<ChannelId>,
    /// When each was last told of the same rule, server and instance, of an incident before this one.
    pub alerted: &'a BTreeMap<ChannelId, Millis>,
    /// What was said of this incident on each, in its order.
    pub said: &'a BTreeMap<ChannelId, Vec<Said>>,
}

/// What is to be said, and what is not to be sent any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// On which channel what is said, as which reminder.
    pub say: Vec<(ChannelId, What, i64)>,
    /// On which channels what waits to be sent falls.
    pub fall: Vec<ChannelId>,
    /// How many steps have come by now.
    pub step: i64,
    /// When to look again, whatever happens meanwhile; `None`: only when something happens.
    pub next: Option<Millis>,
}

impl Decision {
    fn look_at(&mut self, at: Millis) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// What is said of an incident now, by these routes.
pub fn decide(trouble: &Trouble, routes: &[&Route], channels: &Channels<'_>, now: Millis) -> Decision {
    let mut decision = Decision { step: trouble.step, ..Decision::default() };
    if let Some(until) = trouble.silent_until {
        decision.look_at(until);
        return decision;
    }
    match trouble.resolved {
        Some((at, resolution)) => tell_the_end(at, resolution, channels, now, &mut decision),
        None => tell_the_trouble(trouble, routes, channels, now, &mut decision),
    }
    decision
}

/// When a channel is tried again after what was said failed on it for the last time; `None`: nothing failed since it worked.
fn retry_at(said: &[Said]) -> Option<Millis> {
    let failed = said.iter().rev().map_while(|said| match said.fate {
        Fate::Failed(at) => Some(at),
        _ => None,
    });
    let (count, last) = failed.fold((0u32, None), |(count, last), at| (count + 1, last.max(Some(at))));
    let doubled = RETRY.checked_shl(count.saturating_sub(1).min(8)).unwrap_or(LONGEST_RETRY);
    last.map(|at| at + doubled.min(LONGEST_RETRY))
}

fn counts(said: &Said) -> bool {
    !matches!(said.fate, Fate::Failed(_))
}

fn tell_the_end(
    at: Millis,
    resolution: Resolution,
    channels: &Channels<'_>,
    now: Millis,
    decision: &mut Decision,
) {
    let what = if resolution == Resolution::Recovered { What::Recovery } else { What::Unwatched };
    for (channel, said) in channels.said {
        let troubles = || said.iter().filter(|said| !said.what.ends());
        if said.iter().any(|said| said.what.ends() && counts(said)) {
            continue;
        }
        // Whoever sends it may have sent it by now, or may say that it was not sent.
        if troubles().any(|said| said.fate == Fate::Sending) {
            decision.look_at(now + LOOK_AGAIN);
            continue;
        }
        if troubles().any(|said| said.fate == Fate::Queued) {
            decision.fall.push(*channel);
        }
        if !troubles().any(|said| said.fate == Fate::Gone) || !channels.usable.contains(channel) {
            continue;
        }
        // Of a failed alert before it the recovery knows nothing.
        let ends: Vec<Said> = said.iter().filter(|said| said.what.ends()).copied().collect();
        let due = retry_at(&ends).unwrap_or(now);
        if due.max(now) - at > RECOVERIES_LAST {
            continue;
        }
        if due > now { decision.look_at(due) } else { decision.say.push((*channel, what, 0)) }
    }
}

fn tell_the_trouble(
    trouble: &Trouble,
    routes: &[&Route],
    channels: &Channels<'_>,
    now: Millis,
    decision: &mut Decision,
) {
    for (channel, reminder_ms) in due_channels(trouble, routes, channels, now, decision) {
        let said = channels.said.get(&channel).map_or(&[][..], Vec::as_slice);
        let told = said.iter().filter(|said| counts(said)).map(|said| said.level).max();
        let retry = retry_at(said).filter(|at| *at > now);
        match told {
            Some(level) if level >= trouble.level => {
                remind(trouble, channel, said, reminder_ms, now, decision);
            }
            _ if retry.is_some() => decision.look_at(retry.unwrap_or(now)),
            Some(_) => {
                decision.say.push((channel, What::Rise, reminders(said)));
                remind_later(trouble, reminder_ms, now, decision);
            }
            // Whoever acknowledged it knows it.
            None if trouble.state == IncidentState::Acknowledged => {}
            None => {
                let apart = channels.alerted.get(&channel).map(|at| at + APART);
                match apart.max(trouble.wait_until).filter(|at| *at > now) {
                    Some(at) => decision.look_at(at),
                    None => {
                        decision.say.push((channel, What::Alert, 0));
                        remind_later(trouble, reminder_ms, now, decision);
                    }
                }
            }
        }
    }
}

fn reminders(said: &[Said]) -> i64 {
    said.iter().map(|said| said.reminder).max().unwrap_or(0)
}

fn remind(
    trouble: &Trouble,
    channel: ChannelId,
    said: &[Said],
    every: Millis,
    now: Millis,
    decision: &mut Decision,
) {
    let waits = said.iter().any(|said| matches!(said.fate, Fate::Queued | Fate::Sending));
    let last = said.iter().map(|said| said.at).max();
    if let (Some(last), true, IncidentState::Open) = (last, every > 0, trouble.state) {
        // A reminder of what was not sent yet reminds nobody.
        let due = if waits { now + every } else { last + every };
        if due <= now {
            decision.say.push((channel, What::Reminder, reminders(said) + 1));
        }
        decision.look_at(if due > now { due } else { now + every });
    }
}

/// What is said now is reminded of later.
fn remind_later(trouble: &Trouble, every: Millis, now: Millis, decision: &mut Decision) {
    if every > 0 && trouble.state == IncidentState::Open {
        decision.look_at(now + every);
    }
}

/// The channels whose step has come, with how often they are reminded. A step comes at its time, unless the incident is
/// acknowledged by then, and at once if everything before it failed. What has come and was told stays when the level rises.
fn due_channels(
    trouble: &Trouble,
    routes: &[&Route],
    channels: &Channels<'_>,
    now: Millis,
    decision: &mut Decision,
) -> BTreeMap<ChannelId, Millis> {
    let mut due: BTreeMap<ChannelId, Millis> = BTreeMap::new();
    let said = |channel: &ChannelId| channels.said.get(channel).map_or(&[][..], Vec::as_slice);
    let told = |channel: &ChannelId| said(channel).iter().any(counts);
    let failed = |channel: &ChannelId| {
        let said = said(channel);
        !channels.usable.contains(channel) || !said.is_empty() && !said.iter().any(counts)
    };
    for route in routes {
        let mut all_failed = true;
        for (index, Step { after_ms, channels: step }) in (0i64..).zip(&route.steps) {
            let at = trouble.escalates_from + after_ms;
            let has_come = index < trouble.step && step.iter().any(told);
            let comes = at <= now || has_come || index > 0 && all_failed;
            if !comes {
                if trouble.state == IncidentState::Open {
                    decision.look_at(at);
                }
                // Those after it come no sooner.
                break;
            }
            if trouble.state == IncidentState::Open {
                decision.step = decision.step.max(index + 1);
            }
            all_failed &= step.iter().all(failed);
            for channel in step.iter().filter(|channel| channels.usable.contains(channel)) {
                let every = due.entry(*channel).or_insert(route.reminder_ms);
                // The shorter of two counts, and 0 is never.
                if route.reminder_ms > 0 && (*every == 0 || route.reminder_ms < *every) {
                    *every = route.reminder_ms;
                }
            }
        }
    }
    due
}

/// Until when alerts about servers that fell silent wait, because more of them are about to: `silent` of them were found and
/// not told yet, the first at `first`; `ahead` more fall silent within [`STORM_AHEAD`]. `None`: they wait for nothing.
pub fn storm(silent: usize, first: Millis, ahead: usize, now: Millis) -> Option<Millis> {
    let comes = ahead > 0 && silent + ahead >= STORM && now < first + STORM_WAIT;
    comes.then_some(now + LOOK_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::route::Match, id::AlertRouteId};

    const NOW: Millis = 1_790_000_000_000;

    fn channel(number: u8) -> ChannelId {
        ChannelId::new(1, [number; 10])
    }

    fn trouble() -> Trouble {
        Trouble {
            state: IncidentState::Open,
            level: Level::Warning,
            escalates_from: NOW,
            step: 0,
            resolved: None,
            silent_until: None,
            wait_until: None,
        }
    }

    fn over(resolution: Resolution) -> Trouble {
        Trouble { state: IncidentState::Resolved, resolved: Some((NOW, resolution)), ..trouble() }
    }

    fn route(steps: &[(Millis, &[u8])], reminder_ms: Millis) -> Route {
        let step = |(after_ms, channels): &(Millis, &[u8])| Step {
            after_ms: *after_ms,
            channels: channels.iter().map(|number| channel(*number)).collect(),
        };
        Route {
            id: AlertRouteId::new(1, [1; 10]),
            matches: Match::default(),
            min_level: Level::Warning,
            steps: steps.iter().map(step).collect(),
            reminder_ms,
            goes_on: false,
        }
    }

    fn said(what: What, level: Level, fate: Fate) -> Said {
        Said { what, level, reminder: 0, at: NOW, fate }
    }

    fn alert(fate: Fate) -> Said {
        said(What::Alert, Level::Warning, fate)
    }

    struct World {
        usable: BTreeSet<ChannelId>,
        alerted: BTreeMap<ChannelId, Millis>,
        said: BTreeMap<ChannelId, Vec<Said>>,
    }

    fn world(said: &[(u8, Vec<Said>)]) -> World {
        let said = said.iter().map(|(number, said)| (channel(*number), said.clone())).collect();
        World { usable: [1, 2, 3].map(channel).into(), alerted: BTreeMap::new(), said }
    }

    impl World {
        fn decide(&self, trouble: Trouble, route: &Route, now: Millis) -> Decision {
            Decision { step: 0, ..self.decide_with_step(trouble, route, now) }
        }

        fn decide_with_step(&self, trouble: Trouble, route: &Route, now: Millis) -> Decision {
            let channels = Channels { usable: &self.usable, alerted: &self.alerted, said: &self.said };
            decide(&trouble, &[route], &channels, now)
        }
    }

    fn says(what: What) -> Decision {
        Decision { say: vec![(channel(1), what, 0)], ..Decision::default() }
    }

    #[test]
    fn what_is_said_is_the_difference_between_told_and_is() {
        let (one, nothing) = (route(&[(0, &[1])], 0), Decision::default());
        let worse = Trouble { level: Level::Critical, ..trouble() };
        for (said, is, decision) in [
            (vec![], trouble(), says(What::Alert)),
            (vec![alert(Fate::Queued)], trouble(), nothing.clone()),
            (vec![alert(Fate::Sending)], trouble(), nothing.clone()),
            (vec![alert(Fate::Gone)], trouble(), nothing.clone()),
            (vec![alert(Fate::Gone)], worse, says(What::Rise)),
            (vec![alert(Fate::Queued)], worse, says(What::Rise)),
            (vec![alert(Fate::Gone)], over(Resolution::Recovered), says(What::Recovery)),
            (vec![alert(Fate::Gone)], over(Resolution::Paused), says(What::Unwatched)),
            (vec![alert(Fate::Gone)], over(Resolution::Closed), says(What::Unwatched)),
            (vec![], over(Resolution::Recovered), nothing.clone()),
            (vec![alert(Fate::Failed(NOW))], over(Resolution::Recovered), nothing.clone()),
            (
                vec![alert(Fate::Gone), said(What::Recovery, Level::Warning, Fate::Gone)],
                over(Resolution::Recovered),
                nothing,
            ),
        ] {
            assert_eq!(world(&[(1, said.clone())]).decide(is, &one, NOW), decision, "{said:?}");
        }
    }

    #[test]
    fn an_alert_that_still_waits_falls_with_its_incident_and_one_under_way_is_waited_for() {
        let one = route(&[(0, &[1])], 0);
        let fall = world(&[(1, vec![alert(Fate::Queued)])]).decide(over(Resolution::Recovered), &one, NOW);
        assert_eq!(fall, Decision { fall: vec![channel(1)], ..Decision::default() });
        let wait = world(&[(1, vec![alert(Fate::Sending)])]).decide(over(Resolution::Recovered), &one, NOW);
        assert_eq!(wait, Decision { next: Some(NOW + LOOK_AGAIN), ..Decision::default() });
        // Its alert was sent: the rise falls, and the recovery goes.
        let rise = said(What::Rise, Level::Critical, Fate::Queued);
        let both =
            world(&[(1, vec![alert(Fate::Gone), rise])]).decide(over(Resolution::Recovered), &one, NOW);
        assert_eq!(both, Decision { fall: vec![channel(1)], ..says(What::Recovery) });
    }

    #[test]
    fn after_a_failure_the_channel_is_tried_again_ever_later() {
        let one = route(&[(0, &[1])], 0);
        for (failures, minutes) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (9, 60)] {
            let world = world(&[(1, vec![alert(Fate::Failed(NOW)); failures])]);
            let due = NOW + minutes * MINUTE;
            assert_eq!(world.decide(trouble(), &one, due - 1).next, Some(due), "{failures}");
            assert_eq!(world.decide(trouble(), &one, due), says(What::Alert), "{failures}");
        }
        let failed = said(What::Recovery, Level::Warning, Fate::Failed(NOW));
        let world = world(&[(1, vec![alert(Fate::Gone), failed])]);
        assert_eq!(world.decide(over(Resolution::Recovered), &one, NOW).next, Some(NOW + RETRY));
        assert_eq!(world.decide(over(Resolution::Recovered), &one, NOW + RETRY), says(What::Recovery));
        assert_eq!(
            world.decide(over(Resolution::Recovered), &one, NOW + RECOVERIES_LAST + 1),
            Decision::default()
        );
    }

    #[test]
    fn a_step_comes_at_its_time_unless_somebody_knows_and_at_once_if_all_before_it_failed() {
        let steps = route(&[(0, &[1]), (15 * MINUTE, &[2]), (30 * MINUTE, &[3])], 0);
        let told = world(&[(1, vec![alert(Fate::Gone)])]);
        assert_eq!(told.decide(trouble(), &steps, NOW).next, Some(NOW + 15 * MINUTE));
        let say = |numbers: &[u8]| {
            numbers.iter().map(|number| (channel(*number), What::Alert, 0)).collect::<Vec<_>>()
        };
        assert_eq!(told.decide(trouble(), &steps, NOW + 15 * MINUTE).say, say(&[2]));
        let known = Trouble { state: IncidentState::Acknowledged, ..trouble() };
        assert_eq!(told.decide(known, &steps, NOW + 60 * MINUTE), Decision::default());
        let failed = world(&[(1, vec![alert(Fate::Failed(NOW))])]);
        assert_eq!(failed.decide(trouble(), &steps, NOW).say, say(&[2]));
        let mut gone = world(&[]);
        gone.usable.remove(&channel(1));
        assert_eq!(gone.decide(trouble(), &steps, NOW).say, say(&[2]));
        gone.usable.clear();
        assert_eq!(gone.decide(trouble(), &steps, NOW).say, []);
    }

    #[test]
    fn what_is_open_again_has_all_its_steps_before_it_and_what_was_told_is_told_what_is_worse() {
        let steps = route(&[(0, &[1]), (15 * MINUTE, &[2])], 0);
        let both = world(&[(1, vec![alert(Fate::Gone)]), (2, vec![alert(Fate::Gone)])]);
        let hour = NOW + 60 * MINUTE;
        let step = |trouble, now| world(&[]).decide_with_step(trouble, &steps, now).step;
        assert_eq!((step(trouble(), NOW), step(trouble(), NOW + 15 * MINUTE)), (1, 2));
        let known = Trouble { state: IncidentState::Acknowledged, step: 1, ..trouble() };
        assert_eq!(step(known, hour), 1, "no step comes while somebody knows");
        // Somebody knew it, and it is worse: the second step has its time again.
        let worse = Trouble { level: Level::Critical, escalates_from: hour, ..trouble() };
        let rise = |number: u8| (channel(number), What::Rise, 0);
        let again = both.decide_with_step(worse, &steps, hour);
        assert_eq!((again.say, again.step, again.next), (vec![rise(1)], 1, Some(hour + 15 * MINUTE)));
        assert_eq!(both.decide(worse, &steps, hour + 15 * MINUTE).say, [rise(1), rise(2)]);
        // Nobody knew it: whoever was told by the second step is told at once.
        assert_eq!(both.decide(Trouble { step: 2, ..worse }, &steps, hour).say, [rise(1), rise(2)]);
        // Who was not told has its time.
        let first = world(&[(1, vec![alert(Fate::Gone)])]);
        assert_eq!(first.decide(Trouble { step: 2, ..worse }, &steps, hour).say, [rise(1)]);
    }

    #[test]
    fn a_silence_mutes_and_what_is_left_at_its_end_is_told_once() {
        let one = route(&[(0, &[1])], 0);
        let muted = Trouble { silent_until: Some(NOW + 9), ..trouble() };
        assert_eq!(
            world(&[]).decide(muted, &one, NOW),
            Decision { next: Some(NOW + 9), ..Decision::default() }
        );
        let over = Trouble { silent_until: Some(NOW + 9), ..over(Resolution::Recovered) };
        assert_eq!(world(&[(1, vec![alert(Fate::Gone)])]).decide(over, &one, NOW).say, []);
    }

    #[test]
    fn what_returns_sooner_is_told_five_minutes_after_it_was_told_before() {
        let one = route(&[(0, &[1])], 0);
        let mut world = world(&[]);
        world.alerted.insert(channel(1), NOW - MINUTE);
        assert_eq!(world.decide(trouble(), &one, NOW).next, Some(NOW + 4 * MINUTE));
        assert_eq!(world.decide(trouble(), &one, NOW + 4 * MINUTE), says(What::Alert));
    }

    #[test]
    fn reminders_go_until_somebody_knows() {
        let every = route(&[(0, &[1])], 10 * MINUTE);
        let told = world(&[(1, vec![alert(Fate::Gone)])]);
        assert_eq!(told.decide(trouble(), &every, NOW).next, Some(NOW + 10 * MINUTE));
        let next = Some(NOW + 20 * MINUTE);
        let reminder = Decision { say: vec![(channel(1), What::Reminder, 1)], next, ..Decision::default() };
        assert_eq!(told.decide(trouble(), &every, NOW + 10 * MINUTE), reminder);
        let first = Decision { next: Some(NOW + 10 * MINUTE), ..says(What::Alert) };
        assert_eq!(world(&[]).decide(trouble(), &every, NOW), first);
        let known = Trouble { state: IncidentState::Acknowledged, ..trouble() };
        assert_eq!(told.decide(known, &every, NOW + 10 * MINUTE), Decision::default());
        let waits = world(&[(1, vec![alert(Fate::Queued)])]);
        assert_eq!(waits.decide(trouble(), &every, NOW + 10 * MINUTE).say, []);
    }

    #[test]
    fn a_storm_is_waited_for_and_a_single_failure_is_not() {
        assert_eq!(storm(1, NOW, 0, NOW), None);
        assert_eq!(storm(1, NOW, 1, NOW), None);
        assert_eq!(storm(1, NOW, 2, NOW), Some(NOW + LOOK_AGAIN));
        assert_eq!(storm(400, NOW, 1, NOW + STORM_WAIT - 1), Some(NOW + STORM_WAIT - 1 + LOOK_AGAIN));
        assert_eq!(storm(400, NOW, 1, NOW + STORM_WAIT), None);
        assert_eq!(storm(500, NOW, 0, NOW + 30_000), None);
    }
}
