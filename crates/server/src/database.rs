//! Calls of the log's SQL functions.

pub(crate) mod address;
pub(crate) mod call;
pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod lending;
pub(crate) mod pool;
pub(crate) mod rows;
pub(crate) mod tls;
