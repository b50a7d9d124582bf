//! Seams: places where the log continues in another cluster, timeline or database than before.
//! `immutable.cluster` says where the log is written. The first transaction that records an event
//! somewhere else records `immutable.restored` before it. No dump contains that row, and a restore
//! removes it, so a promotion, a point-in-time recovery, a restored dump and a promoted subscriber
//! all leave a seam. After a backend has seen that the log is written here, the check costs an
//! insert nothing.
//!
//! The same row notes if a replication that is not PostgreSQL's own feeds the log, because no
//! catalog of PostgreSQL shows that.

use crate::log::own_event::{reason, record, LogEvent};
use crate::log::place::Place;
use crate::log::subscription::{self, is_fed, is_there};
use crate::log::tables::{events_oid, is_events_itself};
use crate::log::{distributed, log_identity};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, timestamptz, Datum};
use crate::pg::error::internal;
use crate::pg::lock::try_lock;
use crate::pg::memory::here;
use crate::pg::relation::{named, OpenRelation, Relation};
use crate::pg::spi;
use crate::pg::transaction::{self, on_relation_change};
use crate::pg::tuple::Tuple;
use immutable_format::{time, Id};
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};

/// `immutable.cluster`; its columns are system_identifier, timeline, database, noted_at, singleton,
/// fed_by.
const COLUMNS: [Oid; 6] =
    [pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::OIDOID, pg_sys::TIMESTAMPTZOID, pg_sys::BOOLOID, pg_sys::TEXTOID];

/// The row of immutable.cluster.
struct Noted {
    cluster: Place,
    /// The replication origin that feeds the log; while there is one, nothing is written here.
    fed_by: Option<String>,
    /// Whether this transaction wrote the row, which may still be rolled back.
    is_tentative: bool,
}

impl Noted {
    fn of(tuple: Tuple<'_>) -> Noted {
        let row = tuple.values();
        let fed_by = row.at(5).map(|origin| text(origin).to_string());
        Noted { cluster: Place::of(&row, 0), fed_by, is_tentative: tuple.is_inserted_here() }
    }

    fn is_at(&self, cluster: Place) -> bool {
        self.cluster == cluster && self.fed_by.is_none()
    }
}

thread_local! {
    /// Whether this backend has seen that the log is written here.
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
    /// The replication origin that this backend has noted as the feeder of the log.
    static NOTED_FEEDER: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The oid of immutable.cluster. A change of the table makes every backend look again.
    static TABLE: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_relation_change(relation_changed);
}

fn relation_changed(relation: Oid) {
    if relation == pg_sys::InvalidOid || relation == TABLE.get() {
        IS_HERE.set(false);
        NOTED_FEEDER.take();
    }
}

/// The oid of immutable.cluster. None if the relation is not immutable.events (a shard has no such
/// row), or if the extension's objects are older than this library.
fn table_for(relation: Relation) -> Option<Oid> {
    if !is_events_itself(relation.oid()) {
        return None;
    }
    let table = named(c"cluster");
    TABLE.set(table);
    (table != pg_sys::InvalidOid).then_some(table)
}

/// immutable.cluster, open.
struct ClusterTable(OpenRelation);

impl ClusterTable {
    fn open(oid: Oid, lock: u32) -> ClusterTable {
        ClusterTable::of(OpenRelation::open(oid, lock))
    }

    fn of(relation: Option<OpenRelation>) -> ClusterTable {
        let relation = relation.filter(|relation| relation.get().descriptor().is_of(&COLUMNS));
        ClusterTable(relation.unwrap_or_else(|| internal("table immutable.cluster is altered")))
    }

    /// The row as it is now, whether this transaction wrote it or another one committed it.
    fn read(&self) -> Option<Noted> {
        self.0.get().any_row(Noted::of)
    }

    /// Replaces the row. It does not use SPI, because the table's trigger refuses every change.
    fn write(&self, cluster: Place, fed_by: Option<&str>) {
        self.delete();
        here(|memory| {
            let [system_identifier, timeline, database] = cluster.columns().map(Some);
            let row: [Option<Datum>; COLUMNS.len()] = [
                system_identifier,
                timeline,
                database,
                Some(timestamptz(transaction::now())),
                Some(Datum::from(true)),
                fed_by.map(|origin| memory.text(origin)),
            ];
            self.0.get().append(&row);
        });
    }

    /// Deletes the row, if there is one.
    fn delete(&self) {
        let relation = self.0.get();
        relation.any_row(|tuple| relation.delete(tuple));
    }

    /// Makes every backend look again, when this transaction commits.
    fn invalidate(&self) {
        self.0.get().invalidate();
    }
}

/// Called before an event is appended. Records the seam if there is one that is not recorded yet.
pub fn notice(relation: Relation) {
    if IS_HERE.get() {
        return;
    }
    let Some(table) = table_for(relation) else { return };
    let cluster = Place::here();
    let is_here = |noted: &Option<Noted>| noted.as_ref().is_some_and(|noted| noted.is_at(cluster));
    let noted = read(table);
    refuse_while_fed(relation, noted.as_ref());
    if is_here(&noted) {
        IS_HERE.set(noted.is_some_and(|noted| !noted.is_tentative));
        return;
    }
    // If the table is locked, another writer is recording the seam. This one goes on without
    // waiting for it.
    if !try_lock(table, pg_sys::ShareRowExclusiveLock) {
        // But if that writer also begins the log, this one waits here. If it waited later, with a
        // lane taken, there could be a deadlock.
        log_identity::of(relation);
        return;
    }
    let writer = ClusterTable::open(table, pg_sys::NoLock);
    let noted = writer.read();
    if !is_here(&noted) {
        // The row is written first, because recording the event calls this function again.
        writer.write(cluster, None);
        // A log without an identity was never written anywhere, and a database that is made from a
        // template begins its own log. A log of which any part was restored continues.
        let is_forgotten = noted.as_ref().is_none_or(|noted| noted.fed_by.is_some());
        if log_identity::has_begun(relation) || is_forgotten {
            record_seam(noted.filter(|_| !is_forgotten).map(|noted| noted.cluster), cluster, None);
        }
    }
}

/// Refuses to write (25006) if the row says that a replication feeds the log, as long as its origin
/// exists.
fn refuse_while_fed(relation: Relation, noted: Option<&Noted>) {
    if let Some(origin) = noted.and_then(|noted| noted.fed_by.as_deref()) {
        subscription::refuse_while_fed_by(relation, origin);
    }
}

/// Refuses to write (25006) into a copy that a replication feeds which is not PostgreSQL's own.
pub fn refuse_copy(events: Relation) {
    let Some(table) = table_for(events) else { return };
    refuse_while_fed(events, read(table).as_ref());
}

fn read(table: Oid) -> Option<Noted> {
    ClusterTable::of(OpenRelation::read(table)).read()
}

/// The replication origin that was noted as the feeder of the log.
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
        if noted.is_some_and(|noted| !noted.is_tentative) {
            NOTED_FEEDER.replace(Some(origin.to_string()));
        }
        return;
    }
    let writer = ClusterTable::open(table, pg_sys::ShareRowExclusiveLock);
    if !is_noted(&writer.read()) {
        writer.write(Place::here(), Some(origin));
        writer.invalidate();
    }
}

/// Forgets where the log is written, because restored or replicated events were written somewhere
/// else.
pub fn forget(relation: Relation) {
    let Some(table) = table_for(relation) else { return };
    let Some(noted) = read(table) else { return };
    refuse_while_fed(relation, Some(&noted));
    let writer = ClusterTable::open(table, pg_sys::ShareRowExclusiveLock);
    writer.delete();
    writer.invalidate();
}

sql_function!(immutable_record_restore, pg_finfo_immutable_record_restore, record_restore);

/// `immutable.record_restore(reason)`
fn record_restore(call: Call<'_>) -> Datum<'_> {
    let reason = reason(call, 0);
    transaction::require_writable(c"immutable.record_restore()");
    let events = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    let Some(table) = table_for(events.get()) else { internal("table immutable.cluster is missing") };
    let cluster = Place::here();
    let writer = ClusterTable::open(table, pg_sys::ShareRowExclusiveLock);
    let noted = writer.read();
    refuse_while_fed(events.get(), noted.as_ref());
    writer.write(cluster, None);
    let id = record_seam(noted.map(|noted| noted.cluster), cluster, Some(reason));
    call.memory().uuid(&id)
}

/// Appends an event `immutable.restored` without a tenant. With a reason, the actor is the caller;
/// without one, it is the log itself.
fn record_seam(from: Option<Place>, to: Place, reason: Option<&str>) -> Id {
    let mut last = None;
    // No segment has the last event of a lane.
    distributed::as_owner(|| {
        spi::query_now(
            "SELECT e.created_at FROM ONLY immutable.events e ORDER BY e.created_at DESC LIMIT 1",
            &[],
            |row| last = row.at(0).and_then(|created_at| time::format(micros(created_at))),
        );
    });
    let texts = [("last_event_at", last.as_deref()), ("reason", reason)];
    let texts: Vec<(&str, &str)> = texts.iter().filter_map(|(name, text)| text.map(|text| (*name, text))).collect();
    let from = from.map_or("null".to_string(), Place::json);
    record(&LogEvent {
        action: "immutable.restored",
        metadata: &texts,
        metadata_json: &[("from", &from), ("to", &to.json())],
        unasked: reason.is_none(),
        ..LogEvent::default()
    })
}

/// When it was noted that the log is written here, in microseconds since 1970; None if it is not.
/// Every seam notes it anew. A standby has what its primary noted.
pub fn written_here_since() -> Option<i64> {
    let table = named(c"cluster");
    let table = OpenRelation::open(table, pg_sys::AccessShareLock)?;
    let noted_at = table.get().any_row(|tuple| {
        let since = tuple.values().at(3).map(micros);
        since.filter(|_| transaction::is_in_recovery() || Noted::of(tuple).is_at(Place::here()))
    });
    noted_at.flatten()
}

/// Whether the log is noted as written here. It is not after a restore, until an event is recorded.
pub fn is_noted_here(events: Relation) -> bool {
    table_for(events).and_then(read).is_some_and(|noted| noted.is_at(Place::here()))
}

/// Whether the log has recorded a seam.
pub fn has_any(events: Relation) -> bool {
    let mut found = false;
    let statement = "SELECT FROM immutable.events e WHERE e.tenant_id OPERATOR(pg_catalog.=) '' \
                       AND e.action OPERATOR(pg_catalog.=) 'immutable.restored' LIMIT 1";
    spi::as_owner(events, || spi::query_now(statement, &[], |_| found = true));
    found
}

/// Whether the log is a copy that a subscription or another replication feeds.
pub fn is_copy(events: Relation) -> bool {
    is_fed(events.oid()) || fed_by(events).is_some_and(|origin| is_there(&origin))
}
