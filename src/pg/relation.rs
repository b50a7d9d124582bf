//! Relations: opened, described, scanned through an index, appended to.

use crate::pg::error::{Code, Fault};
use crate::pg::lock::lock;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// Opens a relation, unless it is not there. A lock to write under is the transaction's.
pub unsafe fn open(relation: Oid, mode: u32) -> Option<pg_sys::Relation> {
    if mode > pg_sys::AccessShareLock {
        lock(relation, mode);
    }
    let opened = pg_sys::try_relation_open(relation, mode as pg_sys::LOCKMODE);
    (!opened.is_null()).then_some(opened)
}

pub unsafe fn name(relation: pg_sys::Relation) -> String {
    CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr()).to_string_lossy().into_owned()
}

pub unsafe fn triggers<'a>(relation: pg_sys::Relation) -> &'a [pg_sys::Trigger] {
    let triggers = (*relation).trigdesc;
    if triggers.is_null() {
        return &[];
    }
    std::slice::from_raw_parts((*triggers).triggers, (*triggers).numtriggers as usize)
}

/// Whether rows of so many columns can be appended below SPI: nothing has to be checked or fired but the one foreign key.
pub unsafe fn is_plain(relation: pg_sys::Relation, columns: usize) -> bool {
    let own = |trigger: &pg_sys::Trigger| {
        trigger.tgisinternal || CStr::from_ptr(trigger.tgname).to_bytes().starts_with(b"~immutable_")
    };
    let constraints = (*(*relation).rd_att).constr;
    (*(*relation).rd_rel).relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
        && (*(*relation).rd_att).natts as usize == columns
        && (constraints.is_null() || (*constraints).num_check == 0)
        && cells(pg_sys::RelationGetFKeyList(relation)).len() <= 1
        && triggers(relation).iter().all(own)
        && indexes(relation).into_iter().all(|index| with_index(index, |index| is_plain_index(index)))
}

/// Appends a row to one of the extension's small tables, below SPI. PostgreSQL's way for catalogs keeps plain indexes alone.
pub unsafe fn append(relation: pg_sys::Relation, row: &[Option<Datum>]) {
    if let Some(index) = indexes(relation).into_iter().find(|index| !with_index(*index, |index| is_plain_index(index)))
    {
        let (table, index) = (name(relation), with_index(index, |index| name(index)));
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("index {index} of table immutable.{table} has an expression or a condition"),
        )
        .hint("DROP INDEX it: such an index cannot be kept there, and the table is too small to need it.")
        .raise()
    }
    let mut values: Vec<Datum> = row.iter().map(|datum| datum.unwrap_or(Datum::from(0usize))).collect();
    let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
    let tuple = pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
    pg_sys::CatalogTupleInsert(relation, tuple);
    pg_sys::CommandCounterIncrement();
}

unsafe fn is_plain_index(index: pg_sys::Relation) -> bool {
    let form = &*(*index).rd_index;
    form.indimmediate
        && !form.indisexclusion
        && !has_attribute(index, pg_sys::Anum_pg_index_indexprs)
        && !has_attribute(index, pg_sys::Anum_pg_index_indpred)
}

unsafe fn has_attribute(index: pg_sys::Relation, attribute: u32) -> bool {
    !pg_sys::heap_attisnull((*index).rd_indextuple, attribute as i32, std::ptr::null_mut())
}

pub unsafe fn with_index<T>(index: Oid, look: impl FnOnce(pg_sys::Relation) -> T) -> T {
    let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
    let seen = look(index);
    pg_sys::index_close(index, pg_sys::NoLock as i32);
    seen
}

pub unsafe fn indexes(relation: pg_sys::Relation) -> Vec<Oid> {
    cells(pg_sys::RelationGetIndexList(relation)).iter().map(|cell| cell.oid_value).collect()
}

/// The cells of a PostgreSQL list, which is null when empty.
pub unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    std::slice::from_raw_parts((*list).elements, (*list).length as usize)
}

/// The valid unique index whose keys are exactly these attributes, in this order.
pub unsafe fn unique_index(relation: pg_sys::Relation, numbers: &[i16]) -> Option<Oid> {
    indexes(relation).into_iter().find(|index| {
        with_index(*index, |index| {
            let form = &*(*index).rd_index;
            form.indisunique
                && form.indisvalid
                && form.indimmediate
                && form.indnkeyatts as usize == numbers.len()
                && form.indkey.values.as_slice(numbers.len()) == numbers
                && !has_attribute(index, pg_sys::Anum_pg_index_indpred)
        })
    })
}

/// One condition of an index probe.
pub struct Key {
    pub attribute: i16,
    /// `BTEqualStrategyNumber` or another of btree's.
    pub strategy: u32,
    /// The operator's function.
    pub function: u32,
    pub value: Datum,
}

/// Looks at the first row that an index finds, backwards from the greatest; see [`scan`].
pub unsafe fn last_row<T>(
    relation: pg_sys::Relation,
    index: Oid,
    keys: &[Key],
    look: impl FnOnce(pg_sys::HeapTuple, &Values) -> T,
) -> Option<T> {
    let mut seen = None;
    let mut look = Some(look);
    scan(relation, index, keys, pg_sys::ScanDirection::BackwardScanDirection, |tuple, row| {
        seen = look.take().map(|look| look(tuple, row));
        false
    });
    seen
}

/// Shows `each` the rows that an index finds, for as long as it says true, seen by SnapshotSelf: this transaction's own
/// rows and everything committed by now. The transaction's snapshot would not do: it may be older than the lock.
pub unsafe fn scan(
    relation: pg_sys::Relation,
    index: Oid,
    keys: &[Key],
    direction: pg_sys::ScanDirection::Type,
    mut each: impl FnMut(pg_sys::HeapTuple, &Values) -> bool,
) {
    let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(|_| pg_sys::ScanKeyData::default()).collect();
    for (scan_key, key) in scan_keys.iter_mut().zip(keys) {
        pg_sys::ScanKeyInit(scan_key, key.attribute, key.strategy as u16, pg_sys::Oid::from(key.function), key.value);
    }
    let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
    let scan = pg_sys::systable_beginscan_ordered(
        relation,
        index,
        std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData),
        scan_keys.len() as i32,
        scan_keys.as_mut_ptr(),
    );
    loop {
        let tuple = pg_sys::systable_getnext_ordered(scan, direction);
        if tuple.is_null() || !each(tuple, &Values::of(tuple, (*relation).rd_att)) {
            break;
        }
    }
    pg_sys::systable_endscan_ordered(scan);
    pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
}

/// A column that must have this value, or be NULL.
pub struct Equal {
    pub attribute: i16,
    /// The function of the type's equality.
    pub function: u32,
    pub value: Option<Datum>,
}

/// Gives every row that an index finds, or that is there where the index is none, to `each`.
pub unsafe fn rows(
    relation: pg_sys::Relation,
    index: Oid,
    snapshot: pg_sys::Snapshot,
    keys: &[Equal],
    mut each: impl FnMut(&Values),
) {
    let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys.iter().map(|_| pg_sys::ScanKeyData::default()).collect();
    for (scan_key, key) in scan_keys.iter_mut().zip(keys) {
        let (value, function) = (key.value.unwrap_or(Datum::from(0usize)), Oid::from(key.function));
        pg_sys::ScanKeyInit(scan_key, key.attribute, pg_sys::BTEqualStrategyNumber as u16, function, value);
        if key.value.is_none() {
            scan_key.sk_flags = (pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL) as i32;
            scan_key.sk_strategy = 0 /* InvalidStrategy */;
        }
    }
    let by_index = index != pg_sys::InvalidOid;
    let count = scan_keys.len() as i32;
    let scan = pg_sys::systable_beginscan(relation, index, by_index, snapshot, count, scan_keys.as_mut_ptr());
    loop {
        let tuple = pg_sys::systable_getnext(scan);
        if tuple.is_null() {
            break;
        }
        each(&Values::of(tuple, (*relation).rd_att));
    }
    pg_sys::systable_endscan(scan);
}
