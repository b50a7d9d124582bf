//! Ids that this transaction has made, which no event of a segment can have.
//!
//! Sealing moves an event only if it was recorded before the tables of its segment were made, and once every transaction
//! that had a lock on the log's tables then has ended. So an id is unknown to all segments if it was made under such a
//! lock, as long as that lock is held. A statement that inserts has it before it asks for the default of a column.

use crate::log::tables::events_oid;
use crate::pg::lock::is_written;
use crate::pg::transaction::{on_end, on_subtransaction_abort};
use crate::pg::{random, transaction};
use immutable_format::Id;
use std::cell::Cell;

thread_local! {
    /// The id that was made last, unless an event has it.
    static MADE: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded. With the lock, the ids that were made under it are forgotten.
pub fn register_callbacks() {
    on_end(|| MADE.set(None));
    on_subtransaction_abort(|_| MADE.set(None));
}

/// Makes an id.
pub fn make() -> Id {
    let id = random::id(transaction::now());
    MADE.set(is_written(events_oid()).then_some(id));
    id
}

/// Whether this id was made last, under a lock that is still held, and for one event alone.
pub fn take(id: &Id) -> bool {
    MADE.take().as_ref() == Some(id)
}
