//! The triggers on tracked tables: which each relation of a tree needs, making and dropping them.

use crate::capture::tracked::Operation;
use pgrx::pg_sys::Oid;

/// What the names of the triggers begin with; the operation follows.
pub const PREFIX: &str = "~immutable_capture_";

/// How the triggers of a tree fire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// Once after each statement, with transition tables: tables and partitions.
    Statement,
    /// After each row: trees with foreign tables or with inheritance.
    Row,
}

/// What a trigger of a relation is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Fires,
    /// It does not fire always: it was disabled, or fires only in sessions that are not replicas.
    Switched,
    Missing,
}

/// The relations of the tree of a tracked table, itself first.
pub fn tree(root: Oid) -> Vec<Oid> {
    vec![root]
}

/// Creates the triggers that are missing on the relations of the tree, drops those that are not needed or are of the other
/// firing, and has all of them fire always. Locks the relations.
pub fn install(root: Oid, operations: &[Operation]) {
    let _ = (root, operations);
}

/// Drops all triggers of the relation.
pub fn remove(relation: Oid) {
    let _ = relation;
}

/// What the trigger of the relation for an operation is like.
pub fn condition(relation: Oid, operation: Operation) -> Condition {
    let _ = (relation, operation);
    Condition::Missing
}
