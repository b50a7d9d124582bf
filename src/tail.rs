//! The tail of a lane, read from the events themselves: there is no head table that could disagree with them.

use crate::columns as c;
use crate::function::micros;
use crate::relation::{last_row, Events, Key};
use crate::row::hash;
use immutable_format::link::Tail;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// The seq this backend wrote last in a lane: where to look first, never what to believe.
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
pub unsafe fn read(
    relation: pg_sys::Relation,
    events: &Events,
    tenant: Datum,
    tenant_id: &str,
    lane: i16,
) -> Option<Tail> {
    let oid = (*relation).rd_id;
    let known = LAST.with(|last| last.borrow().get(&(oid, tenant_id.to_string(), lane)).copied());
    if let Some(seq) = known {
        if let Some((tail, own)) = look(relation, events, tenant, lane, Some(seq)) {
            // A row of this transaction was written under the lock that is held still. Any other may have been
            // followed since, by a writer elsewhere.
            if own || look(relation, events, tenant, lane, Some(seq + 1)).is_none() {
                return Some(tail);
            }
        }
    }
    look(relation, events, tenant, lane, None).map(|(tail, _)| tail)
}

/// The row of a lane with this seq, or the one with the greatest; and whether this transaction wrote it.
unsafe fn look(
    relation: pg_sys::Relation,
    events: &Events,
    tenant: Datum,
    lane: i16,
    seq: Option<i64>,
) -> Option<(Tail, bool)> {
    let layout = &events.layout;
    let key = |column, equals, value| Key { attribute: layout.number(column), equals, value };
    let mut keys = vec![key(c::TENANT_ID, pg_sys::F_TEXTEQ, tenant), key(c::LANE, pg_sys::F_INT2EQ, Datum::from(lane))];
    if let Some(seq) = seq {
        keys.push(key(c::SEQ, pg_sys::F_INT8EQ, Datum::from(seq)));
    }
    last_row(relation, events.chain_index, &keys, |tuple, row| {
        let tail = Tail {
            seq: row.get(layout, c::SEQ).map_or(0, |seq| seq.value() as i64),
            // A row without a hash is a break that verify_chain() reports; the chain goes on after it.
            event_hash: row.get(layout, c::EVENT_HASH).and_then(|datum| hash(datum)).unwrap_or_default(),
            created_at: row.get(layout, c::CREATED_AT).map_or(0, micros),
        };
        (tail, is_own(tuple))
    })
}

unsafe fn is_own(tuple: pg_sys::HeapTuple) -> bool {
    let header = &*(*tuple).t_data;
    // A row that an erasure rewrote has this transaction's xmin too, but was not inserted under the lock held now.
    if header.t_infomask & pg_sys::HEAP_UPDATED as u16 != 0 {
        return false;
    }
    let frozen = (pg_sys::HEAP_XMIN_COMMITTED | pg_sys::HEAP_XMIN_INVALID) as u16;
    header.t_infomask & frozen != frozen && pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmin)
}
