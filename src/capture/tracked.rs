//! What is recorded of a relation: its row of immutable.tracking, resolved for this relation and kept until a catalog
//! changes. A partition is looked up through the root of its tree, and has its columns in other places.

use crate::pg::relation::Relation;
use pgrx::pg_sys::Oid;
use std::rc::Rc;

/// What is done to a row, or to a whole table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 4] = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

    /// As SQL and `track_table()` call it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Truncate => "truncate",
        }
    }

    /// As the action of the event ends.
    pub fn done(self) -> &'static str {
        match self {
            Operation::Insert => "created",
            Operation::Update => "updated",
            Operation::Delete => "deleted",
            Operation::Truncate => "truncated",
        }
    }
}

/// A column that is recorded.
pub struct Column {
    /// Its place in the relation's rows, counted from 0.
    pub place: usize,
    pub name: String,
    /// Its type.
    pub oid: Oid,
    /// Whether only that it changed is recorded.
    pub is_masked: bool,
}

/// A column whose values become targets.
pub struct SubjectColumn {
    /// Its place in the relation's rows, counted from 0.
    pub place: usize,
    pub oid: Oid,
    /// The type of the target.
    pub kind: String,
}

/// What is recorded of a relation.
pub struct Tracked {
    /// The table that `track_table()` was called for: the relation, or an ancestor of it.
    pub root: Oid,
    /// The relation's own name, with its schema.
    pub name: String,
    pub resource_type: String,
    pub operations: Vec<Operation>,
    /// In the order of the relation's columns.
    pub columns: Vec<Column>,
    /// The columns that resource_id is made of, as places and types.
    pub id: Vec<(usize, Oid)>,
    /// The column that holds the tenant, as place and type.
    pub tenant: Option<(usize, Oid)>,
    pub subjects: Vec<SubjectColumn>,
    /// An SQL condition on a row.
    pub condition: Option<String>,
    /// Whether a name that `track_table()` was given is gone, so that no value can be recorded safely: every column is
    /// masked then.
    pub is_stale: bool,
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {}

/// What is recorded of the relation; None if it is not tracked.
pub fn of(relation: Relation<'_>) -> Option<Rc<Tracked>> {
    let _ = relation;
    None
}
