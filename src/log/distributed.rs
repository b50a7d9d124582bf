//! Logs that Citus has distributed: a tenant's events are in a shard, perhaps on another node.
//!
//! What a plain statement about the events cannot do runs at the shard, by [`at_tenant`]. It asks for a count of
//! `immutable.placement`, which has no rows and is distributed as the events are. Citus sends the whole statement to the
//! node of the tenant's shard, in the caller's transaction and on the connection that the caller's own statements use.
//! There a function gets the count, so that PostgreSQL cannot call it earlier, and with it the tenant. The function works
//! on the shard itself, by [`on_own_shard`], because Citus plans few of this library's statements.

use crate::log::shard_name;
use crate::log::tables::on_events_relation;
use crate::pg::datum::{text, Datum};
use crate::pg::error::{in_place_of, Code, Fault};
use crate::pg::relation::{named_in_schema, OpenRelation};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::on_relation_change;
use crate::pg::tuple::Tuple;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;

thread_local! {
    /// The events table, and whether it is distributed; None where it is not known, or may have changed.
    static IS_DISTRIBUTED: Cell<Option<(Oid, bool)>> = const { Cell::new(None) };
    /// A tenant for each shard; see [`tenants_of_shards`].
    static TENANTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// The relations of a tenant's shard of events and of targets, as far as they were looked up.
    static OWN: RefCell<HashMap<String, [Oid; 2]>> = RefCell::new(HashMap::new());
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    // Citus invalidates a table when its shards change.
    on_relation_change(|changed| {
        if changed == pg_sys::InvalidOid || IS_DISTRIBUTED.get().is_some_and(|(events, _)| events == changed) {
            IS_DISTRIBUTED.set(None);
            TENANTS.with_borrow_mut(Vec::clear);
            OWN.with_borrow_mut(HashMap::clear);
        }
    });
}

/// Whether Citus has distributed the events that statements mean now. On a shard they are in one table.
pub fn is() -> bool {
    !spi::is_on_shard() && is_log()
}

/// Whether Citus has distributed the log, also where statements mean a shard of it now. Grants, revocations and keys are
/// those of the whole log there too.
pub fn is_log() -> bool {
    if let Some((_, known)) = IS_DISTRIBUTED.get() {
        return known;
    }
    let events = named_in_schema(c"events");
    let found = is_in_catalog(events);
    IS_DISTRIBUTED.set(Some((events, found)));
    found
}

/// Whether Citus has distributed this table. It asks each time.
pub fn is_in_catalog(events: Oid) -> bool {
    let mut has_citus = false;
    spi::query_now("SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL", &[], |row| {
        has_citus = row.at(0).is_some_and(Datum::bool);
    });
    let mut found = false;
    if has_citus {
        spi::query_now(
            "SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid OPERATOR(pg_catalog.=) $1",
            &[Arg::Oid(events)],
            |_| found = true,
        );
    }
    found
}

/// Refuses (0A000) what needs all events of the log on this node. `what` is a plural, such as
/// `checkpoints`; `instead` says what the caller can do.
pub fn refuse(what: &str, instead: &str) {
    if is() {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, format!("{what} of a distributed log are not supported"))
            .hint(instead.to_string())
            .raise()
    }
}

/// Runs `immutable.<function>(here, tenant_id, arguments …)` on the node of the tenant's shard, with the caller's rights,
/// and calls `each` with every row of what it returns. The arguments are numbered from $2 in the statement.
pub fn at_tenant(tenant_id: &str, function: &str, arguments: &[Arg], each: impl FnMut(Tuple<'_>)) {
    let statement = statement_at_tenant(function, arguments.len());
    spi::stream_planned_each_time(&statement, &with_tenant(tenant_id, arguments), each);
}

/// The same for a function that returns one value, by a statement that Citus needs less time for.
pub fn value_at_tenant(tenant_id: &str, function: &str, arguments: &[Arg], mut take: impl FnMut(Datum<'_>)) {
    // In this statement Citus sends the arguments as literals. What a backslash in a literal means, the session at the
    // shard decides by a setting that may differ from this one's.
    if tenant_id.contains('\\') || !arguments.iter().all(Arg::is_without_backslash) {
        at_tenant(tenant_id, function, arguments, |tuple| tuple.values().at(0).into_iter().for_each(&mut take));
        return;
    }
    let numbers = numbers(arguments.len());
    let statement = format!(
        "SELECT immutable.{function}(pg_catalog.count(*), $1{numbers}) FROM immutable.placement p \
         WHERE p.tenant_id OPERATOR(pg_catalog.=) $1"
    );
    spi::query_now_planned_once(&statement, &with_tenant(tenant_id, arguments), |row| {
        row.at(0).into_iter().for_each(&mut take);
    });
}

/// Runs `body`, which asks a shard with another role's rights. Raises 25001, with a hint, if the transaction has written
/// to the shard with its own: Citus has a connection for each role, and the one would not see what the other has written.
pub fn as_other<T>(body: impl FnOnce() -> T) -> T {
    in_place_of(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, written_before, body)
}

fn written_before() -> Fault {
    Fault::new(
        Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
        "a viewer token opens nothing in a transaction that has recorded events in the same shard",
    )
    .hint("End the transaction first, or read in another one.")
}

/// The same as a query that is read further from call to call.
pub fn at_tenant_cursor(tenant_id: &str, function: &str, arguments: Vec<Arg<'static>>) -> spi::Cursor {
    let statement = statement_at_tenant(function, arguments.len());
    let given = std::iter::once(Arg::text(tenant_id.to_string())).chain(arguments).collect();
    spi::Cursor::open_planned_each_time(&statement, given)
}

/// The arguments of such a statement: the tenant, and then those of the function.
fn with_tenant<'a>(tenant_id: &'a str, arguments: &[Arg<'a>]) -> Vec<Arg<'a>> {
    let mut given = vec![Arg::text(tenant_id)];
    given.extend(arguments.iter().cloned());
    given
}

/// The numbers of the function's arguments in the statement, each after a comma.
fn numbers(arguments: usize) -> String {
    (0..arguments).map(|n| format!(", ${}", n + 2)).collect()
}

fn statement_at_tenant(function: &str, arguments: usize) -> String {
    let numbers = numbers(arguments);
    format!(
        "SELECT a.* FROM (SELECT pg_catalog.count(*) AS here FROM immutable.placement p \
         WHERE p.tenant_id OPERATOR(pg_catalog.=) $1) p CROSS JOIN LATERAL immutable.{function}(p.here, $1{numbers}) a"
    )
}

/// Makes the transaction one that writes to the tenant's shard, so that Citus commits it on all nodes or on none. It goes
/// before an [`at_tenant`] whose function writes: Citus takes a SELECT for one that only reads. The trigger keeps no row.
/// A DELETE would do too, but whoever may delete from a table may also lock it, and so make everybody wait.
pub fn will_write_at(tenant_id: &str) {
    spi::execute_planned_each_time("INSERT INTO immutable.placement (tenant_id) VALUES ($1)", &[Arg::text(tenant_id)]);
}

/// The hint of a function that runs at the shard, for whoever calls it by hand.
pub const CALLED_BY_LOG: &str = "Only the log's own functions call this one.";

/// Refuses a function of shards (55000) in a log that is not distributed.
pub fn require() {
    if !is() {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the log is not distributed")
            .hint(CALLED_BY_LOG)
            .raise()
    }
}

/// Runs `immutable.<function>(here, tenant_id, arguments …)` at the tenant's shard, as [`at_tenant`] does, but with the
/// rights of the log's owner. The function writes, and what it writes is committed if and only if this transaction is.
pub fn write_as_owner(tenant_id: &str, function: &str, arguments: &[Arg], each: impl FnMut(Tuple<'_>)) {
    as_owner(|| {
        commit_in_two_phases();
        will_write_at(tenant_id);
        at_tenant(tenant_id, function, arguments, each);
    });
}

/// Runs `body` with the rights of the log's owner. In a distributed log it raises 25001 if another role has written to
/// a shard that `body` needs in this transaction: Citus would need two connections to the shard, of which one does not
/// see what the other has written.
pub fn as_owner<T>(body: impl FnOnce() -> T) -> T {
    let events = OpenRelation::table(named_in_schema(c"events"), pg_sys::RowExclusiveLock);
    if !is() {
        return spi::as_owner(events.get(), body);
    }
    let instead = || {
        Fault::new(
            Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
            "this transaction has written to the shard with another role than the log's owner",
        )
        .detail("In a distributed log, the owner records and erases on a connection of its own to the shard.")
        .hint("End the transaction first, and call the function in another one.")
    };
    in_place_of(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, instead, || spi::as_owner(events.get(), body))
}

/// Makes Citus commit this transaction in two phases. It does so by itself only if several nodes write to distributed
/// tables; otherwise what this node writes to its own tables could be lost where the shard's part is not. Citus copies
/// rows in two phases, also if there are none to copy, and then asks no node.
pub fn commit_in_two_phases() {
    spi::execute_planned_each_time(
        "INSERT INTO immutable.placement (tenant_id) SELECT n::pg_catalog.text FROM pg_catalog.generate_series(1, 0) n",
        &[],
    );
}

/// The tables of a shard, on this node.
struct Shard {
    events: OpenRelation,
    targets: OpenRelation,
}

/// The shard of a tenant. Raises 55000 if it is on another node.
fn own_shard(tenant_id: &str) -> Shard {
    let open = |relation| OpenRelation::open(relation, pg_sys::AccessShareLock);
    if let Some([events, targets]) = OWN.with_borrow(|known| known.get(tenant_id).copied()) {
        if let (Some(events), Some(targets)) = (open(events), open(targets)) {
            return Shard { events, targets };
        }
    }
    let shard = look_up_own_shard(tenant_id);
    // The callback of is() forgets them.
    if is() {
        OWN.with_borrow_mut(|known| {
            if known.len() >= KEPT {
                known.clear();
            }
            known.insert(tenant_id.to_string(), [shard.events.get().oid(), shard.targets.get().oid()]);
        });
    }
    shard
}

/// How many tenants' shards are kept.
const KEPT: usize = 1000;

fn look_up_own_shard(tenant_id: &str) -> Shard {
    let open = |table: &str| {
        let mut number = None;
        let distributed = OpenRelation::table(named_in_schema(&name(table)), pg_sys::AccessShareLock);
        if is() {
            // Citus tells it to whoever may select from the table. A writer may not, where targets are concerned.
            spi::as_owner(distributed.get(), || {
                spi::query_now_planned_each_time(
                    "SELECT pg_catalog.get_shard_id_for_distribution_column($1::pg_catalog.oid::pg_catalog.regclass, $2)",
                    &[Arg::Oid(distributed.get().oid()), Arg::text(tenant_id)],
                    |row| number = row.at(0).map(Datum::i64),
                );
            });
        }
        let shard = number.map_or(pg_sys::InvalidOid, |number| named_in_schema(&name(&format!("{table}_{number}"))));
        OpenRelation::open(shard, pg_sys::AccessShareLock).unwrap_or_else(|| {
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the shard of {table} for tenant \"{tenant_id}\" is not on this node"),
            )
            .hint(
                "Call the function of the log that uses this one. It finds the node. After ALTER EXTENSION immutable \
                 UPDATE, call immutable.distribute() on the coordinator first.",
            )
            .raise()
        })
    };
    Shard { events: open("events"), targets: open("event_targets") }
}

fn name(table: &str) -> CString {
    CString::new(table).unwrap_or_default()
}

/// Runs `body` on the shard of a tenant: all statements, and `tables::events_oid`, mean the shard's tables. Raises 55000
/// if the shard is not on this node.
pub fn on_own_shard<T>(tenant_id: &str, body: impl FnOnce() -> T) -> T {
    let shard = own_shard(tenant_id);
    let (events, targets) = (shard.events.get(), shard.targets.get());
    on_events_relation(events.oid(), || spi::on_shard(events.qualified_name(), targets.qualified_name(), body))
}

/// The events relation of the shard that a tenant's events are in. Raises 55000 if it is on another node.
pub fn shard_oid(tenant_id: &str) -> Oid {
    own_shard(tenant_id).events.get().oid()
}

/// How many names are tried for each shard, to find a tenant that belongs to it.
const TRIED: i32 = 40;

/// A tenant for each shard, in the order of the shards. The tenant need not have events: its name addresses the shard.
pub fn tenants_of_shards() -> Vec<String> {
    let known = TENANTS.with_borrow(Vec::clone);
    if !known.is_empty() {
        return known;
    }
    let mut found = Vec::new();
    // Short names are tried first. A shard of few hashes, such as one that was isolated for a tenant, has none of them.
    let statement = format!(
        "WITH s AS (SELECT s.shardminvalue::pg_catalog.int4 AS first, s.shardmaxvalue::pg_catalog.int4 AS last \
                      FROM pg_catalog.pg_dist_shard s WHERE s.logicalrelid = $1::pg_catalog.oid::pg_catalog.regclass), \
              t AS (SELECT 't' || n AS tenant_id, pg_catalog.worker_hash('t' || n) AS hash \
                      FROM pg_catalog.generate_series(1, (SELECT pg_catalog.count(*) FROM s)::pg_catalog.int4 * {TRIED}) n) \
         SELECT (SELECT t.tenant_id FROM t WHERE t.hash BETWEEN s.first AND s.last LIMIT 1), s.first FROM s ORDER BY s.first"
    );
    spi::query_now(&statement, &[Arg::Oid(named_in_schema(c"events"))], |row| {
        let short = row.at(0).map(|tenant_id| text(tenant_id).to_string());
        found.extend(short.or_else(|| row.at(1).map(|hash| shard_name::of_hash(hash.i32()))));
    });
    TENANTS.set(found.clone());
    found
}
