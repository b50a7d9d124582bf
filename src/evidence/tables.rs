//! Writing the tables of the tree. They are written without SPI, because their triggers refuse every
//! change that somebody else makes.

use crate::log::distributed;
use crate::log::small_table::SmallTable;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::lock::{lock, ObjectLock};
use crate::pg::relation::{named, Equal, Seen};
use crate::pg::spi::Arg;
use crate::pg::tuple::Values;
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// Refuses (0A000) what needs the tree, which a distributed log does not have: its events are in shards, without an order.
pub fn refuse_distributed() {
    distributed::refuse(
        "checkpoints and their proofs",
        "Save what immutable.heads() returns outside of the database, and compare with verify_chain(heads => …).",
    );
}

const TEXT: Oid = pg_sys::TEXTOID;
const INT8: Oid = pg_sys::INT8OID;
const BYTES: Oid = pg_sys::BYTEAOID;
const TIME: Oid = pg_sys::TIMESTAMPTZOID;

/// A table of the tree, and the types of its columns.
pub struct Table(&'static CStr, &'static [Oid]);

/// immutable.tree
pub const TREE: Table = Table(c"tree", &[TEXT, INT8, BYTES, pg_sys::UUIDOID, TIME, pg_sys::BOOLOID]);
/// immutable.tree_runs
pub const RUNS: Table = Table(c"tree_runs", &[INT8, TEXT, pg_sys::INT2OID, INT8, INT8]);
/// immutable.tree_tiles
pub const TILES: Table = Table(c"tree_tiles", &[pg_sys::INT2OID, INT8, BYTES, BYTES]);
/// immutable.tree_chunks
pub const CHUNKS: Table = Table(c"tree_chunks", &[INT8, BYTES]);
/// immutable.tree_notes
pub const NOTES: Table = Table(c"tree_notes", &[TEXT, INT8, BYTES, TIME, TEXT]);
/// immutable.tree_cosignatures
pub const COSIGNATURES: Table = Table(c"tree_cosignatures", &[TEXT, INT8, TEXT, TEXT, TIME, TEXT]);
/// immutable.witnesses
pub const WITNESSES: Table = Table(c"witnesses", &[TEXT, TEXT, TIME, TEXT]);
/// immutable.tree_position
pub const POSITION: Table =
    Table(c"tree_position", &[TEXT, TIME, INT8, pg_sys::INT4OID, pg_sys::OIDOID, pg_sys::BOOLOID]);
/// immutable.tree_pending
pub const PENDING: Table = Table(c"tree_pending", &[TEXT, pg_sys::INT2OID, INT8, TEXT, TIME]);
/// immutable.log_keys
pub const KEYS: Table = Table(c"log_keys", &[TEXT, TIME, pg_sys::UUIDOID, TIME, TIME, pg_sys::INT4OID]);
/// immutable.log_secrets
pub const SECRETS: Table = Table(c"log_secrets", &[TEXT, TEXT]);

impl Table {
    fn open(&self) -> SmallTable {
        SmallTable::open(self.0, self.1, pg_sys::RowExclusiveLock)
    }

    /// Whether there are rows.
    fn has_rows(&self) -> bool {
        let (table, mut found) = (SmallTable::open(self.0, self.1, pg_sys::AccessShareLock), false);
        if !table.is_empty() {
            table.rows(None, &[], |_| found = true);
        }
        found
    }

    /// Appends a row. Raises 55000 if the table was altered.
    pub fn insert(&self, row: &[Option<Datum>]) {
        self.open().insert(row);
    }

    /// Appends a row, in place of the one that `key` finds in an index. If `keeps` is true of that one,
    /// it stays, and nothing is appended. Returns whether the row was appended.
    pub fn replace(
        &self,
        (index, key): (&CStr, &[Equal]),
        row: &[Option<Datum>],
        keeps: impl Fn(&Values) -> bool,
    ) -> bool {
        let (table, mut kept) = (self.open(), false);
        let index = Some(named(index)).filter(|index| *index != pg_sys::InvalidOid);
        table.relation().rows(index, Seen::Now, key, |tuple| {
            kept = keeps(&tuple.values());
            if !kept {
                table.relation().delete(tuple);
            }
            false
        });
        if !kept {
            table.insert(row);
        }
        !kept
    }

    /// Deletes the row that `key` finds in an index, if there is one.
    pub fn delete_at(&self, index: &CStr, key: &[Equal]) {
        let table = self.open();
        let index = Some(named(index)).filter(|index| *index != pg_sys::InvalidOid);
        table.relation().rows(index, Seen::Now, key, |tuple| {
            table.relation().delete(tuple);
            true
        });
    }

    /// Deletes the rows that `matches`, and returns how many there were.
    pub fn delete(&self, matches: impl Fn(&Values) -> bool) -> usize {
        let table = self.open();
        let mut deleted = 0;
        table.relation().rows(None, Seen::Now, &[], |tuple| {
            if matches(&tuple.values()) {
                table.relation().delete(tuple);
                deleted += 1;
            }
            true
        });
        deleted
    }
}

/// The owner's reading of these tables: every committed row, and those of this transaction.
pub fn read_now(statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
    crate::log::tree::View::Now.read(statement, given, each);
}

/// All tables of the tree.
const ALL: [&Table; 11] =
    [&TREE, &RUNS, &TILES, &CHUNKS, &NOTES, &COSIGNATURES, &WITNESSES, &POSITION, &PENDING, &KEYS, &SECRETS];

/// Waits until no other transaction changes the tree, and keeps others from it until this one ends.
///
/// REINDEX locks a table, and then its indexes. A transaction that had read an index, and waited for REINDEX
/// when it came to write, would be in a deadlock with it. So all tables that may be written are locked here,
/// always in the same order, and a caller reads nothing before. The lock on events is the first, because a
/// transaction that has recorded an event may call functions of the tree afterwards.
pub fn lock_tree() {
    lock_events_and_tree(pg_sys::AccessShareLock, true);
}

/// The same for a caller that may also record an event.
pub fn lock_tree_to_record() {
    lock_events_and_tree(pg_sys::RowExclusiveLock, true);
}

/// The same without waiting for others that change the tree; false if there is one.
pub fn try_lock_tree_to_record() -> bool {
    lock_events_and_tree(pg_sys::RowExclusiveLock, false)
}

fn lock_events_and_tree(of_events: u32, waits: bool) -> bool {
    lock(events_oid(), of_events);
    if !(ObjectLock { relation: named(c"tree"), object: 0, part: 0 }).acquire(waits) {
        return false;
    }
    let tables = ALL.iter().map(|table| named(table.0)).filter(|table| *table != pg_sys::InvalidOid);
    tables.for_each(|table| lock(table, pg_sys::RowExclusiveLock));
    true
}

sql_function!(immutable_guard_tree, pg_finfo_immutable_guard_tree, guard_tree);

/// The trigger of the tables that a dump restores. Raises 42501 for anything else, and 55000 for a dump
/// where the log signs already: a key or a witness of somebody else's would come into it without a record.
fn guard_tree(call: Call) -> Datum {
    let trigger = call.any_trigger();
    let table = trigger.relation().name();
    if settings::RESTORE.get() && trigger.operation() == pg_sys::TRIGGER_EVENT_INSERT {
        if POSITION.has_rows() {
            let message = format!("table {table} takes no rows of a dump: the log signs checkpoints on this server");
            Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .hint("Restore into a new database, before its first checkpoint.")
                .raise()
        }
        return trigger.go_on_with(trigger.row());
    }
    let by = if table == "witnesses" { "immutable.add_witness()" } else { "immutable.checkpoint()" };
    Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("table {table} is written by {by} alone"))
        .hint("This applies to every role. To restore a dump, SET immutable.restore = on.")
        .raise()
}
