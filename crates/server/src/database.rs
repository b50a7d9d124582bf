//! Calls of the log's SQL functions.

pub(crate) mod call;
pub(crate) mod failure;
pub(crate) mod pool;
