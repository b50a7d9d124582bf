//! The rows of immutable.tracking: reading, writing, and finding their tables and columns again after a restore and after
//! new names.

use crate::capture::operation::Operation;
use crate::capture::recording::Recording;
use crate::log::own_event::recorder;
use crate::log::small_table::SmallTable;
use crate::pg::call::{elements, names, smallints, sql_function, Call};
use crate::pg::catalog;
use crate::pg::datum::{micros, name, text, Datum};
use crate::pg::relation::{named, OpenRelation};
use crate::pg::server::database;
use crate::pg::spi::Arg;
use crate::pg::transaction::{now, on_relation_change};
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;

/// The columns of immutable.tracking.
const TYPES: [Oid; 17] = [
    pg_sys::NAMEOID,
    pg_sys::NAMEOID,
    pg_sys::OIDOID,
    pg_sys::OIDOID,
    pg_sys::TEXTOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::NAMEOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::TEXTARRAYOID,
    pg_sys::TEXTOID,
    pg_sys::NAMEARRAYOID,
    pg_sys::INT2ARRAYOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
];

/// The places of the columns that the trigger sets.
const RELATION: usize = 2;
const DATABASE: usize = 3;
const ATTRIBUTES: usize = 13;
const NUMBERS: usize = 14;

/// A row of immutable.tracking. Its names are those that the table and its columns have now.
#[derive(Clone, Default)]
pub struct Entry {
    pub schema: String,
    pub table: String,
    /// The table; InvalidOid if there is none of this name.
    pub relation: Oid,
    pub recording: Recording,
    /// Microseconds since 1970, and who called `track_table()`.
    pub tracked: (i64, String),
    /// The columns that the row names and that are not there, so that nobody knows what they are called now.
    pub gone: Vec<String>,
    /// The columns in `exclude` and `mask` that were dropped. A new column of such a name is not shown either.
    pub dropped: Vec<String>,
    /// Where the row has older names: the schema and the table that it names.
    pub outdated: Option<(String, String)>,
}

impl Entry {
    /// The row as it is stored, and what it says about the table and the columns where it was written.
    fn read(row: &Values) -> (Entry, Known) {
        let one = |place: usize| row.at(place).map(|datum| name(datum).to_string_lossy().into_owned());
        let list = |place: usize| row.at(place).map(names);
        let words = |place: usize| row.at(place).map(|array| elements(array, pg_sys::TEXTOID)).unwrap_or_default();
        let operations: Vec<&str> = words(11).into_iter().flatten().map(text).collect();
        let recording = Recording {
            resource_type: row.at(4).map_or(String::new(), |datum| text(datum).to_string()),
            id_columns: list(5).unwrap_or_default(),
            columns: list(6),
            exclude: list(7).unwrap_or_default(),
            mask: list(8).unwrap_or_default(),
            tenant_column: one(9),
            subject_columns: list(10).unwrap_or_default(),
            operations: Operation::ALL.into_iter().filter(|one| operations.contains(&one.name())).collect(),
            condition: row.at(12).map(|datum| text(datum).to_string()),
        };
        let entry = Entry {
            schema: one(0).unwrap_or_default(),
            table: one(1).unwrap_or_default(),
            recording,
            tracked: (row.at(15).map_or(0, micros), row.at(16).map_or(String::new(), |datum| text(datum).to_string())),
            ..Entry::default()
        };
        let known = Known {
            relation: row.at(RELATION).map_or(pg_sys::InvalidOid, Datum::oid),
            database: row.at(DATABASE).map_or(pg_sys::InvalidOid, Datum::oid),
            attributes: list(ATTRIBUTES).unwrap_or_default(),
            numbers: row.at(NUMBERS).map(smallints).unwrap_or_default(),
        };
        (entry, known)
    }
}

/// What a row says about the table and the columns where it was written.
struct Known {
    relation: Oid,
    database: Oid,
    attributes: Vec<String>,
    numbers: Vec<i16>,
}

/// The number of a column that was dropped.
const DROPPED: i16 = -1;

impl Known {
    /// The number that a column had.
    fn number(&self, column: &str) -> Option<i16> {
        self.number_or_state(column).filter(|number| *number > 0)
    }

    fn is_dropped(&self, column: &str) -> bool {
        self.number_or_state(column) == Some(DROPPED)
    }

    fn number_or_state(&self, column: &str) -> Option<i16> {
        let place = self.attributes.iter().position(|known| known == column)?;
        self.numbers.get(place).copied()
    }

    /// Whether the table is known by its OID, and its columns by their numbers.
    fn is_of_here(&self) -> bool {
        self.database == database() && catalog::relation_kind(self.relation) != 0
    }

    /// Finds the names that the entry's table and its columns have now.
    fn follow(&self, entry: &mut Entry) {
        let by_number = self.is_of_here();
        if entry.relation == pg_sys::InvalidOid {
            return;
        }
        let stored = (entry.schema.clone(), entry.table.clone());
        if let Some(now) = catalog::name_of_relation(entry.relation) {
            (entry.schema, entry.table) = now;
        }
        let mut is_outdated = !by_number || stored != (entry.schema.clone(), entry.table.clone());
        let (relation, mut gone, mut dropped) = (entry.relation, Vec::new(), Vec::new());
        entry.recording.each_column(|column| {
            let number = self.number(column).filter(|_| by_number);
            let followed = number.and_then(|number| catalog::column_name(relation, number));
            match followed {
                Some(now) => {
                    is_outdated |= now != *column;
                    *column = now;
                }
                None if catalog::column_number(relation, column).is_some() => is_outdated = true,
                None if self.is_dropped(column) => dropped.push(column.clone()),
                None => gone.push(column.clone()),
            }
        });
        (entry.gone, entry.dropped) = (gone, dropped);
        entry.outdated = is_outdated.then_some(stored);
    }
}

thread_local! {
    /// Whether there is any row, and the table that was asked.
    static IS_ANY: Cell<Option<(Oid, bool)>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_relation_change(|changed| {
        if IS_ANY.get().is_some_and(|(table, _)| changed == table || changed == pg_sys::InvalidOid) {
            IS_ANY.set(None);
        }
    });
}

/// A row as it is stored, and its table.
pub struct Row {
    entry: Entry,
    known: Known,
}

impl Row {
    fn read(row: &Values) -> Row {
        let (mut entry, known) = Entry::read(row);
        entry.relation = match known.is_of_here() {
            true => known.relation,
            false => catalog::relation(&entry.schema, &entry.table),
        };
        Row { entry, known }
    }

    /// The table; InvalidOid if there is none of its name.
    pub fn relation(&self) -> Oid {
        self.entry.relation
    }

    /// What events call the table's rows.
    pub fn resource_type(&self) -> &str {
        &self.entry.recording.resource_type
    }

    /// The row with the names that there are now.
    pub fn entry(mut self) -> Entry {
        self.known.follow(&mut self.entry);
        self.entry
    }
}

/// All rows as they are now, whatever the transaction's snapshot sees, and without regard to the caller's rights. There is
/// none where the extension is older than its library.
pub fn rows() -> Vec<Row> {
    if named(c"tracking") == pg_sys::InvalidOid {
        return Vec::new();
    }
    let mut found = Vec::new();
    SmallTable::read(c"tracking", &TYPES).rows(None, &[], |row| found.push(Row::read(row)));
    found
}

/// The same with the names that there are now.
pub fn all() -> Vec<Entry> {
    rows().into_iter().map(Row::entry).collect()
}

/// Whether there is any row. It is asked by every DDL command, and remembered until the table changes.
pub fn is_any() -> bool {
    let table = named(c"tracking");
    if let Some((_, known)) = IS_ANY.get().filter(|(known, _)| *known == table) {
        return known;
    }
    let mut is_any = false;
    if let Some(tracking) = OpenRelation::read(table) {
        is_any = tracking.get().any_row(|_| ()).is_some();
    }
    IS_ANY.set(Some((table, is_any)));
    is_any
}

/// The row of a table, by its OID.
pub fn of(relation: Oid) -> Option<Entry> {
    rows().into_iter().find(|row| row.relation() == relation && relation != pg_sys::InvalidOid).map(Row::entry)
}

/// The row of the first of the tables that has one.
pub fn nearest(rows: Vec<Row>, tables: &[Oid]) -> Option<Entry> {
    let table = tables.iter().find(|table| rows.iter().any(|row| row.relation() == **table))?;
    rows.into_iter().find(|row| row.relation() == *table).map(Row::entry)
}

/// Writes the row of a table in place of the one before, and has every session read it anew.
pub fn store(entry: &Entry) {
    remove(entry.relation);
    let tracking = SmallTable::open(c"tracking", &TYPES, pg_sys::RowExclusiveLock);
    delete_named(&tracking, &entry.schema, &entry.table);
    insert(&tracking, entry);
}

/// Writes the names that tables and columns have now into all rows that have older ones.
pub fn refresh() {
    let outdated = || -> Vec<Entry> { all().into_iter().filter(|entry| entry.outdated.is_some()).collect() };
    if outdated().is_empty() {
        return;
    }
    let tracking = SmallTable::open(c"tracking", &TYPES, pg_sys::ShareRowExclusiveLock);
    // While it waited, another session may have written the names.
    let outdated = outdated();
    // Names may have been swapped.
    for (schema, table) in outdated.iter().filter_map(|entry| entry.outdated.as_ref()) {
        delete_named(&tracking, schema, table);
    }
    for entry in &outdated {
        insert(&tracking, entry);
    }
}

fn insert(tracking: &SmallTable, entry: &Entry) {
    let columns = entry.recording.columns.clone().map_or(Arg::Null(pg_sys::TEXTARRAYOID), Arg::Texts);
    tracking.execute(
        "INSERT INTO immutable.tracking (schema_name, table_name, resource_type, id_columns, columns, exclude, mask, \
           tenant_column, subject_columns, operations, condition, tracked_at, tracked_by, attributes, numbers) \
         VALUES ($1::pg_catalog.name, $2::pg_catalog.name, $3, $4::pg_catalog.name[], $5::pg_catalog.name[], \
           $6::pg_catalog.name[], $7::pg_catalog.name[], $8::pg_catalog.name, $9::pg_catalog.name[], $10, $11, $12, $13, \
           $14::pg_catalog.name[], ARRAY(SELECT (-1)::pg_catalog.int2 FROM pg_catalog.unnest($14)))",
        &[
            Arg::text(entry.schema.as_str()),
            Arg::text(entry.table.as_str()),
            Arg::text(entry.recording.resource_type.as_str()),
            Arg::Texts(entry.recording.id_columns.clone()),
            columns,
            Arg::Texts(entry.recording.exclude.clone()),
            Arg::Texts(entry.recording.mask.clone()),
            Arg::maybe_text(entry.recording.tenant_column.as_deref()),
            Arg::Texts(entry.recording.subject_columns.clone()),
            Arg::Texts(entry.recording.operations.iter().map(|one| one.name().to_string()).collect()),
            Arg::maybe_text(entry.recording.condition.as_deref()),
            Arg::Time(entry.tracked.0),
            Arg::text(entry.tracked.1.as_str()),
            Arg::Texts(entry.dropped.clone()),
        ],
    );
}

fn delete_named(tracking: &SmallTable, schema: &str, table: &str) {
    tracking.execute(
        "DELETE FROM immutable.tracking WHERE schema_name OPERATOR(pg_catalog.=) $1::pg_catalog.name \
           AND table_name OPERATOR(pg_catalog.=) $2::pg_catalog.name RETURNING 1",
        &[Arg::text(schema), Arg::text(table)],
    );
}

/// When a call of `track_table()` is made, and who makes it.
pub fn tracked_now() -> (i64, String) {
    (now(), recorder())
}

/// Deletes the row of a table, and returns whether there was one.
pub fn remove(relation: Oid) -> bool {
    let Some(entry) = of(relation) else { return false };
    let (schema, table) = entry.outdated.unwrap_or((entry.schema, entry.table));
    let tracking = SmallTable::open(c"tracking", &TYPES, pg_sys::RowExclusiveLock);
    delete_named(&tracking, &schema, &table);
    true
}

/// Deletes the row of a table that was dropped, by the names in it.
pub fn remove_dropped(schema: &str, table: &str) {
    delete_named(&SmallTable::open(c"tracking", &TYPES, pg_sys::RowExclusiveLock), schema, table);
}

/// Notes that columns of a table were dropped, by their numbers. A column that is recorded, or whose values become targets,
/// is forgotten. One that is not to be shown keeps its name in the row, for another that may get it. The columns of the key
/// and of the tenant stay in the row, and are missed.
pub fn forget_columns(relation: Oid, numbers: &[i16]) {
    let tracking = SmallTable::open(c"tracking", &TYPES, pg_sys::ShareRowExclusiveLock);
    let mut found = None;
    tracking.rows(None, &[], |row| {
        let row = Row::read(row);
        if row.known.database == database() && row.known.relation == relation {
            found = Some(row);
        }
    });
    let Some(Row { mut entry, known }) = found else { return };
    let is_dropped = |column: &String| known.number(column).is_some_and(|number| numbers.contains(&number));
    entry.recording.columns =
        entry.recording.columns.map(|columns| columns.into_iter().filter(|column| !is_dropped(column)).collect());
    entry.recording.subject_columns.retain(|column| !is_dropped(column));
    let stored = (entry.schema.clone(), entry.table.clone());
    known.follow(&mut entry);
    let is_needed = |column: &String| {
        entry.recording.id_columns.contains(column) || entry.recording.tenant_column.as_ref() == Some(column)
    };
    let (dropped, gone): (Vec<_>, Vec<_>) =
        entry.gone.drain(..).partition(|column| is_dropped(column) && !is_needed(column));
    entry.gone = gone;
    entry.dropped.extend(dropped);
    delete_named(&tracking, &stored.0, &stored.1);
    insert(&tracking, &entry);
}

sql_function!(immutable_resolve_tracking, pg_finfo_immutable_resolve_tracking, resolve_tracking);

/// The triggers of immutable.tracking.
fn resolve_tracking(call: Call) -> Datum {
    let trigger = call.any_trigger();
    let tracking = trigger.relation();
    if !trigger.is_for_row() {
        tracking.invalidate();
        return trigger.nothing();
    }
    if !tracking.descriptor().is_of(&TYPES) || trigger.operation() != pg_sys::TRIGGER_EVENT_INSERT {
        return trigger.go_on();
    }
    let mut row = trigger.row().values();
    let (entry, known) = Entry::read(&row);
    let relation = catalog::relation(&entry.schema, &entry.table);
    let attributes = entry.recording.named_columns();
    let number = |column: &String| match catalog::column_number(relation, column) {
        Some(number) => number,
        None if known.is_dropped(column) => DROPPED,
        None => 0,
    };
    let numbers: Vec<i16> = attributes.iter().map(number).collect();
    let memory = row.memory();
    row.put(RELATION, Some(Datum::from(relation)));
    row.put(DATABASE, Some(Datum::from(database())));
    row.put(ATTRIBUTES, Some(memory.names(&attributes)));
    row.put(NUMBERS, Some(memory.smallints(&numbers)));
    let formed = row.form(tracking.descriptor());
    trigger.go_on_with(formed)
}
