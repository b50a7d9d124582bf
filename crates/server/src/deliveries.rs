//! Deliveries of events and alerts to other systems.

pub(crate) mod attempt;
pub(crate) mod backoff;
pub(crate) mod destinations;
pub(crate) mod directories;
pub(crate) mod engine;
pub(crate) mod figures;
pub(crate) mod formats;
pub(crate) mod item;
pub(crate) mod outcome;
pub(crate) mod queue;
pub(crate) mod worker;
