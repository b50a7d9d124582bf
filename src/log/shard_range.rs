//! Which tenants a shard has. Citus sends every event to the shard of its tenant. But whoever may insert can also name a
//! shard on the node that it is connected to. There, another tenant's event would be found by nobody who asks for its
//! tenant, and would begin a second chain of it.

use crate::log::distributed;
use crate::pg::datum::{hash, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named_in_schema, schema, Relation};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction::on_relation_change;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// The hashes of a shard's tenants; None for a table that is no shard, and takes all tenants.
type Hashes = Option<RangeInclusive<i32>>;

/// What is known of tables with the chain's trigger.
struct Known {
    /// immutable.events.
    events: Oid,
    hashes: HashMap<Oid, Hashes>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::new(Known { events: pg_sys::InvalidOid, hashes: HashMap::new() });
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    // Citus invalidates immutable.events when its shards change.
    on_relation_change(|changed| {
        KNOWN.with_borrow_mut(|known| match changed == pg_sys::InvalidOid || changed == known.events {
            true => known.hashes.clear(),
            false => drop(known.hashes.remove(&changed)),
        });
    });
}

/// Whether the table is one of the shards of the log.
pub fn is_shard(relation: Relation) -> bool {
    with_hashes(relation, Hashes::is_some)
}

/// Refuses an event whose tenant belongs to another shard than this table (23514). `tenant` is the datum of `tenant_id`.
pub fn hold_to_shard(relation: Relation, tenant: Datum) {
    if with_hashes(relation, |hashes| hashes.as_ref().is_none_or(|hashes| hashes.contains(&hash(tenant)))) {
        return;
    }
    let (tenant_id, shard) = (text(tenant), relation.name());
    Fault::new(Code::ERRCODE_CHECK_VIOLATION, format!("tenant \"{tenant_id}\" does not belong to shard {shard}"))
        .field("tenant_id")
        .hint("Insert into immutable.events, on any node. Citus finds the shard of the tenant.")
        .raise()
}

fn with_hashes<T>(relation: Relation, look: impl Fn(&Hashes) -> T) -> T {
    let oid = relation.oid();
    if let Some(seen) = KNOWN.with_borrow(|known| known.hashes.get(&oid).map(&look)) {
        return seen;
    }
    let events = named_in_schema(c"events");
    let found = hashes_of(relation, events);
    let seen = look(&found);
    KNOWN.with_borrow_mut(|known| {
        known.events = events;
        known.hashes.insert(oid, found);
    });
    seen
}

/// Raises 55000 for a table that has the chain's trigger beside a distributed log, and is no shard of it.
fn hashes_of(relation: Relation, events: Oid) -> Hashes {
    if relation.oid() == events || !distributed::is_in_catalog(events) {
        return None;
    }
    let name = relation.name();
    let number = name.strip_prefix("events_").filter(|_| relation.namespace() == schema());
    let mut found = None;
    if let Some(number) = number.and_then(|number| number.parse().ok()) {
        spi::query_now(
            "SELECT s.shardminvalue::pg_catalog.int4, s.shardmaxvalue::pg_catalog.int4 FROM pg_catalog.pg_dist_shard s \
             WHERE s.shardid OPERATOR(pg_catalog.=) $1 AND s.logicalrelid OPERATOR(pg_catalog.=) $2",
            &[Arg::Int8(number), Arg::Oid(events)],
            |row| found = row.at(0).zip(row.at(1)).map(|(first, last)| first.i32()..=last.i32()),
        );
    }
    found.or_else(|| {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {name} is not a shard of the log, and the log of this database is distributed"),
        )
        .hint("Insert into immutable.events, on any node. Citus finds the shard of the tenant.")
        .raise()
    })
}
