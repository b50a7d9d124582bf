//! Procedures that end transactions, and the current transaction's ways.

#![allow(unsafe_code)]

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::error::{internal, Code, Fault};
use crate::pg::setting;
use crate::pg::tuple::Descriptor;
use pgrx::pg_sys;

impl<'c> Call<'c> {
    /// Refuses a procedure that ends transactions (25001) where it cannot: inside a transaction
    /// block or a function, after another statement of a pipeline, and above READ COMMITTED, where a
    /// transaction has one snapshot.
    pub fn require_own_transactions(self, procedure: &str) {
        // SAFETY: for a procedure, PostgreSQL gives a CallContext; anything else has another tag.
        let is_atomic = unsafe {
            let context = (*self.raw()).context;
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
                || pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_PIPELINING as i32 != 0
        };
        if is_atomic {
            Fault::new(
                Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
                format!("{procedure} cannot run inside a transaction block"),
            )
            .hint("Call it by itself, outside BEGIN and COMMIT, not from a function, and not behind others in a pipeline.")
            .raise()
        }
        // SAFETY: reads a variable of the one thread there is.
        if unsafe { pg_sys::XactIsoLevel } > pg_sys::XACT_READ_COMMITTED as i32 {
            Fault::new(
                Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
                format!("{procedure} needs the isolation level READ COMMITTED"),
            )
            .hint("SET default_transaction_isolation = 'read committed'.")
            .raise()
        }
    }

    /// The result of a procedure: the values of its INOUT and OUT arguments.
    pub fn out(self, values: &[Option<Datum>]) -> Datum<'c> {
        let mut descriptor = std::ptr::null_mut();
        let memory = self.memory();
        // SAFETY: PostgreSQL describes the result that the procedure is declared with; the row is
        // formed with as many values as that has columns, in the memory of the call.
        memory.within(|| unsafe {
            let kind = pg_sys::get_call_result_type(self.raw(), std::ptr::null_mut(), &mut descriptor);
            if kind != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE || Descriptor::of(descriptor).width() != values.len() {
                internal("the SQL declaration of a procedure has other results")
            }
            let mut raw: Vec<pg_sys::Datum> =
                values.iter().map(|value| value.map_or(pg_sys::Datum::from(0usize), Datum::raw)).collect();
            let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
            let tuple = pg_sys::heap_form_tuple(descriptor, raw.as_mut_ptr(), nulls.as_mut_ptr());
            Datum::new(pg_sys::heap_copy_tuple_as_datum(tuple, descriptor), memory)
        })
    }
}

/// The transactions of a procedure.
pub struct Transactions(());

impl Transactions {
    /// Commits the transaction, and begins another one. Nothing that was opened may be kept.
    #[allow(clippy::unused_self)] // only inside of `in_transactions`
    pub fn commit(&self) {
        commit();
        ignore_search_path();
    }
}

fn commit() {
    // SAFETY: the session of SPI that is open is the one of `in_transactions`, which allows it.
    // Afterwards PostgreSQL needs a snapshot to read stored values.
    unsafe {
        pg_sys::SPI_commit();
        pg_sys::EnsurePortalSnapshotExists();
    }
}

/// Keeps the caller's schemas out of the search path until the transaction ends: statements that run
/// with an owner's rights would call the caller's operators. PostgreSQL lets no procedure that ends
/// transactions have a setting of its own.
fn ignore_search_path() {
    setting::for_transaction(c"search_path", c"pg_catalog, pg_temp");
}

/// Runs the body of a procedure that passed [`Call::require_own_transactions`], and commits its last
/// transaction.
pub fn in_transactions<T>(body: impl FnOnce(&Transactions) -> T) -> T {
    // SAFETY: ended below, or by PostgreSQL after an error.
    unsafe {
        if pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) != pg_sys::SPI_OK_CONNECT as i32 {
            internal("SPI_connect_ext failed")
        }
        ignore_search_path();
        let done = body(&Transactions(()));
        commit();
        pg_sys::SPI_finish();
        done
    }
}

/// Makes this transaction's commit wait until it is on disk, whatever synchronous_commit says.
pub fn commit_durably() {
    // SAFETY: reads a variable of the one thread there is.
    let level = unsafe { pg_sys::synchronous_commit };
    if level < pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_FLUSH as i32 {
        setting::for_transaction(c"synchronous_commit", c"on");
    }
}

/// Waits until everything that was written to WAL by now is on disk.
pub fn flush() {
    // SAFETY: asks for the end of WAL, and waits for it.
    unsafe {
        let end = pg_sys::GetXLogInsertRecPtr();
        let at = end % u64::from(pg_sys::XLOG_BLCKSZ);
        let is_first_page = end % pg_sys::wal_segment_size as u64 == at;
        let header = match is_first_page {
            true => size_of::<pg_sys::XLogLongPageHeaderData>(),
            false => size_of::<pg_sys::XLogPageHeaderData>(),
        };
        // Where the last record ends with its page, this is a place behind the header of the next
        // page, and nothing was written up to there yet: to wait for it is an error.
        pg_sys::XLogFlush(if at == header as u64 { end - at } else { end });
    }
}
