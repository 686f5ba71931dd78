//! The domain against the wire types as they were shipped.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;
