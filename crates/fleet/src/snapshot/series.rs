//! The figures of a snapshot that charts show over time, and their reduction to points.

use serde::Serialize;

use super::Snapshot;
use crate::Millis;

/// Most points of one answer.
pub const MAX_POINTS: u32 = 1_000;

macro_rules! series {
    ($($(#[$doc:meta])* $name:ident: $figure:expr;)*) => {
        /// How many figures there are.
        pub const COUNT: usize = [$(stringify!($name)),*].len();

        /// What a chart can show of one snapshot; `None` where the host did not tell.
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct Figures {
            $($(#[$doc])* pub $name: Option<f64>,)*
        }

        impl Figures {
            /// The figures of this snapshot.
            pub fn of(snapshot: &Snapshot) -> Self {
                Self { $($name: ($figure)(snapshot),)* }
            }

            /// Their names, as points spell them.
            pub const NAMES: [&'static str; COUNT] = [$(stringify!($name)),*];

            /// The figures in the order of [`Figures::NAMES`].
            pub fn values(&self) -> [Option<f64>; COUNT] {
                [$(self.$name),*]
            }
        }

        /// One bucket of a range.
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        pub struct Point {
            /// The bucket's start.
            pub at: Millis,
            /// Snapshots in it.
            pub count: u64,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<Extent>,)*
        }

        impl Point {
            /// A bucket that a store reduced; `figures` in the order of [`Figures::NAMES`].
            pub fn new(at: Millis, count: u64, figures: [Option<Extent>; COUNT]) -> Self {
                let [$($name),*] = figures;
                Self { at, count, $($name),* }
            }
        }

    };
}

series! {
    /// Processor use in percent.
    cpu: |s: &Snapshot| s.as_wire().cpu.as_ref()?.total.map(f64::from);
    /// Percent of the time in which processors waited for disks.
    iowait: |s: &Snapshot| s.as_wire().cpu.as_ref()?.iowait.map(f64::from);
    /// Load average over one minute.
    load: |s: &Snapshot| s.as_wire().load.map(|load| f64::from(load[0]));
    /// Memory in use, in bytes.
    memory: |s: &Snapshot| s.as_wire().memory.as_ref()?.used.map(|bytes| bytes as f64);
    /// Swap in use, in bytes.
    swap: |s: &Snapshot| s.as_wire().memory.as_ref()?.swap_used.map(|bytes| bytes as f64);
    /// Bytes in use on all disks.
    disk_used: |s: &Snapshot| total(s.as_wire().disks.iter().map(|disk| disk.used));
    /// Bytes per second read from all disks.
    disk_read: |s: &Snapshot| total(s.as_wire().disks.iter().map(|disk| disk.read));
    /// Bytes per second written to all disks.
    disk_written: |s: &Snapshot| total(s.as_wire().disks.iter().map(|disk| disk.written));
    /// Bytes per second received on all interfaces.
    received: |s: &Snapshot| total(s.as_wire().networks.iter().map(|network| network.received));
    /// Bytes per second sent on all interfaces.
    sent: |s: &Snapshot| total(s.as_wire().networks.iter().map(|network| network.sent));
    /// The hottest sensor, in degrees Celsius.
    temperature: |s: &Snapshot| {
        s.as_wire().temperatures.iter().filter_map(|sensor| sensor.celsius.map(f64::from)).reduce(f64::max)
    };
}

/// Mean and greatest value of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Extent {
    /// Mean of the samples.
    pub avg: f64,
    /// Greatest of them.
    pub max: f64,
}

/// What several samples of one figure give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many there are, at least one.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The greatest.
    pub max: f64,
    /// The least.
    pub min: f64,
}

/// Reduces samples to equal buckets.
pub struct Reduction {
    from: Millis,
    to: Millis,
    buckets: Vec<Sums>,
}

impl Reduction {
    /// `[from, to)` in `points` equal buckets; `points` is held within 1 to [`MAX_POINTS`].
    pub fn new(from: Millis, to: Millis, points: u32) -> Self {
        let points = points.clamp(1, MAX_POINTS);
        Self { from, to, buckets: (0..points).map(|_| Sums::default()).collect() }
    }

    /// Adds one sample. A sample outside the range is ignored.
    pub fn add(&mut self, sampled_at: Millis, figures: &Figures) {
        self.add_all(sampled_at, 1, figures.values().map(|value| value.map(Summary::of)));
    }

    /// Adds `count` samples, of which these are the figures in the order of [`Figures::NAMES`], as if all of them were
    /// sampled at this moment. Outside the range they are ignored.
    pub fn add_all(&mut self, at: Millis, count: u64, figures: [Option<Summary>; COUNT]) {
        if let Some(sums) = self.bucket(at).and_then(|bucket| self.buckets.get_mut(bucket)) {
            sums.add(count, figures);
        }
    }

    /// The bucket of a moment; `None` outside the range.
    pub fn bucket(&self, at: Millis) -> Option<usize> {
        if at < self.from || at >= self.to {
            return None;
        }
        let offset = i128::from(at) - i128::from(self.from);
        let length = i128::from(self.to) - i128::from(self.from);
        usize::try_from(offset * self.buckets.len() as i128 / length).ok()
    }

    /// The points in order, empty ones left out.
    pub fn points(&self) -> Vec<Point> {
        let starts = starts(self.from, self.to, u32::try_from(self.buckets.len()).unwrap_or(MAX_POINTS));
        let filled = self.buckets.iter().zip(starts).filter(|(sums, _)| sums.count > 0);
        filled.map(|(sums, start)| sums.point(start)).collect()
    }
}

/// The first millisecond of each bucket of a [`Reduction`]. If there are more buckets than milliseconds, some are empty
/// and begin where the next one does.
pub fn starts(from: Millis, to: Millis, points: u32) -> Vec<Millis> {
    let points = i128::from(points.clamp(1, MAX_POINTS));
    let start = |bucket| {
        let offset = (bucket * (i128::from(to) - i128::from(from)) + points - 1) / points;
        from.saturating_add(Millis::try_from(offset).unwrap_or(0))
    };
    (0..points).map(start).collect()
}

impl Summary {
    /// Of one sample.
    pub fn of(value: f64) -> Self {
        Self { count: 1, sum: value, max: value, min: value }
    }

    /// Adds a sample.
    pub fn add(&mut self, value: f64) {
        self.join(Self::of(value));
    }

    /// Adds other samples.
    pub fn join(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.min = self.min.min(other.min);
    }

    fn extent(self) -> Extent {
        Extent { avg: self.sum / self.count as f64, max: self.max }
    }
}

/// A bucket.
#[derive(Default)]
struct Sums {
    count: u64,
    figures: [Option<Summary>; COUNT],
}

impl Sums {
    fn add(&mut self, count: u64, figures: [Option<Summary>; COUNT]) {
        self.count += count;
        for (sum, figure) in self.figures.iter_mut().zip(figures) {
            match (sum, figure) {
                (Some(sum), Some(figure)) => sum.join(figure),
                (sum @ None, figure) => *sum = figure,
                (Some(_), None) => {}
            }
        }
    }

    fn point(&self, at: Millis) -> Point {
        Point::new(at, self.count, self.figures.map(|figure| figure.map(Summary::extent)))
    }
}

/// The sum of what is told; `None` when nothing is.
fn total(bytes: impl Iterator<Item = Option<u64>>) -> Option<f64> {
    bytes.flatten().map(|bytes| bytes as f64).reduce(|sum, bytes| sum + bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpu(value: f64) -> Figures {
        Figures { cpu: Some(value), ..Figures::default() }
    }

    #[test]
    fn a_point_has_mean_and_maximum_and_its_buckets_start() {
        let mut reduction = Reduction::new(1_000, 4_000, 3);
        for (at, value) in [(999, 99.0), (1_000, 1.0), (1_999, 3.0), (3_999, 7.0), (4_000, 99.0)] {
            reduction.add(at, &cpu(value));
        }
        let points = reduction.points();
        assert_eq!(points.iter().map(|p| (p.at, p.count)).collect::<Vec<_>>(), [(1_000, 2), (3_000, 1)]);
        assert_eq!(points[0].cpu, Some(Extent { avg: 2.0, max: 3.0 }));
        assert_eq!(points[0].memory, None);
    }

    proptest! {
        #[test]
        fn every_sample_of_the_range_is_in_the_last_bucket_that_starts_by_then(
            from in 0i64..1_000_000_000_000, length in 1i64..10_000_000_000, points in 1u32..=1_000, share in 0.0f64..1.0
        ) {
            let at = from + ((length - 1) as f64 * share) as i64;
            let mut reduction = Reduction::new(from, from + length, points);
            reduction.add(at, &cpu(1.0));
            let got = reduction.points();
            prop_assert_eq!(got.len(), 1);
            prop_assert!(got[0].at <= at);
            let mut earlier = Reduction::new(from, from + length, points);
            earlier.add(got[0].at, &cpu(1.0));
            prop_assert_eq!(earlier.points()[0].at, got[0].at);
        }
    }
}
