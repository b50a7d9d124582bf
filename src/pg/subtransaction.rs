//! Subtransactions, for code whose errors are not to abort the transaction.

#![allow(unsafe_code)]

use crate::pg::error::{self, Code};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{pg_sys, PgTryBuilder};

/// An error that was caught.
pub struct Refused {
    pub code: Code,
    pub message: String,
    pub field: Option<String>,
    pub hint: Option<String>,
}

/// Runs `body` in a subtransaction. `is_caught` says, from the code of an error and whether it
/// names a field, whether the error is caught; a caught error rolls back only the subtransaction.
pub fn attempt<T>(body: impl FnOnce() -> T, is_caught: fn(Code, bool) -> bool) -> Result<T, Refused> {
    error::take_field();
    // SAFETY: begun, and then released or rolled back, in this order; what PostgreSQL changes
    // besides is put back.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let answer = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        let done = body();
        // SAFETY: begun above.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        Ok(done)
    }))
    .catch_others(|caught| {
        let field = error::take_field();
        // SAFETY: begun above.
        unsafe {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
        let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = &caught else { caught.rethrow() };
        let code = report.sql_error_code();
        if !is_caught(code, field.is_some()) {
            caught.rethrow()
        }
        Err(Refused { code, message: report.message().to_string(), field, hint: report.hint().map(str::to_string) })
    })
    .execute();
    // SAFETY: what was current before.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    }
    answer
}

/// The five characters of a code.
pub fn sqlstate(code: Code) -> String {
    let mut packed = code as u32;
    (0..5)
        .map(|_| {
            let character = char::from((packed & 0x3F) as u8 + b'0');
            packed >>= 6;
            character
        })
        .collect()
}
