//! How much time a sample vouches for, such that the stretches of one server never overlap.

use fleet::{Millis, snapshot::Interval};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Anchor, OFF},
    spool::Sample,
};

/// `min(since, sampled_at − highest, 2 × interval)`, never below 0. `since` is the time since the previous sample,
/// `None` when there is nothing to go on from. `highest` is the greatest `sampled_at` that a gate took, or that is held
/// for one.
pub(crate) fn covers(
    since: Option<Millis>,
    sampled_at: Millis,
    highest: Option<Millis>,
    interval: Interval,
) -> Millis {
    let Some(since) = since else { return 0 };
    let free = highest.map_or(Millis::MAX, |highest| sampled_at.saturating_sub(highest));
    since.min(free).min(2 * interval.millis()).max(0)
}

/// When there are more stretches than this, the two oldest become one that spans both.
const MAX_TAKEN: usize = 64;

/// Stretches of time `(from, to]` for which a gate has, or may have, a sample. In order, and none touches another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Taken(Vec<(Millis, Millis)>);

/// Gives new stamps to samples of this boot, by the gate's clock, once a gate told that the wall clock was wrong. The
/// samples have to be passed oldest first.
#[derive(Debug)]
pub(crate) struct Restamp<'a> {
    /// The gate's clock, and which boot this is.
    pub anchor: &'a Anchor,
    /// The gate's clock at present.
    pub now: Millis,
    /// Greatest `sampled_at` that gates took before the answer that told the right time.
    pub highest: Option<Millis>,
    /// The stretches, by the wrong clock, that this answer took and those that gates may have taken unheard.
    pub taken: &'a Taken,
    /// How often this server reports.
    pub interval: Interval,
}

impl Restamp<'_> {
    /// Answers whether `sample` changed. With `force` it gets a new stamp even if the one it has is nearly right, as a
    /// gate refused that one.
    pub fn apply(&mut self, sample: &mut Sample, force: bool) -> bool {
        let right = self.anchor.at(sample.up);
        let ours = sample.boot == self.anchor.boot;
        let at = if ours && (force || (right - sample.at).abs() > OFF) { right } else { sample.at };
        let since = if at == sample.at { sample.covers } else { sample.since };
        let length = self.beside_taken(at, covers(Some(since), at, self.highest, self.interval));
        self.highest = self.highest.max(Some(at));
        let changed = (at, length) != (sample.at, sample.covers);
        (sample.at, sample.covers) = (at, length);
        changed
    }

    fn beside_taken(&self, at: Millis, covers: Millis) -> Millis {
        // A gate refuses what is from the future, so such a stretch was not taken.
        let possible = self.taken.0.iter().filter(|(_, to)| *to <= self.now + OFF);
        possible.fold(covers, |covers, (from, to)| match () {
            () if *to < at => covers.min(at - to),
            () if *from < at => 0,
            () => covers,
        })
    }
}

impl Taken {
    /// Adds all of `more`.
    pub fn extend(&mut self, more: &Self) {
        more.0.iter().for_each(|stretch| self.put(*stretch));
    }

    /// Adds the stretch that this sample vouches for.
    pub fn add(&mut self, sample: &Sample) {
        self.put((sample.at - sample.covers, sample.at));
    }

    /// Adds a stretch; those that touch become one.
    fn put(&mut self, (from, to): (Millis, Millis)) {
        if from >= to {
            return;
        }
        self.0.push((from, to));
        self.0.sort_unstable();
        self.0.dedup_by(|later, kept| {
            let touch = later.0 <= kept.1;
            if touch {
                kept.1 = kept.1.max(later.1);
            }
            touch
        });
        if self.0.len() > MAX_TAKEN {
            let oldest = self.0.remove(0);
            self.0[0].0 = oldest.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    const NOW: Millis = 1_000_000;

    fn taken_at(boot: &str, up: Millis, since: Millis, at: Millis, covers: Millis) -> Sample {
        Sample {
            boot: boot.to_owned(),
            up,
            since,
            at,
            covers,
            measured: RawValue::from_string("{}".to_owned()).unwrap(),
        }
    }

    #[test]
    fn the_least_of_three_and_never_below_nothing() {
        let cases = [
            // since, sampled_at, highest → covers
            (Some(30_000), 100_000, Some(70_000), 30_000),
            (Some(30_000), 100_000, None, 30_000),
            (None, 100_000, Some(70_000), 0),
            (None, 100_000, None, 0),
            (Some(90_000), 200_000, Some(70_000), 60_000),
            (Some(30_000), 100_000, Some(90_000), 10_000),
            (Some(30_000), 100_000, Some(100_000), 0),
            (Some(30_000), 100_000, Some(7_300_000), 0),
            (Some(-5), 100_000, Some(70_000), 0),
            (Some(30_000), Millis::MAX, Some(-1), 30_000),
        ];
        for (since, at, highest, expected) in cases {
            assert_eq!(covers(since, at, highest, Interval::DEFAULT), expected, "{since:?} {at} {highest:?}");
        }
    }

    #[test]
    fn a_clock_behind_costs_one_interval_at_most() {
        let anchor = Anchor { boot: "b".to_owned(), gate: 1_000_000, up: 300_000 };
        // The newest was taken at a minute behind; three older ones are held.
        let mut taken = Taken::default();
        taken.add(&taken_at("b", 300_000, 30_000, 940_000, 30_000));
        let highest = Some(500_000);
        let mut restamp =
            Restamp { anchor: &anchor, now: NOW, highest, taken: &taken, interval: Interval::DEFAULT };
        let mut total = 0;
        for up in [210_000, 240_000, 270_000] {
            let mut sample = taken_at("b", up, 30_000, up + 640_000, 30_000);
            assert!(restamp.apply(&mut sample, false));
            assert_eq!(sample.at, up + 700_000);
            total += sample.covers;
        }
        assert_eq!(total, 60_000);
    }

    #[test]
    fn what_another_boot_measured_stays() {
        let anchor = Anchor { boot: "b".to_owned(), gate: 1_000_000, up: 300_000 };
        let taken = Taken::default();
        let mut restamp =
            Restamp { anchor: &anchor, now: NOW, highest: None, taken: &taken, interval: Interval::DEFAULT };
        let mut sample = taken_at("a", 270_000, 30_000, 9_000_000, 30_000);
        assert!(!restamp.apply(&mut sample, true));
    }

    #[derive(Debug, Clone)]
    enum Event {
        /// Time passes, then a sample is taken.
        Sample(Millis),
        /// The wall clock steps.
        Step(Millis),
        /// A new run, in the same boot or not.
        Restart(bool),
        /// A gate refuses the newest, which then no longer counts.
        Refuse,
        /// A gate takes the newest, or refuses it as from the future, and shows its clock; what is held is re-stamped.
        Learn,
        /// A gate takes all that is held.
        Accept,
        /// A gate takes the newest, and the agent does not hear of it.
        Swallow,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (1..200_000i64).prop_map(Event::Sample),
            2 => (-7_200_000..7_200_000i64).prop_map(Event::Step),
            1 => any::<bool>().prop_map(Event::Restart),
            1 => Just(Event::Refuse),
            1 => Just(Event::Learn),
            1 => Just(Event::Accept),
            1 => Just(Event::Swallow),
        ]
    }

    /// An agent reduced to its stamps, and what the gates have of it.
    #[derive(Default)]
    struct Model {
        wall: Millis,
        up: Millis,
        /// The clock of the gates, which is right.
        gate: Millis,
        boot: u32,
        previous: Option<Millis>,
        accepted: Vec<Sample>,
        held: Vec<Sample>,
        swallowed: Vec<Sample>,
        doubtful: Taken,
    }

    impl Model {
        fn taken_highest(&self) -> Option<Millis> {
            self.accepted.iter().map(|taken| taken.at).max()
        }

        fn step(&mut self, event: &Event) {
            match *event {
                Event::Sample(passed) => self.sample(passed),
                Event::Step(by) => self.wall += by,
                Event::Restart(same_boot) => {
                    if !same_boot {
                        self.boot += 1;
                        (self.previous, self.up) = (None, 0);
                    }
                }
                Event::Refuse => {
                    let refused = self.held.pop();
                    // What is refused now was refused before.
                    self.swallowed
                        .retain(|swallowed| refused.as_ref().is_none_or(|sample| sample.at != swallowed.at));
                }
                Event::Swallow => {
                    if let Some(newest) = self.held.last().filter(|newest| newest.at <= self.gate + OFF) {
                        self.doubtful.add(newest);
                        self.swallowed.push(newest.clone());
                    }
                }
                Event::Learn => self.learn(),
                Event::Accept => {
                    // What is ahead is set aside.
                    self.held.retain(|sample| sample.at <= self.gate + OFF);
                    self.accepted.append(&mut self.held);
                }
            }
        }

        fn sample(&mut self, passed: Millis) {
            self.wall += passed;
            self.up += passed;
            self.gate += passed;
            let highest = self.taken_highest().max(self.held.iter().map(|sample| sample.at).max());
            let since = self.previous.map(|previous| self.up - previous);
            let covers = covers(since, self.wall, highest, Interval::DEFAULT);
            self.previous = Some(self.up);
            let boot = self.boot.to_string();
            self.held.push(taken_at(&boot, self.up, since.unwrap_or(0), self.wall, covers));
        }

        fn learn(&mut self) {
            let highest = self.taken_highest();
            let Some(mut newest) = self.held.pop() else { return };
            let anchor = Anchor { boot: self.boot.to_string(), gate: self.gate, up: self.up };
            let accepted = newest.at <= self.gate + OFF;
            let mut taken = self.doubtful.clone();
            if accepted {
                taken.add(&newest);
            }
            let (now, interval) = (self.gate, Interval::DEFAULT);
            let mut restamp = Restamp { anchor: &anchor, now, highest, taken: &taken, interval };
            for sample in &mut self.held {
                restamp.apply(sample, false);
            }
            if accepted {
                self.accepted.push(newest);
            } else if newest.boot == anchor.boot {
                restamp.apply(&mut newest, true);
                self.held.push(newest);
            }
        }
    }

    proptest! {
        #[test]
        fn intervals_of_one_server_never_overlap(events in prop::collection::vec(event(), 1..80)) {
            let mut model = Model { wall: 50_000_000, gate: 50_000_000, ..Model::default() };
            for event in &events {
                model.step(event);
            }
            // The first of one identity stays.
            let mut known = HashMap::new();
            for sample in model.swallowed.iter().chain(&model.accepted).chain(&model.held) {
                known.entry(sample.at).or_insert(sample.covers);
            }
            let mut intervals: Vec<_> = known.into_iter().map(|(at, covers)| (at - covers, at)).collect();
            intervals.retain(|(from, to)| from < to);
            intervals.sort_unstable();
            for pair in intervals.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0, "{pair:?}");
            }
        }
    }
}
