//! What the triggers must know about their relations. It is looked up once, and forgotten when the
//! relation changes. Everything is found through the relation on which a trigger fires, never by
//! name, because with Citus that relation is a shard.

use crate::log::columns::{self as c, Layout};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, named_in_schema, OpenRelation, Relation};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::on_relation_change;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;

/// An events relation.
pub struct Events {
    /// Where it keeps the columns of an event.
    pub layout: Layout,
    /// The unique index on (tenant_id, lane, seq).
    pub chain_index: Oid,
    /// The unique index on (id, tenant_id).
    pub id_index: Oid,
    /// The index on (idempotency_key, tenant_id) or the reverse: unique in the hot table, and not in a segment's.
    pub key_index: Option<Oid>,
    /// The event_targets relation whose foreign key points here.
    pub targets: Option<Oid>,
    /// The hot table above it, if it is a segment's table. It is asked for when an event is rewritten.
    hot: OnceCell<Option<Oid>>,
    /// The tables below it.
    below: OnceCell<Vec<Oid>>,
    /// Its enabled BEFORE INSERT row triggers, in the order they run in.
    pub before_insert: Vec<CString>,
}

/// An event_targets relation.
pub struct Targets {
    /// Where it keeps each of [`TARGET_COLUMNS`], counted from 0.
    pub places: [usize; 8],
    /// The events relation that its foreign key points to.
    pub events: Option<Oid>,
    /// Whether rows can be inserted without the executor, because the table has only plain indexes
    /// and the extension's triggers.
    pub plain: bool,
}

/// Name and type of each column of event_targets.
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
    /// What is in the place of `immutable.events`; see [`on_events_relation`].
    static STANDS_IN: Cell<Option<Oid>> = const { Cell::new(None) };
    static EVENTS: RefCell<HashMap<Oid, Rc<Events>>> = RefCell::new(HashMap::new());
    static TARGETS: RefCell<HashMap<Oid, Rc<Targets>>> = RefCell::new(HashMap::new());
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_relation_change(relation_changed);
}

fn relation_changed(relation: Oid) {
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

/// The oid of `immutable.events`, for functions, which have no trigger's relation; InvalidOid if
/// there is no such table. Raises 3F000 if there is no schema of that name either.
pub fn events_oid() -> Oid {
    STANDS_IN.get().unwrap_or_else(|| named_in_schema(c"events"))
}

/// Whether another relation is in the place of `immutable.events` now.
pub fn is_on_shard() -> bool {
    STANDS_IN.get().is_some()
}

/// Whether a relation is `immutable.events` itself, whatever is in its place now.
pub fn is_events_itself(relation: Oid) -> bool {
    STANDS_IN.get() != Some(relation) && relation == named_in_schema(c"events")
}

/// Runs `body` with another relation in the place of `immutable.events` for [`events_oid`]: a shard of it.
pub fn on_events_relation<T>(relation: Oid, body: impl FnOnce() -> T) -> T {
    struct Restored(Option<Oid>);
    impl Drop for Restored {
        fn drop(&mut self) {
            STANDS_IN.set(self.0);
        }
    }
    let _restored = Restored(STANDS_IN.replace(Some(relation)));
    body()
}

/// An insert finds the tail of a lane by this key of events.
const CHAIN_KEY: [c::Column; 3] = [c::TENANT_ID, c::LANE, c::SEQ];

/// The foreign keys of targets point to this one.
const ID_KEY: [c::Column; 2] = [c::ID, c::TENANT_ID];

impl Events {
    /// The table that events are recorded in: the relation itself, or the hot table above it if it is a segment's.
    pub fn hot(&self, relation: Relation) -> Oid {
        self.hot.get_or_init(|| parent(relation)).unwrap_or_else(|| relation.oid())
    }

    /// The tables below the relation, the oldest first. PostgreSQL says that the relation has changed when one is added.
    pub fn below(&self, relation: Relation) -> &[Oid] {
        self.below.get_or_init(|| relation.children())
    }

    /// What is known about a segment's table; None while it has no keys, because it is not filled.
    pub fn of_segment(relation: Relation) -> Option<Rc<Events>> {
        let is_known = EVENTS.with(|known| known.borrow().contains_key(&relation.oid()));
        (is_known || has_keys(relation)).then(|| Events::of(relation))
    }

    /// What is known about an events relation. Raises 55000 if it does not have the columns and
    /// keys of events.
    pub fn of(relation: Relation) -> Rc<Events> {
        let oid = relation.oid();
        if let Some(known) = EVENTS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let layout = Layout::of(relation.descriptor()).unwrap_or_else(|column| {
            unfit(format!("table {} has no column {column} of the expected type", relation.name()))
        });
        let index = |columns: &[c::Column]| {
            key_index(relation, &layout, columns).unwrap_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|column| c::ALL[*column].0).collect();
                unfit(format!("table {} has no unique index on ({})", relation.name(), names.join(", ")))
            })
        };
        let found = Rc::new(Events {
            chain_index: index(&CHAIN_KEY),
            id_index: index(&ID_KEY),
            targets: relation
                .triggers()
                .iter()
                .map(|trigger| trigger.tgconstrrelid)
                .find(|other| *other != pg_sys::InvalidOid && is_targets(*other)),
            hot: OnceCell::new(),
            below: OnceCell::new(),
            key_index: idempotency_index(relation, &layout),
            before_insert: before_insert(relation),
            layout,
        });
        EVENTS.with(|known| known.borrow_mut().insert(oid, found.clone()));
        found
    }
}

/// The BEFORE INSERT row triggers that fire when the chain's trigger fires, without those that fire
/// only in replicas. They are in the order of their names, in which they run.
fn before_insert(relation: Relation) -> Vec<CString> {
    let before_insert_row =
        (pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSERT) as i16;
    relation
        .triggers()
        .iter()
        .filter(|trigger| {
            let fires =
                ![pg_sys::TRIGGER_DISABLED, pg_sys::TRIGGER_FIRES_ON_REPLICA].contains(&(trigger.tgenabled as u8));
            trigger.tgtype & before_insert_row == before_insert_row && fires
        })
        .map(|trigger| trigger.name().to_owned())
        .collect()
}

/// The table that a relation inherits from.
fn parent(relation: Relation) -> Option<Oid> {
    let mut found = None;
    let statement = "SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid OPERATOR(pg_catalog.=) $1";
    spi::query_now(statement, &[Arg::Oid(relation.oid())], |row| found = row.at(0).map(Datum::oid));
    found
}

fn is_targets(relation: Oid) -> bool {
    let relation = OpenRelation::read(relation);
    relation.is_some_and(|relation| target_places(relation.get()).is_some())
}

fn target_places(relation: Relation) -> Option<[usize; 8]> {
    let descriptor = relation.descriptor();
    let mut places = [0; 8];
    for (place, (name, oid)) in places.iter_mut().zip(TARGET_COLUMNS) {
        *place = (0..descriptor.width()).find(|place| {
            let attribute = descriptor.attribute(*place);
            attribute.is_some_and(|found| found.oid == oid && found.name.to_bytes() == name.as_bytes())
        })?;
    }
    Some(places)
}

impl Targets {
    /// What is known about an event_targets relation. Raises 55000 if it does not have the columns.
    pub fn of(relation: Relation) -> Rc<Targets> {
        let oid = relation.oid();
        if let Some(known) = TARGETS.with(|known| known.borrow().get(&oid).cloned()) {
            return known;
        }
        let places = target_places(relation)
            .unwrap_or_else(|| unfit(format!("table {} is not a table of event targets", relation.name())));
        let events = relation.foreign_keys().first().copied();
        let found = Rc::new(Targets { places, events, plain: relation.is_plain(TARGET_COLUMNS.len()) });
        TARGETS.with(|known| known.borrow_mut().insert(oid, found.clone()));
        found
    }
}

/// Whether a table of events has the keys that an insert looks things up by.
pub fn has_keys(relation: Relation) -> bool {
    let Ok(layout) = Layout::of(relation.descriptor()) else { return false };
    [&CHAIN_KEY[..], &ID_KEY].into_iter().all(|columns| key_index(relation, &layout, columns).is_some())
}

fn idempotency_index(relation: Relation, layout: &Layout) -> Option<Oid> {
    key_index(relation, layout, &[c::TENANT_ID, c::IDEMPOTENCY_KEY]).or_else(|| {
        let name = CString::new(format!("{}_key", relation.name())).ok()?;
        Some(named(&name)).filter(|index| relation.indexes().contains(index))
    })
}

fn key_index(relation: Relation, layout: &Layout, columns: &[c::Column]) -> Option<Oid> {
    let numbers: Vec<i16> = columns.iter().map(|column| layout.number(*column)).collect();
    relation.unique_index(&numbers)
}
