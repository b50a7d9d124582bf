//! The transition tables of an AFTER trigger for a statement: the rows that the statement changed, as they were and as
//! they are. They are read where PostgreSQL keeps them, without SQL and without a copy.

#![allow(unsafe_code)]

use crate::pg::memory::Memory;
use crate::pg::transaction::check_for_interrupts;
use crate::pg::trigger::TriggerCall;
use crate::pg::tuple::{Descriptor, Tuple};
use pgrx::pg_sys;
use std::marker::PhantomData;

/// A transition table, read from its first row on. All triggers of a statement read the same one, each in a place of
/// its own.
pub struct TransitionTable<'c> {
    store: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
    descriptor: Descriptor<'c>,
    call: PhantomData<&'c ()>,
}

impl<'c> TriggerCall<'c> {
    /// The rows before the statement; None if the trigger has no transition table for them.
    pub fn old_table(self) -> Option<TransitionTable<'c>> {
        self.table(self.data().tg_oldtable)
    }

    /// The rows after the statement; None if the trigger has no transition table for them.
    pub fn new_table(self) -> Option<TransitionTable<'c>> {
        self.table(self.data().tg_newtable)
    }

    fn table(self, store: *mut pg_sys::Tuplestorestate) -> Option<TransitionTable<'c>> {
        if store.is_null() {
            return None;
        }
        let descriptor = self.relation().descriptor();
        // SAFETY: the table lives as long as the call, and nothing is added to it once a trigger has got it. A new read
        // pointer is where the first one is, so it is put at the beginning. The slot is dropped with this table.
        let slot = self.call.memory().within(|| unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            pg_sys::MakeSingleTupleTableSlot(descriptor.raw(), &pg_sys::TTSOpsMinimalTuple)
        });
        Some(TransitionTable { store, slot, descriptor, call: PhantomData })
    }
}

impl TransitionTable<'_> {
    /// How many rows it has.
    pub fn count(&self) -> i64 {
        // SAFETY: the table is alive.
        unsafe { pg_sys::tuplestore_tuple_count(self.store) }
    }

    /// Begins again at the first row.
    pub fn rewind(&mut self) {
        // SAFETY: the table is alive. Nobody else reads it before this trigger has ended.
        unsafe { pg_sys::tuplestore_rescan(self.store) };
    }

    /// Goes to the next row; false if there is none. Raises PostgreSQL's error (57014, 57P01) if the statement is
    /// cancelled or the session is ended.
    pub fn advance(&mut self) -> bool {
        check_for_interrupts();
        // SAFETY: the table and the slot are alive. A row that is read from disk is made in the current context, and
        // freed by the slot when it gets the next one.
        unsafe { pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot) }
    }

    /// The row that it is at. Values that are detoasted are detoasted in this memory.
    pub fn row<'t>(&'t self, memory: Memory<'t>) -> Tuple<'t> {
        let slot = self.slot.cast::<pg_sys::MinimalTupleTableSlot>();
        // SAFETY: a slot for minimal tuples, which has the row as a heap tuple too. It stays until the slot gets
        // another one, which takes a mutable reference.
        unsafe {
            assert!((*slot).base.tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 == 0, "a transition table is at no row");
            Tuple::of((*slot).tuple, self.descriptor, memory)
        }
    }
}

impl Drop for TransitionTable<'_> {
    fn drop(&mut self) {
        // After an error PostgreSQL lets go of it with the transaction.
        if !std::thread::panicking() {
            // SAFETY: made by table(), and used by nobody else.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
        }
    }
}
