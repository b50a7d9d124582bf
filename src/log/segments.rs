//! The segments: tables below `immutable.events` and `immutable.event_targets` that hold older events. A statement
//! FROM immutable.events sees all of them, FROM ONLY immutable.events the hot table alone, which always holds the last
//! event of each lane.
//!
//! Events move from one table to another in a transaction. A reader that asks several statements must ask them with
//! one snapshot, or else it may meet an event twice or not at all.

use crate::log::tables::events_oid;
use crate::pg::datum::{micros, text, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::lock::ObjectLock;
use crate::pg::relation::{named, OpenRelation, Seen, Spot};
use crate::pg::spi;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CString;

/// What a segment is for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Its tables are there and empty.
    Prepared,
    /// It holds the events of its time.
    Sealed,
    /// Its events have gone, and snapshots that do not see that may still need it.
    Emptied,
}

/// A row of `immutable.segments`.
#[derive(Clone, Debug)]
pub struct Segment {
    pub number: i32,
    pub state: State,
    /// Its events have this created_at or a later one, in microseconds since 1970.
    pub from: i64,
    /// Its events have an earlier created_at.
    pub to: i64,
    pub events: i64,
    /// How many events came into it, of which some may be pruned by now.
    pub held: i64,
    /// How many events of its time stayed in the hot table because they cannot be read; 1 if it has such ones itself.
    pub unreadable: i64,
    /// The least and the greatest xact of its events.
    pub xacts: Option<(u64, u64)>,
    /// The segments whose events it takes; none for one that takes them from the hot table.
    pub replaces: Vec<i32>,
    /// The transaction that took its events away.
    pub emptied_by: Option<u64>,
}

impl Segment {
    /// The name of its table of events, without the schema.
    pub fn events_table(&self) -> String {
        format!("events_{}", self.number)
    }

    /// The name of its table of targets, without the schema.
    pub fn targets_table(&self) -> String {
        format!("event_targets_{}", self.number)
    }

    /// Its table of events; InvalidOid if that is not there.
    pub fn events_oid(&self) -> Oid {
        table(&self.events_table())
    }

    /// Its table of targets; InvalidOid if that is not there.
    pub fn targets_oid(&self) -> Oid {
        table(&self.targets_table())
    }
}

fn table(name: &str) -> Oid {
    CString::new(name).map_or(pg_sys::InvalidOid, |name| named(&name))
}

/// The statement that reads all of them, the oldest first.
const SEGMENTS: &str = "SELECT s.segment, s.state, s.created_from, s.created_to, s.events, \
    s.first_xact::pg_catalog.text, s.last_xact::pg_catalog.text, pg_catalog.array_to_string(s.replaces, ','), \
    s.emptied_by::pg_catalog.text, s.held, s.unreadable \
    FROM immutable.segments s ORDER BY s.created_from, s.segment";

/// The segments that the caller's snapshot sees, the oldest first. None on objects of a version without segments.
/// Raises 40001 if the snapshot is older than a pruning: a table that is dropped has no rows for it any more.
pub fn seen() -> Vec<Segment> {
    let mut found = Vec::new();
    if are_there() {
        as_owner(|| spi::read_planned_once(SEGMENTS, &[], |row| found.push(segment(row))));
    }
    let is_gone = |segment: &Segment| segment.state == State::Sealed && segment.events_oid() == pg_sys::InvalidOid;
    if found.iter().any(|segment| is_gone(segment) && !is_known(segment.number)) {
        Fault::new(
            Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "retention has removed events that the transaction's snapshot still sees",
        )
        .hint("Begin a new transaction.")
        .raise()
    }
    found
}

/// Whether there is such a segment now, whatever the transaction's snapshot sees. A table that is missing all the same
/// was dropped by somebody else than the log.
fn is_known(number: i32) -> bool {
    let mut is_known = false;
    let table = OpenRelation::table(named(c"segments"), pg_sys::AccessShareLock);
    table.get().rows(None, Seen::Now, &[], |row| {
        is_known |= row.values().at(0).map(Datum::i32) == Some(number);
        true
    });
    is_known
}

/// The segments that there are now.
pub fn now() -> Vec<Segment> {
    let mut found = Vec::new();
    if are_there() {
        as_owner(|| spi::query_now_planned_once(SEGMENTS, &[], |row| found.push(segment(row))));
    }
    found
}

/// Whether there may be segments: whether tables inherit from the log's. It asks the relation's description and no
/// table, so that it costs nothing.
pub fn may_be() -> bool {
    OpenRelation::briefly(events_oid()).get().has_children()
}

/// Raises 55000 on objects of a version without segments.
pub fn require() {
    if !are_there() {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the extension's objects are of a version that has no segments",
        )
        .hint("ALTER EXTENSION immutable UPDATE.")
        .raise()
    }
}

fn are_there() -> bool {
    named(c"segments") != pg_sys::InvalidOid
}

/// Runs `body` with the rights of this table's owner. The table of events may have been given to another.
fn as_owner(body: impl FnOnce()) {
    let segments = OpenRelation::table(named(c"segments"), pg_sys::AccessShareLock);
    spi::as_owner(segments.get(), body);
}

fn segment(row: &Values) -> Segment {
    let number = |place| row.at(place).map_or(0, Datum::i64);
    let word = |place| row.at(place).map_or("", text);
    let xact = |place: usize| word(place).parse().ok();
    let state = match word(1) {
        "prepared" => State::Prepared,
        "sealed" => State::Sealed,
        "emptied" => State::Emptied,
        _ => internal("a segment is in no known state"),
    };
    Segment {
        number: row.at(0).map_or(0, Datum::i32),
        state,
        from: row.at(2).map_or(i64::MIN, micros),
        to: row.at(3).map_or(i64::MAX, micros),
        events: number(4),
        xacts: xact(5).zip(xact(6)),
        replaces: word(7).split(',').filter_map(|number| number.parse().ok()).collect(),
        emptied_by: xact(8),
        held: number(9),
        unreadable: number(10),
    }
}

/// Whether a relation is a table of one of these segments.
pub fn has_table(segments: &[Segment], relation: Oid) -> bool {
    relation != pg_sys::InvalidOid
        && segments.iter().any(|segment| segment.events_oid() == relation || segment.targets_oid() == relation)
}

/// An SQL expression that is true for a row of neither `immutable.<table>` itself nor one of the segments. `table` is
/// `events` or `event_targets`, and `alias` the name of the table in the statement.
pub fn stray(segments: &[Segment], alias: &str, table: &str) -> String {
    let of = |segment: &Segment| if table == "events" { segment.events_oid() } else { segment.targets_oid() };
    let known = segments.iter().map(of).filter(|relation| *relation != pg_sys::InvalidOid);
    let known: String = known.map(|relation| format!(", {}", relation.to_u32())).collect();
    format!("({alias}.tableoid <> ALL (ARRAY['immutable.{table}'::pg_catalog.regclass{known}]::pg_catalog.oid[]))")
}

/// The lock of events that move from one table to another. Whoever rewrites an event shares it, and takes it before
/// the locks of lanes.
fn moves() -> ObjectLock {
    ObjectLock { relation: named(c"segments"), object: 0, part: 0 }
}

/// Keeps events where they are until the transaction ends.
pub fn keep_in_place() {
    if are_there() {
        moves().share();
    }
}

/// Waits for who moves events, if somebody does.
pub fn wait_for_moves() {
    moves().wait_for();
}

/// The state of the table of segments. Whenever events have moved, it is another.
pub type Mark = Vec<Spot>;

/// The state that it is in now.
pub fn mark() -> Mark {
    let mut rows = Vec::new();
    if are_there() {
        // A transaction that moves events changes the row of each segment that it changes.
        OpenRelation::briefly(named(c"segments")).get().rows(None, Seen::Itself, &[], |row| {
            rows.push(row.spot());
            true
        });
    }
    rows
}

/// Whether a table is that of a segment which has its events by now.
pub fn is_filled(relation: Oid) -> bool {
    let mut found = false;
    if are_there() {
        OpenRelation::briefly(named(c"segments")).get().rows(None, Seen::Now, &[], |row| {
            let row = row.values();
            let table = table(&format!("events_{}", row.at(0).map_or(0, Datum::i32)));
            found = table == relation && row.at(1).map(text) == Some("sealed");
            !found
        });
    }
    found
}

/// Takes the right to move events, until the transaction ends. Raises 55P03 when `lock_timeout` is over.
pub fn move_events() {
    moves().acquire(true);
}

/// The lock of the one session that makes, fills and drops segments; false if another session holds it and `wait` is
/// false.
pub fn become_sealer(wait: bool) -> bool {
    ObjectLock { relation: named(c"segments"), object: 0, part: 1 }.acquire(wait)
}
