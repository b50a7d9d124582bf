//! The statement that runs: what it is, and how deep it is inside of others. A function, a trigger or an event trigger runs
//! statements inside of the one that the session began.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use std::cell::Cell;

/// The innermost statement. PostgreSQL keeps a query's description for as long as the query runs.
#[derive(Clone, Copy)]
struct Running {
    depth: u32,
    query: *const pg_sys::QueryDesc,
}

/// What was to be called before this module was.
#[derive(Clone, Copy)]
struct Next {
    run: pg_sys::ExecutorRun_hook_type,
    finish: pg_sys::ExecutorFinish_hook_type,
}

#[derive(Clone, Copy)]
struct NextOfOthers {
    plan: pg_sys::planner_hook_type,
    utility: pg_sys::ProcessUtility_hook_type,
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running { depth: 0, query: std::ptr::null() }) };
    static NEXT: Cell<Next> = const { Cell::new(Next { run: None, finish: None }) };
    static NEXT_OF_OTHERS: Cell<Option<NextOfOthers>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded. That may be while a statement is set up, which then is seen to run, or by the
/// triggers of one, which then is seen only to finish.
pub fn register() {
    // SAFETY: variables of the one thread there is. The library is never unloaded.
    unsafe {
        NEXT.set(Next { run: pg_sys::ExecutorRun_hook, finish: pg_sys::ExecutorFinish_hook });
        pg_sys::ExecutorRun_hook = Some(run);
        pg_sys::ExecutorFinish_hook = Some(finish);
    }
}

/// The query that runs, or whose AFTER triggers run; None if the library was loaded after it began.
pub(super) fn running() -> Option<*const pg_sys::QueryDesc> {
    let query = RUNNING.get().query;
    (!query.is_null()).then_some(query)
}

/// How many statements run now, one inside the other. Those count that began since this was first asked, and queries that
/// began before; only a comparison of two depths means something. Most sessions never ask, and pay nothing for the count of
/// what is not a query.
pub fn depth() -> u32 {
    if NEXT_OF_OTHERS.get().is_none() {
        // SAFETY: as in register().
        unsafe {
            NEXT_OF_OTHERS.set(Some(NextOfOthers { plan: pg_sys::planner_hook, utility: pg_sys::ProcessUtility_hook }));
            pg_sys::planner_hook = Some(plan);
            pg_sys::ProcessUtility_hook = Some(utility);
        }
    }
    RUNNING.get().depth
}

/// One statement more, until it is dropped: also when the statement fails.
struct Inner {
    outer: Running,
}

impl Inner {
    /// None is what is no query of its own.
    fn begin(query: Option<*const pg_sys::QueryDesc>) -> Inner {
        let outer = RUNNING.get();
        RUNNING.set(Running { depth: outer.depth + 1, query: query.unwrap_or(outer.query) });
        Inner { outer }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        RUNNING.set(self.outer);
    }
}

/// The planner evaluates functions of others too: those of constants, in the expressions of indexes.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    options: std::ffi::c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    let _inner = Inner::begin(None);
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT_OF_OTHERS.get().and_then(|next| next.plan) {
            Some(next) => pg_guard_ffi_boundary(|| next(query, text, options, parameters)),
            None => pg_sys::standard_planner(query, text, options, parameters),
        }
    }
}

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    once: bool,
) {
    let _inner = Inner::begin(Some(query));
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().run {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count, once)),
            None => pg_sys::standard_ExecutorRun(query, direction, count, once),
        }
    }
}

#[cfg(feature = "pg18")]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64) {
    let _inner = Inner::begin(Some(query));
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().run {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count)),
            None => pg_sys::standard_ExecutorRun(query, direction, count),
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn finish(query: *mut pg_sys::QueryDesc) {
    let _inner = Inner::begin(Some(query));
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().finish {
            Some(next) => pg_guard_ffi_boundary(|| next(query)),
            None => pg_sys::standard_ExecutorFinish(query),
        }
    }
}

#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const std::ffi::c_char,
    is_kept: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let _inner = Inner::begin(None);
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT_OF_OTHERS.get().and_then(|next| next.utility) {
            Some(next) => pg_guard_ffi_boundary(|| {
                next(statement, text, is_kept, context, parameters, environment, receiver, completion);
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                is_kept,
                context,
                parameters,
                environment,
                receiver,
                completion,
            ),
        }
    }
}
