//! The tail of a lane. It is read from the events themselves, so that no other table can disagree
//! with them.

use crate::log::columns as c;
use crate::log::row::hash;
use crate::log::tables::Events;
use crate::pg::datum::{micros, Datum};
use crate::pg::relation::{Key, Relation};
use crate::pg::tuple::Values;
use immutable_format::link::{Link, Tail};
use immutable_format::Hash;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

/// An event that this backend wrote, if the statement did not leave it out.
#[derive(Clone, Copy)]
struct Written {
    seq: i64,
    event_hash: Hash,
    created_at: i64,
}

thread_local! {
    /// What this backend wrote last in a lane. It only says where to look first.
    static LAST: RefCell<HashMap<(Oid, String, i16), Written>> = RefCell::new(HashMap::new());
}

/// Lanes remembered; a backend that writes to more starts over.
const REMEMBERED: usize = 4096;

/// Remembers where this backend appends now.
pub fn remember(relation: Oid, tenant_id: &str, lane: i16, link: &Link, event_hash: Hash) {
    let written = Written { seq: link.seq, event_hash, created_at: link.created_at };
    LAST.with(|last| {
        let mut last = last.borrow_mut();
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert((relation, tenant_id.to_string(), lane), written);
    });
}

/// The last event of a lane, whose lock is held. `tenant` is the text datum of `tenant_id`.
pub fn read(relation: Relation, events: &Events, tenant: Datum, tenant_id: &str, lane: i16) -> Option<Tail> {
    let known = LAST.with(|last| last.borrow().get(&(relation.oid(), tenant_id.to_string(), lane)).copied());
    if let Some(tail) = known.and_then(|written| just_written(relation, events, &written)) {
        return Some(tail);
    }
    let layout = &events.layout;
    let key = |column, strategy, function, value| Key { attribute: layout.number(column), strategy, function, value };
    let mut keys = vec![
        key(c::TENANT_ID, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, tenant),
        key(c::LANE, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT2EQ, Datum::from(lane)),
    ];
    if let Some(Written { seq: known, .. }) = known {
        keys.push(key(c::SEQ, pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_INT8GE, Datum::from(known)));
        let mut found = None;
        relation.scan(events.chain_index, &keys, false, |tuple| {
            let tail = tail_of(&tuple.values(), events);
            match found {
                // A row of this transaction was written under the lock that it still holds. After
                // any other row, another writer may have appended one: the scan goes on and must
                // find nothing.
                None if tail.seq == known => found = Some(tail),
                _ => {
                    found = None;
                    return false;
                }
            }
            !tuple.is_inserted_here()
        });
        if found.is_some() {
            return found;
        }
        keys.pop();
    }
    relation.last_row(events.chain_index, &keys, |tuple| tail_of(&tuple.values(), events))
}

/// The tail, if this transaction wrote it, and it is the row that came last into its block, as in a statement of many rows.
/// The index need not be asked then: the lane's lock has been held since. No two events have one hash.
fn just_written(relation: Relation, events: &Events, written: &Written) -> Option<Tail> {
    relation.last_put(|tuple| {
        let is_it = tuple.is_inserted_here()
            && tuple.values().get(&events.layout, c::EVENT_HASH).and_then(hash) == Some(written.event_hash);
        let Written { seq, event_hash, created_at } = *written;
        is_it.then_some(Tail { seq, event_hash, created_at })
    })
}

fn tail_of(row: &Values, events: &Events) -> Tail {
    let layout = &events.layout;
    Tail {
        seq: row.get(layout, c::SEQ).map_or(0, Datum::i64),
        // A row without a hash is a break that verify_chain() reports; the chain continues after
        // it.
        event_hash: row.get(layout, c::EVENT_HASH).and_then(hash).unwrap_or_default(),
        created_at: row.get(layout, c::CREATED_AT).map_or(0, micros),
    }
}
