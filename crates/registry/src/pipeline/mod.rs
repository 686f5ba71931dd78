//! How far the pipeline has got, and who does what one process does for all.

mod lease;
mod progress;
