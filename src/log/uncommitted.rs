//! Which events the current transaction recorded, for the policy that lets a writer see them. The
//! column xact alone does not say it, because a row from another server may have the ID of a
//! transaction here.

use crate::log::columns::{self as c, Layout};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::transaction;
use crate::pg::tuple::Values;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a transaction has recorded: the first seq in every lane, by a hash of the tenant. Two
/// tenants with the same hash count as one, which shows no event to anybody else, because xact is
/// compared too.
#[derive(Default)]
struct Recorded {
    xact: u64,
    lanes: HashMap<(u64, i16), i64>,
}

thread_local! {
    static RECORDED: RefCell<Recorded> = RefCell::default();
}

/// How many lanes of a transaction are remembered. One that writes to more no longer sees what it
/// recorded first: if xact alone counted, a row from another server could be another tenant's.
const REMEMBERED: usize = 65_536;

fn key(tenant_id: &str, lane: i16) -> (u64, i16) {
    let mut hasher = DefaultHasher::new();
    tenant_id.hash(&mut hasher);
    (hasher.finish(), lane)
}

/// Notes that this transaction records the row, and returns the transaction's ID.
pub fn recorded(row: &Values, layout: &Layout) -> u64 {
    let xact = transaction::full_id();
    let tenant_id = row.get(layout, c::TENANT_ID).map_or("", text);
    let lane = row.get(layout, c::LANE).map_or(0, Datum::i16);
    let seq = row.get(layout, c::SEQ).map_or(0, Datum::i64);
    RECORDED.with_borrow_mut(|recorded| {
        if recorded.xact != xact {
            *recorded = Recorded { xact, ..Recorded::default() };
        }
        if recorded.lanes.len() >= REMEMBERED {
            recorded.lanes.clear();
        }
        let first = recorded.lanes.entry(key(tenant_id, lane)).or_insert(seq);
        *first = seq.min(*first);
    });
    xact
}

sql_function!(immutable_is_own, pg_finfo_immutable_is_own, is_own);

/// `immutable.is_own(xact, tenant_id, lane, seq)`
fn is_own(call: Call<'_>) -> Datum<'_> {
    let (Some(xact), Some(tenant), Some(lane), Some(seq)) = (call.arg(0), call.arg(1), call.arg(2), call.arg(3)) else {
        return Datum::from(false);
    };
    Datum::from(RECORDED.with_borrow(|recorded| {
        let is_since = || recorded.lanes.get(&key(text(tenant), lane.i16())).is_some_and(|first| seq.i64() >= *first);
        recorded.xact == xact.i64() as u64 && is_since()
    }))
}
