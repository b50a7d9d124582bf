//! What a run finds of the lanes of which events were pruned: which of these events are still there, and whether a lane
//! goes on behind them.

use crate::pg::datum::Datum;
use crate::pg::spi::{self, Arg};
use crate::verify::basis::Basis;
use crate::verify::run::{Counts, Left};
use crate::verify::scope::Scope;
use immutable_format::link::{pruned_end, Break};
use immutable_format::pruning::Begin;

/// How many events of a lane are still there that a record says to be pruned.
pub fn still(tenant_id: &str, begin: &Begin) -> i64 {
    let mut found = 0;
    spi::read_planned_once(
        "SELECT pg_catalog.count(DISTINCT e.seq) FROM immutable.events e \
         WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq BETWEEN 1 AND $3",
        &[Arg::text(tenant_id), Arg::Int2(begin.lane), Arg::Int8(begin.seq)],
        |row| found = row.at(0).map_or(0, Datum::i64),
    );
    found
}

/// Counts the events that were pruned of the lanes in scope. Reports the lanes that end with a pruned event, if all
/// lanes were looked at.
pub fn check(scope: &Scope, basis: &Basis, counts: &mut Counts, report: &mut impl FnMut(Break)) {
    let is_every_lane = !counts.cut && scope.is_whole();
    for (tenant_id, begin) in basis.begins() {
        pgrx::check_for_interrupts!();
        let place = (tenant_id.to_string(), begin.lane);
        let left = counts.left_over.get(&place).copied();
        let known = left.and_then(|left| left.still).filter(|_| is_every_lane);
        let still = known.unwrap_or_else(|| still(tenant_id, begin));
        counts.pruned = counts.pruned.saturating_add(begin.seq - still);
        let last = left.map_or(0, |left| left.last);
        counts.left_over.insert(place, Left { last, still: Some(still) });
        if is_every_lane {
            pruned_end(tenant_id, begin, last).into_iter().for_each(&mut *report);
        }
    }
}
