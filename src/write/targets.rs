//! The AFTER INSERT row trigger: it writes one row of event_targets per target, for joins and
//! filters. These rows are derived; what is hashed is the event's own `targets` column.

use crate::log::columns as c;
use crate::log::tables::{Events, Targets, TARGET_COLUMNS};
use crate::log::targets::{derived, Derived};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::write::sealed;
use pgrx::pg_sys::{self, Oid};

const AFTER_INSERT_ROW: u32 = pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_AFTER;

/// The values of a row, in the order of [`TARGET_COLUMNS`].
type Row<'m> = [Option<Datum<'m>>; TARGET_COLUMNS.len()];

sql_function!(immutable_targets, pg_finfo_immutable_targets, derive);

fn derive<'c>(call: Call<'c>) -> Datum<'c> {
    let trigger = call.trigger(AFTER_INSERT_ROW);
    let events = Events::of(trigger.relation());
    let event = trigger.row().values();
    sealed::check_inserted(trigger.relation(), &events, &event);
    let memory = call.memory();
    let targets = event.get(&events.layout, c::TARGETS).map_or_else(Vec::new, derived);
    if targets.is_empty() {
        return trigger.nothing();
    }
    let table = events.targets.unwrap_or_else(|| {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "no table of event targets refers to this table of events",
        )
        .raise()
    });
    let [tenant_id, id, created_at] =
        [c::TENANT_ID, c::ID, c::CREATED_AT].map(|column| event.get(&events.layout, column));
    let row = |(position, Derived { target, metadata }): (usize, &Derived<'c>)| {
        [
            tenant_id,
            id,
            Some(Datum::from(position as i16)),
            Some(memory.text(target.kind())),
            target.id().map(|id| memory.text(id)),
            target.name().map(|name| memory.text(name)),
            *metadata,
            created_at,
        ]
    };
    let rows: Vec<Row> = targets.iter().enumerate().map(row).collect();
    insert(table, &rows);
    trigger.nothing()
}

/// The values in the order of the table's columns.
fn in_place<'m>(targets: &Targets, row: &Row<'m>) -> Row<'m> {
    let mut placed = Row::default();
    for (place, value) in targets.places.iter().zip(row) {
        placed[*place] = *value;
    }
    placed
}

fn insert(table: Oid, rows: &[Row]) {
    let relation = OpenRelation::table(table, pg_sys::RowExclusiveLock);
    let relation = relation.get();
    let targets = Targets::of(relation);
    if targets.plain {
        // The rows are right by construction, and the event they refer to is this transaction's
        // own: neither the guard nor the foreign key's check could find anything.
        relation.append_all(rows.iter().map(|row| in_place(&targets, row)));
    } else {
        let name = relation.qualified_name();
        let columns = TARGET_COLUMNS.map(|(column, _)| column).join(", ");
        let statement = format!("INSERT INTO {name} ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        // The writer has no privileges on this table, and needs none.
        spi::as_owner(relation, || {
            for row in rows {
                let values = TARGET_COLUMNS.iter().zip(row).map(|((_, oid), value)| Arg::given(*oid, *value));
                spi::execute(&statement, &values.collect::<Vec<Arg>>());
            }
        });
    }
}
