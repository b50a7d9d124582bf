//! Before which time retention has removed events of a tenant, by its newest record.

use crate::pg::datum::Datum;
use crate::pg::jsonb::Reader;
use crate::pg::spi::{self, Arg};
use immutable_format::json::Value;
use immutable_format::{limits, time};

/// That time, in microseconds since 1970, as far as the caller may read the records, with the caller's snapshot; None if
/// nothing was removed.
pub fn pruned_before(tenant_id: &str) -> Option<i64> {
    let mut before = None;
    let statement =
        "SELECT e.metadata FROM immutable.events e WHERE e.action = 'immutable.pruned' AND e.tenant_id = $1 \
         ORDER BY e.created_at DESC, e.id DESC LIMIT 1";
    spi::read(statement, &[Arg::text(tenant_id)], |row| before = row.at(0).and_then(time_of));
    before
}

/// The time that the metadata of a record names; None for metadata of anything else. The caller may be a viewer, who may
/// not call the SQL function that says whether it can be read.
pub fn time_of(metadata: Datum) -> Option<i64> {
    let value = Reader::new(metadata)?.value(limits::NESTING, limits::CANONICAL_BYTES).ok()?;
    let Value::Object(members) = value else { return None };
    let (_, before) = members.iter().find(|(name, _)| name == "before")?;
    time::parse(before.as_str()?).ok()
}
