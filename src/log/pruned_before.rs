//! Before which time retention has removed events of a tenant, by its newest record.

use crate::pg::datum::text;
use crate::pg::spi::{self, Arg};
use immutable_format::time;

/// That time, in microseconds since 1970, as far as the caller may read the records, with the caller's snapshot; None if
/// nothing was removed.
pub fn pruned_before(tenant_id: &str) -> Option<i64> {
    let mut before = None;
    let statement = "SELECT CASE WHEN immutable.is_readable(e.metadata) THEN e.metadata ->> 'before' END \
         FROM immutable.events e WHERE e.action = 'immutable.pruned' AND e.tenant_id = $1 \
         ORDER BY e.created_at DESC, e.id DESC LIMIT 1";
    spi::read(statement, &[Arg::text(tenant_id)], |row| {
        before = row.at(0).and_then(|before| time::parse(text(before)).ok());
    });
    before
}
