//! Background workers: a process that is always there, which starts another one for each piece of
//! work in a database. A worker can connect to one database in its life, and a process that stayed
//! connected would keep the database from being dropped.

#![allow(unsafe_code)]

use crate::pg::datum::text;
use crate::pg::role;
use crate::pg::spi::{self, Arg};
use pgrx::pg_sys;
use std::ffi::{c_char, c_int, CStr, CString};
use std::time::{Duration, Instant};

/// Exports `$body` (a `fn()`) as the function `$name` that a background worker starts with.
macro_rules! background_worker {
    ($name:ident, $body:expr) => {
        // Exported under a name that PostgreSQL looks for, which counts as unsafe.
        #[allow(unsafe_code)]
        const _: () = {
            #[no_mangle]
            #[pgrx::pg_guard]
            pub extern "C-unwind" fn $name(argument: pgrx::pg_sys::Datum) {
                let _ = argument;
                $crate::pg::worker::begin();
                $crate::pg::error::contain($body)
            }
        };
    };
}
pub(crate) use background_worker;

/// What PostgreSQL calls the workers' library.
const LIBRARY: &CStr = c"immutable";

/// After how many seconds the process that is always there is started anew if it ended.
const RESTARTED_AFTER: c_int = 60;

extern "C-unwind" {
    // As pointers; pgrx has wrappers of them, which PostgreSQL cannot call.
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
}

/// Sets the signal handlers of a worker.
pub fn begin() {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    use pg_sys::pqsignal;
    #[cfg(feature = "pg18")]
    use pg_sys::pqsignal_be as pqsignal;
    // SAFETY: PostgreSQL's own handlers, which set flags.
    unsafe {
        pqsignal(pg_sys::SIGHUP as c_int, Some(SignalHandlerForConfigReload));
        pqsignal(pg_sys::SIGTERM as c_int, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Copies a text into an array of C, with a NUL behind it; what does not fit is cut off.
fn copy<const N: usize>(text: &[u8], into: &mut [c_char; N]) {
    for (to, from) in into.iter_mut().take(N - 1).zip(text) {
        *to = *from as c_char;
    }
}

/// Describes a worker that starts with `function` once the server is no standby.
fn described(name: &str, function: &CStr) -> pg_sys::BackgroundWorker {
    // SAFETY: a struct of C that is valid when it is all zeros.
    let mut worker: pg_sys::BackgroundWorker = unsafe { std::mem::zeroed() };
    copy(name.as_bytes(), &mut worker.bgw_name);
    copy(b"immutable maintenance", &mut worker.bgw_type);
    copy(LIBRARY.to_bytes(), &mut worker.bgw_library_name);
    copy(function.to_bytes(), &mut worker.bgw_function_name);
    worker.bgw_flags = (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
    worker
}

/// Registers the worker that is always there, if the server loads the library when it starts. Called
/// from `_PG_init`.
pub fn register(name: &str, function: &CStr) {
    // SAFETY: reads a variable of the one thread there is.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    let mut worker = described(name, function);
    worker.bgw_restart_time = RESTARTED_AFTER;
    // SAFETY: PostgreSQL copies it.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

/// A worker that was started.
pub struct Started(*mut pg_sys::BackgroundWorkerHandle);

/// Starts a worker and gives it a text of at most 127 bytes. None if the server has no place for
/// another worker.
pub fn start(name: &str, function: &CStr, given: &CStr) -> Option<Started> {
    let mut worker = described(name, function);
    copy(given.to_bytes(), &mut worker.bgw_extra);
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    let mut handle = std::ptr::null_mut();
    // SAFETY: PostgreSQL copies it, and allocates the handle in memory that lives as long as the process.
    unsafe {
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let is_registered = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
        pg_sys::MemoryContextSwitchTo(before);
        is_registered.then_some(Started(handle))
    }
}

impl Started {
    /// Waits until it has ended; false if the server has ended meanwhile. Raises PostgreSQL's error if
    /// this worker is to end.
    pub fn wait(self) -> bool {
        // SAFETY: a handle that `start` gave, which nothing else has.
        unsafe {
            let status = pg_sys::WaitForBackgroundWorkerShutdown(self.0);
            pg_sys::pfree(self.0.cast());
            status == pg_sys::BgwHandleStatus::BGWH_STOPPED
        }
    }
}

/// The text that this worker was given.
pub fn given() -> CString {
    // SAFETY: the entry of a worker, whose text ends with a NUL.
    unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) }.to_owned()
}

/// Sleeps until the time that `until` gives, which is asked again when the server's files have been read
/// again. Raises PostgreSQL's error if this worker is to end.
pub fn sleep_until(mut until: impl FnMut() -> Instant) {
    loop {
        pgrx::check_for_interrupts!();
        // SAFETY: waits on the worker's own latch, and reads files as every backend does.
        unsafe {
            if pg_sys::ConfigReloadPending != 0 {
                pg_sys::ConfigReloadPending = 0;
                pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            }
        }
        let left = until().saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return;
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let milliseconds = left.as_millis().clamp(1, 3_600_000) as std::ffi::c_long;
        // SAFETY: as above.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, milliseconds, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
}

/// Connects to no database, but to what all databases share.
pub fn connect_to_none() {
    // SAFETY: a worker that is not connected yet.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
}

/// Connects to a database as the superuser that made the cluster. Ends the process if that cannot be.
pub fn connect(database: &CStr) {
    // SAFETY: a worker that is not connected yet, and a C string.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(database.as_ptr(), std::ptr::null(), 0) };
}

/// Runs `body` in a transaction of its own.
pub fn in_transaction<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: begun and committed in this order; after an error the process ends.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let done = body();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        done
    }
}

/// Whether there is a database of this name. The whole catalog is read, because a process without a
/// database may have no index of it.
pub fn has_database(name: &CStr) -> bool {
    // SAFETY: rows of pg_database, which begin as its struct says. The scan and the table are closed
    // in their order.
    in_transaction(|| unsafe {
        let table = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as c_int);
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(table, pg_sys::InvalidOid, false, std::ptr::null_mut(), 0, none);
        let mut found = false;
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() || found {
                break;
            }
            let header = (*tuple).t_data;
            let row: *const pg_sys::FormData_pg_database = header.byte_add((*header).t_hoff as usize).cast();
            found = CStr::from_ptr((*row).datname.data.as_ptr()) == name;
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, pg_sys::AccessShareLock as c_int);
        found
    })
}

/// The version of an extension of this database.
pub fn extension_version(name: &CStr) -> Option<String> {
    let mut version = None;
    in_transaction(|| {
        let statement = "SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) $1";
        spi::read(statement, &[Arg::text(name.to_string_lossy())], |row| {
            version = row.at(0).map(|version| text(version).to_string());
        });
    });
    version
}

/// Becomes another role for the rest of the session. False if there is no such role.
pub fn become_role(name: &CStr) -> bool {
    in_transaction(|| {
        let Some(role) = role::by_name(name) else { return false };
        // SAFETY: a role that there is; the session is a superuser's.
        unsafe { pg_sys::SetSessionAuthorization(role, false) };
        true
    })
}

/// Gives one command as a client would, in transactions that it may end itself.
pub fn command(command: &'static CStr) {
    // SAFETY: what the server's main loop does with a simple query, in its order. The tree lives as
    // long as the process, because the command may end transactions. An error ends the process.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::debug_query_string = command.as_ptr();
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, command.as_ptr());
        pg_sys::StartTransactionCommand();
        pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let parsed = pg_sys::pg_parse_query(command.as_ptr());
        let tree: *mut pg_sys::RawStmt = pg_sys::list_nth(parsed, 0).cast();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let none = std::ptr::null_mut();
        let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(tree, command.as_ptr(), std::ptr::null(), 0, none);
        let plans = pg_sys::pg_plan_queries(queries, command.as_ptr(), 0, std::ptr::null_mut());
        pg_sys::PopActiveSnapshot();
        let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        let tag = pg_sys::CreateCommandTag((*tree).stmt);
        let null = std::ptr::null_mut();
        pg_sys::PortalDefineQuery(portal, std::ptr::null(), command.as_ptr(), tag, plans, std::ptr::null_mut());
        pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, null);
        let receiver = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        let all = std::ffi::c_long::MAX;
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pg_sys::PortalRun(portal, all, true, true, receiver, receiver, std::ptr::null_mut());
        #[cfg(feature = "pg18")]
        pg_sys::PortalRun(portal, all, true, receiver, receiver, std::ptr::null_mut());
        pg_sys::PortalDrop(portal, false);
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(true);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
        pg_sys::debug_query_string = std::ptr::null();
    }
}
