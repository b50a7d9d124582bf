//! Replication into this database: PostgreSQL's subscriptions, and the replication origins of
//! others.

#![allow(unsafe_code)]

use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// PostgreSQL's cache that is invalidated when the tables of a subscription change.
pub const SUBSCRIBED: i32 = pg_sys::SysCacheIdentifier::SUBSCRIPTIONRELMAP as i32;

/// InvalidRepOriginId.
const NO_ORIGIN: pg_sys::RepOriginId = 0;

/// DoNotReplicateId: the origin of a session whose changes are not to be replicated.
const NOT_REPLICATED: pg_sys::RepOriginId = pg_sys::RepOriginId::MAX;

/// Whether a subscription of this database writes to the relation.
pub fn is_subscribed(relation: Oid) -> bool {
    let (relation, none) = (pg_sys::Datum::from(relation), pg_sys::Datum::from(0usize));
    // SAFETY: the cache's first key is a relation. The list is given back.
    unsafe {
        let list = pg_sys::SearchSysCacheList(SUBSCRIBED, 1, relation, none, none);
        let found = (*list).n_members > 0;
        pg_sys::ReleaseCatCacheList(list);
        found
    }
}

/// Whether there is a replication origin of this name.
pub fn has_origin(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: looks a name up.
    unsafe { pg_sys::replorigin_by_name(name.as_ptr(), true) != NO_ORIGIN }
}

/// The name of the replication origin that this session replays, if it replays one.
pub fn session_origin() -> Option<String> {
    // SAFETY: reads a variable of the one thread there is.
    let origin = unsafe { pg_sys::replorigin_session_origin };
    if [NO_ORIGIN, NOT_REPLICATED].contains(&origin) {
        return None;
    }
    let mut name = std::ptr::null_mut();
    // SAFETY: gives a C string where it finds the origin.
    unsafe {
        let found = pg_sys::replorigin_by_oid(origin, true, &mut name);
        found.then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// Whether this session replays what was changed elsewhere: it is a subscription's worker, or has a replication origin.
/// An origin that says only that changes are not to be replicated does not count.
pub fn is_replaying() -> bool {
    // SAFETY: reads a variable of the one thread there is.
    let origin = unsafe { pg_sys::replorigin_session_origin };
    ![NO_ORIGIN, NOT_REPLICATED].contains(&origin) || is_subscription_worker()
}

/// Whether session_replication_role is replica, so that ordinary triggers do not fire.
pub fn is_replica_session() -> bool {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32 }
}

/// Whether this process is a worker of a PostgreSQL subscription.
pub fn is_subscription_worker() -> bool {
    // SAFETY: reads variables of the one thread there is.
    unsafe { pg_sys::IsLogicalWorker() }
}
