//! The extension's small tables of keys, revocations and grants, read from below: without the caller's rights, without
//! SPI, and with a snapshot of now. The transaction's snapshot would not do: what was revoked since must count.

use crate::pg::error::{Code, Fault};
use crate::pg::relation::{self, append, rows, Equal};
use crate::pg::spi;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// A table of the schema `immutable`, open for as long as this lives; the lock is kept until the transaction ends.
pub struct Table {
    pub relation: pg_sys::Relation,
    schema: Oid,
}

impl Drop for Table {
    fn drop(&mut self) {
        // After an error the transaction's end has closed it, and unwinding comes here too.
        if !std::thread::panicking() {
            // SAFETY: opened by open(), and still open without an error.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as i32) };
        }
    }
}

impl Table {
    /// Opens a table that must have as many columns as `width`.
    pub unsafe fn open(name: &CStr, width: usize, lock: u32) -> Table {
        let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        let relation = relation::open(oid, lock).filter(|relation| (*(**relation).rd_att).natts as usize == width);
        let relation = relation.unwrap_or_else(|| {
            let name = name.to_string_lossy();
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("table immutable.{name} is missing or altered"),
            )
            .raise()
        });
        Table { relation, schema }
    }

    /// Whether it has never had a row since it was made, or emptied by VACUUM: known without reading it.
    pub unsafe fn is_empty(&self) -> bool {
        pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM) == 0
    }

    /// Gives every row that passes the keys, which are columns of the index, to `each`.
    pub unsafe fn rows(&self, index: Option<&CStr>, keys: &[Equal], each: impl FnMut(&Values)) {
        let index = index.map_or(pg_sys::InvalidOid, |index| pg_sys::get_relname_relid(index.as_ptr(), self.schema));
        // No snapshot given: for a table that is no catalog PostgreSQL takes a new one each time.
        rows(self.relation, index, std::ptr::null_mut(), keys, each);
    }

    /// Appends a row.
    pub unsafe fn insert(&self, row: &[Option<Datum>]) {
        append(self.relation, row);
    }

    /// Runs a statement with the rights of the table's owner, and counts the rows that it returns.
    pub unsafe fn execute(&self, statement: &str, types: &[Oid], given: &[Option<Datum>]) -> usize {
        let mut rows = 0;
        self.returning(statement, types, given, |_| rows += 1);
        rows
    }

    /// The same, and gives the rows that it returns to `each`.
    pub unsafe fn returning(&self, statement: &str, types: &[Oid], given: &[Option<Datum>], each: impl FnMut(&Values)) {
        spi::as_owner(self.relation, || spi::write(statement, types, given, each));
    }
}
