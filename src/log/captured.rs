//! Whether the events that are recorded now are row changes that were captured in tables of others. The room capture
//! records them with the owner's rights, but they are not the log's own: what is reserved for the log is refused, and the
//! chains count. The session's settings do not apply to them, and of all limits only those of the format do, because no
//! value in a row may make its change fail.
//!
//! Triggers on the log may record events of their own meanwhile, and so may the log itself. They run deeper than the
//! trigger that fires for a captured change, and are no captured changes.

use crate::pg::trigger::depth;
use std::cell::Cell;

thread_local! {
    /// How deep the triggers run that fire for captured changes, while these are recorded.
    static APPENDING: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Sets it to a value, and back when this is dropped.
struct Restored(Option<i32>);

impl Restored {
    fn after(value: Option<i32>) -> Restored {
        Restored(APPENDING.replace(value))
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        APPENDING.set(self.0);
    }
}

/// Runs `body`, which records captured changes.
pub fn appending<T>(body: impl FnOnce() -> T) -> T {
    let _restored = Restored::after(Some(depth() + 1));
    body()
}

/// Whether captured changes are being recorded.
pub fn are_appended() -> bool {
    APPENDING.get().is_some_and(|own| own == depth())
}
