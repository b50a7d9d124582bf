//! How deep the running statement is: whether it is one that the session began, or one that a function, a trigger or an
//! event trigger runs inside of another. Counting begins when it is first asked for, so that most sessions pay nothing.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static NEXT: Cell<Option<Next>> = const { Cell::new(None) };
}

/// What was to be called before counting began.
#[derive(Clone, Copy)]
struct Next {
    plan: pg_sys::planner_hook_type,
    run: pg_sys::ExecutorRun_hook_type,
    finish: pg_sys::ExecutorFinish_hook_type,
    utility: pg_sys::ProcessUtility_hook_type,
}

/// One statement more, until it is dropped: also when the statement fails.
struct Deeper;

impl Deeper {
    fn begin() -> Deeper {
        DEPTH.set(DEPTH.get() + 1);
        Deeper
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// How many statements run now, one inside the other, of those that began since counting did.
pub fn depth() -> u32 {
    if NEXT.get().is_none() {
        // SAFETY: variables of the one thread there is. The library is never unloaded.
        unsafe {
            NEXT.set(Some(Next {
                plan: pg_sys::planner_hook,
                run: pg_sys::ExecutorRun_hook,
                finish: pg_sys::ExecutorFinish_hook,
                utility: pg_sys::ProcessUtility_hook,
            }));
            pg_sys::planner_hook = Some(plan);
            pg_sys::ExecutorRun_hook = Some(run);
            pg_sys::ExecutorFinish_hook = Some(finish);
            pg_sys::ProcessUtility_hook = Some(utility);
        }
    }
    DEPTH.get()
}

/// The planner evaluates functions of others too: those of constants, in the expressions of indexes.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    options: std::ffi::c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    let _deeper = Deeper::begin();
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().and_then(|next| next.plan) {
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
    let _deeper = Deeper::begin();
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().and_then(|next| next.run) {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count, once)),
            None => pg_sys::standard_ExecutorRun(query, direction, count, once),
        }
    }
}

#[cfg(feature = "pg18")]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64) {
    let _deeper = Deeper::begin();
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().and_then(|next| next.run) {
            Some(next) => pg_guard_ffi_boundary(|| next(query, direction, count)),
            None => pg_sys::standard_ExecutorRun(query, direction, count),
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn finish(query: *mut pg_sys::QueryDesc) {
    let _deeper = Deeper::begin();
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().and_then(|next| next.finish) {
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
    let _deeper = Deeper::begin();
    // SAFETY: passes on what PostgreSQL gave.
    unsafe {
        match NEXT.get().and_then(|next| next.utility) {
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
