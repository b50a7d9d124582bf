//! Memory contexts. An allocation lives as long as its context, which a lifetime stands for.

#![allow(unsafe_code)]

use pgrx::pg_sys;
use std::marker::PhantomData;

/// A memory context that lives as long as `'m`.
#[derive(Clone, Copy)]
pub struct Memory<'m>(pg_sys::MemoryContext, PhantomData<&'m ()>);

impl<'m> Memory<'m> {
    /// The current context.
    ///
    /// # Safety
    /// It must live as long as `'m`.
    pub(in crate::pg) unsafe fn current() -> Memory<'m> {
        // SAFETY: reads a variable of the one thread there is.
        Memory(unsafe { pg_sys::CurrentMemoryContext }, PhantomData)
    }

    /// # Safety
    /// The context must live as long as `'m`.
    pub(in crate::pg) unsafe fn of(context: pg_sys::MemoryContext) -> Memory<'m> {
        Memory(context, PhantomData)
    }

    /// The memory for values that are passed by value, which need none.
    pub(in crate::pg) const fn none() -> Memory<'static> {
        Memory(std::ptr::null_mut(), PhantomData)
    }

    /// Runs `body` with this as the current context.
    pub fn within<T>(self, body: impl FnOnce() -> T) -> T {
        if self.0.is_null() {
            return body();
        }
        // SAFETY: the context is alive. After an error PostgreSQL sets the current context itself.
        let before = unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
        let done = body();
        // SAFETY: it was the current one a moment ago, and `body` cannot have outlived it.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
        done
    }
}

/// Runs `body` with the current context, which lives while `body` runs.
pub fn here<T>(body: impl for<'t> FnOnce(Memory<'t>) -> T) -> T {
    // SAFETY: nothing deletes the current context while code runs in it.
    body(unsafe { Memory::current() })
}

/// A new context inside the current one, which its user empties. It is deleted with the context
/// that contains it.
pub struct ScratchContext(pg_sys::MemoryContext);

impl ScratchContext {
    /// Creates the context inside the current one.
    pub fn new() -> ScratchContext {
        // SAFETY: the current context is alive.
        ScratchContext(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"immutable row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Runs `body` in it, then empties it.
    pub fn once<T>(&self, body: impl for<'t> FnOnce(Memory<'t>) -> T) -> T {
        // SAFETY: it is emptied only after `body`, whose result cannot have borrowed from it.
        let memory = unsafe { Memory::of(self.0) };
        let done = memory.within(|| body(memory));
        // SAFETY: nothing in it is referred to any longer.
        unsafe { pg_sys::MemoryContextReset(self.0) };
        done
    }
}
