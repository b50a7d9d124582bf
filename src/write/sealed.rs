//! Ids and idempotency keys are unique within their tenant. The hot table's unique indexes see to that among its own
//! events, and this file among those that have moved into segments.
//!
//! A row is looked for in the segments once it is in the hot table. By then an event with its id or key has ended in an
//! error, if it was there, or has left: the index waits for who moves it. What a snapshot sees that is taken afterwards is
//! in a segment. A statement that leaves out what conflicts needs to know earlier. For a row of it, what counts afterwards
//! is whether anything has moved meanwhile.

use crate::log::columns::{self as c, Layout};
use crate::log::row::hash;
use crate::log::segments::{self, Mark};
use crate::log::tables::Events;
use crate::pg::conflict;
use crate::pg::datum::{uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{Equal, LatestSnapshot, OpenRelation, Relation, Seen};
use crate::pg::transaction::on_end;
use crate::pg::tuple::Values;
use immutable_format::id::uuid_text;
use immutable_format::Hash;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// The rows that are to be looked for, by their event_hash; with the state of the segments, if they were looked for
    /// before they were inserted. Rows that conflict in the hot table stay here until the transaction ends.
    static PENDING: RefCell<HashMap<Hash, Option<Mark>>> = RefCell::new(HashMap::new());
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_end(|| drop(PENDING.take()));
}

/// What a row has that no sealed event may have.
struct Asked<'r> {
    tenant: Datum<'r>,
    id: Option<Datum<'r>>,
    key: Option<Datum<'r>>,
}

/// What a sealed event has too.
#[derive(Clone, Copy)]
enum Taken {
    Id,
    Key,
}

impl<'r> Asked<'r> {
    /// What is asked of a row; None if nothing is, because it cannot be anywhere else.
    fn of(row: &Values<'r>, layout: &Layout, is_id_new: bool) -> Option<Asked<'r>> {
        let id = row.get(layout, c::ID).filter(|_| !is_id_new);
        let key = row.get(layout, c::IDEMPOTENCY_KEY);
        let tenant = row.get(layout, c::TENANT_ID)?;
        (id.is_some() || key.is_some()).then_some(Asked { tenant, id, key })
    }

    /// Looks into all segments.
    fn find(&self, hot: Relation) -> Option<Taken> {
        let events = Events::of(hot);
        LatestSnapshot::with(|seen| events.below(hot).iter().rev().find_map(|table| self.find_in(*table, seen)))
    }

    fn find_in(&self, table: Oid, seen: LatestSnapshot) -> Option<Taken> {
        let mut relation = OpenRelation::read(table)?;
        let mut events = Events::of_segment(relation.get());
        if events.is_none() && !relation.get().is_empty() && segments::is_filled(table) {
            // Its events came at this moment. The indexes are known once the transaction has ended in every respect.
            segments::wait_for_moves();
            drop(relation);
            relation = OpenRelation::read(table)?;
            events = Events::of_segment(relation.get());
        }
        let (relation, events) = (relation.get(), events?);
        let equal =
            |column, function, value| Equal { attribute: events.layout.number(column), function, value: Some(value) };
        let has = |index, keys: [Equal; 2]| {
            let mut found = false;
            relation.rows(index, Seen::ByLatest(seen), &keys, |_| {
                found = true;
                false
            });
            found
        };
        let tenant = || equal(c::TENANT_ID, pg_sys::F_TEXTEQ, self.tenant);
        // In the order of the index.
        let has_id = |id| has(Some(events.id_index), [equal(c::ID, pg_sys::F_UUID_EQ, id), tenant()]);
        let has_key = |key| has(events.key_index, [tenant(), equal(c::IDEMPOTENCY_KEY, pg_sys::F_TEXTEQ, key)]);
        match (self.id, self.key) {
            (Some(id), _) if has_id(id) => Some(Taken::Id),
            (_, Some(key)) if has_key(key) => Some(Taken::Key),
            _ => None,
        }
    }
}

/// Whether the running statement leaves a row out, because a sealed event has its id or key. If not, the row is looked for
/// once it is inserted. `is_id_new` says that no sealed event can have its id.
pub fn is_left_out(hot: Relation, events: &Events, row: &Values, is_id_new: bool) -> bool {
    if !hot.has_children() {
        return false;
    }
    let Some(mut asked) = Asked::of(row, &events.layout, is_id_new) else { return false };
    let both = (asked.id.is_some(), asked.key.is_some());
    let leaves_out = |index: Oid| conflict::is_left_out(hot.oid(), index);
    asked.id = asked.id.filter(|_| leaves_out(events.id_index));
    asked.key = asked.key.filter(|_| events.key_index.is_some_and(leaves_out));
    let mut mark = None;
    if asked.id.is_some() || asked.key.is_some() {
        let before = segments::mark();
        if asked.find(hot).is_some() {
            return true;
        }
        mark = Some(before).filter(|_| both == (asked.id.is_some(), asked.key.is_some()));
    }
    if let Some(hash) = row.get(&events.layout, c::EVENT_HASH).and_then(hash) {
        PENDING.with_borrow_mut(|pending| pending.insert(hash, mark));
    }
    false
}

/// Looks for a row that was inserted. Raises 23505 if a sealed event has its id or key, and 40001 if that event has moved
/// while the row was inserted by a statement that would have left it out.
pub fn check_inserted(hot: Relation, events: &Events, row: &Values) {
    if PENDING.with_borrow(HashMap::is_empty) {
        return;
    }
    let Some(hash) = row.get(&events.layout, c::EVENT_HASH).and_then(hash) else { return };
    let Some(mark) = PENDING.with_borrow_mut(|pending| pending.remove(&hash)) else { return };
    let leaves_out = mark.is_some();
    if mark.is_some_and(|mark| mark == segments::mark()) {
        return;
    }
    let Some(asked) = Asked::of(row, &events.layout, false) else { return };
    match asked.find(hot) {
        None => {}
        Some(_) if leaves_out => Fault::new(
            Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "an event with this id or idempotency_key has moved into a segment at this moment",
        )
        .hint("Retry the transaction.")
        .raise(),
        Some(taken) => refuse(taken, &asked),
    }
}

/// Refuses an event (23505) that a replication brings in and that a segment has already.
pub fn refuse_arrived(hot: Relation, layout: &Layout, row: &Values) {
    if !hot.has_children() {
        return;
    }
    let Some(asked) = Asked::of(row, layout, false) else { return };
    let asked = Asked { key: None, ..asked };
    if let Some(taken) = asked.find(hot) {
        refuse(taken, &asked)
    }
}

fn refuse(taken: Taken, asked: &Asked) -> ! {
    match taken {
        Taken::Id => {
            let id = asked.id.map_or(String::new(), |id| uuid_text(&uuid(id)));
            Fault::new(Code::ERRCODE_UNIQUE_VIOLATION, format!("id {id} was already used for an event of this tenant"))
                .field("id")
                .hint("Leave id out, so that the log makes one, or give each event an id of its own.")
        }
        Taken::Key => Fault::new(
            Code::ERRCODE_UNIQUE_VIOLATION,
            "idempotency_key was already used for an event of this tenant",
        )
        .field("idempotency_key")
        .hint(
            "Give each new event a key of its own. To repeat an event, use immutable.track(), or INSERT … ON CONFLICT \
             (tenant_id, idempotency_key) DO NOTHING.",
        ),
    }
    .detail("The event has moved into a segment.")
    .raise()
}
