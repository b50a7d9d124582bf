//! What every request and answer goes through: bodies and queries, answers as JSON objects, errors, credentials.

pub(crate) mod answer;
pub(crate) mod around;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod credentials;
pub(crate) mod origin;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod rates;
pub(crate) mod room;
pub(crate) mod segment;
pub(crate) mod unknown;
