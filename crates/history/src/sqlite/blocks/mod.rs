//! Blocks in the file: how they lie there, how they are made, and how they are read.
//!
//! A block is all that one server sampled in one closed hour, see [`block`](crate::block). A block of a usual host has less
//! than 3 KiB, of which one fits into a page and leaves a third of it unused. So the blocks of one hour and of servers with
//! neighbouring numbers stand side by side in one row, a shelf of some 32 KiB, under one integer:
//!
//! ```text
//! key = hour, counted from the epoch | number of the first server, 28 bits
//! ```
//!
//! `members` has of each block the number, counted from the one before, and its length; `shelf` has the blocks.
//!
//! What is in a block is no longer among the rows of its day, and what is among these is not in a block: one transaction
//! moves it. So a reader that looks for both in one view of the file sees each snapshot once. Snapshots that come late lie
//! among the rows until the next packing.

mod find;
mod packing;
mod read;
mod shelf;

pub use packing::Rounds;
pub use read::{Reach, block_of, blocks_of, corrupt, hours_of, stretches_of, times_of};
pub use shelf::change;

/// What schema 3 has besides rollups.
pub const SCHEMA: &str = "
    -- key: hour << 28 | number of the first server. members: of each block the number, from the one before, and its length.
    CREATE TABLE blocks (key INTEGER PRIMARY KEY, members BLOB NOT NULL, shelf BLOB NOT NULL);
";

/// Bits of the number in a key.
const NUMBER_BITS: u32 = 28;

/// The first key of an hour.
pub fn first_key(hour: i64) -> i64 {
    hour << NUMBER_BITS
}
