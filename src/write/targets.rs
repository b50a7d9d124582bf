//! The AFTER INSERT row trigger: one row of event_targets per target, for joins and filters. Derived data; the event's
//! own `targets` column is what is hashed.

use crate::log::columns as c;
use crate::log::tables::{Events, Targets, TARGET_COLUMNS};
use crate::log::targets::flatten;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Jsonb;
use crate::pg::relation::Relation;
use crate::pg::spi;
use crate::pg::trigger::trigger_data;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};

sql_function!(immutable_targets, pg_finfo_immutable_targets, derive);

pub fn derive(call: Call) -> Datum {
    let data =
        trigger_data(call, pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_AFTER);
    let events = Events::of(data.tg_relation);
    let row = Values::of(data.tg_trigtuple, data.tg_relation.descriptor());
    let Some(targets) = row.get(&events.layout, c::TARGETS).map(|datum| Jsonb::new(datum)) else {
        return Datum::from(0usize);
    };
    if targets.len() == 0 {
        return Datum::from(0usize);
    }
    let Some(table) = events.targets else {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "no table of event targets refers to this table of events",
        )
        .raise()
    };
    let fixed = [c::TENANT_ID, c::ID, c::CREATED_AT]
        .map(|column| row.get(&events.layout, column).unwrap_or(Datum::from(0usize)));
    let rows: Vec<[Option<Datum>; 8]> = flatten(targets)
        .iter()
        .enumerate()
        .map(|(position, target)| {
            let text = |value: &Option<String>| value.as_ref().map(|value| text_datum(value));
            [
                Some(fixed[0]),
                Some(fixed[1]),
                Some(Datum::from(position as i16)),
                Some(text_datum(&target.target_type)),
                text(&target.target_id),
                text(&target.target_name),
                target.target_metadata.map(|metadata| metadata.datum()),
                Some(fixed[2]),
            ]
        })
        .collect();
    insert(table, &rows);
    Datum::from(0usize)
}

/// Bytes of a tuple that is stored as it is. Many at once go in cheaper, but a tuple that the heap replaces by a toasted
/// one would lose its place for the indexes.
const NEVER_TOASTED: u32 = 1900;

fn form(relation: Relation, targets: &Targets, row: &[Option<Datum>; 8]) -> pg_sys::HeapTuple {
    let mut values = [Datum::from(0usize); TARGET_COLUMNS.len()];
    let mut nulls = [true; TARGET_COLUMNS.len()];
    for (place, datum) in targets.places.iter().zip(row) {
        nulls[*place] = datum.is_none();
        values[*place] = datum.unwrap_or(Datum::from(0usize));
    }
    pg_sys::heap_form_tuple(relation.descriptor(), values.as_mut_ptr(), nulls.as_mut_ptr())
}

fn insert(table: Oid, rows: &[[Option<Datum>; 8]]) {
    let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
    let targets = Targets::of(relation);
    if targets.plain {
        // The rows are right by construction, the event they refer to is this transaction's own: neither the guard nor
        // the foreign key's check could find anything.
        let tuples: Vec<pg_sys::HeapTuple> = rows.iter().map(|row| form(relation, &targets, row)).collect();
        let indexes = pg_sys::CatalogOpenIndexes(relation);
        if tuples.len() > 1 && tuples.iter().all(|tuple| (**tuple).t_len <= NEVER_TOASTED) {
            let mut slots: Vec<_> = tuples
                .iter()
                .map(|tuple| {
                    let slot =
                        pg_sys::MakeSingleTupleTableSlot(relation.descriptor(), &raw const pg_sys::TTSOpsHeapTuple);
                    pg_sys::ExecStoreHeapTuple(*tuple, slot, false)
                })
                .collect();
            pg_sys::CatalogTuplesMultiInsertWithInfo(relation, slots.as_mut_ptr(), slots.len() as i32, indexes);
            for slot in slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
        } else {
            for tuple in tuples {
                pg_sys::CatalogTupleInsertWithInfo(relation, tuple, indexes);
            }
        }
        pg_sys::CatalogCloseIndexes(indexes);
    } else {
        let name = spi::qualified_name(relation);
        let columns = TARGET_COLUMNS.map(|(column, _)| column).join(", ");
        let statement = format!("INSERT INTO {name} ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        let types = TARGET_COLUMNS.map(|(_, oid)| oid);
        // The writer has no right to this table, and needs none.
        spi::as_owner(relation, || {
            for row in rows {
                spi::execute(&statement, &types, row);
            }
        });
    }
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
}
