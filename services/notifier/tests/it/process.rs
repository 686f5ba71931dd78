//! The notifier as a process.
