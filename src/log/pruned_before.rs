//! What retention has removed last of a tenant's events, by its newest record.

use crate::pg::datum::{micros, Datum};
use crate::pg::jsonb::Reader;
use crate::pg::spi::{self, Arg};
use immutable_format::json::Value;
use immutable_format::{limits, time};

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
        "SELECT e.created_at, e.metadata FROM immutable.events e WHERE e.action = 'immutable.pruned' AND e.tenant_id = $1 \
         ORDER BY e.created_at DESC, e.id DESC LIMIT 1";
    spi::read(statement, &[Arg::text(tenant_id)], |row| {
        pruning = row.at(0).map(|at| Pruning { before: row.at(1).and_then(time_of), at: micros(at) });
    });
    pruning
}

/// The time that the metadata of a record names; None for metadata of anything else. The caller may be a viewer, who may
/// not call the SQL function that says whether it can be read.
pub fn time_of(metadata: Datum) -> Option<i64> {
    let value = Reader::new(metadata)?.value(limits::NESTING, limits::CANONICAL_BYTES).ok()?;
    let Value::Object(members) = value else { return None };
    let (_, before) = members.iter().find(|(name, _)| name == "before")?;
    time::parse(before.as_str()?).ok()
}
