//! What retention has removed last of a tenant's events, by its newest record.

use crate::pg::datum::{micros, text};
use crate::pg::spi::{self, Arg};
use immutable_format::time;

/// A pruning, in microseconds since 1970.
#[derive(Clone, Copy)]
pub struct Pruning {
    /// Before which time events were removed; None if the record does not say it any more.
    pub before: Option<i64>,
    /// When.
    pub at: i64,
}

/// The last pruning, as far as the caller may read the records, with the caller's snapshot; None if nothing was removed.
pub fn last_pruning(tenant_id: &str) -> Option<Pruning> {
    let mut pruning = None;
    let statement =
        "SELECT e.created_at, CASE WHEN immutable.is_readable(e.metadata) THEN e.metadata ->> 'before' END \
         FROM immutable.events e WHERE e.action = 'immutable.pruned' AND e.tenant_id = $1 \
         ORDER BY e.created_at DESC, e.id DESC LIMIT 1";
    spi::read(statement, &[Arg::text(tenant_id)], |row| {
        let before = row.at(1).and_then(|before| time::parse(text(before)).ok());
        pruning = row.at(0).map(|at| Pruning { before, at: micros(at) });
    });
    pruning
}
