//! The current transaction: its ID, its clock, and callbacks for its end and for invalidated
//! caches.
//!
//! A callback is a plain function that neither raises an error nor calls PostgreSQL, because an
//! error where callbacks are called would end the server. A panic in a callback becomes a WARNING.

#![allow(unsafe_code)]

use crate::pg::error::contain;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The argument of PostgreSQL's callbacks: the function to call.
type Argument = *mut std::ffi::c_void;

/// Runs a callback, and turns a panic or a PostgreSQL error into a WARNING.
pub(in crate::pg) fn guarded(body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        pgrx::warning!("immutable: a callback failed; please report this");
    }
}

/// Calls `ended` when a transaction has been committed, aborted or prepared.
pub fn on_end(ended: fn()) {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_ends), ended as Argument) };
}

unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, ended: Argument) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE) {
        // SAFETY: registered with such a function by `on_end` alone.
        guarded(unsafe { std::mem::transmute::<Argument, fn()>(ended) });
    }
}

/// Calls `check` before a transaction is committed, or prepared, and says which. Unlike other callbacks it may raise an
/// error: the transaction is then rolled back.
pub fn before_commit(check: fn(is_prepared: bool)) {
    // SAFETY: as in `on_end`.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_commits), check as Argument) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_commits(event: pg_sys::XactEvent::Type, check: Argument) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE) {
        // SAFETY: registered with such a function by `before_commit` alone.
        let check = unsafe { std::mem::transmute::<Argument, fn(bool)>(check) };
        contain(|| check(event == XACT_EVENT_PRE_PREPARE));
    }
}

/// Has `check` of [`before_commit`] called before all others that are registered, also those of other libraries: what
/// they do elsewhere when this transaction commits, they cannot take back if `check` raises an error. It is called
/// again before each commit that it is to come first at, because others may have registered since. It does nothing
/// while a transaction commits.
pub fn come_first_before_commit(check: fn(is_prepared: bool)) {
    // SAFETY: the callbacks of a transaction are never called while a portal with resources is active: a commit takes
    // them from the portal of a procedure, and ends every other portal. So nobody walks the list that is changed here.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() || (*portal).resowner.is_null() {
            return;
        }
        pg_sys::UnregisterXactCallback(Some(transaction_commits), check as Argument);
        pg_sys::RegisterXactCallback(Some(transaction_commits), check as Argument);
    }
}

/// Calls `aborted` with the number of each subtransaction that is rolled back. Numbers ascend, so
/// those that began later are its children.
pub fn on_subtransaction_abort(aborted: fn(u32)) {
    // SAFETY: as in `on_end`.
    unsafe { pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), aborted as Argument) };
}

/// Calls `committed` with the number of each subtransaction that becomes a part of its parent, and with the parent's.
/// The top transaction has the number [`TOP`].
pub fn on_subtransaction_commit(committed: fn(own: u32, parent: u32)) {
    // SAFETY: as in `on_end`.
    unsafe { pg_sys::RegisterSubXactCallback(Some(subtransaction_joins), committed as Argument) };
}

/// The number of the top transaction among its subtransactions.
pub const TOP: u32 = 1;

unsafe extern "C-unwind" fn subtransaction_joins(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    committed: Argument,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB {
        // SAFETY: registered with such a function by `on_subtransaction_commit` alone.
        let committed = unsafe { std::mem::transmute::<Argument, fn(u32, u32)>(committed) };
        guarded(|| committed(subtransaction, parent));
    }
}

unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    aborted: Argument,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // SAFETY: registered with such a function by `on_subtransaction_abort` alone.
        let aborted = unsafe { std::mem::transmute::<Argument, fn(u32)>(aborted) };
        guarded(|| aborted(subtransaction));
    }
}

thread_local! {
    /// Who wants to know of changed relations.
    static RELATION_CHANGES: RefCell<Vec<fn(Oid)>> = const { RefCell::new(Vec::new()) };
}

/// Calls `changed` with a relation whose catalog rows have changed; InvalidOid stands for all
/// relations. PostgreSQL has room for ten such callbacks of all libraries together, of which Citus
/// alone takes five. That is why this library takes one, for all of its own.
pub fn on_relation_change(changed: fn(Oid)) {
    let is_first = RELATION_CHANGES.with_borrow_mut(|all| {
        all.push(changed);
        all.len() == 1
    });
    if is_first {
        // SAFETY: as in `on_end`.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changes), pg_sys::Datum::from(0usize)) };
    }
}

unsafe extern "C-unwind" fn relation_changes(_: pg_sys::Datum, relation: Oid) {
    guarded(|| RELATION_CHANGES.with_borrow(|all| all.iter().for_each(|changed| changed(relation))));
}

/// Calls `changed` when an entry of this PostgreSQL cache is invalidated.
pub fn on_catalog_change(cache: i32, changed: fn()) {
    // SAFETY: as in `on_end`.
    unsafe {
        let argument = pg_sys::Datum::from(changed as Argument);
        pg_sys::CacheRegisterSyscacheCallback(cache, Some(catalog_changes), argument);
    }
}

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
unsafe extern "C-unwind" fn catalog_changes(changed: pg_sys::Datum, _: std::ffi::c_int, _: u32) {
    // SAFETY: registered with such a function by `on_catalog_change` alone.
    guarded(unsafe { std::mem::transmute::<Argument, fn()>(changed.cast_mut_ptr()) });
}

/// The number of the current subtransaction.
pub fn subtransaction() -> u32 {
    // SAFETY: reads the state of the one thread there is.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// The transaction's ID, with its epoch. It is assigned now if there is none yet.
pub fn full_id() -> u64 {
    // SAFETY: raises an error where none can be given.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// Microseconds since 1970, by the wall clock.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    crate::pg::datum::micros(crate::pg::datum::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() }))
}

/// When the client sent the statement that runs, as PostgreSQL counts time.
pub fn statement_began() -> i64 {
    // SAFETY: reads the state of the one thread there is.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// Whole seconds since 1970, by the wall clock.
pub fn now_in_seconds() -> i64 {
    now().div_euclid(1_000_000)
}

/// Sleeps for that time. Raises PostgreSQL's error (57014, 57P01) if the statement is cancelled or
/// the session is ended.
pub fn sleep(milliseconds: i64) {
    pgrx::check_for_interrupts!();
    // SAFETY: sleeps.
    unsafe { pg_sys::pg_usleep(milliseconds * 1000) };
}

/// Raises PostgreSQL's error (57014, 57P01) if the statement is cancelled or the session is ended.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Whether this server is a standby, or still recovering.
pub fn is_in_recovery() -> bool {
    // SAFETY: asks the state of the server.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether this transaction can change a row that others change too, without an error: it may write,
/// and each of its statements sees what was committed before.
pub fn may_update() -> bool {
    // SAFETY: reads variables of the one thread there is.
    let (read_only, isolation) = unsafe { (pg_sys::XactReadOnly, pg_sys::XactIsoLevel) };
    !read_only && isolation <= pg_sys::XACT_READ_COMMITTED as i32 && !is_in_recovery()
}

/// Refuses a command on a standby (25006); `what` is named in the message.
pub fn refuse_in_recovery(what: &std::ffi::CStr) {
    // SAFETY: a C string.
    unsafe { pg_sys::PreventCommandDuringRecovery(what.as_ptr()) };
}

/// Raises PostgreSQL's error (25006) in a read-only transaction and on a standby. The message names
/// `command`.
pub fn require_writable(command: &CStr) {
    // SAFETY: a C string.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandDuringRecovery(command.as_ptr());
    }
}

/// Runs `body` with one new snapshot, which sees what this transaction has written and what others have committed by
/// now.
pub fn with_new_snapshot<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: pushed, and then popped; after an error PostgreSQL pops it.
    unsafe {
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let done = body();
        pg_sys::PopActiveSnapshot();
        done
    }
}

/// Runs `body`, which writes before the transaction commits, also if the transaction has become read-only after it had
/// written, and with the triggers of a session that is no replica. What deferred triggers wait for afterwards is done, and
/// portals are closed, as PostgreSQL did before.
pub fn write_before_commit(is_prepared: bool, body: impl FnOnce()) {
    struct Restored(bool, i32);
    impl Drop for Restored {
        fn drop(&mut self) {
            // SAFETY: plain writes to memory, also while unwinding.
            unsafe { (pg_sys::XactReadOnly, pg_sys::SessionReplicationRole) = (self.0, self.1) };
        }
    }
    // SAFETY: variables of the one thread there is. The top transaction owns what is left of its portals.
    let _restored = unsafe {
        pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
        let before = Restored(pg_sys::XactReadOnly, pg_sys::SessionReplicationRole);
        pg_sys::XactReadOnly = false;
        pg_sys::SessionReplicationRole = pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32;
        before
    };
    with_new_snapshot(body);
    // SAFETY: the transaction is about to end, and no query is running.
    unsafe {
        loop {
            pg_sys::AfterTriggerFireDeferred();
            if !pg_sys::PreCommit_Portals(is_prepared) {
                break;
            }
        }
    }
}

/// Refuses (25001) what needs a new snapshot for each statement in a transaction that has one for all. The message
/// names `what`.
pub fn require_read_committed(what: &str) {
    // SAFETY: reads a variable of the one thread there is.
    if unsafe { pg_sys::XactIsoLevel } > pg_sys::XACT_READ_COMMITTED as i32 {
        crate::pg::error::Fault::new(
            crate::pg::error::Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
            format!("{what} needs the isolation level READ COMMITTED"),
        )
        .hint("SET default_transaction_isolation = 'read committed'.")
        .raise()
    }
}
