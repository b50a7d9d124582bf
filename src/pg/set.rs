//! Functions that return a set of rows: all at once into a tuplestore, which goes to disk where work_mem does not hold it, or
//! one by one.

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::tuple::Tuple;
use pgrx::pg_sys;
use std::marker::PhantomData;

/// The rows that a call returns.
pub struct Rows<'c>(*mut pg_sys::ReturnSetInfo, PhantomData<&'c ()>);

impl<'c> Call<'c> {
    /// Begins a set of rows of the type that the function is declared to return. The function itself then returns NULL.
    pub fn rows(self) -> Rows<'c> {
        // SAFETY: raises an error where the caller takes no set.
        unsafe {
            pg_sys::InitMaterializedSRF(self.raw(), 0);
            Rows((*self.raw()).resultinfo.cast(), PhantomData)
        }
    }
}

impl Rows<'_> {
    /// Adds a row of these values.
    pub fn put(&mut self, row: &[Option<Datum>]) {
        let mut values: Vec<pg_sys::Datum> =
            row.iter().map(|value| value.map_or(pg_sys::Datum::from(0usize), Datum::raw)).collect();
        let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
        // SAFETY: the store and its descriptor live as long as the call; the width is checked.
        unsafe {
            assert_eq!((*(*self.0).setDesc).natts as usize, row.len(), "a set has other columns than declared");
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
}
