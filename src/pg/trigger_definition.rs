//! Creating and dropping triggers on tables of others, past event triggers and without a table's name in a statement.

#![allow(unsafe_code)]

use crate::pg::error::internal;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CString;

/// Creates a trigger on a relation as CREATE TRIGGER does, with the rights of the current role. It fires always, also in
/// sessions that are replicas. The table in the statement is not looked at, and neither is the function.
pub fn create(relation: Oid, statement: &str, function: Oid) {
    let text = CString::new(statement).unwrap_or_else(|_| internal("a statement with a NUL in it"));
    let (none, fires) = (pg_sys::InvalidOid, pg_sys::TRIGGER_FIRES_ALWAYS as std::ffi::c_char);
    // SAFETY: the statement is parsed, and is looked at only if it is one that creates a trigger. PostgreSQL checks the
    // relation, and raises an error for one that cannot have the trigger.
    unsafe {
        let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let raw = pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>();
        if (*(*raw).stmt).type_ != pg_sys::NodeTag::T_CreateTrigStmt {
            internal("a statement that creates no trigger")
        }
        let trigger = (*raw).stmt.cast::<pg_sys::CreateTrigStmt>();
        let (source, when) = (text.as_ptr(), std::ptr::null_mut());
        pg_sys::CreateTriggerFiringOn(
            trigger, source, relation, none, none, none, function, none, when, false, false, fires,
        );
        pg_sys::CommandCounterIncrement();
    }
}

/// Drops a trigger, and locks its table against all use as DROP TRIGGER does.
pub fn drop(trigger: Oid) {
    let address = pg_sys::ObjectAddress { classId: pg_sys::TriggerRelationId, objectId: trigger, objectSubId: 0 };
    let flags = pg_sys::PERFORM_DELETION_INTERNAL as i32;
    // SAFETY: raises an error if something depends on it.
    unsafe {
        pg_sys::performDeletion(&address, pg_sys::DropBehavior::DROP_RESTRICT, flags);
        pg_sys::CommandCounterIncrement();
    }
}
