//! What is remembered of a value that breaches, and what a sample makes of it. A sample raises and clears, time never.
//!
//! The registry says the same in SQL, by the row that is stored when it writes, so that neither redelivery nor reorder
//! changes anything; a test holds the two against each other.

use super::{rule::Verdict, words::Phase};
use crate::Millis;

/// What was committed within this long after its receipt, by the store's clock, is in time. What comes later neither raises
/// nor clears anything: it may begin a state, and end one that is pending.
pub const IN_TIME: Millis = 5_000;

/// A snapshot that was sampled longer than this and an interval before it was received is back-fill, and is not looked at.
pub const BACK_FILL: Millis = 60_000;

/// Most states of one rule. Beyond it the rule writes no new ones.
pub const MOST_STATES: i64 = 100_000;

/// What is remembered of one level of a rule, for one instance of one server. There is none of what does not breach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// When the sample was received by which it began, in gate time.
    pub began_at: Millis,
    /// `sampled_at` of the newest sample that counted.
    pub seen_at: Millis,
    /// From when on a sample that is over raises it, in gate time.
    pub raise_at: Millis,
    /// From when on a sample that is inside clears it, in gate time; `None` while the newest that counted was not inside.
    pub clear_at: Option<Millis>,
    /// The value of the newest sample that counted.
    pub value: f64,
}

/// A sample, as one level of a rule sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Where its value lies.
    pub verdict: Verdict,
    /// Its value.
    pub value: f64,
    /// The agent's clock.
    pub sampled_at: Millis,
    /// The gate's clock.
    pub received_at: Millis,
    /// What lasted until now did not: an earlier sample, which is not looked at by itself, was on the other side.
    pub afresh: bool,
}

/// How long what a rule looks at has to last, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Before it is raised.
    pub raise: Millis,
    /// Before it is cleared.
    pub clear: Millis,
}

impl State {
    /// What a sample makes of what is stored. `in_time`: it is committed within [`IN_TIME`] of its receipt. `None`: there is
    /// no state then.
    pub fn after(stored: Option<Self>, sample: &Sample, holds: Holds, in_time: bool) -> Option<Self> {
        let Some(state) = stored else {
            return (sample.verdict == Verdict::Over).then(|| Self::begun(sample, holds, in_time));
        };
        if sample.sampled_at <= state.seen_at {
            return Some(state);
        }
        match (state.phase, sample.verdict) {
            (Phase::Pending, Verdict::Over) if sample.afresh => Some(Self::begun(sample, holds, in_time)),
            (Phase::Pending, Verdict::Over) if in_time && sample.received_at >= state.raise_at => {
                Some(Self { phase: Phase::Raised, clear_at: None, ..state.seen(sample) })
            }
            (Phase::Pending, Verdict::Over) => Some(state),
            (Phase::Pending, Verdict::Between | Verdict::Inside) => None,
            (Phase::Raised | Phase::Cleared, _) if !in_time => Some(state),
            (Phase::Raised, Verdict::Inside) => Some(state.inside(sample, holds)),
            (Phase::Raised, Verdict::Over | Verdict::Between) if state.clear_at.is_some() => {
                Some(Self { clear_at: None, ..state.seen(sample) })
            }
            // The judge has not seen that it was cleared: it goes on.
            (Phase::Cleared, Verdict::Over) => {
                Some(Self { phase: Phase::Raised, clear_at: None, ..state.seen(sample) })
            }
            (Phase::Raised | Phase::Cleared, _) => Some(state),
        }
    }

    /// Whether a sample may make something else of what was read, and so has to be sent to the registry. What was read may
    /// be out of date by then, and whether the sample is in time is not known yet.
    pub fn is_due(stored: Option<&Self>, sample: &Sample) -> bool {
        let Some(state) = stored else { return sample.verdict == Verdict::Over };
        if sample.sampled_at <= state.seen_at {
            return false;
        }
        match (state.phase, sample.verdict) {
            (Phase::Pending, Verdict::Over) => sample.afresh || sample.received_at >= state.raise_at,
            (Phase::Pending, _) => true,
            (Phase::Raised, Verdict::Inside) => {
                sample.afresh || state.clear_at.is_none_or(|at| sample.received_at >= at)
            }
            (Phase::Raised, _) => state.clear_at.is_some(),
            (Phase::Cleared, verdict) => verdict == Verdict::Over,
        }
    }

    fn begun(sample: &Sample, holds: Holds, in_time: bool) -> Self {
        let raised = holds.raise == 0 && in_time;
        Self {
            phase: if raised { Phase::Raised } else { Phase::Pending },
            began_at: sample.received_at,
            seen_at: sample.sampled_at,
            raise_at: sample.received_at + holds.raise,
            clear_at: None,
            value: sample.value,
        }
    }

    fn inside(self, sample: &Sample, holds: Holds) -> Self {
        let begins = sample.afresh || self.clear_at.is_none();
        let clear_at = self.clear_at.filter(|_| !begins).unwrap_or(sample.received_at + holds.clear);
        if sample.received_at >= clear_at {
            Self { phase: Phase::Cleared, clear_at: Some(clear_at), ..self.seen(sample) }
        } else if begins {
            Self { clear_at: Some(clear_at), ..self.seen(sample) }
        } else {
            self
        }
    }

    fn seen(self, sample: &Sample) -> Self {
        Self { seen_at: sample.sampled_at, value: sample.value, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLDS: Holds = Holds { raise: 60, clear: 30 };

    fn sample(verdict: Verdict, at: Millis) -> Sample {
        Sample { verdict, value: 1.0, sampled_at: at, received_at: at + 1, afresh: false }
    }

    /// What is left of these samples, each in time or late.
    fn after(samples: &[(Verdict, Millis, bool)]) -> Option<State> {
        samples.iter().fold(None, |state, (verdict, at, in_time)| {
            State::after(state, &sample(*verdict, *at), HOLDS, *in_time)
        })
    }

    fn phase(samples: &[(Verdict, Millis, bool)]) -> Option<Phase> {
        after(samples).map(|state| state.phase)
    }

    #[test]
    fn it_is_raised_by_a_sample_in_time_that_is_over_for_as_long_as_the_rule_says() {
        use Verdict::{Between, Inside, Over};
        let over = [(Over, 0, true), (Over, 30, true)];
        assert_eq!(phase(&over), Some(Phase::Pending));
        assert_eq!(phase(&[over[0], (Over, 59, true)]), Some(Phase::Pending));
        assert_eq!(phase(&[over[0], (Over, 60, true)]), Some(Phase::Raised));
        assert_eq!(phase(&[over[0], (Over, 60, false)]), Some(Phase::Pending), "a late one raises nothing");
        assert_eq!(phase(&[over[0], (Between, 30, true)]), None);
        assert_eq!(phase(&[over[0], (Inside, 30, false)]), None, "a late one ends what is pending");
        assert_eq!(phase(&[(Over, 0, false)]), Some(Phase::Pending), "a late one begins it");
        assert_eq!(phase(&[(Between, 0, true)]), None);
        let afresh = Sample { afresh: true, ..sample(Over, 60) };
        let state = State::after(after(&over), &afresh, HOLDS, true).unwrap();
        assert_eq!((state.phase, state.began_at, state.raise_at), (Phase::Pending, 61, 121));
    }

    #[test]
    fn it_is_cleared_by_a_sample_in_time_that_is_inside_for_as_long_as_the_rule_says() {
        use Verdict::{Between, Inside, Over};
        let raised = [(Over, 0, true), (Over, 60, true)];
        let with = |more: &[(Verdict, Millis, bool)]| phase(&[&raised[..], more].concat());
        assert_eq!(with(&[(Inside, 90, true), (Inside, 119, true)]), Some(Phase::Raised));
        assert_eq!(with(&[(Inside, 90, true), (Inside, 120, true)]), Some(Phase::Cleared));
        assert_eq!(with(&[(Inside, 90, true), (Inside, 120, false)]), Some(Phase::Raised));
        assert_eq!(with(&[(Inside, 90, false), (Inside, 120, true)]), Some(Phase::Raised));
        assert_eq!(with(&[(Between, 90, true), (Between, 150, true)]), Some(Phase::Raised));
        assert_eq!(
            with(&[(Inside, 90, true), (Between, 100, true), (Inside, 120, true)]),
            Some(Phase::Raised)
        );
        assert_eq!(with(&[(Inside, 90, true), (Inside, 120, true), (Over, 130, true)]), Some(Phase::Raised));
        let at_once = Holds { raise: 0, clear: 0 };
        let state = State::after(None, &sample(Over, 0), at_once, true);
        assert_eq!(state.unwrap().phase, Phase::Raised);
        assert_eq!(State::after(state, &sample(Inside, 1), at_once, true).unwrap().phase, Phase::Cleared);
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Verdict::Over), Just(Verdict::Between), Just(Verdict::Inside)]
    }

    proptest! {
        #[test]
        fn a_sample_that_was_seen_changes_nothing(
            samples in prop::collection::vec((verdict(), 0i64..20, any::<bool>()), 1..30), again in any::<bool>()
        ) {
            let samples: Vec<_> = samples.into_iter().map(|(v, at, t)| (v, at * 10, t)).collect();
            let Some(state) = after(&samples) else { return Ok(()) };
            let old = sample(Verdict::Inside, state.seen_at - i64::from(again));
            prop_assert_eq!(State::after(Some(state), &old, HOLDS, true), Some(state));
            prop_assert!(!State::is_due(Some(&state), &old));
        }

        /// Whoever is not told to write has nothing to write.
        #[test]
        fn what_is_not_due_changes_nothing(
            samples in prop::collection::vec((verdict(), 0i64..20, any::<bool>()), 0..30), next in verdict(),
            at in 0i64..30, in_time in any::<bool>(), afresh in any::<bool>()
        ) {
            let samples: Vec<_> = samples.into_iter().map(|(v, at, t)| (v, at * 10, t)).collect();
            let (state, sample) = (after(&samples), Sample { afresh, ..sample(next, at * 10) });
            if !State::is_due(state.as_ref(), &sample) {
                prop_assert_eq!(State::after(state, &sample, HOLDS, in_time), state);
            }
        }
    }
}
