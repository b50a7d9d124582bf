//! A database that another one feeds by logical replication: it keeps what it gets as it gets it, and records nothing of
//! its own until its subscription is dropped.

use crate::columns::{self as c, Values};
use crate::error::{Code, Fault};
use crate::function::{sql_function, Call};
use crate::guard::{append_only, check_update};
use crate::relation::{name, Events};
use crate::seam;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Whether a relation is fed by a subscription; forgotten when subscriptions change.
    static IS_FED: RefCell<HashMap<Oid, bool>> = RefCell::new(HashMap::new());
}

const CACHE: i32 = pg_sys::SysCacheIdentifier::SUBSCRIPTIONRELMAP as i32;

pub fn register_callbacks() {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterSyscacheCallback(CACHE, Some(subscriptions_changed), Datum::from(0usize)) };
}

unsafe extern "C-unwind" fn subscriptions_changed(_: Datum, _: std::ffi::c_int, _: u32) {
    IS_FED.with(|known| known.borrow_mut().clear());
}

unsafe fn is_fed(relation: Oid) -> bool {
    if let Some(known) = IS_FED.with(|known| known.borrow().get(&relation).copied()) {
        return known;
    }
    let zero = Datum::from(0usize);
    let list = pg_sys::SearchSysCacheList(CACHE, 1, Datum::from(relation), zero, zero);
    let found = (*list).n_members > 0;
    pg_sys::ReleaseCatCacheList(list);
    IS_FED.with(|known| known.borrow_mut().insert(relation, found));
    found
}

/// Refuses to write into a copy: what is recorded here would take the place of what is on its way.
pub unsafe fn refuse_local_write(relation: pg_sys::Relation) {
    if is_fed((*relation).rd_id) {
        let table = name(relation);
        Fault::new(
            Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            format!("{table} is a copy that a subscription feeds: nothing is recorded or erased here"),
        )
        .hint("Write to the publisher; to go on here instead, DROP SUBSCRIPTION.")
        .raise()
    }
}

/// Writers hold INSERT on all columns, and what keeps them from the chain's is a trigger that sleeps here. Who may set
/// session_replication_role and is neither superuser nor owner gets no row past it.
unsafe fn refuse_unchained(relation: pg_sys::Relation) {
    if pg_sys::superuser() || pg_sys::GetUserId() == (*(*relation).rd_rel).relowner {
        return;
    }
    let table = name(relation);
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("{table} takes no change with session_replication_role = replica: no trigger would check it"),
    )
    .hint("SET session_replication_role = origin.")
    .raise()
}

sql_function!(immutable_replicate, pg_finfo_immutable_replicate, replicate);

/// The trigger that fires where others sleep, for the workers of a subscription. A row comes in as the publisher has it,
/// but for xact: the publisher's transactions mean nothing here. A superuser who has set session_replication_role to replica
/// wants no trigger at all, and gets none: verification finds what he does.
unsafe fn replicate(call: Call) -> Datum {
    let context = (*call.0).context;
    if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
        crate::chain::trigger_data(call, 0);
    }
    let data = &*context.cast::<pg_sys::TriggerData>();
    let relation = data.tg_relation;
    let command = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
    let is_update = command == pg_sys::TRIGGER_EVENT_UPDATE;
    let given = if is_update { data.tg_newtuple } else { data.tg_trigtuple };
    if !pg_sys::IsLogicalWorker() {
        refuse_unchained(relation);
        return Datum::from(given);
    }
    let hint = "A copy keeps what it got. Publish insert and update only: WITH (publish = 'insert, update').";
    match command {
        pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_UPDATE => {}
        pg_sys::TRIGGER_EVENT_DELETE => append_only(relation, "a replicated DELETE", hint),
        _ => append_only(relation, "a replicated TRUNCATE", hint),
    }
    let events = Events::of(relation);
    let descriptor = (*relation).rd_att;
    let mut row = Values::of(given, descriptor);
    if is_update {
        let old = Values::of(data.tg_trigtuple, descriptor);
        if let Some(xact) = old.get(&events.layout, c::XACT) {
            row.set(&events.layout, c::XACT, xact);
        }
        check_update(relation, &events, &old, &row);
    } else {
        seam::forget(relation);
        row.set(&events.layout, c::XACT, Datum::from(pg_sys::GetTopFullTransactionId().value));
    }
    Datum::from(pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr()))
}
