//! The resources of the API, one file each. A handler reads the request, calls one function of the
//! log, and shapes its answer. No rule of the log is here.

pub(crate) mod alerts;
pub(crate) mod anchors;
pub(crate) mod cursor;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod exports;
pub(crate) mod health;
pub(crate) mod ingestion;
pub(crate) mod members;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod parameters;
pub(crate) mod payload;
pub(crate) mod public;
pub(crate) mod refusals;
pub(crate) mod retention;
pub(crate) mod tiles;
pub(crate) mod verify;
pub(crate) mod viewer_tokens;
pub(crate) mod when;
