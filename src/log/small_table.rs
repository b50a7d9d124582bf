//! The extension's small tables of keys, revocations and grants. They are read without SPI, without
//! regard to the caller's rights, and with a new snapshot, because a revocation counts even if it
//! is newer than the transaction's snapshot.

use crate::log::shared_table::{self, NodeCopy};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, Equal, OpenRelation, Relation, Seen};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// A table of the schema `immutable`, open for as long as this lives. In a distributed log, it is this node's copy of a
/// table that all nodes share.
pub struct SmallTable {
    table: OpenRelation,
    copy: Option<NodeCopy>,
}

impl SmallTable {
    /// Opens a table, with a lock that is kept until the transaction ends. Raises 55000 if it is missing or
    /// does not have columns of these types.
    pub fn open(name: &CStr, types: &[Oid], lock: u32) -> SmallTable {
        SmallTable::of(name, &[types], |table| OpenRelation::open(table, lock))
    }

    /// The same for a table that had other columns in an earlier version: `kinds` has the types of each. The library is
    /// replaced before the extension is updated.
    pub fn open_of_versions(name: &CStr, kinds: &[&[Oid]], lock: u32) -> SmallTable {
        SmallTable::of(name, kinds, |table| OpenRelation::open(table, lock))
    }

    /// The same to read it alone. The lock is released when this is dropped.
    pub fn read(name: &CStr, types: &[Oid]) -> SmallTable {
        SmallTable::of(name, &[types], OpenRelation::read)
    }

    fn of(name: &CStr, kinds: &[&[Oid]], open: impl FnOnce(Oid) -> Option<OpenRelation>) -> SmallTable {
        let copy = shared_table::copy_of(name);
        let relation = open(copy.map_or_else(|| named(name), |copy| copy.oid));
        let table = relation
            .filter(|relation| kinds.iter().any(|types| relation.get().descriptor().is_of(types)))
            .unwrap_or_else(|| {
                let name = name.to_string_lossy();
                Fault::new(
                    Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("table immutable.{name} is missing or altered"),
                )
                .raise()
            });
        SmallTable { table, copy }
    }

    /// Whether all nodes share the table, so that statements are Citus' to run.
    pub fn is_shared(&self) -> bool {
        self.copy.is_some()
    }

    /// The table itself.
    pub fn relation(&self) -> Relation<'_> {
        self.table.get()
    }

    /// Whether the table has no blocks, because it never had a row or VACUUM truncated it. Nothing
    /// is read for that.
    pub fn is_empty(&self) -> bool {
        self.relation().is_empty()
    }

    /// Calls `each` with every row that matches the keys, which are columns of the index. Without
    /// such an index, all rows are read.
    pub fn rows(&self, index: Option<&CStr>, keys: &[Equal], mut each: impl FnMut(&Values)) {
        let index = index.map(|index| match self.copy {
            Some(copy) => named(&copy.index(index)),
            None => named(index),
        });
        let index = index.filter(|index| *index != pg_sys::InvalidOid);
        self.relation().rows(index, Seen::Now, keys, |tuple| {
            each(&tuple.values());
            true
        });
    }

    /// Appends a row.
    pub fn insert(&self, row: &[Option<Datum>]) {
        self.relation().append(row);
    }

    /// Runs a statement with the rights of the table's owner, and returns the number of rows.
    pub fn execute(&self, statement: &str, given: &[Arg]) -> usize {
        let mut rows = 0;
        self.returning(statement, given, |_| rows += 1);
        rows
    }

    /// The same for a statement that returns rows; calls `each` with every row.
    pub fn returning(&self, statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
        spi::as_owner(self.relation(), || match self.copy {
            // Citus plans a statement for the values of its parameters.
            Some(_) => spi::query_now_planned_each_time(statement, given, each),
            None => spi::query_now(statement, given, each),
        });
    }
}
