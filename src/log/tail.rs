//! The tail of a lane. It is read from the events themselves, so that no other table can disagree
//! with them.

use crate::log::columns as c;
use crate::log::row::hash;
use crate::log::tables::Events;
use crate::pg::datum::{micros, Datum};
use crate::pg::relation::{Key, Relation};
use crate::pg::tuple::Values;
use immutable_format::link::Tail;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// The seq that this backend wrote last in a lane. It only says where to look first.
    static LAST: RefCell<HashMap<(Oid, String, i16), i64>> = RefCell::new(HashMap::new());
}

/// Lanes remembered; a backend that writes to more starts over.
const REMEMBERED: usize = 4096;

/// Remembers where this backend appends now.
pub fn remember(relation: Oid, tenant_id: &str, lane: i16, seq: i64) {
    LAST.with(|last| {
        let mut last = last.borrow_mut();
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert((relation, tenant_id.to_string(), lane), seq);
    });
}

/// The last event of a lane, whose lock is held. `tenant` is the text datum of `tenant_id`.
pub fn read(relation: Relation, events: &Events, tenant: Datum, tenant_id: &str, lane: i16) -> Option<Tail> {
    let layout = &events.layout;
    let key = |column, strategy, function, value| Key { attribute: layout.number(column), strategy, function, value };
    let mut keys = vec![
        key(c::TENANT_ID, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, tenant),
        key(c::LANE, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT2EQ, Datum::from(lane)),
    ];
    let known = LAST.with(|last| last.borrow().get(&(relation.oid(), tenant_id.to_string(), lane)).copied());
    if let Some(known) = known {
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
