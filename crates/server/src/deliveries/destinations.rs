//! Destinations: where items are delivered to, and how.

pub(crate) mod destination;
pub(crate) mod send;
