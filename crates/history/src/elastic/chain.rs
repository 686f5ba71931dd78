//! Telling by sums alone that snapshots lie end to end, so that their stretches need not be read.
//!
//! An agent's stretches lie end to end: each begins where the one before ended. Then each `sampled_at` but the last is
//! the start of exactly one other stretch. Every document has a `link`, `mark(sampled_at) − mark(from)` modulo 2^24,
//! where `mark` scatters times over 24 bits: as many as a column keeps in three bytes. In the sum over a chain all marks but those of its two ends cancel out, however many
//! snapshots there are and in whatever order they came. Where there is a gap or an overlap they do not, even where gaps
//! and overlaps are as long as each other, which a sum of lengths could not tell.

use fleet::{Millis, uptime::Piece};
use serde::Deserialize;
use serde_json::{Value, json};

use super::read::Number;

/// How many marks there are.
const MARKS: i64 = 1 << 24;

/// Sums over some snapshots of one server.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Sums {
    /// How many snapshots there are.
    #[serde(rename = "doc_count")]
    pub count: i64,
    /// How many of them have a link: those that a release before it wrote have none.
    linked: Number,
    links: Number,
    covers: Number,
    from: Number,
    at: Number,
}

impl Sums {
    /// Of no snapshots.
    pub const NONE: Self = Self {
        count: 0,
        linked: Number::NONE,
        links: Number::NONE,
        covers: Number::NONE,
        from: Number::NONE,
        at: Number::NONE,
    };

    /// The greatest `sampled_at`.
    pub fn newest(&self) -> Millis {
        self.at.whole()
    }

    /// The aggregations that [`Sums`] are read from.
    pub fn aggregations() -> Value {
        json!({
            "linked": {"value_count": {"field": "link"}},
            "links": {"sum": {"field": "link"}},
            "covers": {"sum": {"field": "covers"}},
            "from": {"min": {"field": "from"}},
            "at": {"max": {"field": "sampled_at"}},
        })
    }

    /// Whether any of them has a link.
    pub fn has_links(&self) -> bool {
        self.linked.whole() > 0
    }

    /// What the snapshots vouch for, if they certainly lie end to end.
    pub fn chain(&self) -> Option<Piece> {
        let whole = Piece { from: self.from.whole(), to: self.at.whole() };
        let end_to_end = self.linked.whole() == self.count
            && self.covers.whole() == whole.length()
            && self.links.whole().rem_euclid(MARKS) == link(whole.from, whole.to);
        end_to_end.then_some(whole)
    }
}

/// The link of a stretch `(from, at]`. It is stored, so it must never change.
pub fn link(from: Millis, at: Millis) -> i64 {
    (mark(at) - mark(from)).rem_euclid(MARKS)
}

/// The upper bits of splitmix64.
fn mark(time: Millis) -> i64 {
    let mut bits = time.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 40).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(stretches: &[(Millis, Millis)]) -> Sums {
        let number = |value: i64| Number::from(value as f64);
        Sums {
            count: i64::try_from(stretches.len()).unwrap(),
            linked: number(i64::try_from(stretches.len()).unwrap()),
            links: number(stretches.iter().map(|(from, at)| link(*from, *at)).sum()),
            covers: number(stretches.iter().map(|(from, at)| at - from).sum()),
            from: number(stretches.iter().map(|(from, _)| *from).min().unwrap_or(0)),
            at: number(stretches.iter().map(|(_, at)| *at).max().unwrap_or(0)),
        }
    }

    #[test]
    fn links_are_what_was_stored_before() {
        assert_eq!(link(0, 30_000), 7_438_444);
        assert_eq!(link(1_790_000_000_000, 1_790_000_000_000), 0);
    }

    #[test]
    fn as_much_overlap_as_gap_is_no_chain() {
        let chain = [(0, 10), (10, 20), (20, 30), (30, 40)];
        assert_eq!(sums(&chain).chain(), Some(Piece { from: 0, to: 40 }));
        // Ten units are covered twice, and ten are not covered.
        assert_eq!(sums(&[(0, 10), (10, 20), (10, 25), (35, 40)]).chain(), None);
        assert_eq!(sums(&[(0, 10), (5, 15), (20, 30), (30, 40), (0, 5)]).chain(), None);
        let unlinked = Sums { linked: Number::from(3.0), ..sums(&chain) };
        assert_eq!(unlinked.chain(), None);
    }

    proptest! {
        #[test]
        fn a_chain_is_told_of_stretches_end_to_end_and_covers_each_moment_once(
            unit in prop::sample::select(vec![1, 1_000, 30_000]),
            stretches in prop::collection::btree_map(1i64..12, 0i64..4, 1..10),
        ) {
            // No two end at the same time.
            let stretches: Vec<(Millis, Millis)> =
                stretches.into_iter().map(|(at, covers)| ((at - covers) * unit, at * unit)).collect();
            let chain = sums(&stretches).chain();
            if stretches.windows(2).all(|pair| pair[0].1 == pair[1].0) {
                prop_assert!(chain.is_some());
            }
            if let Some(Piece { from, to }) = chain {
                let times = |unit_of_time: i64| {
                    stretches.iter().filter(|(from, to)| (*from..*to).contains(&unit_of_time)).count()
                };
                for moment in (-5 * unit..13 * unit).step_by(usize::try_from(unit).unwrap()) {
                    prop_assert_eq!(times(moment), usize::from((from..to).contains(&moment)));
                }
            }
        }
    }
}
