//! Seams: where the log went on somewhere else than where it was written. `immutable.cluster` says where that was; the
//! first transaction that records an event anywhere else records `immutable.restored` before it. No dump has that row,
//! and restoring removes it, so a promotion, a point-in-time recovery, a restored dump and a promoted subscriber all
//! show. Once a backend has found itself in the right place, an insert costs nothing.
//!
//! The same row notes that a replication that is not PostgreSQL's own feeds the log, which no catalog of PostgreSQL tells.

use crate::log::own_event::{reason, record, Own};
use crate::log::subscription::{self, is_fed, is_there};
use crate::log::tables::events_oid;
use crate::log::{log_identity, tail};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, text_datum, uuid_datum, Datum};
use crate::pg::error::internal;
use crate::pg::lock::for_transaction;
use crate::pg::relation::{self, append, Relation};
use crate::pg::spi;
use crate::pg::tuple::Values;
use immutable_format::{time, Id};
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};

/// `immutable.cluster`; its columns are system_identifier, timeline, database, noted_at, singleton, fed_by.
const COLUMNS: usize = 6;

/// Where a log is written: another cluster, another timeline of it, another database.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    system_identifier: u64,
    timeline: u32,
    database: Oid,
}

/// The row of immutable.cluster.
struct Noted {
    place: Place,
    /// The replication origin that feeds the log: then nothing is written here.
    fed_by: Option<String>,
    at: pg_sys::ItemPointerData,
    /// Whether this transaction wrote it, and so may yet take it back.
    own: bool,
}

impl Noted {
    fn is_at(&self, place: Place) -> bool {
        self.place == place && self.fed_by.is_none()
    }
}

thread_local! {
    /// Whether this backend has seen that the log is written here.
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
    /// The origin that this backend has noted as what feeds the log.
    static NOTED_FEEDER: RefCell<Option<String>> = const { RefCell::new(None) };
    /// immutable.cluster, whose change makes every backend look again.
    static TABLE: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

pub fn register_callbacks() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), Datum::from(0usize)) };
}

unsafe extern "C-unwind" fn relation_changed(_: Datum, relation: Oid) {
    if relation == pg_sys::InvalidOid || relation == TABLE.get() {
        IS_HERE.set(false);
        NOTED_FEEDER.take();
    }
}

/// The place of this backend, which must not be a standby's.
fn here() -> Place {
    Place {
        system_identifier: pg_sys::GetSystemIdentifier(),
        timeline: pg_sys::GetWALInsertionTimeLine(),
        database: pg_sys::MyDatabaseId,
    }
}

/// immutable.cluster, unless the relation is another table's than immutable.events (on a shard there is one of neither),
/// or the extension's objects are older than this library.
fn table_for(relation: Relation) -> Option<Oid> {
    if relation.oid() != events_oid() {
        return None;
    }
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
    let table = pg_sys::get_relname_relid(c"cluster".as_ptr(), schema);
    TABLE.set(table);
    (table != pg_sys::InvalidOid).then_some(table)
}

struct Table(Relation);

impl Table {
    fn open(oid: Oid, lock: u32) -> Table {
        let relation = relation::open(oid, lock).filter(|relation| (*(**relation).rd_att).natts as usize == COLUMNS);
        Table(relation.unwrap_or_else(|| internal("table immutable.cluster is altered")))
    }

    fn close(self) {
        pg_sys::table_close(self.0, pg_sys::NoLock as i32);
    }

    /// The row as it is now: this transaction's own, or committed.
    fn read(&self) -> Option<Noted> {
        let scan = pg_sys::systable_beginscan(
            self.0,
            pg_sys::InvalidOid,
            false,
            std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData),
            0,
            std::ptr::null_mut(),
        );
        let tuple = pg_sys::systable_getnext(scan);
        let noted = (!tuple.is_null()).then(|| {
            let row = Values::of(tuple, (*self.0).rd_att);
            let place = Place {
                system_identifier: row.values[0].value() as u64,
                timeline: row.values[1].value() as u32,
                database: Oid::from(row.values[2].value() as u32),
            };
            let fed_by = (!row.nulls[5]).then(|| text(row.values[5]).to_string());
            Noted { place, fed_by, at: (*tuple).t_self, own: tail::is_own(tuple) }
        });
        pg_sys::systable_endscan(scan);
        noted
    }

    /// Below SPI: the table's trigger refuses everybody.
    fn write(&self, old: Option<&Noted>, place: Place, fed_by: Option<&str>) {
        self.delete(old);
        let row: [Option<Datum>; COLUMNS] = [
            Some(Datum::from(place.system_identifier)),
            Some(Datum::from(place.timeline)),
            Some(Datum::from(place.database)),
            Some(Datum::from(pg_sys::GetCurrentTimestamp())),
            Some(Datum::from(true)),
            fed_by.map(|origin| text_datum(origin)),
        ];
        append(self.0, &row);
    }

    fn delete(&self, old: Option<&Noted>) {
        if let Some(old) = old {
            let mut at = old.at;
            pg_sys::CatalogTupleDelete(self.0, &mut at);
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// Called before an event is appended: records a seam if there is one that nobody has recorded yet.
pub fn notice(relation: Relation) {
    if IS_HERE.get() {
        return;
    }
    let Some(table) = table_for(relation) else { return };
    let place = here();
    let is_here = |noted: &Option<Noted>| noted.as_ref().is_some_and(|noted| noted.is_at(place));
    let noted = read(table);
    if let Some(origin) = noted.as_ref().and_then(|noted| noted.fed_by.as_deref()) {
        subscription::refuse_while_fed_by(relation, origin);
    }
    if is_here(&noted) {
        IS_HERE.set(noted.is_some_and(|noted| !noted.own));
        return;
    }
    // Who finds it locked goes on: the seam is being recorded by another, and a writer shall not wait for that one.
    if !for_transaction(|| pg_sys::ConditionalLockRelationOid(table, pg_sys::ShareRowExclusiveLock as i32)) {
        return;
    }
    let writer = Table::open(table, pg_sys::NoLock);
    let noted = writer.read();
    if !is_here(&noted) {
        // First the row: recording the event comes here again.
        writer.write(noted.as_ref(), place, None);
        // A log that has not begun is nowhere, and a database made from a template begins its own. One that somebody
        // has restored a part of goes on, whatever part that was.
        let is_forgotten = noted.as_ref().is_none_or(|noted| noted.fed_by.is_some());
        if log_identity::has_begun(relation) || is_forgotten {
            record_seam(noted.filter(|_| !is_forgotten).map(|noted| noted.place), place, None);
        }
    }
    writer.close();
}

fn read(table: Oid) -> Option<Noted> {
    let reader = Table::open(table, pg_sys::AccessShareLock);
    let noted = reader.read();
    reader.close();
    noted
}

/// The replication origin that was noted as what feeds the log.
pub fn fed_by(relation: Relation) -> Option<String> {
    read(table_for(relation)?)?.fed_by
}

/// Notes the replication origin that feeds the log.
pub fn note_feeder(relation: Relation, origin: &str) {
    if NOTED_FEEDER.with_borrow(|noted| noted.as_deref() == Some(origin)) {
        return;
    }
    let Some(table) = table_for(relation) else { return };
    let is_noted = |noted: &Option<Noted>| noted.as_ref().is_some_and(|noted| noted.fed_by.as_deref() == Some(origin));
    let noted = read(table);
    if is_noted(&noted) {
        if noted.is_some_and(|noted| !noted.own) {
            NOTED_FEEDER.replace(Some(origin.to_string()));
        }
        return;
    }
    let writer = Table::open(table, pg_sys::ShareRowExclusiveLock);
    let noted = writer.read();
    if !is_noted(&noted) {
        writer.write(noted.as_ref(), here(), Some(origin));
        pg_sys::CacheInvalidateRelcache(writer.0);
    }
    writer.close();
}

/// What is restored, or replicated, was written somewhere else, whatever was known before.
pub fn forget(relation: Relation) {
    let Some(table) = table_for(relation) else { return };
    let Some(noted) = read(table) else { return };
    if let Some(origin) = noted.fed_by {
        subscription::refuse_while_fed_by(relation, &origin);
    }
    let writer = Table::open(table, pg_sys::ShareRowExclusiveLock);
    writer.delete(writer.read().as_ref());
    pg_sys::CacheInvalidateRelcache(writer.0);
    writer.close();
}

sql_function!(immutable_record_restore, pg_finfo_immutable_record_restore, record_restore);

/// `immutable.record_restore(reason)`
fn record_restore(call: Call) -> Datum {
    let reason = reason(call, 0);
    pg_sys::PreventCommandIfReadOnly(c"immutable.record_restore()".as_ptr());
    pg_sys::PreventCommandDuringRecovery(c"immutable.record_restore()".as_ptr());
    let relation = pg_sys::table_open(events_oid(), pg_sys::RowExclusiveLock as i32);
    let Some(table) = table_for(relation) else { internal("table immutable.cluster is missing") };
    let place = here();
    let writer = Table::open(table, pg_sys::ShareRowExclusiveLock);
    let noted = writer.read();
    if let Some(origin) = noted.as_ref().and_then(|noted| noted.fed_by.as_deref()) {
        subscription::refuse_while_fed_by(relation, origin);
    }
    writer.write(noted.as_ref(), place, None);
    let id = record_seam(noted.map(|noted| noted.place), place, Some(reason));
    writer.close();
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    uuid_datum(&id)
}

/// Appends `immutable.restored` to the events without tenant. With a reason somebody did it, without one the log itself.
fn record_seam(from: Option<Place>, to: Place, reason: Option<&str>) -> Id {
    let mut last = None;
    let relation = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
    spi::as_owner(relation, || {
        spi::query_now(
            "SELECT e.created_at FROM ONLY immutable.events e ORDER BY e.created_at DESC LIMIT 1",
            &[],
            &[],
            |row| last = time::format(micros(row.values[0])),
        );
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    let texts = [("last_event_at", last.as_deref()), ("reason", reason)];
    let texts: Vec<(&str, &str)> = texts.iter().filter_map(|(name, text)| text.map(|text| (*name, text))).collect();
    let from = from.map_or("null".to_string(), json);
    record(&Own {
        action: "immutable.restored",
        metadata: &texts,
        metadata_json: &[("from", &from), ("to", &json(to))],
        unasked: reason.is_none(),
        ..Own::default()
    })
}

fn json(place: Place) -> String {
    let Place { system_identifier, timeline, database } = place;
    // The identifier is larger than what some readers of JSON take for an integer.
    let database = database.to_u32();
    format!("{{\"system_identifier\":\"{system_identifier}\",\"timeline\":{timeline},\"database\":{database}}}")
}

/// Whether the log is a copy that something feeds.
pub fn is_copy(events: Relation) -> bool {
    is_fed(events.oid()) || fed_by(events).is_some_and(|origin| is_there(&origin))
}
