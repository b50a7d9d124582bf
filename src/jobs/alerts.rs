//! Alerts: rules, and their evaluation over the feed.

use crate::jobs::step::Done;

/// Does the next part of the work, in this transaction.
pub fn step() -> Done {
    Done::NOTHING
}
