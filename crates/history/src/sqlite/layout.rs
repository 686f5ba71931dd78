//! How snapshots lie in the file.
//!
//! A server has a small `number`. A table `day_<n>` a UTC day (`n` days after the epoch) has one narrow row a snapshot,
//! under one integer:
//!
//! ```text
//! key = slot of the day, 9 bits | number, 28 bits | milliseconds into the slot, 19 bits
//! ```
//!
//! So everything that arrives at one time goes to a few neighbouring pages, however many servers there are, and one
//! server is read by one seek for each slot. The key is the whole identity: a snapshot that is appended twice
//! conflicts with itself and is stored once. Bodies are apart from the keys, in a table `bodies_<n>` for each hour,
//! many in one row. They are only appended, and dropping the table of an hour is quick enough not to stall the
//! writer.
//!
//! Where stretches do not overlap, what they cover together is a sum. So the file says for each day which servers'
//! stretches overlap, see [`overlaps`](super::overlaps).

use fleet::{Millis, retention::DAY};

/// Length of a slot. With shorter slots reads need more seeks; with longer ones writes go to more pages.
pub const SLOT: Millis = 300_000;
/// The time whose bodies one table holds.
pub const HOUR: Millis = 3_600_000;
/// Bits of the time within a slot.
pub const TIME_BITS: u32 = 19;
/// Bits of the time and the number together.
pub const SLOT_SHIFT: u32 = TIME_BITS + 28;
/// Mask of the time within a slot: with it set, the greatest key of a server in a slot.
pub const TIME_MASK: i64 = (1 << TIME_BITS) - 1;
/// Greatest number of a server.
pub const MAX_NUMBER: i64 = (1 << 28) - 1;
/// Bits of a body's position within its pack.
pub const INDEX_BITS: u32 = 8;

/// What schema 2 has besides schema 1.
pub const OVERLAPS: &str = "
    -- Servers whose stretches of a day overlap (doubts = 0), or have to be looked at (what raised doubts so often).
    -- All others' do not overlap.
    CREATE TABLE overlaps (
        day INTEGER NOT NULL,
        number INTEGER NOT NULL,
        doubts INTEGER NOT NULL,
        PRIMARY KEY (day, number)
    ) WITHOUT ROWID;
    -- Days that schema 1 wrote: the servers from number next on have to be looked at.
    CREATE TABLE undecided (day INTEGER PRIMARY KEY, next INTEGER NOT NULL);
    PRAGMA user_version = 2;
";

/// The schema of a new file, but for [`OVERLAPS`].
pub const SCHEMA: &str = "
    -- newest is behind the true one by less than a slot; a number is never given twice.
    CREATE TABLE servers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        oldest_start INTEGER NOT NULL,
        newest INTEGER NOT NULL
    );
    -- One row: the oldest midnight that is still kept.
    CREATE TABLE horizon (oldest INTEGER NOT NULL);
    INSERT INTO horizon VALUES (0);
    -- 0 to 287, to join with.
    CREATE TABLE slots (slot INTEGER PRIMARY KEY);
    INSERT INTO slots
        WITH RECURSIVE counter (slot) AS (VALUES (0) UNION ALL SELECT slot + 1 FROM counter WHERE slot < 287)
        SELECT slot FROM counter;
";

/// Days after the epoch.
pub fn day(at: Millis) -> i64 {
    at.div_euclid(DAY)
}

/// Hours after the epoch.
pub fn hour(at: Millis) -> i64 {
    at.div_euclid(HOUR)
}

/// The slot within its day.
pub fn slot(at: Millis) -> i64 {
    at.rem_euclid(DAY) / SLOT
}

/// The key in the table of its day.
pub fn key(number: i64, at: Millis) -> i64 {
    (slot(at) << SLOT_SHIFT) | (number << TIME_BITS) | (at.rem_euclid(DAY) % SLOT)
}

/// When a snapshot of this day and key was sampled.
pub fn sampled_at(day: i64, key: i64) -> Millis {
    day * DAY + (key >> SLOT_SHIFT) * SLOT + (key & TIME_MASK)
}

/// Statement that makes the table of a day. `place` is the pack's id and the position in it.
pub fn make_day(day: i64) -> String {
    format!(
        "CREATE TABLE day_{day} (key INTEGER PRIMARY KEY, covers INTEGER NOT NULL, place INTEGER NOT NULL)"
    )
}

/// Statement that makes the table of an hour's bodies.
pub fn make_hour(hour: i64) -> String {
    format!("CREATE TABLE bodies_{hour} (id INTEGER PRIMARY KEY, pack BLOB NOT NULL)")
}

/// A FROM clause: `slots` joined with the rows of `day` in these slots that belong to a server, in order of time.
/// `number` is the SQL expression of the server's number.
pub fn rows_of(number: &str, day: i64) -> String {
    let first = format!("(slots.slot << {SLOT_SHIFT}) | ({number} << {TIME_BITS})");
    format!("slots CROSS JOIN day_{day} AS kept ON kept.key BETWEEN ({first}) AND ({first} | {TIME_MASK})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_time_and_its_server() {
        for at in [0, 1, SLOT - 1, SLOT, DAY - 1, DAY, 1_790_000_123_456, fleet::snapshot::MAX_TIME] {
            for number in [0, 1, MAX_NUMBER] {
                let key = key(number, at);
                assert_eq!(sampled_at(day(at), key), at);
                assert_eq!((key >> TIME_BITS) & MAX_NUMBER, number);
            }
        }
    }

    #[test]
    fn an_hour_is_whole_slots() {
        assert_eq!((HOUR % SLOT, DAY % HOUR), (0, 0));
    }
}
