//! Destinations: where items are delivered to, and how.

pub(crate) mod batches;
pub(crate) mod datadog;
pub(crate) mod delivery;
pub(crate) mod destination;
pub(crate) mod file;
pub(crate) mod members;
pub(crate) mod receiver;
pub(crate) mod send;
pub(crate) mod signature;
pub(crate) mod splunk;
pub(crate) mod syslog;
pub(crate) mod tls;
pub(crate) mod webhook;
