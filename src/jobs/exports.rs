//! Exports for download.

use crate::jobs::step::Done;

/// Does the next part of the work, in this transaction.
pub fn step() -> Done {
    Done::NOTHING
}
