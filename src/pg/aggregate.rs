//! The state of an aggregate, which PostgreSQL hands from row to row as `internal`.

#![allow(unsafe_code)]

use crate::pg::call::Call;
use crate::pg::datum::Datum;
use crate::pg::error::{internal, Code, Fault};
use crate::pg::memory::Memory;
use pgrx::pg_sys;
use std::any::TypeId;

/// A state with its type, because `internal` does not say it.
struct Tagged<T> {
    of: TypeId,
    state: T,
}

impl<'c> Call<'c> {
    /// The state that is passed at `index`; None if there is none yet.
    pub fn state<T: Copy + 'static>(self, index: usize) -> Option<T> {
        self.tagged(index).map(|tagged| tagged.state)
    }

    /// The state after one more row: the one that `begin` makes, or the previous one, which `add`
    /// changes in place.
    pub fn advance<T: Copy + 'static>(self, begin: impl FnOnce() -> T, add: impl FnOnce(&mut T)) -> Datum<'c> {
        match self.tagged::<T>(0) {
            None => self.keep(begin()),
            Some(tagged) => {
                add(&mut tagged.state);
                self.arg(0).unwrap_or_else(|| self.null())
            }
        }
    }

    /// Puts a state into memory that lives until the aggregate ends. Raises 0A000 outside of an
    /// aggregate.
    pub fn keep<T: Copy + 'static>(self, state: T) -> Datum<'c> {
        let mut context = std::ptr::null_mut();
        // SAFETY: asks whether this call is an aggregate's; the state is as large as the place for
        // it.
        unsafe {
            if pg_sys::AggCheckCallContext(self.raw(), &mut context) == 0 {
                Fault::new(
                    Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "this function can only be called as part of an aggregate",
                )
                .hint("Call immutable.verify_chain() instead.")
                .raise()
            }
            let place = pg_sys::MemoryContextAlloc(context, size_of::<Tagged<T>>()).cast::<Tagged<T>>();
            place.write(Tagged { of: TypeId::of::<T>(), state });
            Datum::new(pg_sys::Datum::from(place), Memory::of(context))
        }
    }

    fn tagged<T: 'static>(self, index: usize) -> Option<&'c mut Tagged<T>> {
        let place = self.arg(index)?.raw().cast_mut_ptr::<Tagged<T>>();
        // SAFETY: SQL cannot make an `internal`, so it is what `keep` wrote; the type is compared
        // before the state is looked at. No two references to one state are alive at once: each is
        // used and dropped before the next is asked for.
        let tagged = unsafe { &mut *place };
        if tagged.of != TypeId::of::<T>() {
            internal("the state of an aggregate is another's")
        }
        Some(tagged)
    }
}
