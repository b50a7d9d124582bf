//! What became of an event on its way into the log. Triggers of others may change it, or leave it out, before the chain's
//! own sees it; where its idempotency key is taken, no row comes back to say so.

use pgrx::fcinfo::direct_function_call_as_datum;
use pgrx::pg_sys::{self, HeapTuple, MemoryContext};
use std::cell::RefCell;

/// An insert that is watched. Triggers of others may insert events as well, each deeper than its own trigger.
struct Watched {
    depth: i32,
    context: MemoryContext,
    row: Option<HeapTuple>,
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// How many triggers are running, one inside the other.
fn depth() -> i32 {
    direct_function_call_as_datum(pg_sys::pg_trigger_depth, &[]).map_or(0, |depth| depth.i32())
}

/// Runs `insert`, which inserts one event, and gives the row as the chain lets it through; none if it never came there.
pub fn watch(insert: impl FnOnce()) -> Option<HeapTuple> {
    struct Restored(Option<Watched>);
    impl Drop for Restored {
        fn drop(&mut self) {
            WATCHED.replace(self.0.take());
        }
    }
    let watched = Watched { depth: depth() + 1, context: pg_sys::CurrentMemoryContext, row: None };
    let _restored = Restored(WATCHED.replace(Some(watched)));
    insert();
    WATCHED.with_borrow(|watched| watched.as_ref().and_then(|watched| watched.row))
}

/// Notes the row that the chain lets through, if somebody watches it.
pub fn passed(row: HeapTuple) {
    WATCHED.with_borrow_mut(|watched| {
        let Some(watched) = watched else { return };
        if depth() == watched.depth {
            let before = pg_sys::MemoryContextSwitchTo(watched.context);
            watched.row = Some(pg_sys::heap_copytuple(row));
            pg_sys::MemoryContextSwitchTo(before);
        }
    });
}
