//! The log's identity: a random UUID made with its first event and written into the first event of every lane, so that a
//! lane from another log does not pass for one of this.

use crate::log::columns as c;
use crate::log::tables::{events_oid, Events};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{uuid, uuid_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::random;
use crate::pg::relation::{self, append, name, scan, Relation};
use crate::pg::tuple::Values;
use immutable_format::document::uuid_text;
use immutable_format::Id;
use pgrx::pg_sys;

/// `immutable.log`; its columns are log_id, created_at, singleton.
const COLUMNS: usize = 3;

/// The identity that the first event of a lane carries. Only the log's own table begins a log: one that a shard made would
/// be another than that of the next node's.
pub fn of(relation: Relation) -> Id {
    if relation.oid() == events_oid() {
        return get_or_make(None, Some(relation));
    }
    known().unwrap_or_else(|| {
        let table = relation.name();
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{table} cannot begin a log: this node does not know the log's identity"),
        )
        .hint("On the coordinator: SELECT immutable.distribute(). Call it again after adding a node.")
        .raise()
    })
}

sql_function!(immutable_share_identity, pg_finfo_immutable_share_identity, share_identity);

/// `immutable.share_identity(log_id)`
fn share_identity(call: Call) -> Datum {
    let given = call.arg(0).map(|id| uuid(id));
    let id = get_or_make(given, None);
    if let Some(given) = given.filter(|given| *given != id) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "this node has a log of its own, {}, and cannot hold events of {}",
                uuid_text(&id),
                uuid_text(&given)
            ),
        )
        .field("log_id")
        .hint("A node must not have recorded events before it joins; use a database in which the extension is new.")
        .raise()
    }
    uuid_datum(&id)
}

/// The identity of this database's log. If it has none yet it is made now, or is the one `given`; not where there are
/// events already.
fn get_or_make(given: Option<Id>, events: Option<Relation>) -> Id {
    if let Some(known) = known() {
        return known;
    }
    // Until commit nobody else may make one; what another has committed meanwhile is seen after the wait.
    let relation = open(pg_sys::ShareRowExclusiveLock);
    let id = read(relation).unwrap_or_else(|| {
        if events.is_some_and(|events| any_row(events, |_| ()).is_some()) {
            refuse_another()
        }
        let id = given.unwrap_or_else(|| *uuid::Builder::from_random_bytes(random::bytes()).as_uuid().as_bytes());
        let row: [Datum; COLUMNS] = [uuid_datum(&id), Datum::from(pg_sys::GetCurrentTimestamp()), Datum::from(true)];
        append(relation, &row.map(Some));
        id
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    id
}

/// The identity of this database's log, if it has begun.
pub fn known() -> Option<Id> {
    let relation = open(pg_sys::AccessShareLock);
    let known = read(relation);
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    known
}

/// Whether the log has begun. One whose events came back without its identity can neither go on nor begin.
pub fn has_begun(events: Relation) -> bool {
    if known().is_some() {
        return true;
    }
    // Locked, so that nobody begins the log in between.
    let relation = open(pg_sys::ShareRowExclusiveLock);
    let begun = read(relation).is_some();
    if !begun && any_row(events, |_| ()).is_some() {
        refuse_another()
    }
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    begun
}

fn refuse_another() -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the log has events and no identity: table immutable.log is empty",
    )
    .detail("Another identity would make another log of what is recorded from now on. The dump was restored without it.")
    .hint(
        "As superuser: SET immutable.restore = on; INSERT INTO immutable.log (log_id, created_at) \
         SELECT log_id, created_at FROM immutable.events WHERE seq = 1 ORDER BY created_at LIMIT 1; RESET immutable.restore.",
    )
    .raise()
}

/// Looks at a row, if there is any by now, also one of this transaction's own. Its values live as long as the look.
fn any_row<T>(relation: Relation, look: impl FnOnce(&Values) -> T) -> Option<T> {
    let scan = pg_sys::systable_beginscan(
        relation,
        pg_sys::InvalidOid,
        false,
        std::ptr::addr_of_mut!(pg_sys::SnapshotSelfData),
        0,
        std::ptr::null_mut(),
    );
    let tuple = pg_sys::systable_getnext(scan);
    let seen = (!tuple.is_null()).then(|| look(&Values::of(tuple, relation.descriptor())));
    pg_sys::systable_endscan(scan);
    seen
}

/// The identity that the first event of the first lane carries.
pub fn of_events(relation: Relation) -> Option<Id> {
    let events = Events::of(relation);
    let mut found = None;
    scan(relation, events.chain_index, &[], pg_sys::ScanDirection::ForwardScanDirection, |_, row| {
        found = row.get(&events.layout, c::LOG_ID).map(|id| uuid(id));
        false
    });
    found
}

fn open(lock: u32) -> Relation {
    let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
    let oid = pg_sys::get_relname_relid(c"log".as_ptr(), schema);
    relation::open(oid, lock).filter(|relation| (*(**relation).rd_att).natts as usize == COLUMNS).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table immutable.log is missing or altered").raise()
    })
}

fn read(relation: Relation) -> Option<Id> {
    any_row(relation, |row| (!row.nulls[0]).then(|| uuid(row.values[0]))).flatten()
}
