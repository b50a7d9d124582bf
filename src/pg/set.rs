//! Functions that return a set of rows: all at once in a tuplestore, which goes to disk if it
//! exceeds work_mem, or one by one.

#![allow(unsafe_code)]

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::error::internal;
use crate::pg::memory::Memory;
use crate::pg::transaction::guarded;
use crate::pg::tuple::{CopiedTuple, Tuple};
use pgrx::pg_sys;
use std::marker::PhantomData;

/// The rows that a call returns.
pub struct Rows<'c>(*mut pg_sys::ReturnSetInfo, PhantomData<&'c ()>);

impl<'c> Call<'c> {
    /// Begins a set of rows of the type that the function is declared to return. The function
    /// itself then returns NULL.
    pub fn rows(self) -> Rows<'c> {
        // SAFETY: raises an error where the caller takes no set.
        unsafe {
            pg_sys::InitMaterializedSRF(self.raw(), 0);
            Rows((*self.raw()).resultinfo.cast(), PhantomData)
        }
    }
}

impl Rows<'_> {
    /// How many columns the function declares.
    pub fn width(&self) -> usize {
        // SAFETY: the descriptor lives as long as the call.
        unsafe { (*(*self.0).setDesc).natts as usize }
    }

    /// Adds a row of these values.
    pub fn put(&mut self, row: &[Option<Datum>]) {
        let mut values: Vec<pg_sys::Datum> =
            row.iter().map(|value| value.map_or(pg_sys::Datum::from(0usize), Datum::raw)).collect();
        let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
        // SAFETY: the store and its descriptor live as long as the call; the width is checked.
        unsafe {
            assert_eq!(self.width(), row.len(), "a set has other columns than declared");
            pg_sys::tuplestore_putvalues(
                (*self.0).setResult,
                (*self.0).setDesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }

    /// Adds a row that a query has selected with the columns of the declared type.
    pub fn put_tuple(&mut self, tuple: Tuple<'_>) {
        // SAFETY: the store lives as long as the call, and copies the row.
        unsafe { pg_sys::tuplestore_puttuple((*self.0).setResult, tuple.raw()) };
    }

    /// Adds a copy of such a row.
    pub fn put_copied(&mut self, row: &CopiedTuple) {
        // SAFETY: the store lives as long as the call, and copies the row.
        unsafe { pg_sys::tuplestore_puttuple((*self.0).setResult, row.raw()) };
    }
}

/// The state of a set that is returned one value at a time. It is kept from call to call, and is
/// dropped with the query that asks for the set, even after an error.
pub trait Series: 'static {
    /// The next value; None after the last.
    fn next<'c>(&mut self, memory: Memory<'c>) -> Option<Datum<'c>>;

    /// Called after the last value, or when the query ends before it. It is not called after an
    /// error.
    fn close(&mut self);
}

/// What is kept of a set from call to call. The box makes it a thin pointer for PostgreSQL.
type Kept = Box<dyn Series>;

impl<'c> Call<'c> {
    /// Answers a call of a function that returns a set one value at a time. `begin` makes the state
    /// at the first call. Raises 0A000 if the caller does not accept a set.
    pub fn series<S: Series>(self, begin: impl FnOnce() -> S) -> Datum<'c> {
        let fcinfo = self.raw();
        // SAFETY: PostgreSQL's own way of such functions. What `fn_extra` has is made here, because
        // `Call::once` refuses functions that return a set. The state is in the memory that lives
        // from call to call, and is dropped with that.
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if (*(*fcinfo).flinfo).fn_extra.is_null() {
                let context = pg_sys::init_MultiFuncCall(fcinfo);
                let state: Kept = Box::new(begin());
                let kept = pgrx::PgMemoryContexts::For((*context).multi_call_memory_ctx).leak_and_drop_on_delete(state);
                (*context).user_fctx = kept.cast();
                let kept = pg_sys::Datum::from(kept);
                pg_sys::RegisterExprContextCallback((*info).econtext, Some(query_ends), kept);
            }
            let context = pg_sys::per_MultiFuncCall(fcinfo);
            let kept = (*context).user_fctx.cast::<Kept>();
            if kept.is_null() {
                internal("a set was not begun")
            }
            if let Some(value) = (*kept).next(self.memory()) {
                (*info).isDone = pg_sys::ExprDoneCond::ExprMultipleResult;
                return value;
            }
            (*kept).close();
            pg_sys::UnregisterExprContextCallback((*info).econtext, Some(query_ends), pg_sys::Datum::from(kept));
            pg_sys::end_MultiFuncCall(fcinfo, context);
            (*info).isDone = pg_sys::ExprDoneCond::ExprEndResult;
        }
        self.null()
    }
}

/// Called when the query that asks for a set ends before the last value. PostgreSQL calls the
/// callbacks in reverse order, so the state still exists.
unsafe extern "C-unwind" fn query_ends(kept: pg_sys::Datum) {
    // SAFETY: registered with such a state by `Call::series` alone.
    guarded(|| unsafe { (*kept.cast_mut_ptr::<Kept>()).close() });
}
