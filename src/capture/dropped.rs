//! What a command has dropped of tracked tables: the tables themselves, partitions, columns and triggers.

use crate::capture::note::{note, note_disabled, root_of};
use crate::capture::operation::Operation;
use crate::capture::{tracking, triggers};
use crate::log::tables::events_oid;
use crate::pg::catalog;
use crate::pg::datum::{name, text, Datum};
use crate::pg::relation::OpenRelation;
use crate::pg::server::database;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};

/// The tables that were dropped and those that are tracked among them and their ancestors, which the snapshot of the
/// command still shows.
const TABLES: &str = "\
    WITH RECURSIVE gone (objid, schema_name, object_name) AS MATERIALIZED ( \
        SELECT d.objid, d.schema_name, d.address_names[2] FROM pg_catalog.pg_event_trigger_dropped_objects() d \
        WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
          AND d.objsubid OPERATOR(pg_catalog.=) 0 \
          AND (d.object_type OPERATOR(pg_catalog.=) 'table' OR d.object_type OPERATOR(pg_catalog.=) 'foreign table')), \
      above (objid, ancestor) AS ( \
        SELECT g.objid, g.objid FROM gone g \
        UNION SELECT a.objid, i.inhparent FROM above a, pg_catalog.pg_inherits i \
        WHERE i.inhrelid OPERATOR(pg_catalog.=) a.ancestor) \
    SELECT g.schema_name, g.object_name, t.relation, t.schema_name, t.table_name, \
        g.objid OPERATOR(pg_catalog.=) t.relation, \
        EXISTS (SELECT FROM gone r WHERE r.objid OPERATOR(pg_catalog.=) t.relation) \
    FROM gone g, above a, immutable.tracking t \
    WHERE a.objid OPERATOR(pg_catalog.=) g.objid AND t.relation OPERATOR(pg_catalog.=) a.ancestor \
      AND t.database OPERATOR(pg_catalog.=) $1";

/// The parts of tables that were dropped.
const PARTS: &str = "\
    SELECT d.classid, d.objid, d.objsubid, d.address_names[1], d.address_names[2], d.address_names[3] \
    FROM pg_catalog.pg_event_trigger_dropped_objects() d \
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass \
      OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
        AND d.objsubid OPERATOR(pg_catalog.>) 0";

/// After a command that has dropped objects.
pub fn dropped(tag: &str) {
    if spi::has_snapshot() {
        tables(tag);
    }
    let mut columns: Vec<(Oid, Vec<i16>)> = Vec::new();
    let mut off: Vec<(Oid, Vec<Operation>)> = Vec::new();
    spi::query_now(PARTS, &[], |row| {
        let of = |place: usize| row.at(place).map_or(pg_sys::InvalidOid, Datum::oid);
        if of(0) == pg_sys::RelationRelationId {
            let number = row.at(2).map_or(0, |number| number.i32() as i16);
            add(&mut columns, of(1), number);
        } else if let Some((table, operation)) = trigger(row) {
            add(&mut off, table, operation);
        }
    });
    let tracked: Vec<Oid> = tracking::all().into_iter().map(|entry| entry.relation).collect();
    for (relation, numbers) in columns.into_iter().filter(|(relation, _)| tracked.contains(relation)) {
        tracking::forget_columns(relation, &numbers);
    }
    for (relation, operations) in off {
        if root_of(relation).is_some() {
            note_disabled(tag, relation, &operations);
        }
    }
}

fn add<T>(all: &mut Vec<(Oid, Vec<T>)>, relation: Oid, part: T) {
    match all.iter_mut().find(|(known, _)| *known == relation) {
        Some((_, parts)) => parts.push(part),
        None => all.push((relation, vec![part])),
    }
}

/// The relation and the operation of a trigger of ours that was dropped from a relation that is still there.
fn trigger(row: &Values) -> Option<(Oid, Operation)> {
    let [schema, table, trigger] = [3, 4, 5].map(|place| row.at(place).map(text));
    let operation = triggers::operation_of(trigger?)?;
    let relation = catalog::relation(schema?, table?);
    (relation != pg_sys::InvalidOid).then_some((relation, operation))
}

/// A table that was dropped.
struct Gone {
    table: String,
    root: Oid,
    /// The schema and the name of the tracked table.
    names: (String, String),
    is_root: bool,
    root_is_gone: bool,
}

fn tables(tag: &str) {
    let events = OpenRelation::briefly(events_oid());
    let mut all = Vec::new();
    spi::as_owner(events.get(), || spi::read(TABLES, &[Arg::Oid(database())], |row| all.extend(gone(row))));
    drop(events);
    for table in all.iter().filter(|table| table.is_root) {
        tracking::remove_dropped(&table.names.0, &table.names.1);
        note("immutable.table_untracked", table.table.clone(), tag, &[]);
    }
    let mut roots = Vec::new();
    for table in all.into_iter().filter(|table| !table.root_is_gone) {
        let root = catalog::qualified(&table.names.0, &table.names.1);
        note("immutable.partition_detached", table.table, tag, &[("tracked_table", &root)]);
        if !roots.contains(&table.root) {
            roots.push(table.root);
        }
    }
    for root in roots.into_iter().filter_map(tracking::of) {
        triggers::adapt(root.relation, &root.recording.operations, &[], true);
    }
}

fn gone(row: &Values) -> Option<Gone> {
    let named = |place: usize| row.at(place).map(|datum| name(datum).to_string_lossy().into_owned());
    let is = |place: usize| row.at(place).is_some_and(Datum::bool);
    Some(Gone {
        table: catalog::qualified(text(row.at(0)?), text(row.at(1)?)),
        root: row.at(2)?.oid(),
        names: (named(3)?, named(4)?),
        is_root: is(5),
        root_is_gone: is(6),
    })
}
