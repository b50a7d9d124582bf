//! A row taken apart into its values.

use pgrx::pg_sys::{self, Datum};

pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, place: usize) -> *const pg_sys::FormData_pg_attribute {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    {
        (*descriptor).attrs.as_ptr().add(place)
    }
    #[cfg(feature = "pg18")]
    {
        pg_sys::TupleDescAttr(descriptor, place as i32)
    }
}

/// A tuple taken apart.
pub struct Values {
    pub values: Vec<Datum>,
    pub nulls: Vec<bool>,
}

impl Values {
    pub unsafe fn of(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Values {
        let mut taken = Values::empty(descriptor);
        taken.take_apart(tuple, descriptor);
        taken
    }

    /// Places for the values of the descriptor's tuples.
    pub unsafe fn empty(descriptor: pg_sys::TupleDesc) -> Values {
        let width = (*descriptor).natts as usize;
        Values { values: vec![Datum::from(0usize); width], nulls: vec![true; width] }
    }

    /// Takes another tuple of the descriptor apart.
    pub unsafe fn take_apart(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) {
        pg_sys::heap_deform_tuple(tuple, descriptor, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
    }
}
