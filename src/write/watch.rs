//! What became of an event on its way into the log. Triggers that are not the extension's may
//! change it, or leave it out, before the chain's trigger sees it; and if its idempotency key is
//! already in use, the INSERT returns no row that would say so.

use crate::pg::trigger::depth;
use crate::pg::tuple::{CopiedTuple, Tuple};
use std::cell::RefCell;

/// An insert that is watched. Triggers may insert events as well, but they run deeper than the
/// trigger that fires for the watched insert.
struct Watched {
    depth: i32,
    row: Option<CopiedTuple>,
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Runs `insert`, which inserts one event, and returns the row as the chain let it through; nothing
/// if it never came there.
pub fn watch(insert: impl FnOnce()) -> Option<CopiedTuple> {
    struct Restored(Option<Watched>);
    impl Drop for Restored {
        fn drop(&mut self) {
            WATCHED.replace(self.0.take());
        }
    }
    let watched = Watched { depth: depth() + 1, row: None };
    let _restored = Restored(WATCHED.replace(Some(watched)));
    insert();
    WATCHED.with_borrow_mut(|watched| watched.as_mut().and_then(|watched| watched.row.take()))
}

/// Copies the row that the chain lets through, if its insert is watched.
pub fn passed(row: Tuple<'_>) {
    WATCHED.with_borrow_mut(|watched| {
        let Some(watched) = watched else { return };
        if depth() == watched.depth {
            watched.row = Some(CopiedTuple::of(row));
        }
    });
}
