//! changes(): the feed for consumers that must see every event once. Within a tenant the position
//! is the seq of each lane, which has no gaps and is reached in the order of commits. Over all
//! tenants it is the recording transaction. An event is held back while an older transaction than
//! its own still runs, because that one may yet commit an event before it.

use crate::access::lent::with_rights;
use crate::access::opened::{conditions, hold};
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::Layout;
use crate::log::{distributed, event};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::jsonb::Jsonb;
use crate::pg::memory::Memory;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::RowBuffer;
use crate::read::feed_position::{FeedPosition, LanePositions, Position};
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
    let most = limit + 1;
    let [lanes, seqs] = position.arguments(memory);
    let mut arguments = vec![Arg::Given(pg_sys::TEXTOID, tenant), lanes, seqs];
    let conditions = conditions(opened, &mut arguments);
    let statement = format!(
        "WITH RECURSIVE k(lane) AS ( \
             (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 ORDER BY e.lane LIMIT 1) \
             UNION ALL \
             SELECT (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 AND e.lane > k.lane \
                     ORDER BY e.lane LIMIT 1) FROM k WHERE k.lane IS NOT NULL) \
         SELECT e.* \
         FROM k LEFT JOIN ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) p(lane, seq) \
                ON p.lane = k.lane, \
         LATERAL (SELECT e.*, pg_catalog.max(coalesce(e.created_at, '-infinity')) \
                           OVER (ORDER BY e.seq ROWS UNBOUNDED PRECEDING) AS reached \
                  FROM (SELECT e.* FROM immutable.events e \
                        WHERE e.tenant_id = $1 AND e.lane = k.lane AND e.seq > coalesce(p.seq, 0){conditions} \
                        ORDER BY e.seq LIMIT {most}) e) e \
         ORDER BY e.reached, e.lane, e.seq LIMIT {most}"
    );
    answer(&statement, &arguments, limit, position)
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
    let statement = format!(
        "SELECT e.* FROM immutable.events e \
         WHERE e.xact < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()){condition}{conditions} \
         ORDER BY e.xact, e.tenant_id, e.id LIMIT {}",
        limit + 1
    );
    answer(&statement, &arguments, limit, position)
}

/// The events that a statement selects, at most `limit` of them, and the position behind the last
/// one. The statement selects one more, which tells that there are more.
fn answer(statement: &str, arguments: &[Arg], limit: usize, mut position: impl Position) -> String {
    let mut events: Vec<String> = Vec::new();
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    let (mut has_more, mut bytes) = (false, 0);
    spi::stream_planned_once(statement, arguments, |tuple| {
        if has_more || events.len() == limit || bytes > MAX_BYTES {
            has_more = true;
            return;
        }
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        let event = buffer.take_apart(tuple, |row| {
            position.advance(row, layout);
            event::json(row, layout)
        });
        bytes += event.len();
        events.push(event);
    });
    written(&events, &position, has_more)
}

/// The answer as JSON.
fn written(events: &[String], position: &impl Position, has_more: bool) -> String {
    let (events, position) = (events.join(","), position.json());
    format!("{{\"data\":[{events}],\"position\":{position},\"has_more\":{has_more}}}")
}
