//! The wire types as they were shipped: files that no release may read or write differently.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod v1;
