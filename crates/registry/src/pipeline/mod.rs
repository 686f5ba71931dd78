//! How far the pipeline has got.

pub(crate) mod progress;
