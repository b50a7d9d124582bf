//! What is recorded of a relation: its row of immutable.tracking, resolved for this relation and kept until a catalog
//! changes. A partition is looked up through the root of its tree, and has its columns in other places.

use crate::capture::expression;
pub use crate::capture::operation::Operation;
use crate::capture::request::can_be_type;
use crate::capture::tracking::{self, Entry};
use crate::pg::catalog;
use crate::pg::relation::{named, with_ancestors, Relation};
use crate::pg::transaction::on_relation_change;
use immutable_format::event::RESERVED;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A column that is recorded.
pub struct Column {
    /// Its place in the relation's rows, counted from 0.
    pub place: usize,
    pub name: String,
    /// Its type.
    pub oid: Oid,
    /// Whether only that it changed is recorded.
    pub is_masked: bool,
}

/// A column whose values become targets.
pub struct SubjectColumn {
    /// Its place in the relation's rows, counted from 0.
    pub place: usize,
    pub oid: Oid,
    /// The type of the target.
    pub kind: String,
}

/// What is recorded of a relation.
pub struct Tracked {
    /// The relation's own name, with its schema.
    pub name: String,
    pub resource_type: String,
    pub operations: Vec<Operation>,
    /// In the order of the relation's columns.
    pub columns: Vec<Column>,
    /// The columns that resource_id is made of, as places and types.
    pub id: Vec<(usize, Oid)>,
    /// The column that holds the tenant, as place and type.
    pub tenant: Option<(usize, Oid)>,
    pub subjects: Vec<SubjectColumn>,
    /// The statement that evaluates the condition on a row; None if there is none, or none that can be evaluated.
    pub condition: Option<String>,
    /// Whether a name that `track_table()` was given is gone, so that no value can be recorded safely: every column is
    /// masked then.
    pub is_stale: bool,
}

#[derive(Default)]
struct Cache {
    /// What is recorded of each relation that was asked for.
    known: HashMap<Oid, Option<Rc<Tracked>>>,
    /// The relations that this depends on.
    watched: HashSet<Oid>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    /// How often a relation has changed, so that nothing is kept that was overtaken while it was read.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    tracking::register_callbacks();
    on_relation_change(|changed| {
        CHANGES.set(CHANGES.get().wrapping_add(1));
        // A change that is told while the cache is written to concerns what is not in it yet.
        CACHE.with(|cache| {
            let Ok(mut cache) = cache.try_borrow_mut() else { return };
            if changed == pg_sys::InvalidOid || cache.watched.contains(&changed) {
                *cache = Cache::default();
            }
        });
    });
}

/// What is recorded of the relation; None if it is not tracked.
pub fn of(relation: Relation<'_>) -> Option<Rc<Tracked>> {
    let oid = relation.oid();
    if let Some(known) = CACHE.with_borrow(|cache| cache.known.get(&oid).cloned()) {
        return known;
    }
    let before = CHANGES.get();
    let mut watched = HashSet::from([oid, named(c"tracking")]);
    let found = resolve(relation, &mut watched).map(Rc::new);
    if CHANGES.get() == before {
        CACHE.with_borrow_mut(|cache| {
            cache.known.insert(oid, found.clone());
            cache.watched.extend(watched);
        });
    }
    found
}

fn resolve(relation: Relation, watched: &mut HashSet<Oid>) -> Option<Tracked> {
    let rows = tracking::rows();
    let ancestors = with_ancestors(relation.oid());
    watched.extend(&ancestors);
    let types: HashMap<Oid, String> = rows
        .iter()
        .filter(|row| can_be_type(row.resource_type()))
        .map(|row| (row.relation(), row.resource_type().to_string()))
        .collect();
    let entry = &tracking::nearest(rows, &ancestors)?;
    let is_stale = !entry.gone.is_empty();
    let places: HashMap<String, (usize, Oid)> = relation
        .descriptor()
        .attributes()
        .filter(|(_, attribute)| !attribute.is_virtual)
        .map(|(place, attribute)| (attribute.name.to_string_lossy().into_owned(), (place, attribute.oid)))
        .collect();
    let id: Option<Vec<(usize, Oid)>> =
        entry.recording.id_columns.iter().map(|column| places.get(column.as_str()).copied()).collect();
    Some(Tracked {
        name: relation.qualified_name(),
        resource_type: resource_type(entry),
        operations: entry.recording.operations.clone(),
        columns: columns(relation, entry, is_stale),
        // A part of a key would name other rows too.
        id: id.unwrap_or_default(),
        tenant: entry.recording.tenant_column.as_ref().and_then(|column| places.get(column.as_str()).copied()),
        subjects: subjects(relation, entry, &types, watched),
        condition: entry.recording.condition.as_ref().and_then(|condition| expression::statement(relation, condition)),
        is_stale,
    })
}

/// The entry's resource_type. One that no event can have must not fail the changes of the table.
fn resource_type(entry: &Entry) -> String {
    match can_be_type(&entry.recording.resource_type) {
        true => entry.recording.resource_type.clone(),
        false => format!("table {}", entry.table),
    }
}

/// The columns that are recorded. If a name is gone, the column that it meant may have any name: no value is shown.
fn columns(relation: Relation, entry: &Entry, is_stale: bool) -> Vec<Column> {
    let is_recorded = |name: &String| {
        let is_listed = is_stale || entry.recording.columns.as_ref().is_none_or(|columns| columns.contains(name));
        is_listed && !entry.recording.exclude.contains(name)
    };
    let attributes = relation.descriptor().attributes().filter(|(_, attribute)| !attribute.is_virtual);
    let columns = attributes.map(|(place, attribute)| {
        let name = attribute.name.to_string_lossy().into_owned();
        let is_masked = is_stale || entry.recording.mask.contains(&name);
        Column { place, oid: attribute.oid, is_masked, name }
    });
    columns.filter(|column| is_recorded(&column.name)).collect()
}

/// The columns whose values become targets. A foreign key of a partition's root is one of the partition too.
fn subjects(
    relation: Relation,
    entry: &Entry,
    types: &HashMap<Oid, String>,
    watched: &mut HashSet<Oid>,
) -> Vec<SubjectColumn> {
    let references = relation.references();
    let attributes = relation.descriptor().attributes().filter(|(_, attribute)| !attribute.is_virtual);
    let subjects = attributes.filter_map(|(place, attribute)| {
        let name = attribute.name.to_string_lossy().into_owned();
        entry.recording.subject_columns.contains(&name).then_some((place, attribute.oid, name))
    });
    let of_one = |(place, oid, name): (usize, Oid, String)| {
        let referenced = references.iter().find(|(column, _)| *column == place).map(|(_, table)| *table);
        watched.extend(referenced);
        let tracked = referenced.and_then(|table| types.get(&table).cloned());
        let table = referenced.and_then(catalog::name_of_relation).map(|(_, table)| table);
        let kinds = [tracked, table, Some(name)];
        let kind = kinds.into_iter().flatten().find(|kind| !kind.starts_with(RESERVED) && !kind.is_empty());
        SubjectColumn { place, oid, kind: kind.unwrap_or_else(|| "subject".to_string()) }
    };
    subjects.map(of_one).collect()
}
