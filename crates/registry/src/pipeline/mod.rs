//! How far the pipeline has got.

mod progress;
