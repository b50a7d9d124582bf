//! Keeps the log's tables, and what protects them, from being changed.

pub mod append_only;
pub mod chained;
pub mod ddl;
