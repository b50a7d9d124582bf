//! The extension, as PostgreSQL knows it.

#![allow(unsafe_code)]

use pgrx::pg_sys::{self, Oid};

/// Restores the previous state when it is dropped.
struct Restored(bool, Oid);

impl Drop for Restored {
    fn drop(&mut self) {
        // SAFETY: plain memory writes in the one thread there is, also while unwinding.
        unsafe { (pg_sys::creating_extension, pg_sys::CurrentExtensionObject) = (self.0, self.1) };
    }
}

/// Runs `body` as the extension's own script, which may change the extension's objects. Raises
/// 42704 if there is no extension `immutable`.
pub fn as_own_script<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: reads variables of the one thread there is, and looks a name up.
    let (before, extension) = unsafe {
        let before = Restored(pg_sys::creating_extension, pg_sys::CurrentExtensionObject);
        (before, pg_sys::get_extension_oid(c"immutable".as_ptr(), false))
    };
    // SAFETY: sets variables of the one thread there is.
    unsafe { (pg_sys::creating_extension, pg_sys::CurrentExtensionObject) = (true, extension) };
    let done = body();
    drop(before);
    done
}
