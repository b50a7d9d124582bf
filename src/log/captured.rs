//! Whether the events that are recorded now are row changes that were captured in tables of others. The room capture
//! records them with the owner's rights, but they are not the log's own: what is reserved for the log is refused, and the
//! chains count. The session's settings do not apply to them, and of all limits only those of the format do, because no
//! value in a row may make its change fail.

use std::cell::Cell;

thread_local! {
    static APPENDING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`, which records captured changes.
pub fn appending<T>(body: impl FnOnce() -> T) -> T {
    struct Restored(bool);
    impl Drop for Restored {
        fn drop(&mut self) {
            APPENDING.set(self.0);
        }
    }
    let _restored = Restored(APPENDING.replace(true));
    body()
}

/// Whether captured changes are being recorded.
pub fn are_appended() -> bool {
    APPENDING.get()
}
