//! What every request and answer goes through: answers as JSON objects, errors, credentials.

pub(crate) mod answer;
pub(crate) mod credentials;
pub(crate) mod problem;
