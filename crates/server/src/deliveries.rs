//! Deliveries of events and alerts to other systems.

pub(crate) mod attempt;
pub(crate) mod destinations;
pub(crate) mod directories;
pub(crate) mod formats;
pub(crate) mod item;
pub(crate) mod outcome;
