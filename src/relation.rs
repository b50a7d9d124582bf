//! What the triggers have to know of their relations, looked up once and forgotten when the relation changes. Everything
//! is found through the relation a trigger fires on, never by name: on Citus it is a shard.

use crate::columns::{self as c, Layout, Values};
use crate::error::{Code, Fault};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// Runs `body` so that the locks it takes are the transaction's own, as the one on its xid is: a portal's owner would let
/// go of them when a cursor fails, while rows written under them are still there.
pub unsafe fn for_transaction<T>(body: impl FnOnce() -> T) -> T {
    let owner = pg_sys::CurrentResourceOwner;
    pg_sys::CurrentResourceOwner = pg_sys::CurTransactionResourceOwner;
    let done = body();
    pg_sys::CurrentResourceOwner = owner;
    done
}

/// Locks a relation for the transaction.
pub unsafe fn lock(relation: Oid, mode: u32) {
    for_transaction(|| pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE));
}

/// Opens a relation, unless it is not there. A lock to write under is the transaction's.
pub unsafe fn open(relation: Oid, mode: u32) -> Option<pg_sys::Relation> {
    if mode > pg_sys::AccessShareLock {
        lock(relation, mode);
    }
    let opened = pg_sys::try_relation_open(relation, mode as pg_sys::LOCKMODE);
    (!opened.is_null()).then_some(opened)
}

/// An events relation.
pub struct Events {
    pub layout: Layout,
    /// The unique index on (tenant_id, lane, seq).
    pub chain_index: Oid,
    /// The unique index on (id, tenant_id).
    pub id_index: Oid,
    /// The event_targets relation whose foreign key points here.
    pub targets: Option<Oid>,
    /// Its enabled BEFORE INSERT row triggers, in the order they run in.
    pub before_insert: Vec<std::ffi::CString>,
}

/// An event_targets relation.
pub struct Targets {
    pub places: [usize; 8],
    /// The events relation that its foreign key points to.
    pub events: Option<Oid>,
    /// Whether rows can be put in without the executor: nothing but plain indexes and the extension's triggers.
    pub plain: bool,
}

pub const TARGET_COLUMNS: [(&str, Oid); 8] = [
    ("tenant_id", pg_sys::TEXTOID),
    ("event_id", pg_sys::UUIDOID),
    ("position", pg_sys::INT2OID),
    ("target_type", pg_sys::TEXTOID),
    ("target_id", pg_sys::TEXTOID),
    ("target_name", pg_sys::TEXTOID),
    ("target_metadata", pg_sys::JSONBOID),
    ("created_at", pg_sys::TIMESTAMPTZOID),
];

thread_local! {
    static EVENTS: RefCell<HashMap<Oid, Rc<Events>>> = RefCell::new(HashMap::new());
    static TARGETS: RefCell<HashMap<Oid, Rc<Targets>>> = RefCell::new(HashMap::new());
}

pub fn register_callbacks() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), Datum::from(0usize)) };
}

unsafe extern "C-unwind" fn relation_changed(_: Datum, relation: Oid) {
    if relation == pg_sys::InvalidOid {
        EVENTS.with(|known| known.borrow_mut().clear());
        TARGETS.with(|known| known.borrow_mut().clear());
    } else {
        EVENTS.with(|known| known.borrow_mut().remove(&relation));
        TARGETS.with(|known| known.borrow_mut().remove(&relation));
    }
}

fn unfit(what: String) -> ! {
    Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, what).raise()
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

/// `immutable.events` by its name: for functions, which no trigger tells their relation.
pub unsafe fn events_oid() -> Oid {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), false);
    pg_sys::get_relname_relid(c"events".as_ptr(), schema)
}

/// The keys of events that an insert looks things up by.
const CHAIN_KEY: [c::Column; 3] = [c::TENANT_ID, c::LANE, c::SEQ];
const ID_KEY: [c::Column; 2] = [c::ID, c::TENANT_ID];

impl Events {
    pub unsafe fn of(relation: pg_sys::Relation) -> Rc<Events> {
        let oid = (*relation).rd_id;
        if let Some(known) = EVENTS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let layout = Layout::of((*relation).rd_att)
            .unwrap_or_else(|column| unfit(format!("table {} has no column {column} of its type", name(relation))));
        let index = |columns: &[c::Column]| {
            key_index(relation, &layout, columns).unwrap_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|column| c::ALL[*column].0).collect();
                unfit(format!("table {} has no unique index on ({})", name(relation), names.join(", ")))
            })
        };
        let found = Rc::new(Events {
            chain_index: index(&CHAIN_KEY),
            id_index: index(&ID_KEY),
            targets: triggers(relation)
                .iter()
                .map(|trigger| trigger.tgconstrrelid)
                .find(|other| *other != pg_sys::InvalidOid && is_targets(*other)),
            before_insert: before_insert(relation),
            layout,
        });
        EVENTS.with(|known| known.borrow_mut().insert(oid, found.clone()));
        found
    }
}

/// The BEFORE INSERT row triggers that run with the chain's, which are not those for replicas alone, in the order of their names, which is the order they run in.
unsafe fn before_insert(relation: pg_sys::Relation) -> Vec<std::ffi::CString> {
    let before_insert_row =
        (pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSERT) as i16;
    triggers(relation)
        .iter()
        .filter(|trigger| {
            let fires =
                ![pg_sys::TRIGGER_DISABLED, pg_sys::TRIGGER_FIRES_ON_REPLICA].contains(&(trigger.tgenabled as u8));
            trigger.tgtype & before_insert_row == before_insert_row && fires
        })
        .map(|trigger| CStr::from_ptr(trigger.tgname).to_owned())
        .collect()
}

unsafe fn is_targets(relation: Oid) -> bool {
    let relation = pg_sys::relation_open(relation, pg_sys::AccessShareLock as i32);
    let is = target_places(relation).is_some();
    pg_sys::relation_close(relation, pg_sys::NoLock as i32);
    is
}

unsafe fn target_places(relation: pg_sys::Relation) -> Option<[usize; 8]> {
    let mut places = [0; 8];
    for (place, (name, oid)) in places.iter_mut().zip(TARGET_COLUMNS) {
        let name = std::ffi::CString::new(name).ok()?;
        let number = pg_sys::get_attnum((*relation).rd_id, name.as_ptr());
        if number <= 0 || pg_sys::get_atttype((*relation).rd_id, number) != oid {
            return None;
        }
        *place = number as usize - 1;
    }
    Some(places)
}

impl Targets {
    pub unsafe fn of(relation: pg_sys::Relation) -> Rc<Targets> {
        let oid = (*relation).rd_id;
        if let Some(known) = TARGETS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let places = target_places(relation)
            .unwrap_or_else(|| unfit(format!("table {} is no table of event targets", name(relation))));
        let foreign_key = cells(pg_sys::RelationGetFKeyList(relation)).first();
        let events = foreign_key.map(|key| (*key.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>()).confrelid);
        let found = Rc::new(Targets { places, events, plain: is_plain(relation) });
        TARGETS.with(|known| known.borrow_mut().insert(oid, found.clone()));
        found
    }
}

unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    let own = |trigger: &pg_sys::Trigger| {
        trigger.tgisinternal || CStr::from_ptr(trigger.tgname).to_bytes().starts_with(b"~immutable_")
    };
    let constraints = (*(*relation).rd_att).constr;
    (*(*relation).rd_rel).relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
        && (*(*relation).rd_att).natts as usize == TARGET_COLUMNS.len()
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

unsafe fn with_index<T>(index: Oid, look: impl FnOnce(pg_sys::Relation) -> T) -> T {
    let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
    let seen = look(index);
    pg_sys::index_close(index, pg_sys::NoLock as i32);
    seen
}

unsafe fn indexes(relation: pg_sys::Relation) -> Vec<Oid> {
    cells(pg_sys::RelationGetIndexList(relation)).iter().map(|cell| cell.oid_value).collect()
}

/// The cells of a PostgreSQL list, which is null when empty.
pub unsafe fn cells<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    std::slice::from_raw_parts((*list).elements, (*list).length as usize)
}

/// Whether a table of events has the keys that an insert looks things up by.
pub unsafe fn has_keys(relation: pg_sys::Relation) -> bool {
    let Ok(layout) = Layout::of((*relation).rd_att) else { return false };
    [&CHAIN_KEY[..], &ID_KEY].into_iter().all(|columns| key_index(relation, &layout, columns).is_some())
}

unsafe fn key_index(relation: pg_sys::Relation, layout: &Layout, columns: &[c::Column]) -> Option<Oid> {
    let numbers: Vec<i16> = columns.iter().map(|column| layout.number(*column)).collect();
    unique_index(relation, &numbers)
}

/// Whether it has a unique index that is not valid: one that is being made, or was left behind.
pub unsafe fn has_invalid_key(relation: pg_sys::Relation) -> bool {
    indexes(relation).into_iter().any(|index| {
        with_index(index, |index| {
            let form = &*(*index).rd_index;
            form.indisunique && !form.indisvalid
        })
    })
}

/// The valid unique index whose keys are exactly these attributes, in this order.
unsafe fn unique_index(relation: pg_sys::Relation, numbers: &[i16]) -> Option<Oid> {
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
