//! Locks on relations that are kept until the transaction ends.

use pgrx::pg_sys::{self, Oid};

/// Runs `body` so that the locks it takes are the transaction's own, as the one on its xid is: a portal's owner would let
/// go of them when a cursor fails, while rows written under them are still there.
pub unsafe fn for_transaction<T>(body: impl FnOnce() -> T) -> T {
    let owner = pg_sys::CurrentResourceOwner;
    pg_sys::CurrentResourceOwner = pg_sys::CurTransactionResourceOwner;
    let done = body();
    pg_sys::CurrentResourceOwner = owner;
    done
}

/// Locks a relation for the transaction.
pub unsafe fn lock(relation: Oid, mode: u32) {
    for_transaction(|| pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE));
}
