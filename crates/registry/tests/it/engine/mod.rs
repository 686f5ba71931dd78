//! What is true of the engines, whatever is in them.

pub mod grants;
pub mod life;
mod postgres;
