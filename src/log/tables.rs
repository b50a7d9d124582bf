//! What the triggers have to know of their relations, looked up once and forgotten when the relation changes. Everything
//! is found through the relation a trigger fires on, never by name: on Citus it is a shard.

use crate::log::columns::{self as c, Layout};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{cells, indexes, is_plain, name, triggers, unique_index, with_index, Relation};
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

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

/// `immutable.events` by its name: for functions, which no trigger tells their relation.
pub fn events_oid() -> Oid {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), false);
    pg_sys::get_relname_relid(c"events".as_ptr(), schema)
}

/// The keys of events that an insert looks things up by.
const CHAIN_KEY: [c::Column; 3] = [c::TENANT_ID, c::LANE, c::SEQ];

const ID_KEY: [c::Column; 2] = [c::ID, c::TENANT_ID];

impl Events {
    pub fn of(relation: Relation) -> Rc<Events> {
        let oid = relation.oid();
        if let Some(known) = EVENTS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let layout = Layout::of(relation.descriptor())
            .unwrap_or_else(|column| unfit(format!("table {} has no column {column} of its type", relation.name())));
        let index = |columns: &[c::Column]| {
            key_index(relation, &layout, columns).unwrap_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|column| c::ALL[*column].0).collect();
                unfit(format!("table {} has no unique index on ({})", relation.name(), names.join(", ")))
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
fn before_insert(relation: Relation) -> Vec<std::ffi::CString> {
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

fn is_targets(relation: Oid) -> bool {
    let relation = pg_sys::relation_open(relation, pg_sys::AccessShareLock as i32);
    let is = target_places(relation).is_some();
    pg_sys::relation_close(relation, pg_sys::NoLock as i32);
    is
}

fn target_places(relation: Relation) -> Option<[usize; 8]> {
    let mut places = [0; 8];
    for (place, (name, oid)) in places.iter_mut().zip(TARGET_COLUMNS) {
        let name = std::ffi::CString::new(name).ok()?;
        let number = pg_sys::get_attnum(relation.oid(), name.as_ptr());
        if number <= 0 || pg_sys::get_atttype(relation.oid(), number) != oid {
            return None;
        }
        *place = number as usize - 1;
    }
    Some(places)
}

impl Targets {
    pub fn of(relation: Relation) -> Rc<Targets> {
        let oid = relation.oid();
        if let Some(known) = TARGETS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let places = target_places(relation)
            .unwrap_or_else(|| unfit(format!("table {} is no table of event targets", relation.name())));
        let foreign_key = cells(pg_sys::RelationGetFKeyList(relation)).first();
        let events = foreign_key.map(|key| (*key.ptr_value.cast::<pg_sys::ForeignKeyCacheInfo>()).confrelid);
        let found = Rc::new(Targets { places, events, plain: is_plain(relation, TARGET_COLUMNS.len()) });
        TARGETS.with(|known| known.borrow_mut().insert(oid, found.clone()));
        found
    }
}

/// Whether a table of events has the keys that an insert looks things up by.
pub fn has_keys(relation: Relation) -> bool {
    let Ok(layout) = Layout::of(relation.descriptor()) else { return false };
    [&CHAIN_KEY[..], &ID_KEY].into_iter().all(|columns| key_index(relation, &layout, columns).is_some())
}

fn key_index(relation: Relation, layout: &Layout, columns: &[c::Column]) -> Option<Oid> {
    let numbers: Vec<i16> = columns.iter().map(|column| layout.number(*column)).collect();
    unique_index(relation, &numbers)
}

/// Whether it has a unique index that is not valid: one that is being made, or was left behind.
pub fn has_invalid_key(relation: Relation) -> bool {
    indexes(relation).into_iter().any(|index| {
        with_index(index, |index| {
            let form = &*(*index).rd_index;
            form.indisunique && !form.indisvalid
        })
    })
}
