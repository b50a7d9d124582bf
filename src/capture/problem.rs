//! What keeps row changes of a tracked table from being recorded as they should be.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use pgrx::pg_sys::Oid;

/// What is wrong with the recording of a tracked table, as a sentence without a full stop.
pub fn of(relation: Oid) -> Option<String> {
    let _ = relation;
    None
}

sql_function!(immutable_capture_problem, pg_finfo_immutable_capture_problem, capture_problem);

/// `immutable.capture_problem(relation)`
fn capture_problem(call: Call) -> Datum {
    match call.arg(0).and_then(|relation| of(relation.oid())) {
        Some(problem) => call.text(&problem),
        None => call.null(),
    }
}
