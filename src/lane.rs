//! Lanes: a tenant's chain is a family of lanes, so that writers who commit at the same time need not wait for each
//! other. The lane's lock is a heavyweight lock, held until the transaction ends, or until the savepoint it was taken
//! in is rolled back.
//!
//! Tag: LOCKTAG_OBJECT, class = the events relation, object = a hash of the tenant, sub-object = the lane. No catalog
//! class has the number of a user relation, so it meets nobody else's, and pg_locks shows it.

use crate::error::{Code, Fault};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;

/// A lane of a tenant, as the lock manager knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    pub relation: Oid,
    pub tenant: u32,
    pub lane: i16,
}

/// A lane taken, and the subtransaction that took it.
type Taken = (i16, pg_sys::SubTransactionId);

/// What this transaction took, by relation and tenant. Only a memory of the lock manager's state, which is always asked
/// too.
#[derive(Default)]
struct Held {
    lanes: HashMap<(Oid, u32), Vec<Taken>>,
    count: usize,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
    /// The lane but the first that this backend appended to last, by relation and tenant: it knows the tail of that one.
    static LAST: RefCell<HashMap<(Oid, u32), i16>> = RefCell::default();
}

/// Tenants whose last lane is remembered; a backend that writes for more starts over.
const REMEMBERED: usize = 4096;

/// The number that stands for a tenant in lock tags. Two tenants with the same number share their locks and no more.
pub fn tenant_number(tenant_id: &str) -> u32 {
    let hash = immutable_format::sha256(&[tenant_id.as_bytes()]);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

impl Lane {
    fn tag(&self) -> pg_sys::LOCKTAG {
        // SAFETY: reads the backend's own database.
        let database = unsafe { pg_sys::MyDatabaseId };
        pg_sys::LOCKTAG {
            locktag_field1: database.to_u32(),
            locktag_field2: self.relation.to_u32(),
            locktag_field3: self.tenant,
            locktag_field4: self.lane as u16,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        }
    }

    unsafe fn is_held(&self) -> bool {
        let tag = self.tag();
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(&tag, mode);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        return pg_sys::LockHeldByMe(&tag, mode, false);
    }

    unsafe fn acquire(&self, wait: bool) -> bool {
        let tag = self.tag();
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // The transaction's own, as for its xid: a portal's owner would let go of the lock when a cursor fails, while
        // rows written under it are still there.
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::CurrentResourceOwner = pg_sys::CurTransactionResourceOwner;
        let taken = pg_sys::LockAcquire(&tag, mode, false, !wait) != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        pg_sys::CurrentResourceOwner = owner;
        if taken {
            let since = pg_sys::GetCurrentSubTransactionId();
            HELD.with_borrow_mut(|held| {
                held.lanes.entry((self.relation, self.tenant)).or_default().push((self.lane, since));
                held.count += 1;
            });
        }
        taken
    }
}

/// Takes a lane of the tenant to append to: the lowest that this transaction holds, else the first, else the one this
/// backend had last, else any that is free, else it waits for one. Without concurrency everything is in the first; with it,
/// a backend keeps to a lane whose tail it knows, and does not knock at all that are taken. What the log itself records is
/// not held to the setting that limits a transaction's chains.
pub unsafe fn acquire(relation: Oid, tenant: u32, own: bool) -> i16 {
    let lowest = HELD.with_borrow(|held| {
        let own = held.lanes.get(&(relation, tenant))?.iter().map(|(lane, _)| *lane);
        own.filter(|lane| Lane { relation, tenant, lane: *lane }.is_held()).min()
    });
    if let Some(lane) = lowest {
        return lane;
    }
    if !own {
        check_count();
    }
    let lanes = settings::LANES.get() as i16;
    let last = LAST.with_borrow(|last| last.get(&(relation, tenant)).copied()).filter(|last| (1..lanes).contains(last));
    let rest = (1..lanes).filter(|lane| Some(*lane) != last);
    for lane in std::iter::once(0).chain(last).chain(rest) {
        if (Lane { relation, tenant, lane }).acquire(false) {
            if lane > 0 && Some(lane) != last {
                remember(relation, tenant, lane);
            }
            return lane;
        }
    }
    // Everybody waits somewhere else, so that a queue on one lane does not outlast the free lanes beside it.
    let lane = (pg_sys::MyProcPid.unsigned_abs() % lanes as u32) as i16;
    Lane { relation, tenant, lane }.acquire(true);
    lane
}

fn remember(relation: Oid, tenant: u32, lane: i16) {
    LAST.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert((relation, tenant), lane);
    });
}

/// Takes the lane of an existing row, to rewrite the row: an update in flight could hide the lane's tail from a writer.
pub unsafe fn acquire_existing(relation: Oid, tenant: u32, lane: i16) {
    let lane = Lane { relation, tenant, lane };
    if !lane.is_held() {
        check_count();
        lane.acquire(true);
    }
}

/// A full shared lock table fails other sessions too, so a transaction is stopped before.
fn check_count() {
    let held = HELD.with_borrow(|held| held.count);
    let most = settings::MAX_CHAINS_PER_TRANSACTION.get();
    if held >= most as usize {
        Fault::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("a transaction may append to at most {most} chains (lanes of tenants)"),
        )
        .hint(
            "Commit more often, or raise immutable.max_chains_per_transaction and, with it, max_locks_per_transaction.",
        )
        .raise()
    }
}

/// Lets go of the memory when the transaction or a subtransaction lets go of the locks.
pub fn register_callbacks() {
    // SAFETY: the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), std::ptr::null_mut());
    }
}

unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, _: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE) {
        HELD.take();
    }
}

unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // Numbers are given in order: whatever began since is a child of the one that aborts.
        HELD.with_borrow_mut(|held| {
            held.lanes.retain(|_, taken| {
                taken.retain(|(_, since)| *since < subtransaction);
                !taken.is_empty()
            });
            held.count = held.lanes.values().map(Vec::len).sum();
        });
    }
}
