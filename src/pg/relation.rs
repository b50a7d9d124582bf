//! Relations: opening, describing, scanning and appending.

#![allow(unsafe_code)]

use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::lock::lock;
use crate::pg::memory::here;
use crate::pg::tuple::{Descriptor, Tuple};
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;

/// The size in bytes up to which a row is never toasted. To insert many rows at once is cheaper,
/// but if the heap replaced a row by a toasted one, its place would be lost for the indexes.
const NEVER_TOASTED: u32 = 1900;

/// The OIDs of pg_inherits (inhrelid, inhparent, …) and of its index on inhparent, in every version.
const INHERITS: u32 = 2611;
const INHERITS_BY_PARENT: u32 = 2187;
/// Its index of children.
const INHERITS_BY_CHILD: u32 = 2680;

/// The place of a row in a table: the block, and the row's number in it.
pub type Spot = (u32, u16);

/// A relation that is open for as long as `'r`.
#[derive(Clone, Copy)]
pub struct Relation<'r>(pg_sys::Relation, PhantomData<&'r ()>);

impl<'r> Relation<'r> {
    /// # Safety
    /// It must be open for as long as `'r`.
    pub(in crate::pg) unsafe fn of(relation: pg_sys::Relation) -> Relation<'r> {
        Relation(relation, PhantomData)
    }

    pub(in crate::pg) fn raw(self) -> pg_sys::Relation {
        self.0
    }

    fn form(self) -> &'r pg_sys::FormData_pg_class {
        // SAFETY: an open relation has its row of pg_class.
        unsafe { &*(*self.0).rd_rel }
    }

    /// Its OID.
    pub fn oid(self) -> Oid {
        // SAFETY: it is open.
        unsafe { (*self.0).rd_id }
    }

    /// The OID of its owner.
    pub fn owner(self) -> Oid {
        self.form().relowner
    }

    /// `relpersistence`, one of RELPERSISTENCE_*.
    pub fn persistence(self) -> u8 {
        self.form().relpersistence as u8
    }

    /// Whether it is a catalog, or in a schema of PostgreSQL's own.
    pub fn is_of_system(self) -> bool {
        // SAFETY: asks about an open relation; names of schemas are looked up.
        unsafe {
            pg_sys::IsSystemRelation(self.0)
                || self.namespace() == pg_sys::get_namespace_oid(c"information_schema".as_ptr(), true)
        }
    }

    /// Whether it is a partition.
    pub fn is_partition(self) -> bool {
        self.form().relispartition
    }

    /// Whether tables inherit from it, or did so not long ago.
    pub fn has_children(self) -> bool {
        self.form().relhassubclass
    }

    /// The OID of its schema.
    pub fn namespace(self) -> Oid {
        self.form().relnamespace
    }

    /// `relkind`, one of RELKIND_*.
    pub fn kind(self) -> u8 {
        self.form().relkind as u8
    }

    /// Whether other tables inherit from it, or did.
    pub fn is_parent(self) -> bool {
        self.form().relhassubclass
    }

    /// Its name, without the schema and without quotes.
    pub fn name(self) -> String {
        // SAFETY: a name ends with a NUL.
        unsafe { CStr::from_ptr(self.form().relname.data.as_ptr()) }.to_string_lossy().into_owned()
    }

    /// Its name, quoted and with its schema.
    pub fn qualified_name(self) -> String {
        // SAFETY: both are C strings.
        unsafe {
            let schema = pg_sys::get_namespace_name(self.namespace());
            let name = pg_sys::quote_qualified_identifier(schema, self.form().relname.data.as_ptr());
            CStr::from_ptr(name).to_string_lossy().into_owned()
        }
    }

    /// Its columns.
    pub fn descriptor(self) -> Descriptor<'r> {
        // SAFETY: the descriptor lives as long as the relation is open.
        unsafe { Descriptor::of((*self.0).rd_att) }
    }

    /// Its triggers, in the order in which they fire.
    pub fn triggers(self) -> &'r [Trigger] {
        // SAFETY: they live as long as the relation is open, and a Trigger is nothing but
        // PostgreSQL's.
        unsafe {
            let triggers = (*self.0).trigdesc;
            if triggers.is_null() {
                return &[];
            }
            std::slice::from_raw_parts((*triggers).triggers.cast(), (*triggers).numtriggers as usize)
        }
    }

    /// Whether it has no blocks, because it never had a row or VACUUM truncated it. Nothing is read
    /// for that.
    pub fn is_empty(self) -> bool {
        // SAFETY: it is open.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.0, pg_sys::ForkNumber::MAIN_FORKNUM) == 0 }
    }

    /// Its indexes.
    pub fn indexes(self) -> Vec<Oid> {
        // SAFETY: a list of oids.
        unsafe { cells(pg_sys::RelationGetIndexList(self.0)) }.iter().map(|cell| unsafe { cell.oid_value }).collect()
    }

    /// The tables that inherit from it by now, whatever the transaction's snapshot sees.
    pub fn children(self) -> Vec<Oid> {
        children(self.oid())
    }

    /// The columns of its primary key, as places counted from 0; None if it has none that is valid.
    pub fn primary_key(self) -> Option<Vec<usize>> {
        #[allow(clippy::redundant_closure_for_method_calls)] // the method is not general enough
        let key = self.indexes().into_iter().find_map(|index| with_index(index, |index| index.primary_key()))?;
        Some(key.into_iter().map(|number| (number - 1) as usize).collect())
    }

    /// The tables that its foreign keys of one column point to, each with the place of that column, counted from 0.
    pub fn references(self) -> Vec<(usize, Oid)> {
        // SAFETY: a list of the cached foreign keys.
        unsafe { cells(pg_sys::RelationGetFKeyList(self.0)) }
            .iter()
            .map(|key| unsafe { &*key.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>() })
            .filter(|key| key.nkeys == 1)
            .map(|key| ((key.conkey[0] - 1) as usize, key.confrelid))
            .collect()
    }

    /// The tables that its foreign keys point to.
    pub fn foreign_keys(self) -> Vec<Oid> {
        // SAFETY: a list of the cached foreign keys.
        unsafe { cells(pg_sys::RelationGetFKeyList(self.0)) }
            .iter()
            .map(|key| unsafe { (*key.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>()).confrelid })
            .collect()
    }

    /// Whether rows with this number of columns can be appended without the executor, because
    /// nothing is to be checked or fired except one foreign key.
    pub fn is_plain(self, columns: usize) -> bool {
        let is_ours = |trigger: &Trigger| trigger.tgisinternal || trigger.name().to_bytes().starts_with(b"~immutable_");
        // SAFETY: the descriptor of an open relation.
        let has_checks = unsafe {
            let constraints = (*self.descriptor().raw()).constr;
            !constraints.is_null() && (*constraints).num_check != 0
        };
        self.kind() == pg_sys::RELKIND_RELATION
            && self.descriptor().width() == columns
            && !has_checks
            && self.foreign_keys().len() <= 1
            && self.triggers().iter().all(is_ours)
            && self.indexes().into_iter().all(is_plain)
    }

    /// The valid unique index whose keys are exactly these attributes, in this order.
    pub fn unique_index(self, numbers: &[i16]) -> Option<Oid> {
        self.indexes().into_iter().find(|index| with_index(*index, |index| index.is_unique_on(numbers)))
    }

    /// Whether it has an invalid unique index: one that is being built, or that a failed command
    /// left behind.
    pub fn has_invalid_unique_index(self) -> bool {
        self.indexes().into_iter().any(|index| {
            with_index(index, |index| {
                let shape = index.shape();
                shape.indisunique && !shape.indisvalid
            })
        })
    }

    /// Appends a row to one of the extension's small tables, without SPI. PostgreSQL's functions
    /// for catalogs maintain only plain indexes, so it raises 55000 if there is another.
    pub fn append(self, row: &[Option<Datum>]) {
        if let Some(index) = self.indexes().into_iter().find(|index| !is_plain(*index)) {
            let (table, index) = (self.name(), with_index(index, |index| index.0.name()));
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("index {index} of table immutable.{table} has an expression or a condition"),
            )
            .hint("Use DROP INDEX. Such an index cannot be maintained on this table, and the table is too small to need it.")
            .raise()
        }
        assert_eq!(row.len(), self.descriptor().width(), "a row has other columns than its table");
        let mut values: Vec<pg_sys::Datum> = row.iter().map(|value| raw_or_zero(value.as_ref())).collect();
        let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
        // SAFETY: as many values as the table has columns.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(self.descriptor().raw(), values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::CatalogTupleInsert(self.0, tuple);
            pg_sys::CommandCounterIncrement();
        }
    }

    /// Appends rows, without SPI, to a table for which [`Relation::is_plain`] is true. Later
    /// commands see them.
    pub fn append_all<'d, const N: usize>(self, rows: impl Iterator<Item = [Option<Datum<'d>>; N]>) {
        assert_eq!(N, self.descriptor().width(), "a row has other columns than its table");
        // SAFETY: as many values as the table has columns; the rows live until they are in the
        // table, and each slot until it is dropped.
        unsafe {
            let descriptor = self.descriptor().raw();
            let form = |row: [Option<Datum>; N]| {
                let (mut values, mut nulls) =
                    (row.each_ref().map(|value| raw_or_zero(value.as_ref())), row.each_ref().map(Option::is_none));
                pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr())
            };
            let tuples: Vec<pg_sys::HeapTuple> = rows.map(form).collect();
            let indexes = pg_sys::CatalogOpenIndexes(self.0);
            if tuples.len() > 1 && tuples.iter().all(|tuple| (**tuple).t_len <= NEVER_TOASTED) {
                let fill = |tuple: &pg_sys::HeapTuple| {
                    let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsHeapTuple);
                    pg_sys::ExecStoreHeapTuple(*tuple, slot, false)
                };
                let mut slots: Vec<*mut pg_sys::TupleTableSlot> = tuples.iter().map(fill).collect();
                pg_sys::CatalogTuplesMultiInsertWithInfo(self.0, slots.as_mut_ptr(), slots.len() as i32, indexes);
                for slot in slots {
                    pg_sys::ExecDropSingleTupleTableSlot(slot);
                }
            } else {
                for tuple in tuples {
                    pg_sys::CatalogTupleInsertWithInfo(self.0, tuple, indexes);
                }
            }
            pg_sys::CatalogCloseIndexes(indexes);
        }
    }

    /// Calls `each` with the rows that an index finds, until it returns false. It uses
    /// SnapshotSelf, which sees this transaction's rows and everything committed by now, because
    /// the transaction's snapshot may be older than the lock.
    pub fn scan(self, index: Oid, keys: &[Key], backwards: bool, mut each: impl FnMut(Tuple<'_>) -> bool) {
        let direction = match backwards {
            true => pg_sys::ScanDirection::BackwardScanDirection,
            false => pg_sys::ScanDirection::ForwardScanDirection,
        };
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(|_| pg_sys::ScanKeyData::default()).collect();
        // SAFETY: the index is one of this relation's and open until the end; a row lives until the
        // next is asked for, and `each` cannot keep it.
        here(|memory| unsafe {
            for (scan_key, key) in scan_keys.iter_mut().zip(keys) {
                let function = Oid::from(key.function);
                pg_sys::ScanKeyInit(scan_key, key.attribute, key.strategy as u16, function, key.value.raw());
            }
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
            let snapshot = std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData);
            let count = scan_keys.len() as i32;
            let scan = pg_sys::systable_beginscan_ordered(self.0, index, snapshot, count, scan_keys.as_mut_ptr());
            loop {
                let tuple = pg_sys::systable_getnext_ordered(scan, direction);
                if tuple.is_null() || !each(Tuple::of(tuple, self.descriptor(), memory)) {
                    break;
                }
            }
            pg_sys::systable_endscan_ordered(scan);
            pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        });
    }

    /// Reads the row with the greatest key that an index finds; see [`Relation::scan`].
    pub fn last_row<T>(self, index: Oid, keys: &[Key], look: impl FnOnce(Tuple<'_>) -> T) -> Option<T> {
        let mut seen = None;
        let mut look = Some(look);
        self.scan(index, keys, true, |tuple| {
            seen = look.take().map(|look| look(tuple));
            false
        });
        seen
    }

    /// Looks at the row that was put last into the block in which this session inserts: after an insert of this session,
    /// mostly the row that it inserted. The row may be anybody's, and nothing says whether a snapshot sees it.
    pub fn last_put<T>(self, look: impl FnOnce(Tuple<'_>) -> Option<T>) -> Option<T> {
        // SAFETY: the block is one of this relation's, pinned and locked while the row is looked at, which `look` cannot
        // keep.
        here(|memory| unsafe {
            let storage = (*self.0).rd_smgr;
            if storage.is_null() || (*storage).smgr_targblock == pg_sys::InvalidBlockNumber {
                return None;
            }
            let buffer = pg_sys::ReadBuffer(self.0, (*storage).smgr_targblock);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let last = pg_sys::PageGetMaxOffsetNumber(page);
            let seen = (last > 0).then(|| *pg_sys::PageGetItemId(page, last)).and_then(|item| {
                if item.lp_flags() != pg_sys::LP_NORMAL {
                    return None;
                }
                let mut tuple = pg_sys::HeapTupleData {
                    t_len: item.lp_len(),
                    t_self: pg_sys::ItemPointerData::default(),
                    t_tableOid: self.oid(),
                    t_data: page.add(item.lp_off() as usize).cast(),
                };
                look(Tuple::of(&raw mut tuple, self.descriptor(), memory))
            });
            pg_sys::UnlockReleaseBuffer(buffer);
            seen
        })
    }

    /// Reads any row, if there is one by now. Rows of this transaction count.
    pub fn any_row<T>(self, look: impl FnOnce(Tuple<'_>) -> T) -> Option<T> {
        let mut seen = None;
        let mut look = Some(look);
        self.rows(None, Seen::Itself, &[], |tuple| {
            seen = look.take().map(|look| look(tuple));
            false
        });
        seen
    }

    /// Calls `each` with the rows that an index finds, or with all rows if there is no index, until
    /// it returns false.
    pub fn rows(self, index: Option<Oid>, seen: Seen, keys: &[Equal], mut each: impl FnMut(Tuple<'_>) -> bool) {
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(|_| pg_sys::ScanKeyData::default()).collect();
        // SAFETY: as in `scan`.
        here(|memory| unsafe {
            for (scan_key, key) in scan_keys.iter_mut().zip(keys) {
                let (value, function) = (raw_or_zero(key.value.as_ref()), Oid::from(key.function));
                pg_sys::ScanKeyInit(scan_key, key.attribute, pg_sys::BTEqualStrategyNumber as u16, function, value);
                if key.value.is_none() {
                    scan_key.sk_flags = (pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL) as i32;
                    scan_key.sk_strategy = 0 /* InvalidStrategy */;
                }
            }
            let snapshot = match seen {
                // Without a snapshot, PostgreSQL takes a new one for a table that is not a catalog.
                Seen::Now => std::ptr::null_mut(),
                Seen::Itself => std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData),
                Seen::ByStatement => pg_sys::GetActiveSnapshot(),
                Seen::ByLatest(LatestSnapshot(snapshot)) => snapshot,
            };
            let (count, by) = (scan_keys.len() as i32, index.unwrap_or(pg_sys::InvalidOid));
            let scan = pg_sys::systable_beginscan(self.0, by, index.is_some(), snapshot, count, scan_keys.as_mut_ptr());
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() || !each(Tuple::of(tuple, self.descriptor(), memory)) {
                    break;
                }
            }
            pg_sys::systable_endscan(scan);
        });
    }

    /// Deletes a row that was read from it. The same command sees the deletion.
    pub fn delete(self, tuple: Tuple<'_>) {
        // SAFETY: the row is alive, and a table's own.
        unsafe {
            pg_sys::CatalogTupleDelete(self.0, &mut (*tuple.raw()).t_self);
            pg_sys::CommandCounterIncrement();
        }
    }

    /// Deletes the rows at these places without triggers, but for those that somebody else has changed or deleted since
    /// their places were found. Returns how many it has deleted. The caller has held a snapshot since then, so that no other
    /// row can be at one of the places.
    pub fn delete_at(self, spots: &[Spot]) -> i64 {
        let mut deleted = 0;
        for (block, number) in spots {
            pgrx::check_for_interrupts!();
            let block = pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: *block as u16 };
            let mut place = pg_sys::ItemPointerData { ip_blkid: block, ip_posid: *number };
            // SAFETY: the rows are the table's own; all bytes zero is a valid TM_FailureData.
            let result = unsafe {
                let mut failure: pg_sys::TM_FailureData = std::mem::zeroed();
                let command = pg_sys::GetCurrentCommandId(true);
                pg_sys::heap_delete(self.0, &mut place, command, std::ptr::null_mut(), true, &mut failure, false)
            };
            match result {
                pg_sys::TM_Result::TM_Ok => deleted += 1,
                pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => {}
                _ => crate::pg::error::internal("a row would be deleted twice"),
            }
        }
        // SAFETY: later commands see the deletion.
        unsafe { pg_sys::CommandCounterIncrement() };
        deleted
    }

    /// Deletes all rows that there are by now, without triggers and without looking for what refers to them. Returns how
    /// many there were.
    pub fn delete_all(self) -> i64 {
        let mut spots: Vec<Spot> = Vec::new();
        self.rows(None, Seen::Now, &[], |tuple| {
            spots.push(tuple.spot());
            true
        });
        self.delete_at(&spots);
        spots.len() as i64
    }

    /// Whether no snapshot of any session, prepared transaction or slot sees the table as it was before this
    /// transaction, which has ended.
    pub fn is_past(self, xact: u64) -> bool {
        // SAFETY: the relation is open; a comparison of transaction IDs.
        unsafe {
            let age = pg_sys::ReadNextFullTransactionId().value.saturating_sub(xact);
            let horizon = pg_sys::GetOldestNonRemovableTransactionId(self.0);
            age >= 1 << 31 || pg_sys::TransactionIdPrecedes((xact as u32).into(), horizon)
        }
    }

    /// Makes every session forget what it has cached about the relation, when this transaction
    /// commits.
    pub fn invalidate(self) {
        // SAFETY: it is open.
        unsafe { pg_sys::CacheInvalidateRelcache(self.0) };
    }
}

/// A trigger of an open relation, with the members of PostgreSQL's Trigger.
#[repr(transparent)]
pub struct Trigger(pg_sys::Trigger);

impl Trigger {
    /// The names of its transition tables, of the old rows and of the new ones.
    pub fn transition_tables(&self) -> [Option<&CStr>; 2] {
        // SAFETY: null, or names that live as long as it.
        [self.0.tgoldtable, self.0.tgnewtable].map(|name| (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }))
    }

    /// The trigger's name.
    pub fn name(&self) -> &CStr {
        // SAFETY: a trigger has a name, which lives as long as it.
        unsafe { CStr::from_ptr(self.0.tgname) }
    }
}

impl Deref for Trigger {
    type Target = pg_sys::Trigger;

    fn deref(&self) -> &pg_sys::Trigger {
        &self.0
    }
}

/// Which rows a scan sees.
#[derive(Clone, Copy)]
pub enum Seen {
    /// Rows that are committed by now, and rows of this transaction.
    Now,
    /// The same, and rows of this command.
    Itself,
    /// The rows that the running statement sees.
    ByStatement,
    /// The rows of a snapshot that was taken now.
    ByLatest(LatestSnapshot),
}

/// What is committed at one moment, and what this transaction has written.
#[derive(Clone, Copy)]
pub struct LatestSnapshot(pg_sys::Snapshot);

impl LatestSnapshot {
    /// Takes one, and gives it to `look`.
    pub fn with<T>(look: impl FnOnce(LatestSnapshot) -> T) -> T {
        // SAFETY: registered as long as it is used. After an error, the end of the transaction releases it.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let seen = look(LatestSnapshot(snapshot));
            pg_sys::UnregisterSnapshot(snapshot);
            seen
        }
    }
}

/// An open relation. It is closed when this is dropped. Its lock is kept until the transaction
/// ends, unless a constructor says otherwise.
pub struct OpenRelation {
    opened: pg_sys::Relation,
    /// The lock that is released when the relation is closed.
    unlock: u32,
}

impl OpenRelation {
    /// Opens a table; None if it does not exist or is none. A lock for writing is owned by the transaction.
    pub fn open(relation: Oid, mode: u32) -> Option<OpenRelation> {
        if mode > pg_sys::AccessShareLock {
            lock(relation, mode);
        }
        // SAFETY: gives null where there is none.
        let opened = unsafe { pg_sys::try_relation_open(relation, mode as pg_sys::LOCKMODE) };
        // then_some() would make an OpenRelation of a null pointer, and close it.
        let opened = (!opened.is_null()).then(|| OpenRelation { opened, unlock: pg_sys::NoLock });
        // To scan a view, which somebody may have put in the place of a table, would crash the server.
        opened.filter(|opened| opened.get().kind() == pg_sys::RELKIND_RELATION)
    }

    /// Opens a relation that is only read now; None if it does not exist. Its lock is released when it is
    /// closed, so that a transaction that writes it later does not wait for the stronger lock with this one
    /// in its hands.
    pub fn read(relation: Oid) -> Option<OpenRelation> {
        let mut opened = OpenRelation::open(relation, pg_sys::AccessShareLock)?;
        opened.unlock = pg_sys::AccessShareLock;
        Some(opened)
    }

    /// Opens a table. Raises PostgreSQL's error (42P01, 42809) if there is none.
    pub fn table(relation: Oid, mode: u32) -> OpenRelation {
        // SAFETY: raises an error where there is none.
        let opened = unsafe { pg_sys::table_open(relation, mode as pg_sys::LOCKMODE) };
        OpenRelation { opened, unlock: pg_sys::NoLock }
    }

    /// Opens a relation of any kind, with a lock that is released when it is closed; None if there is none.
    pub fn any(relation: Oid) -> Option<OpenRelation> {
        let unlock = pg_sys::AccessShareLock;
        // SAFETY: gives null where there is none.
        let opened = unsafe { pg_sys::try_relation_open(relation, unlock as pg_sys::LOCKMODE) };
        (!opened.is_null()).then(|| OpenRelation { opened, unlock })
    }

    /// The same, with a lock against changes of its definition that is released when it is closed.
    pub fn briefly(relation: Oid) -> OpenRelation {
        let mut opened = OpenRelation::table(relation, pg_sys::AccessShareLock);
        opened.unlock = pg_sys::AccessShareLock;
        opened
    }

    /// The relation.
    pub fn get(&self) -> Relation<'_> {
        // SAFETY: open for as long as this lives.
        unsafe { Relation::of(self.opened) }
    }
}

impl Drop for OpenRelation {
    fn drop(&mut self) {
        // After an error, the end of the transaction closes it, and unwinding also drops this.
        if !std::thread::panicking() {
            // SAFETY: opened by this.
            unsafe { pg_sys::relation_close(self.opened, self.unlock as pg_sys::LOCKMODE) };
        }
    }
}

/// The tables that inherit from a table by now, or are its partitions, whatever the transaction's snapshot sees.
pub fn children(parent: Oid) -> Vec<Oid> {
    let mut found = inheritance(INHERITS_BY_PARENT, 2, parent, 0);
    found.sort_unstable_by_key(|child| child.to_u32());
    found
}

/// The tables that a table inherits from by now, or whose partition it is, in the order in which it names them.
pub fn parents(child: Oid) -> Vec<Oid> {
    inheritance(INHERITS_BY_CHILD, 1, child, 1)
}

/// A table, and then the tables that it inherits from or is a partition of, the nearest first.
pub fn with_ancestors(relation: Oid) -> Vec<Oid> {
    closure(relation, parents)
}

/// A table, and then the tables that inherit from it and its partitions, parents before their children.
pub fn with_descendants(relation: Oid) -> Vec<Oid> {
    closure(relation, children)
}

fn closure(relation: Oid, next: fn(Oid) -> Vec<Oid>) -> Vec<Oid> {
    let mut all = vec![relation];
    let mut seen = 0;
    while let Some(one) = all.get(seen).copied() {
        for other in next(one) {
            if !all.contains(&other) {
                all.push(other);
            }
        }
        seen += 1;
    }
    all
}

/// The OIDs at a place of the rows of pg_inherits whose attribute is a relation.
fn inheritance(index: u32, attribute: i16, relation: Oid, place: usize) -> Vec<Oid> {
    let inherits = OpenRelation::briefly(Oid::from(INHERITS));
    let key = Equal { attribute, function: pg_sys::F_OIDEQ, value: Some(Datum::from(relation)) };
    let mut found = Vec::new();
    inherits.get().rows(Some(Oid::from(index)), Seen::Now, &[key], |row| {
        found.extend(row.values().at(place).map(Datum::oid));
        true
    });
    found
}

/// The schema `immutable`; InvalidOid where there is none.
pub fn schema() -> Oid {
    // SAFETY: looks a name up.
    unsafe { pg_sys::get_namespace_oid(c"immutable".as_ptr(), true) }
}

/// A relation of the schema `immutable`, by its name; InvalidOid where there is none.
pub fn named(name: &CStr) -> Oid {
    // SAFETY: looks a name up.
    unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema()) }
}

/// The same; PostgreSQL's error (3F000) where there is no schema `immutable`.
pub fn named_in_schema(name: &CStr) -> Oid {
    // SAFETY: looks names up, or raises an error.
    unsafe { pg_sys::get_relname_relid(name.as_ptr(), pg_sys::get_namespace_oid(c"immutable".as_ptr(), false)) }
}

fn raw_or_zero(value: Option<&Datum>) -> pg_sys::Datum {
    value.map_or(pg_sys::Datum::from(0usize), |value| value.raw())
}

/// An index that is open.
#[derive(Clone, Copy)]
struct Index<'r>(Relation<'r>);

impl Index<'_> {
    fn shape(&self) -> &pg_sys::FormData_pg_index {
        // SAFETY: an open index has its row of pg_index.
        unsafe { &*(*self.0.raw()).rd_index }
    }

    fn has_attribute(self, attribute: u32) -> bool {
        // SAFETY: an attribute of pg_index.
        unsafe { !pg_sys::heap_attisnull((*self.0.raw()).rd_indextuple, attribute as i32, std::ptr::null_mut()) }
    }

    fn is_plain(self) -> bool {
        let shape = self.shape();
        shape.indimmediate
            && !shape.indisexclusion
            && !self.has_attribute(pg_sys::Anum_pg_index_indexprs)
            && !self.has_attribute(pg_sys::Anum_pg_index_indpred)
    }

    fn primary_key(self) -> Option<Vec<i16>> {
        let shape = self.shape();
        // SAFETY: as many keys as the line before says.
        let key = || unsafe { shape.indkey.values.as_slice(shape.indnkeyatts as usize) }.to_vec();
        (shape.indisprimary && shape.indisvalid).then(key)
    }

    fn is_unique_on(self, numbers: &[i16]) -> bool {
        let shape = self.shape();
        shape.indisunique
            && shape.indisvalid
            && shape.indimmediate
            && shape.indnkeyatts as usize == numbers.len()
            // SAFETY: as many keys as the line before says.
            && unsafe { shape.indkey.values.as_slice(numbers.len()) } == numbers
            && !self.has_attribute(pg_sys::Anum_pg_index_indpred)
    }
}

/// Whether [`Relation::append`] maintains the index.
fn is_plain(index: Oid) -> bool {
    #[allow(clippy::redundant_closure_for_method_calls)] // the method is not general enough
    with_index(index, |index| index.is_plain())
}

fn with_index<T>(index: Oid, look: impl FnOnce(Index<'_>) -> T) -> T {
    // SAFETY: raises an error where there is none; it is open while it is looked at.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let seen = look(Index(Relation::of(index)));
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        seen
    }
}

/// The cells of a PostgreSQL list, which is null when empty.
///
/// # Safety
/// The list must live as long as `'a`.
pub unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: a list has as many cells as it says.
    unsafe { std::slice::from_raw_parts((*list).elements, (*list).length as usize) }
}

/// One condition of an index probe.
pub struct Key<'a> {
    pub attribute: i16,
    /// `BTEqualStrategyNumber` or another of btree's.
    pub strategy: u32,
    /// The operator's function.
    pub function: u32,
    pub value: Datum<'a>,
}

/// A column that must have this value, or be NULL.
pub struct Equal<'a> {
    pub attribute: i16,
    /// The function of the type's equality.
    pub function: u32,
    pub value: Option<Datum<'a>>,
}
