//! The extension's small tables of keys, revocations and grants, read from below: without the
//! caller's rights, without SPI, and with a snapshot of now. The transaction's snapshot would not
//! do: what was revoked since must count.

use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, Equal, OpenRelation, Relation, Seen};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use pgrx::pg_sys;
use std::ffi::CStr;

/// A table of the schema `immutable`, open for as long as this lives; the lock is kept until the
/// transaction ends.
pub struct SmallTable(OpenRelation);

impl SmallTable {
    /// Opens a table; raises 55000 where it is not there, or has not as many columns as `width`.
    pub fn open(name: &CStr, width: usize, lock: u32) -> SmallTable {
        let relation = OpenRelation::open(named(name), lock);
        let relation = relation.filter(|relation| relation.get().descriptor().width() == width);
        SmallTable(relation.unwrap_or_else(|| {
            let name = name.to_string_lossy();
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("table immutable.{name} is missing or altered"),
            )
            .raise()
        }))
    }

    /// The table itself.
    pub fn relation(&self) -> Relation<'_> {
        self.0.get()
    }

    /// Whether it has never had a row since it was made, or emptied by VACUUM: known without
    /// reading it.
    pub fn is_empty(&self) -> bool {
        self.relation().is_empty()
    }

    /// Gives every row that passes the keys, which are columns of the index, to `each`. Where there
    /// is no such index, all rows are looked at.
    pub fn rows(&self, index: Option<&CStr>, keys: &[Equal], mut each: impl FnMut(&Values)) {
        let index = index.map(named).filter(|index| *index != pg_sys::InvalidOid);
        self.relation().rows(index, Seen::Now, keys, |tuple| {
            each(&tuple.values());
            true
        });
    }

    /// Appends a row.
    pub fn insert(&self, row: &[Option<Datum>]) {
        self.relation().append(row);
    }

    /// Runs a statement with the rights of the table's owner, and counts the rows that it returns.
    pub fn execute(&self, statement: &str, given: &[Arg]) -> usize {
        let mut rows = 0;
        self.returning(statement, given, |_| rows += 1);
        rows
    }

    /// The same, and gives the rows that it returns to `each`.
    pub fn returning(&self, statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
        spi::as_owner(self.relation(), || spi::query_now(statement, given, each));
    }
}
