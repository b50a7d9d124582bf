//! What became of an event on its way into the log. Triggers of others may change it, or leave it out, before the chain's
//! own sees it; where its idempotency key is taken, no row comes back to say so.

use crate::pg::trigger::depth;
use crate::pg::tuple::{CopiedTuple, Tuple};
use std::cell::RefCell;

/// An insert that is watched. Triggers of others may insert events as well, each deeper than its own trigger.
struct Watched {
    depth: i32,
    row: Option<CopiedTuple>,
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Runs `insert`, which inserts one event, and gives the row as the chain lets it through; none if it never came there.
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

/// Notes the row that the chain lets through, if somebody watches it.
pub fn passed(row: Tuple<'_>) {
    WATCHED.with_borrow_mut(|watched| {
        let Some(watched) = watched else { return };
        if depth() == watched.depth {
            watched.row = Some(CopiedTuple::of(row));
        }
    });
}
