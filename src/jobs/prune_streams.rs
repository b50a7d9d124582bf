//! Streams that had not come to events that a pruning removes: the list of streams says so, until the next delivery.

use crate::jobs::prune_lanes::{self, Table, EVENTS, OF_LANE};
use crate::jobs::prune_plan::Plan;
use crate::jobs::streams_position::Position;
use crate::jobs::streams_table::Stored;
use crate::log::segments::Segment;
use crate::pg::datum::Datum;
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use crate::read::feed_mark::{Mark, Seen};
use pgrx::pg_sys;

/// A stream, and how many events it misses.
pub struct Missed {
    stream: Stored,
    events: i64,
}

/// The streams that have not come to events that go.
pub fn missed(plan: &Plan, segments: &[Segment]) -> Vec<Missed> {
    if named(c"streams") == pg_sys::InvalidOid {
        return Vec::new();
    }
    let mut missed = Vec::new();
    for stream in Stored::all().into_iter().filter(|stream| stream.content != "alerts") {
        let position = Position::find(&stream.id);
        let Some(mark) = position.and_then(|position| Mark::parse(&position.mark)) else { continue };
        if may_miss(plan, segments, &mark.given) {
            let events = count(plan, &mark.given, stream.tenant_id.as_deref());
            missed.extend((events > 0).then_some(Missed { stream, events }));
        }
    }
    missed
}

/// The first transaction that a snapshot does not see.
fn first_unseen(seen: &Seen) -> u64 {
    seen.xip.first().copied().unwrap_or(seen.xmax)
}

/// Whether tables from which events go have any that a snapshot does not see. Most streams are behind all of them.
fn may_miss(plan: &Plan, segments: &[Segment], seen: &Seen) -> bool {
    let parts = plan.going.iter().flat_map(|going| &going.parts);
    let mut last = parts.map(|part| match part.table {
        Table::Segment(place) => segments[place].xacts.map_or(0, |(_, last)| last),
        Table::Left | Table::Hot => u64::MAX,
    });
    last.any(|last| last >= first_unseen(seen))
}

/// How many events that go a snapshot does not see.
fn count(plan: &Plan, seen: &Seen, tenant_id: Option<&str>) -> i64 {
    let going = plan.going.iter().filter(|going| tenant_id.is_none_or(|tenant_id| tenant_id == going.key.0));
    let mut given = prune_lanes::given(going.map(|going| (&going.key, going.begin.seq))).to_vec();
    given.push(Arg::text(seen.xmax.to_string()));
    given.push(Arg::Texts(seen.xip.iter().map(u64::to_string).collect()));
    let statement = format!(
        "SELECT pg_catalog.count(*) FROM {EVENTS} JOIN immutable.events e ON {OF_LANE} AND e.seq <= p.seq \
         WHERE e.xact >= $4::pg_catalog.xid8 OR e.xact = ANY ($5::pg_catalog.xid8[])"
    );
    let mut events = 0;
    spi::complete(&statement, &given, |row| events = row.at(0).map_or(0, Datum::i64));
    events
}

/// Notes for each stream what it misses.
pub fn note(missed: &[Missed]) {
    for Missed { stream, events } in missed {
        let counted = if *events == 1 { "1 event".to_string() } else { format!("{events} events") };
        spi::execute(
            "UPDATE immutable.stream_positions p SET failed_at = pg_catalog.clock_timestamp(), last_error = $2 \
             WHERE p.stream_id OPERATOR(pg_catalog.=) $1",
            &[
                Arg::Uuid(stream.id),
                Arg::text(format!("retention has removed {counted} to which the stream had not come")),
            ],
        );
    }
}
