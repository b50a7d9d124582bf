//! What feeds this log from another server: subscriptions, and replication origins that are not PostgreSQL's own.

use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{name, Relation};
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

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

pub fn is_fed(relation: Oid) -> bool {
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
pub fn refuse_local_write(relation: Relation) {
    if is_fed(relation.oid()) {
        refuse(relation, "a subscription", "DROP SUBSCRIPTION")
    }
}

/// The same where a replication that is not PostgreSQL's own was noted, as long as it is there.
pub fn refuse_while_fed_by(relation: Relation, origin: &str) {
    if is_there(origin) {
        refuse(
            relation,
            &format!("replication origin \"{origin}\""),
            &format!(
                "drop its subscription, or as superuser SELECT pg_replication_origin_drop({})",
                crate::pg::datum::quote(origin)
            ),
        )
    }
}

fn refuse(relation: Relation, feeder: &str, ends: &str) -> ! {
    let table = relation.name();
    Fault::new(
        Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        format!("{table} is a copy that {feeder} feeds: nothing is recorded or erased here"),
    )
    .hint(format!("Write to the publisher; to go on here instead, {ends}."))
    .raise()
}

pub fn is_there(origin: &str) -> bool {
    let Ok(origin) = CString::new(origin) else { return false };
    pg_sys::replorigin_by_name(origin.as_ptr(), true) != NO_ORIGIN
}

/// InvalidRepOriginId, and what a session sets whose changes are to be replicated no further.
pub const NO_ORIGIN: pg_sys::RepOriginId = 0;

const NOT_REPLICATED: pg_sys::RepOriginId = pg_sys::RepOriginId::MAX;

/// The replication origin that the session replays, as pglogical's and others' workers do.
pub fn session_origin() -> Option<String> {
    let origin = pg_sys::replorigin_session_origin;
    let mut name = std::ptr::null_mut();
    let found = ![NO_ORIGIN, NOT_REPLICATED].contains(&origin) && pg_sys::replorigin_by_oid(origin, true, &mut name);
    found.then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
}

/// Whether ordinary triggers do not fire in this session.
pub fn others_sleep() -> bool {
    pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32
}

/// Whether this process brings in what another server has recorded.
pub fn is_worker() -> bool {
    pg_sys::IsLogicalWorker() || others_sleep() && session_origin().is_some()
}
