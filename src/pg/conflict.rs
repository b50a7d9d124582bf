//! Whether the running statement leaves out rows that conflict with others: INSERT … ON CONFLICT DO NOTHING. A trigger
//! is not told.

#![allow(unsafe_code)]

use crate::pg::relation::cells;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;

thread_local! {
    /// The statement that runs, the innermost of those that run inside of others.
    static RUNNING: Cell<*const pg_sys::PlannedStmt> = const { Cell::new(std::ptr::null()) };
    static NEXT: Cell<pg_sys::ExecutorRun_hook_type> = const { Cell::new(None) };
}

/// Called once, when the library is loaded. That may be while a statement is set up, which then is seen to run.
pub fn register() {
    // SAFETY: variables of the one thread there is. The library is never unloaded.
    unsafe {
        NEXT.set(pg_sys::ExecutorRun_hook);
        pg_sys::ExecutorRun_hook = Some(run);
    }
}

/// A statement that runs, until it is dropped: also when the statement fails.
struct Running(*const pg_sys::PlannedStmt);

impl Running {
    fn begin(query: *const pg_sys::QueryDesc) -> Running {
        // SAFETY: PostgreSQL passes a statement that it runs.
        Running(RUNNING.replace(unsafe { (*query).plannedstmt }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    once: bool,
) {
    let _running = Running::begin(query);
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get() {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count, once)),
            None => pg_sys::standard_ExecutorRun(query, direction, count, once),
        }
    }
}

#[cfg(feature = "pg18")]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64) {
    let _running = Running::begin(query);
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get() {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count)),
            None => pg_sys::standard_ExecutorRun(query, direction, count),
        }
    }
}

/// Whether the running statement leaves out a row of this relation that conflicts with another in this unique index. A
/// statement that was not seen to begin does not.
pub fn is_left_out(relation: Oid, index: Oid) -> bool {
    let statement = RUNNING.get();
    if statement.is_null() {
        return false;
    }
    let mut found = false;
    // SAFETY: the statement runs, so that its plan is there.
    unsafe {
        let statement = &*statement;
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
