//! Lanes. A tenant's chain is a family of lanes, so that writers that commit at the same time need
//! not wait for each other. The lock of a lane is a heavyweight lock. It is held until the
//! transaction ends, or until the savepoint in which it was taken is rolled back.
//!
//! The lock is on an object of the events relation: the object is a hash of the tenant, and its
//! part is the lane.

use crate::pg::error::{Code, Fault};
use crate::pg::lock::{lock, ObjectLock, Timeouts};
use crate::pg::server;
use crate::pg::subtransaction::attempt;
use crate::pg::transaction::{on_end, on_subtransaction_abort, subtransaction};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

/// Lanes of which a writer can take any that is free: those of a tenant, or those of imports, which
/// all tenants share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Family {
    relation: Oid,
    /// None for imports.
    tenant: Option<u32>,
}

/// A lane, as the lock manager knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lane {
    family: Family,
    number: i16,
}

/// The lanes of imports. A transaction of very many tenants appends to one of them in each tenant,
/// under one lock. Their numbers are above the maximum of `immutable.lanes`. As many transactions
/// as there are such lanes can import at the same time.
const IMPORTS: std::ops::RangeInclusive<i16> = 32704..=i16::MAX;

/// Stands in for a lane's number in a lock: its holder is the next to get a lane when all are
/// taken.
const TURN: i16 = -1;

/// How many milliseconds the holder of the turn waits for one lane, at most, before it looks at all
/// lanes again.
const LONGEST_PAUSE: i32 = 32;

/// A lane taken, and the subtransaction that took it.
type Taken = (i16, u32);

/// The lanes that this transaction took. This only remembers the lock manager's state, which is
/// always asked as well.
#[derive(Default)]
struct Held {
    lanes: HashMap<Family, Vec<Taken>>,
    count: usize,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
    /// The lane, other than the first, that this backend appended to last, because it knows the
    /// tail of that lane.
    static LAST: RefCell<HashMap<Family, i16>> = RefCell::default();
}

/// Tenants whose last lane is remembered; a backend that writes for more starts over.
const REMEMBERED: usize = 4096;

/// The number that stands for a tenant in lock tags. Two tenants with the same number share locks,
/// but nothing else.
pub fn tenant_number(tenant_id: &str) -> u32 {
    let hash = immutable_format::sha256(&[tenant_id.as_bytes()]);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

impl Lane {
    fn of(relation: Oid, tenant: u32, number: i16) -> Lane {
        let tenant = if IMPORTS.contains(&number) { None } else { Some(tenant) };
        Lane { family: Family { relation, tenant }, number }
    }

    fn lock(&self) -> ObjectLock {
        let Family { relation, tenant } = self.family;
        ObjectLock { relation, object: tenant.unwrap_or(0), part: self.number as u16 }
    }

    fn is_held(&self) -> bool {
        self.lock().is_held()
    }

    fn acquire(&self, wait: bool) -> bool {
        let taken = self.lock().acquire(wait);
        if taken {
            let since = subtransaction();
            HELD.with_borrow_mut(|held| {
                held.lanes.entry(self.family).or_default().push((self.number, since));
                held.count += 1;
            });
        }
        taken
    }

    /// Waits for the lane as long as `timeouts` says. It does so in a subtransaction, because only
    /// that is rolled back when the time is over.
    fn acquire_within(&self, timeouts: Timeouts) -> bool {
        let _restored = timeouts.set();
        attempt(|| self.acquire(true), |code, _| code == Code::ERRCODE_LOCK_NOT_AVAILABLE).is_ok()
    }
}

impl Family {
    /// The first lane, and how many there are.
    fn lanes(&self) -> (i16, i16) {
        match self.tenant {
            Some(_) => (0, settings::LANES.get() as i16),
            None => (*IMPORTS.start(), IMPORTS.count() as i16),
        }
    }

    fn lane(self, number: i16) -> Lane {
        Lane { family: self, number }
    }

    /// The lowest lane that this transaction holds.
    fn held(&self) -> Option<i16> {
        HELD.with_borrow(|held| {
            let lanes = held.lanes.get(self)?.iter().map(|(lane, _)| *lane);
            lanes.filter(|lane| self.lane(*lane).is_held()).min()
        })
    }

    /// Takes the first lane; if it is taken, the lane that this backend had last; if that is taken
    /// too, any that is free. If none is free, it waits for one. Without concurrency all events are
    /// in the first lane. With concurrency, a backend keeps to a lane whose tail it knows, and does
    /// not try every lane that is taken.
    fn take(self) -> i16 {
        let (first, count) = self.lanes();
        let range = first + 1..=first + (count - 1);
        let last = LAST.with_borrow(|last| last.get(&self).copied()).filter(|last| range.contains(last));
        let spread = (server::process() % 1024) as i16;
        let rest = knocks(count, spread).map(|lane| first + lane).filter(|lane| Some(*lane) != last);
        for lane in std::iter::once(first).chain(last).chain(rest) {
            if self.lane(lane).acquire(false) {
                if lane > first && Some(lane) != last {
                    remember(self, lane);
                }
                return lane;
            }
        }
        self.any_free().unwrap_or_else(|| self.wait())
    }

    fn any_free(self) -> Option<i16> {
        let (first, count) = self.lanes();
        (0..count).map(|lane| first + lane).find(|lane| self.lane(*lane).acquire(false))
    }

    /// Waits for a lane. There is one queue for all lanes, so that no writer waits for a lane while
    /// another is free, and writers get lanes in the order in which they came. The first in the
    /// queue waits for each lane in turn, for a short time. All wait in the lock manager, so that
    /// deadlocks are found. For those that wait for the queue, PostgreSQL finds them; the first in
    /// the queue looks for one itself, as often as `deadlock_timeout` says.
    fn wait(self) -> i16 {
        let (first, count) = self.lanes();
        if count == 1 {
            self.lane(first).acquire(true);
            return first;
        }
        let set = Timeouts::now();
        let begun = Instant::now();
        let elapsed = || i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let turn = self.lane(TURN).lock();
        turn.acquire(true);
        let mut checked = 0;
        let mut pause = 1;
        let mut next = (server::process() % count as u32) as i16;
        let lane = loop {
            if let Some(lane) = self.any_free() {
                break lane;
            }
            let left = if set.lock > 0 { set.lock - elapsed() } else { i32::MAX };
            if left <= 0 {
                timed_out(self)
            }
            let is_due = elapsed() - checked >= set.deadlock;
            let timeouts = match is_due {
                true => Timeouts { lock: LONGEST_PAUSE.min(left), deadlock: 1 },
                false => Timeouts { lock: pause.min(left), deadlock: set.deadlock },
            };
            let lane = first + next;
            if self.lane(lane).acquire_within(timeouts) {
                break lane;
            }
            if is_due {
                checked = elapsed();
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            next = (next + 1) % count;
        };
        turn.release();
        if lane > first {
            remember(self, lane);
        }
        lane
    }
}

/// Which lanes other than the first a writer tries: all of the lowest ones, and fewer of the higher
/// ones, because if many lanes are taken, many others are free. `spread` keeps writers from all
/// trying the same lanes.
fn knocks(count: i16, spread: i16) -> impl Iterator<Item = i16> {
    std::iter::successors(Some(1_i16), |lane| lane.checked_add(1 + lane / 32))
        .map(move |lane| lane + spread % (1 + lane / 32))
        .take_while(move |lane| *lane < count)
}

/// Raises PostgreSQL's error for `lock_timeout` (55P03).
fn timed_out(family: Family) -> ! {
    let whose = if family.tenant.is_some() { "of the tenant's chain" } else { "for imports" };
    Fault::new(Code::ERRCODE_LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout")
        .detail(format!("Every lane {whose} is held by a transaction that has not ended."))
        .hint("End those transactions. pg_locks shows their locks with classid 'immutable.events'::regclass.")
        .raise()
}

fn remember(family: Family, lane: i16) {
    LAST.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(family, lane);
    });
}

/// Takes a lane of the tenant to append to: the lowest that this transaction holds, or else one
/// that is free. The setting that limits the locks of a transaction does not apply to the log's own
/// events, but a higher limit does: a pruning records something for each tenant. Raises 55P03 when
/// `lock_timeout` is over.
pub fn acquire(relation: Oid, tenant: u32, by_log: bool) -> i16 {
    let family = Family { relation, tenant: Some(tenant) };
    if let Some(lane) = family.held() {
        return lane;
    }
    share(relation);
    if !is_full() || by_log && !has(MOST_BY_LOG) {
        return family.take();
    }
    // With immutable.lanes = 1, each chain is one lane, and there are no lanes of imports.
    if settings::LANES.get() == 1 {
        acquire_all(relation);
        return 0;
    }
    let imports = Family { relation, tenant: None };
    imports.held().unwrap_or_else(|| imports.take())
}

/// Takes the lane of an existing row, to rewrite the row: an update in flight could hide the lane's
/// tail from a writer.
pub fn acquire_existing(relation: Oid, tenant: u32, lane: i16) {
    let lane = Lane::of(relation, tenant, lane);
    if lane.is_held() {
        return;
    }
    share(relation);
    if is_full() {
        acquire_all(relation);
    } else {
        lane.acquire(true);
    }
}

/// This lock is taken before a lane, so that a transaction that has locked the table has locked its
/// lanes too. The statement holds this lock as well. But if the statement is a cursor's, it loses
/// the lock when the cursor fails, while the rows stay.
fn share(relation: Oid) {
    lock(relation, pg_sys::RowExclusiveLock);
}

/// Takes one lock for all chains, which is kept until the transaction ends. No other transaction
/// can write, and a transaction of any number of tenants takes one entry in the lock table.
pub fn acquire_all(relation: Oid) {
    lock(relation, pg_sys::ShareRowExclusiveLock);
}

/// Whether the transaction has as many lanes as it may lock one by one. There is a limit because a
/// full lock table makes other sessions fail too.
fn is_full() -> bool {
    has(settings::MAX_CHAINS_PER_TRANSACTION.get() as usize)
}

/// So many lanes the log's own events take one by one.
const MOST_BY_LOG: usize = 1_000;

/// Whether the transaction has at least so many lanes.
fn has(lanes: usize) -> bool {
    HELD.with_borrow(|held| held.count >= lanes)
}

/// Called once, when the library is loaded. A lock is forgotten when it is released: when the
/// transaction ends, or a subtransaction is rolled back.
pub fn register_callbacks() {
    on_end(|| drop(HELD.take()));
    on_subtransaction_abort(forget_since);
}

fn forget_since(aborted: u32) {
    HELD.with_borrow_mut(|held| {
        held.lanes.retain(|_, taken| {
            taken.retain(|(_, since)| *since < aborted);
            !taken.is_empty()
        });
        held.count = held.lanes.values().map(Vec::len).sum();
    });
}
