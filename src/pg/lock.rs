//! Locks that are kept until the transaction ends, and the timeouts for waiting.

#![allow(unsafe_code)]

use crate::pg::server::database;
use pgrx::pg_sys::{self, Oid};

/// Runs `body` so that the transaction owns the locks it takes, as it owns the one on its XID. If a
/// portal owned them, they would be released when a cursor fails, while rows written under them are
/// still there.
fn for_transaction<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: reads and sets variables of the one thread there is. After an error PostgreSQL sets
    // the owner itself.
    unsafe {
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::CurTransactionResourceOwner;
        let done = body();
        pg_sys::CurrentResourceOwner = owner;
        done
    }
}

/// Locks a relation for the transaction; `mode` is one of PostgreSQL's, such as `RowExclusiveLock`.
pub fn lock(relation: Oid, mode: u32) {
    // SAFETY: takes any oid.
    for_transaction(|| unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) });
}

/// The same without waiting; false if another transaction holds a conflicting lock.
pub fn try_lock(relation: Oid, mode: u32) -> bool {
    // SAFETY: takes any oid.
    for_transaction(|| unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as pg_sys::LOCKMODE) })
}

fn relation_tag(relation: Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database().to_u32(),
        locktag_field2: relation.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// Whether this transaction holds a lock on the relation that is as strong as a change of its
/// definition takes. Such a lock conflicts with other such changes and with VACUUM.
pub fn may_have_changed(relation: Oid) -> bool {
    let tag = relation_tag(relation);
    (pg_sys::ShareUpdateExclusiveLock..=pg_sys::AccessExclusiveLock).any(|mode| is_held(&tag, mode as pg_sys::LOCKMODE))
}

/// Whether this transaction holds the lock of statements that change a relation's rows.
pub fn is_written(relation: Oid) -> bool {
    is_held(&relation_tag(relation), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE)
}

/// Whether this transaction holds a lock of exactly this mode.
fn is_held(tag: &pg_sys::LOCKTAG, mode: pg_sys::LOCKMODE) -> bool {
    // SAFETY: asks about a lock.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(tag, mode);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        return pg_sys::LockHeldByMe(tag, mode, false);
    }
}

/// A lock on a part of a relation: PostgreSQL's LOCKTAG_OBJECT, with the relation in place of a
/// catalog. No catalog has the OID of a user relation, so it cannot conflict with other locks, and
/// pg_locks shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    pub relation: Oid,
    pub object: u32,
    pub part: u16,
}

impl ObjectLock {
    const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

    fn tag(self) -> pg_sys::LOCKTAG {
        pg_sys::LOCKTAG {
            locktag_field1: database().to_u32(),
            locktag_field2: self.relation.to_u32(),
            locktag_field3: self.object,
            locktag_field4: self.part,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        }
    }

    /// Whether this transaction holds it.
    pub fn is_held(self) -> bool {
        is_held(&self.tag(), Self::MODE)
    }

    /// Takes it for the transaction; false if `wait` is false and another transaction holds it.
    pub fn acquire(self, wait: bool) -> bool {
        let tag = self.tag();
        let refused = pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        // SAFETY: a lock of a method and mode that there are.
        for_transaction(|| unsafe { pg_sys::LockAcquire(&tag, Self::MODE, false, !wait) != refused })
    }

    /// Waits for it, and shares it with others that do the same, until the transaction ends.
    pub fn share(self) {
        let tag = self.tag();
        // SAFETY: a lock of a method and mode that there are.
        for_transaction(|| unsafe { pg_sys::LockAcquire(&tag, pg_sys::ShareLock as pg_sys::LOCKMODE, false, false) });
    }

    /// Releases it before the transaction ends.
    pub fn release(self) {
        self.release_mode(Self::MODE);
    }

    /// Waits until no other transaction holds it alone.
    pub fn wait_for(self) {
        self.share();
        self.release_mode(pg_sys::ShareLock as pg_sys::LOCKMODE);
    }

    fn release_mode(self, mode: pg_sys::LOCKMODE) {
        let tag = self.tag();
        // SAFETY: a lock that this transaction has; PostgreSQL only warns where it has it not.
        for_transaction(|| unsafe { pg_sys::LockRelease(&tag, mode, false) });
    }
}

/// PostgreSQL's `lock_timeout` and `deadlock_timeout`, in milliseconds.
#[derive(Clone, Copy)]
pub struct Timeouts {
    pub lock: i32,
    pub deadlock: i32,
}

impl Timeouts {
    /// The timeouts of the session.
    pub fn now() -> Timeouts {
        // SAFETY: reads variables of the one thread there is.
        unsafe { Timeouts { lock: pg_sys::LockTimeout, deadlock: pg_sys::DeadlockTimeout } }
    }

    /// Sets the timeouts for as long as the returned value lives.
    pub fn set(self) -> Restored {
        let restored = Restored(Timeouts::now());
        // SAFETY: sets variables of the one thread there is.
        unsafe { (pg_sys::LockTimeout, pg_sys::DeadlockTimeout) = (self.lock, self.deadlock) };
        restored
    }
}

/// Restores the timeouts when it is dropped.
pub struct Restored(Timeouts);

impl Drop for Restored {
    fn drop(&mut self) {
        // SAFETY: puts back what was there, in the one thread there is; plain memory writes, also
        // while unwinding.
        unsafe { (pg_sys::LockTimeout, pg_sys::DeadlockTimeout) = (self.0.lock, self.0.deadlock) };
    }
}
