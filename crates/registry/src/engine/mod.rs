//! The ground: the two engines, and what every statement is made of. It knows no domain.

pub(crate) mod advice;
pub(crate) mod fold;
pub(crate) mod grants;
pub(crate) mod migrate;
pub(crate) mod postgres;
pub(crate) mod sqlite;
pub(crate) mod statement;
