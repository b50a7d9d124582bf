//! The table in which maintenance notes where it goes on, and how far it got.

use crate::log::small_table::SmallTable;
use pgrx::pg_sys::{self, Oid};

/// `immutable.maintenance_position`; its columns are system_identifier, timeline, database, noted_at,
/// ran_at, failed, usage_mark, singleton.
const COLUMNS: [Oid; 8] = [
    pg_sys::INT8OID,
    pg_sys::INT4OID,
    pg_sys::OIDOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::JSONBOID,
    pg_sys::TEXTOID,
    pg_sys::BOOLOID,
];

/// Opens the table. Raises 55000 if it is missing or was altered.
pub fn position(lock: u32) -> SmallTable {
    SmallTable::open(c"maintenance_position", &COLUMNS, lock)
}
