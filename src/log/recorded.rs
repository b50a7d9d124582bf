//! What was recorded in the tables of this server, for status(). With Citus those are the shards that are on this
//! node.

use crate::log::distributed;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{any_micros, text, timestamptz, uuid, Datum};
use crate::pg::memory::here;
use crate::pg::relation::named_in_schema;
use crate::pg::spi::{self, Arg};
use immutable_format::Id;
use pgrx::pg_sys;
use std::ffi::CString;

/// A shard of one of the log's tables on this node: the table and the number.
type Shard = (String, i64);

fn shards() -> Vec<Shard> {
    let mut shards = Vec::new();
    if distributed::is() {
        spi::read(
            "SELECT c.relname::pg_catalog.text, s.shardid FROM pg_catalog.pg_dist_shard s \
               JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid \
               JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid AND p.shardstate = 1 \
               JOIN pg_catalog.pg_dist_local_group g ON g.groupid = p.groupid \
             WHERE c.relnamespace = 'immutable'::pg_catalog.regnamespace AND c.relname IN ('events', 'event_targets') \
             ORDER BY c.relname, s.shardid",
            &[],
            |row| shards.push((row.at(0).map_or("", text).to_string(), row.at(1).map_or(0, Datum::i64))),
        );
    }
    shards
}

/// Runs `body` on the table of events, or on each of its shards here.
fn on_each(mut body: impl FnMut()) {
    if !distributed::is() {
        return body();
    }
    for (_, number) in shards().iter().filter(|(table, _)| table == "events") {
        // A shard that is missing is a problem of its own.
        if relation("events", *number) != pg_sys::InvalidOid {
            let targets = "immutable.event_targets".to_string();
            spi::on_shard(format!("immutable.events_{number}"), targets, &mut body);
        }
    }
}

fn relation(table: &str, number: i64) -> pg_sys::Oid {
    named_in_schema(&CString::new(format!("{table}_{number}")).unwrap_or_default())
}

sql_function!(immutable_shards_here, pg_finfo_immutable_shards_here, shards_here);

/// `immutable.shards_here()`
fn shards_here(call: Call) -> Datum {
    let mut rows = call.rows();
    for (table, number) in shards() {
        let relation = Some(relation(&table, number)).filter(|relation| *relation != pg_sys::InvalidOid);
        here(|memory| {
            rows.put(&[Some(memory.text(&table)), Some(Datum::from(number)), relation.map(Datum::from)]);
        });
    }
    call.null()
}

sql_function!(immutable_node_here, pg_finfo_immutable_node_here, node_here);

/// `immutable.node_here()`: the address of this node; NULL if the log is not distributed.
fn node_here(call: Call) -> Datum {
    let mut name = None;
    if distributed::is() {
        spi::read(
            "SELECT n.nodename || ':' || n.nodeport FROM pg_catalog.pg_dist_node n \
               JOIN pg_catalog.pg_dist_local_group g ON g.groupid = n.groupid ORDER BY n.noderole LIMIT 1",
            &[],
            |row| name = row.at(0).map(|name| text(name).to_string()),
        );
        // A coordinator need not be among its nodes.
        name.get_or_insert_with(|| "coordinator".to_string());
    }
    name.map_or_else(|| call.null(), |name| call.text(&name))
}

sql_function!(immutable_count_lanes, pg_finfo_immutable_count_lanes, count_lanes);

/// `immutable.count_lanes(most)`: one step of the index for each lane, and not many more than `most` of them.
fn count_lanes(call: Call) -> Datum {
    let most = call.arg(0).map_or(0, Datum::i32);
    let mut lanes = 0_i64;
    on_each(|| {
        if lanes > i64::from(most) {
            return;
        }
        let statement = format!(
            "WITH RECURSIVE chain (tenant_id, lane, n) AS ( \
               (SELECT e.tenant_id, e.lane, 1 FROM immutable.events e ORDER BY e.tenant_id, e.lane LIMIT 1) \
               UNION ALL \
               SELECT s.tenant_id, s.lane, c.n + 1 FROM chain c CROSS JOIN LATERAL ( \
                 SELECT e.tenant_id, e.lane FROM immutable.events e WHERE (e.tenant_id, e.lane) > (c.tenant_id, c.lane) \
                 ORDER BY e.tenant_id, e.lane LIMIT 1) s \
               WHERE c.n <= {most}) \
             SELECT pg_catalog.count(*) FROM chain"
        );
        spi::read(&statement, &[], |row| lanes += row.at(0).map_or(0, Datum::i64));
    });
    Datum::from(lanes)
}

sql_function!(immutable_newest_events, pg_finfo_immutable_newest_events, newest_events);

/// `immutable.newest_events(most)`
fn newest_events(call: Call) -> Datum {
    let most = call.arg(0).map_or(0, Datum::i32).max(0);
    let mut found: Vec<(i64, Id, i16, bool)> = Vec::new();
    on_each(|| {
        let statement = format!(
            "SELECT e.created_at, e.id, e.lane, e.ip_country IS NOT NULL FROM immutable.events e \
             ORDER BY e.created_at DESC, e.id DESC LIMIT {most}"
        );
        spi::read(&statement, &[], |row| {
            found.push((
                row.at(0).map_or(i64::MIN, any_micros),
                row.at(1).map_or(Id::default(), uuid),
                row.at(2).map_or(-1, Datum::i16),
                row.at(3).is_some_and(Datum::bool),
            ));
        });
    });
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(most as usize);
    let mut rows = call.rows();
    for (created_at, id, lane, has_country) in found {
        here(|memory| {
            rows.put(&[
                Some(memory.uuid(&id)),
                Some(timestamptz(created_at)),
                Some(Datum::from(lane)),
                Some(Datum::from(has_country)),
            ]);
        });
    }
    call.null()
}

sql_function!(immutable_foreign_xact, pg_finfo_immutable_foreign_xact, foreign_xact);

/// `immutable.foreign_xact()`: a transaction number of another server, which this one has not reached yet. A shard may
/// have come from another node, and its numbers with it.
fn foreign_xact(call: Call) -> Datum {
    let mut found = None;
    if !distributed::is() {
        spi::read(
            "SELECT e.xact::pg_catalog.text FROM immutable.events e \
             WHERE e.xact >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
               AND e.xact IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned() \
               AND NOT pg_catalog.pg_is_in_recovery() ORDER BY e.xact DESC LIMIT 1",
            &[],
            |row| found = row.at(0).map(|xact| text(xact).to_string()),
        );
    }
    found.map_or_else(|| call.null(), |xact| call.text(&xact))
}

sql_function!(immutable_recorded_from, pg_finfo_immutable_recorded_from, recorded_from);

/// `immutable.recorded_from(first, last, not_before)`: the time of the oldest event with a transaction number from
/// `first` to `last`, of the first hundred. The numbers of several nodes have no common order.
fn recorded_from(call: Call<'_>) -> Datum<'_> {
    let mut found: Option<i64> = None;
    let (Some(first), false) = (call.arg(0), distributed::is()) else { return call.null() };
    let mut given = vec![Arg::Given(pg_sys::XID8OID, first)];
    let mut conditions = Vec::new();
    let more = [(call.arg(1), pg_sys::XID8OID, "xact <="), (call.arg(2), pg_sys::TIMESTAMPTZOID, "created_at >=")];
    for (value, oid, condition) in more {
        if let Some(value) = value {
            given.push(Arg::Given(oid, value));
            conditions.push(format!("AND e.{condition} ${}", given.len()));
        }
    }
    let statement = format!(
        "SELECT pg_catalog.min(r.created_at) FROM ( \
           SELECT e.created_at FROM immutable.events e WHERE e.xact >= $1 {} ORDER BY e.xact LIMIT 100) r",
        conditions.join(" ")
    );
    spi::read(&statement, &given, |row| found = row.at(0).map(any_micros));
    match found {
        Some(at) => timestamptz(at),
        None => call.null(),
    }
}

sql_function!(immutable_event_at, pg_finfo_immutable_event_at, event_at);

/// `immutable.event_at(tenant_id, lane, seq)`: id and time of the event. Only a log that is not distributed has a tree,
/// which asks for it.
fn event_at(call: Call) -> Datum {
    let mut rows = call.rows();
    if !distributed::is() {
        let given = [
            Arg::given(pg_sys::TEXTOID, call.arg(0)),
            Arg::given(pg_sys::INT2OID, call.arg(1)),
            Arg::given(pg_sys::INT8OID, call.arg(2)),
        ];
        let statement = "SELECT e.id, e.created_at FROM immutable.events e \
                         WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3 LIMIT 1";
        spi::read(statement, &given, |row| rows.put(&[row.at(0), row.at(1)]));
    }
    call.null()
}
