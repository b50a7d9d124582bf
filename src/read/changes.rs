//! changes(): the feed for consumers that must see every event once. Within a tenant the position
//! is the seq of each lane, which has no gaps and is reached in the order of commits. Over all
//! tenants it is the recording transaction. An event is held back while an older transaction than
//! its own still runs, because that one may yet commit an event before it.

use crate::access::lent::with_rights;
use crate::access::opened::{conditions, hold};
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::Layout;
use crate::log::segments::{self, Segment, State};
use crate::log::{distributed, event};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::jsonb::Jsonb;
use crate::pg::memory::Memory;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::RowBuffer;
use crate::read::feed_position::{FeedPosition, LanePositions, Position};
use crate::read::probe::{is_limited, whole_tenant};
use crate::read::shards;
use pgrx::pg_sys;

/// Most events of one call.
const MAX_CHANGES: i32 = 10_000;

/// Bytes of events after which an answer ends, however many events were asked for: a jsonb array
/// holds 256 MB, and numbers take more room in it than as text.
const MAX_BYTES: usize = 16 << 20;

sql_function!(immutable_changes, pg_finfo_immutable_changes, changes);

/// `immutable.changes(tenant_id, after, limit)`: the next events of the feed, as jsonb. Raises
/// 22023 for a limit out of bounds and for what is no position, and 55000 for the position of a log
/// that was set back since.
fn changes(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let limit = call.arg(2).map_or(100, Datum::i32);
    if !(1..=MAX_CHANGES).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {MAX_CHANGES}, not {limit}"))
            .hint("Call again with the position that came with the events.")
            .raise()
    }
    let limit = limit as usize;
    let answer = with_rights(|| match call.arg(0) {
        Some(tenant) => {
            hold(&opened, tenant);
            match distributed::is() {
                true => at_shard(tenant, call.arg(1), limit, &opened),
                false => of_tenant(call.memory(), tenant, call.arg(1).map(Jsonb::new), limit, &opened),
            }
        }
        None => {
            distributed::refuse("changes over all tenants", "Call immutable.changes() for each tenant.");
            of_all(call.arg(1).map(Jsonb::new), limit, &opened)
        }
    });
    call.memory().jsonb(&answer)
}

/// The next events of a tenant of a distributed log.
fn at_shard(tenant: Datum, after: Option<Datum>, limit: usize, opened: &Opened) -> String {
    // What is no position is refused here, with the name of the argument.
    let position = LanePositions::read(after.map(Jsonb::new));
    let given = after.map(|_| position.json());
    shards::changes(tenant, given.as_deref(), limit, opened).unwrap_or_else(|| {
        position.check_that_none();
        written(&[], &position, false)
    })
}

/// The next events of every lane, in the order of created_at. A lane's events are in the order of
/// its seq that way too, so wherever the answer is cut, each lane is cut after its last event in
/// the answer. An event whose created_at somebody changed must not come before those before it,
/// which would be passed over: it counts as no older than they are.
pub fn of_tenant(memory: Memory, tenant: Datum, after: Option<Jsonb>, limit: usize, opened: &Opened) -> String {
    let position = LanePositions::read(after);
    position.check(memory, tenant, opened);
    let [lanes, seqs] = position.arguments(memory);
    let mut arguments = vec![Arg::Given(pg_sys::TEXTOID, tenant), lanes, seqs];
    let conditions = conditions(opened, &mut arguments);
    if segments::may_be() && sees_whole_lanes(opened) && begins_in_hot(&arguments, &conditions) {
        let statement = next_of_lanes("ONLY immutable.events", &conditions, limit);
        if let Some(answer) = answer(&statement, &arguments, limit, position.clone(), true) {
            return answer;
        }
    }
    let statement = next_of_lanes("immutable.events", &conditions, limit);
    answer(&statement, &arguments, limit, position, false).unwrap_or_default()
}

/// Whether the caller sees all events of a lane if any.
fn sees_whole_lanes(opened: &Opened) -> bool {
    opened.actor_id.is_none() && (!is_limited() || whole_tenant().is_some())
}

/// The statement of the next events of each lane. The lanes are those that the table has, and it has the last event of
/// each.
fn next_of_lanes(events: &str, conditions: &str, limit: usize) -> String {
    let most = limit + 1;
    format!(
        "WITH RECURSIVE {} \
         SELECT e.* \
         FROM k LEFT JOIN ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) p(lane, seq) \
                ON p.lane = k.lane, \
         LATERAL (SELECT e.*, pg_catalog.max(coalesce(e.created_at, '-infinity')) \
                           OVER (ORDER BY e.seq ROWS UNBOUNDED PRECEDING) AS reached \
                  FROM (SELECT e.* FROM {events} e \
                        WHERE e.tenant_id = $1 AND e.lane = k.lane AND e.seq > coalesce(p.seq, 0){conditions} \
                        ORDER BY e.seq LIMIT {most}) e) e \
         ORDER BY e.reached, e.lane, e.seq LIMIT {most}",
        lanes(events)
    )
}

/// The lanes of the tenant, as a part of WITH RECURSIVE.
fn lanes(events: &str) -> String {
    format!(
        "k(lane) AS ( \
             (SELECT e.lane FROM {events} e WHERE e.tenant_id = $1 ORDER BY e.lane LIMIT 1) \
             UNION ALL \
             SELECT (SELECT e.lane FROM {events} e WHERE e.tenant_id = $1 AND e.lane > k.lane \
                     ORDER BY e.lane LIMIT 1) FROM k WHERE k.lane IS NOT NULL)"
    )
}

/// Whether the event behind the position is in the hot table, for each lane that has one. The hot table has the last event
/// of each lane: where nothing in it is behind the position, nothing is.
fn begins_in_hot(arguments: &[Arg], conditions: &str) -> bool {
    let hot = "ONLY immutable.events";
    let statement = format!(
        "WITH RECURSIVE {} \
         SELECT pg_catalog.bool_and(f.seq IS NULL OR f.seq = coalesce(p.seq, 0) + 1) \
         FROM k LEFT JOIN ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) p(lane, seq) \
                ON p.lane = k.lane, \
         LATERAL (SELECT (SELECT e.seq FROM {hot} e \
                          WHERE e.tenant_id = $1 AND e.lane = k.lane AND e.seq > coalesce(p.seq, 0){conditions} \
                          ORDER BY e.seq LIMIT 1)) f(seq) \
         WHERE k.lane IS NOT NULL",
        lanes(hot)
    );
    let mut is_there = false;
    spi::read_planned_once(&statement, arguments, |row| is_there = row.at(0).is_some_and(Datum::bool));
    is_there
}

/// The next events in the order of their transactions, as far as no running transaction can put one
/// before them.
fn of_all(after: Option<Jsonb>, limit: usize, opened: &Opened) -> String {
    let position = FeedPosition::read(after);
    position.check();
    let mut arguments: Vec<Arg> = position.arguments();
    let condition = match arguments.is_empty() {
        true => "",
        false => " AND (e.xact, e.tenant_id, e.id) > ($1, $2, $3)",
    };
    let conditions = conditions(opened, &mut arguments);
    let events = if is_behind_segments(&position) { "ONLY immutable.events" } else { "immutable.events" };
    let statement = format!(
        "SELECT e.* FROM {events} e \
         WHERE e.xact < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()){condition}{conditions} \
         ORDER BY e.xact, e.tenant_id, e.id LIMIT {}",
        limit + 1
    );
    answer(&statement, &arguments, limit, position, false).unwrap_or_default()
}

/// Whether all events of segments that the caller's snapshot sees there are of earlier transactions than the position.
fn is_behind_segments(position: &FeedPosition) -> bool {
    let Some(xact) = position.xact().filter(|_| segments::may_be()) else { return false };
    let is_before = |segment: &Segment| segment.xacts.is_some_and(|(_, last)| last < xact);
    segments::seen().iter().all(|segment| segment.state != State::Sealed || is_before(segment))
}

/// The events that a statement selects, at most `limit` of them, and the position behind the last
/// one. The statement selects one more, which tells that there are more. If the events must be `dense`, there is no answer
/// where one of a lane is missing between them.
fn answer(
    statement: &str,
    arguments: &[Arg],
    limit: usize,
    mut position: impl Position,
    dense: bool,
) -> Option<String> {
    let mut events: Vec<String> = Vec::new();
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    let (mut has_more, mut bytes, mut has_gap) = (false, 0, false);
    spi::stream_planned_once(statement, arguments, |tuple| {
        if has_gap || has_more || events.len() == limit || bytes > MAX_BYTES {
            has_more = true;
            return;
        }
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        let event = buffer.take_apart(tuple, |row| {
            has_gap = dense && !position.is_next(row, layout);
            position.advance(row, layout);
            event::json(row, layout)
        });
        bytes += event.len();
        events.push(event);
    });
    (!has_gap).then(|| written(&events, &position, has_more))
}

/// The answer as JSON.
fn written(events: &[String], position: &impl Position, has_more: bool) -> String {
    let (events, position) = (events.join(","), position.json());
    format!("{{\"data\":[{events}],\"position\":{position},\"has_more\":{has_more}}}")
}
