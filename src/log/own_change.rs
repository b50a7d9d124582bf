//! Changes that the log itself makes to its tables: it moves events into segments, drops emptied ones, and prunes. The
//! guards refuse the same to everybody else.

use std::cell::Cell;

thread_local! {
    static CHANGING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`, a statement or a few of the log's own, which the guards let pass. Nothing of the caller's may run in
/// it: neither a function, nor a trigger, nor an operator.
pub fn by_log<T>(body: impl FnOnce() -> T) -> T {
    struct Restored(bool);
    impl Drop for Restored {
        fn drop(&mut self) {
            CHANGING.set(self.0);
        }
    }
    let _restored = Restored(CHANGING.replace(true));
    body()
}

/// Whether the log itself changes its tables now.
pub fn is_by_log() -> bool {
    CHANGING.get()
}
