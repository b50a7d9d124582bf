//! The server: its cluster, and this process with its database.

#![allow(unsafe_code)]

use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The system identifier of the cluster, as pg_control_system() shows it. A copy of the files has
/// the same one.
pub fn system_identifier() -> u64 {
    // SAFETY: reads what was read at the server's start.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// The current timeline. It must not be called on a standby, which does not write.
pub fn timeline() -> u32 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// This process's database.
pub fn database() -> Oid {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::MyDatabaseId }
}

/// The server's data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: a C string that the server's start has set.
    let name = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

/// The number of this process.
pub fn process() -> u32 {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::MyProcPid }.unsigned_abs()
}

/// Whether so much of the stack is used that PostgreSQL would refuse to go deeper.
pub fn is_stack_deep() -> bool {
    // SAFETY: compares an address with a limit.
    unsafe { pg_sys::stack_is_too_deep() }
}
