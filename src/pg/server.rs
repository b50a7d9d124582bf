//! The server: which cluster it runs, and which database and process of it this is.

use pgrx::pg_sys::{self, Oid};

/// The number of the cluster, as pg_control_system() has it; the same in a copy of its files.
pub fn system_identifier() -> u64 {
    // SAFETY: reads what was read at the server's start.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// The timeline that is written to. Not to be asked on a standby, which writes to none.
pub fn timeline() -> u32 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// This process's database.
pub fn database() -> Oid {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::MyDatabaseId }
}

/// The number of this process.
pub fn process() -> u32 {
    // SAFETY: reads a variable of the one thread there is.
    unsafe { pg_sys::MyProcPid }.unsigned_abs()
}
