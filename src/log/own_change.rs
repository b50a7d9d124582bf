//! Changes that the log itself makes to its tables: it moves events into segments, drops emptied ones, and prunes. The
//! guards refuse the same to everybody else.
//!
//! PostgreSQL may run code of others inside of such a statement: a trigger, an event trigger, or a function in an index
//! or in a CHECK. So what passes is the statement itself, and not a statement that is run inside of it.

use crate::pg::statement::depth;
use std::cell::Cell;

thread_local! {
    /// How deep the log's own statements are, while there are any.
    static CHANGING: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs `body`, a statement or a few of the log's own, which the guards let pass.
pub fn by_log<T>(body: impl FnOnce() -> T) -> T {
    struct Restored(Option<u32>);
    impl Drop for Restored {
        fn drop(&mut self) {
            CHANGING.set(self.0);
        }
    }
    let _restored = Restored(CHANGING.replace(Some(depth() + 1)));
    body()
}

/// Whether such a statement runs, perhaps with one of somebody else's inside of it.
pub fn is_running() -> bool {
    CHANGING.get().is_some()
}

/// Whether a statement of the log's own is what changes its tables now.
pub fn is_by_log() -> bool {
    CHANGING.get().is_some_and(|own| own == depth())
}
