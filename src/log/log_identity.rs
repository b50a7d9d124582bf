//! The log's identity: a random UUID that is made with the log's first event and written into the
//! first event of every lane, so that a lane of another log is recognised.

use crate::log::columns as c;
use crate::log::small_table::SmallTable;
use crate::log::tables::{is_events_itself, Events};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{timestamptz, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::Relation;
use crate::pg::tuple::Descriptor;
use crate::pg::{random, spi, transaction};
use immutable_format::id::uuid_text;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};

/// `immutable.log`; its columns are log_id, created_at, singleton.
const COLUMNS: [Oid; 3] = [pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID, pg_sys::BOOLOID];

/// The identity that the first event of a lane has. If the log has none yet, it is made now. Only
/// immutable.events can begin a log, because shards on different nodes would make different
/// identities. Raises 55000 on a node that does not have the identity.
pub fn of(relation: Relation) -> Id {
    if is_events_itself(relation.oid()) {
        return get_or_make(None, Some(relation));
    }
    known().unwrap_or_else(|| {
        let table = relation.name();
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{table} cannot begin a log: this node does not have the log's identity"),
        )
        .hint("Call immutable.distribute() on the coordinator, and call it again after adding a node.")
        .raise()
    })
}

sql_function!(immutable_share_identity, pg_finfo_immutable_share_identity, share_identity);

/// `immutable.share_identity(log_id)`
fn share_identity(call: Call<'_>) -> Datum<'_> {
    let given = call.arg(0).map(uuid);
    let id = get_or_make(given, None);
    if let Some(given) = given.filter(|given| *given != id) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("this node belongs to log {} and cannot hold events of log {}", uuid_text(&id), uuid_text(&given)),
        )
        .field("log_id")
        .hint(
            "A node must not have recorded events before it joins. Use a database in which the \
             extension was just created.",
        )
        .raise()
    }
    call.memory().uuid(&id)
}

/// The identity of this database's log. If there is none yet, it becomes the one `given`, or a new
/// one. Raises 55000 if there are events without an identity.
fn get_or_make(given: Option<Id>, events: Option<Relation>) -> Id {
    if let Some(known) = known() {
        return known;
    }
    // Until this transaction commits, no other can make an identity. One that was committed
    // meanwhile is seen after the wait.
    let table = open(pg_sys::ShareRowExclusiveLock);
    read(&table).unwrap_or_else(|| {
        if events.is_some_and(has_row) {
            refuse_another()
        }
        let id = given.unwrap_or_else(|| *uuid::Builder::from_random_bytes(random::bytes()).as_uuid().as_bytes());
        here(|memory| {
            let row: [Datum; COLUMNS.len()] = [memory.uuid(&id), timestamptz(transaction::now()), Datum::from(true)];
            table.insert(&row.map(Some));
        });
        id
    })
}

/// The identity of this database's log, if it has one.
pub fn known() -> Option<Id> {
    read(&SmallTable::read(c"log", &COLUMNS))
}

/// Whether the log has an identity. Raises 55000 if its events were restored without it, because
/// nothing can be recorded in such a log.
pub fn has_begun(events: Relation) -> bool {
    if known().is_some() {
        return true;
    }
    // The lock keeps another transaction from making the identity meanwhile.
    let table = open(pg_sys::ShareRowExclusiveLock);
    let begun = read(&table).is_some();
    if !begun && has_row(events) {
        refuse_another()
    }
    begun
}

fn has_row(events: Relation) -> bool {
    events.any_row(|_| ()).is_some()
}

fn refuse_another() -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the log has events but no identity: table immutable.log is empty",
    )
    .detail("The dump was restored without the row of that table. With a new identity, new events \
        would belong to another log.")
    .hint(
        "As a superuser, run: SET immutable.restore = on; INSERT INTO immutable.log (log_id, created_at) \
         SELECT log_id, created_at FROM immutable.events WHERE seq = 1 ORDER BY created_at LIMIT 1; RESET immutable.restore.",
    )
    .raise()
}

/// The identity that the first event of the first lane has.
pub fn of_events(relation: Relation) -> Option<Id> {
    let events = Events::of(relation);
    let mut found = None;
    relation.scan(events.chain_index, &[], false, |tuple| {
        found = tuple.values().get(&events.layout, c::LOG_ID).map(uuid);
        false
    });
    found.or_else(|| if relation.is_parent() { of_segments(relation) } else { None })
}

/// The same where the first event of that lane has moved.
fn of_segments(relation: Relation) -> Option<Id> {
    let mut found = None;
    let first =
        "SELECT e.log_id FROM immutable.events e WHERE e.seq OPERATOR(pg_catalog.=) 1 AND e.log_id IS NOT NULL LIMIT 1";
    spi::as_owner(relation, || spi::query_now(first, &[], |row| found = row.at(0).map(uuid)));
    found
}

/// Whether the first column is what the identity is read from.
pub fn is_first_column(columns: Descriptor) -> bool {
    columns.width() > 0 && columns.attribute(0).is_some_and(|column| column.oid == pg_sys::UUIDOID)
}

fn open(lock: u32) -> SmallTable {
    SmallTable::open(c"log", &COLUMNS, lock)
}

fn read(table: &SmallTable) -> Option<Id> {
    table.relation().any_row(|tuple| tuple.values().at(0).map(uuid)).flatten()
}
