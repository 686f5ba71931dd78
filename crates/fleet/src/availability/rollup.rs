//! The rollup: what is kept of an hour of one server once it is closed. It is made of the snapshots of the hour and
//! equal to what they give.

use super::hours::of_hour;
use crate::{
    Millis,
    snapshot::{COUNT, Figures, Summary},
    uptime::Piece,
};

/// With more pieces than this an hour keeps only how much of it is covered.
pub const MOST_STRETCHES: usize = 256;

/// An hour of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// Snapshots that were sampled in it.
    pub count: u64,
    /// How much of it snapshots vouch for, those of later hours too.
    pub covered: Millis,
    /// What they vouch for, within the hour: in order, none touching another. `None` for more than [`MOST_STRETCHES`].
    pub stretches: Option<Vec<Piece>>,
    /// In the order of [`Figures::NAMES`]; `None` where no snapshot told.
    pub figures: [Option<Summary>; COUNT],
}

/// A snapshot, as a rollup sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Start of what it vouches for.
    pub from: Millis,
    /// When it was sampled.
    pub at: Millis,
    /// Only of those that were sampled in the hour they are needed.
    pub figures: Figures,
}

impl Rollup {
    /// Nobody was heard.
    pub const EMPTY: Self =
        Self { count: 0, covered: 0, stretches: Some(Vec::new()), figures: [const { None }; COUNT] };

    /// Of the snapshots that [touch](super::hours::touched) the hour, each once, in order of `at`. Others do not matter.
    pub fn of(hour: i64, samples: &[Sample]) -> Self {
        let whole = of_hour(hour);
        let (mut count, mut figures) = (0, [const { None }; COUNT]);
        for sample in samples.iter().filter(|sample| whole.from <= sample.at && sample.at < whole.to) {
            count += 1;
            for (summary, value) in figures.iter_mut().zip(sample.figures.values()) {
                let Some(value) = value else { continue };
                match summary {
                    None => *summary = Some(Summary::of(value)),
                    Some(summary) => summary.add(value),
                }
            }
        }
        let stretches = union(samples.iter().map(|sample| (sample.from, sample.at)), whole);
        let covered = stretches.iter().map(Piece::length).sum();
        Self { count, covered, stretches: (stretches.len() <= MOST_STRETCHES).then_some(stretches), figures }
    }

    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.covered == 0
    }

    /// What is vouched for in this hour, in order. Where only the sum is known, it is taken to lie at the beginning of
    /// the hour: then what is covered and what is not add up for any part of the hour, each rounded to the hour.
    pub fn pieces(&self, hour: i64) -> Vec<Piece> {
        let Piece { from, .. } = of_hour(hour);
        match &self.stretches {
            Some(stretches) => stretches.clone(),
            None => vec![Piece { from, to: from + self.covered }],
        }
    }
}

/// The union of some stretches within `whole`: in order, none touching another.
fn union(stretches: impl Iterator<Item = (Millis, Millis)>, whole: Piece) -> Vec<Piece> {
    let clipped = stretches.map(|(from, at)| Piece { from: from.max(whole.from), to: at.min(whole.to) });
    let mut pieces: Vec<Piece> = clipped.filter(|piece| piece.from < piece.to).collect();
    pieces.sort_unstable_by_key(|piece| piece.from);
    let mut union: Vec<Piece> = Vec::new();
    for piece in pieces {
        match union.last_mut().filter(|last| piece.from <= last.to) {
            Some(last) => last.to = last.to.max(piece.to),
            None => union.push(piece),
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::availability::hours::{HOUR, hour, touched};

    fn sample(from: Millis, at: Millis, cpu: Option<f64>) -> Sample {
        Sample { from, at, figures: Figures { cpu, ..Figures::default() } }
    }

    #[test]
    fn a_snapshot_counts_where_it_is_sampled_and_vouches_where_it_reaches() {
        let samples = [
            sample(HOUR - 60_000, HOUR + 60_000, Some(4.0)),
            sample(HOUR + 60_000, HOUR + 90_000, Some(1.0)),
        ];
        let [before, after] = [0, 1].map(|hour| Rollup::of(hour, &samples));
        assert_eq!((before.count, before.covered, before.figures[0]), (0, 60_000, None));
        assert_eq!((after.count, after.covered), (2, 90_000));
        assert_eq!(after.stretches, Some(vec![Piece { from: HOUR, to: HOUR + 90_000 }]));
        assert_eq!(after.figures[0], Some(Summary { count: 2, sum: 5.0, max: 4.0, min: 1.0 }));
        assert!(Rollup::of(2, &samples).is_empty());
    }

    #[test]
    fn above_256_stretches_the_sum_alone_is_kept() {
        for (count, kept) in [(MOST_STRETCHES, true), (MOST_STRETCHES + 1, false)] {
            let samples: Vec<Sample> =
                (1..=count).map(|n| sample(10_000 * n as i64 - 7, 10_000 * n as i64, None)).collect();
            let rollup = Rollup::of(0, &samples);
            assert_eq!((rollup.covered, rollup.stretches.is_some()), (7 * count as i64, kept));
            assert_eq!(rollup.pieces(0).iter().map(Piece::length).sum::<Millis>(), rollup.covered);
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_look_at_each_unit_of_time_finds(
            unit in prop::sample::select(vec![1i64, 400_000, 600_000]),
            samples in prop::collection::btree_map(0i64..60, (0i64..20, prop::option::of(0u8..100)), 0..40),
        ) {
            let samples: Vec<Sample> = samples
                .into_iter()
                .map(|(at, (covers, cpu))| sample((at - covers) * unit, at * unit, cpu.map(f64::from)))
                .collect();
            for hour in hour(-20 * unit)..=hour(60 * unit) {
                let rollup = Rollup::of(hour, &samples);
                let Piece { from, to } = of_hour(hour);
                let (mut covered, mut begins) = (0, 0);
                let vouched = |moment: i64| samples.iter().any(|s| s.from <= moment && moment < s.at);
                let first = from.max(-20 * unit).div_euclid(unit) * unit;
                for moment in (first..to.min(60 * unit)).step_by(unit as usize) {
                    if vouched(moment) {
                        covered += (moment + unit).min(to) - moment.max(from);
                        begins += i64::from(moment <= from || !vouched(moment - 1));
                    }
                }
                prop_assert_eq!(rollup.covered, covered);
                prop_assert_eq!(rollup.stretches.as_ref().map(Vec::len), Some(begins as usize));
                let of_hour: Vec<&Sample> = samples.iter().filter(|s| (from..to).contains(&s.at)).collect();
                prop_assert_eq!(rollup.count, of_hour.len() as u64);
                let told: Vec<f64> = of_hour.iter().filter_map(|s| s.figures.cpu).collect();
                let max = told.iter().copied().reduce(f64::max);
                prop_assert_eq!(rollup.figures[0].map(|cpu| cpu.max), max);
                prop_assert_eq!(rollup.figures[0].map_or(0.0, |cpu| cpu.sum), told.iter().sum::<f64>());
                let others: Vec<Sample> =
                    samples.iter().filter(|s| touched(s.from, s.at).contains(&hour)).copied().collect();
                prop_assert_eq!(rollup, Rollup::of(hour, &others));
            }
        }
    }
}
