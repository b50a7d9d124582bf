//! Whether the running statement leaves out rows that conflict with others: INSERT … ON CONFLICT DO NOTHING. A trigger
//! is not told.

#![allow(unsafe_code)]

use crate::pg::relation::cells;
use crate::pg::statement::running;
use pgrx::pg_sys::{self, Oid};

/// Whether the running statement leaves out a row of this relation that conflicts with another in this unique index. A
/// statement that was not seen to begin does not.
pub fn is_left_out(relation: Oid, index: Oid) -> bool {
    let Some(query) = running() else { return false };
    let mut found = false;
    // SAFETY: the statement runs, so that its plan is there.
    unsafe {
        let statement = &*(*query).plannedstmt;
        let subplans = cells(statement.subplans).iter().map(|cell| cell.ptr_value.cast::<pg_sys::Plan>());
        for plan in subplans.chain([statement.planTree]) {
            let Some(change) = change_of(plan, statement, relation) else { continue };
            let arbiters = cells(change.arbiterIndexes);
            let is_meant = arbiters.is_empty() || arbiters.iter().any(|cell| cell.oid_value == index);
            if change.onConflictAction != pg_sys::OnConflictAction::ONCONFLICT_NOTHING || !is_meant {
                return false;
            }
            found = true;
        }
    }
    found
}

/// The part of a plan that changes the relation.
///
/// # Safety
/// The plan must be the statement's, and live as long as that.
unsafe fn change_of(
    plan: *mut pg_sys::Plan,
    statement: &pg_sys::PlannedStmt,
    relation: Oid,
) -> Option<&pg_sys::ModifyTable> {
    // SAFETY: a node of a plan says what it is, and names relations by their place in the statement's list.
    unsafe {
        if plan.is_null() || (*plan).type_ != pg_sys::NodeTag::T_ModifyTable {
            return None;
        }
        let change = &*plan.cast::<pg_sys::ModifyTable>();
        let place = usize::try_from(cells(change.resultRelations).first()?.int_value).ok()?.checked_sub(1)?;
        let entry = cells(statement.rtable).get(place)?.ptr_value.cast::<pg_sys::RangeTblEntry>();
        ((*entry).relid == relation).then_some(change)
    }
}
