//! Alerts: rules, and their evaluation over the feed.

use crate::jobs::step::Done;
use crate::log::small_table::SmallTable;
use crate::pg::relation::named;
use crate::pg::spi::Arg;
use pgrx::pg_sys;

/// Does the next part of the work, in this transaction.
pub fn step() -> Done {
    Done::NOTHING
}

/// Goes on with the events behind the mark. `table` has the owner of all tables.
pub fn set_mark(table: &SmallTable, mark: &str) {
    if named(c"alert_feed") != pg_sys::InvalidOid {
        table.execute("UPDATE immutable.alert_feed SET mark = $1", &[Arg::text(mark)]);
    }
}
