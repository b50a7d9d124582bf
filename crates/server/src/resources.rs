//! The resources of the API, one file each. A handler reads the request, calls one function of the
//! log, and shapes its answer. No rule of the log is here.

pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod ingestion;
pub(crate) mod metrics;
pub(crate) mod payload;
