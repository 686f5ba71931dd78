//! Two agents with one credential, as when a machine was cloned after it enrolled.
//!
//! Their snapshots tell two boots in turn. A host that boots again tells a boot that nobody told before, so however often it
//! does, it never comes back to an earlier one.

use wire::Millis;

/// Two boots less than this apart, in ms, are one: hosts compute theirs from a clock that is corrected meanwhile.
pub const SAME_BOOT: Millis = 5_000;

/// Three changes between two boots within this, in ms, are a conflict, for as long after the last one.
const WITHIN: Millis = 10 * 60_000;

/// When the boot that a server tells changed between the same two: the last time and the third last, in Unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alternation {
    /// The newest change.
    pub last: Millis,
    /// The second one before it.
    pub third_last: Millis,
}

impl Alternation {
    /// Whether two agents report as this server now.
    pub fn is_conflict(self, now: Millis) -> bool {
        self.last - self.third_last <= WITHIN && now - self.last <= WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_changes_in_ten_minutes_are_a_conflict_until_ten_minutes_after_the_last() {
        let changes = |third_last, last| Alternation { last, third_last };
        assert!(changes(0, 600_000).is_conflict(600_000));
        assert!(!changes(0, 600_001).is_conflict(600_001), "too far apart");
        assert!(changes(0, 60_000).is_conflict(660_000));
        assert!(!changes(0, 60_000).is_conflict(660_001), "it is over");
    }
}
