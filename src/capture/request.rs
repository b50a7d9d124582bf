//! What `track_table()` is asked for: its arguments, held to the columns of the table.

use crate::capture::operation::Operation;
use crate::capture::recording::Recording;
use crate::pg::call::{texts, Call};
use crate::pg::datum::text;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::Relation;
use immutable_format::event::RESERVED;
use std::collections::HashMap;

/// The most bytes of a resource_type. The action is longer.
const RESOURCE_TYPE_BYTES: usize = 200;

/// Reads the arguments of `track_table()`. Raises 22004, 22001, 22023, 42501 or 42703, and names the argument.
pub fn read(call: Call, relation: Relation) -> Recording {
    let resource_type = resource_type(call, relation);
    let present = Present::of(relation);
    let list = |index, name| present.list(call, index, name);
    let id_columns = list(2, "id_columns").unwrap_or_else(|| primary_key(relation));
    let tenant_column = call.arg(6).map(|column| present.column("tenant_column", text(column)));
    let recording = Recording {
        resource_type,
        id_columns,
        columns: list(3, "columns"),
        exclude: list(4, "exclude").unwrap_or_default(),
        mask: list(5, "mask").unwrap_or_default(),
        tenant_column,
        subject_columns: list(7, "subject_columns").unwrap_or_default(),
        operations: operations(call),
        condition: call.arg(9).map(|condition| text(condition).to_string()),
    };
    refuse_contradictions(&recording);
    recording
}

fn refuse_contradictions(of: &Recording) {
    if of.columns.as_ref().is_some_and(Vec::is_empty) {
        Fault::invalid("columns", "columns must not be empty")
            .hint("Leave columns out to record all, and name in mask those whose values must not be recorded.")
            .raise()
    }
    let columns = of.columns.as_deref().unwrap_or_default();
    refuse_both(("exclude", &of.exclude), ("columns", columns), "Name the column in one of them.");
    refuse_both(("exclude", &of.exclude), ("mask", &of.mask), "Name the column in one of them.");
    let of_id = "The key is recorded as it is. Give id_columns => '{}' to record no key, or other columns.";
    refuse_both(("mask", &of.mask), ("id_columns", &of.id_columns), of_id);
    refuse_both(("exclude", &of.exclude), ("id_columns", &of.id_columns), of_id);
    let in_clear =
        "Its values are recorded as they are. Name the column in exclude, so that they are not in metadata too.";
    refuse_both(("mask", &of.mask), ("subject_columns", &of.subject_columns), in_clear);
    let tenant: Vec<String> = of.tenant_column.iter().cloned().collect();
    refuse_both(("mask", &of.mask), ("tenant_column", &tenant), in_clear);
    let unrecorded = of.columns.as_ref().and_then(|all| of.mask.iter().find(|column| !all.contains(column)));
    if let Some(column) = unrecorded {
        Fault::invalid("mask", format!("mask names column \"{column}\", which columns does not"))
            .hint("Name it in both, or in neither.")
            .raise()
    }
}

/// Refuses (22023) a column that two arguments name.
fn refuse_both(one: (&str, &[String]), other: (&str, &[String]), hint: &str) {
    if let Some(column) = one.1.iter().find(|column| other.1.contains(column)) {
        Fault::invalid(one.0, format!("{} and {} both name column \"{column}\"", one.0, other.0)).hint(hint).raise()
    }
}

/// Whether events can have the resource_type. A row of immutable.tracking that somebody has changed may have any.
pub fn can_be_type(resource_type: &str) -> bool {
    !resource_type.is_empty()
        && resource_type.len() <= RESOURCE_TYPE_BYTES
        && !format!("{resource_type}.").starts_with(RESERVED)
}

/// The resource_type that is given, or the table's name.
fn resource_type(call: Call, relation: Relation) -> String {
    let given = call.arg(1).map(text);
    let name = relation.name();
    let resource_type = given.unwrap_or(&name);
    if resource_type.is_empty() {
        Fault::invalid("resource_type", "resource_type must not be empty")
            .hint("Leave it out for the name of the table.")
            .raise()
    }
    if resource_type.len() > RESOURCE_TYPE_BYTES {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("resource_type is too long: {} bytes, at most {RESOURCE_TYPE_BYTES}", resource_type.len()),
        )
        .field("resource_type")
        .hint("Bytes of UTF-8 are counted.")
        .raise()
    }
    if format!("{resource_type}.").starts_with(RESERVED) {
        let hint = match given {
            Some(_) => format!("Choose a name that does not begin with \"{RESERVED}\"."),
            None => format!("The table has that name. Give another resource_type, such as 'app_{name}'."),
        };
        Fault::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("resource_type \"{resource_type}\" is reserved for the log itself"),
        )
        .field("resource_type")
        .hint(hint)
        .raise()
    }
    resource_type.to_string()
}

fn operations(call: Call) -> Vec<Operation> {
    const HINT: &str = "Give some of insert, update, delete and truncate.";
    let given = call.required(8, "operations", HINT);
    let names = texts(given, "operations");
    let known = |name: &str| Operation::ALL.into_iter().find(|operation| operation.name() == name);
    if let Some(unknown) = names.iter().find(|name| known(name).is_none()) {
        Fault::invalid("operations", format!("\"{unknown}\" is not an operation")).hint(HINT).raise()
    }
    if names.is_empty() {
        Fault::invalid("operations", "operations must not be empty")
            .hint("Give some of insert, update, delete and truncate. immutable.untrack_table() ends the recording.")
            .raise()
    }
    Operation::ALL.into_iter().filter(|operation| names.contains(&operation.name())).collect()
}

/// The columns of the table, each with whether its values are in rows.
struct Present(HashMap<String, bool>);

impl Present {
    fn of(relation: Relation) -> Present {
        let attributes = relation.descriptor().attributes();
        Present(attributes.map(|(_, it)| (it.name.to_string_lossy().into_owned(), !it.is_virtual)).collect())
    }

    /// The columns of an argument, each once. Raises 42703 for one that is not there, and 22023 for one that is named twice.
    fn list(&self, call: Call, index: usize, argument: &str) -> Option<Vec<String>> {
        let mut list = Vec::new();
        for name in texts(call.arg(index)?, argument) {
            let column = self.column(argument, name);
            if list.contains(&column) {
                Fault::invalid(argument, format!("{argument} names column \"{name}\" twice"))
                    .hint("Name each column once.")
                    .raise()
            }
            list.push(column);
        }
        Some(list)
    }

    /// A column by its name as it is in the catalog.
    fn column(&self, argument: &str, name: &str) -> String {
        match self.0.get(name) {
            Some(true) => name.to_string(),
            Some(false) => Fault::invalid(argument, format!("column \"{name}\" is generated when it is read"))
                .hint("Rows do not have its value. Name the columns that it is generated from.")
                .raise(),
            None => Fault::new(
                Code::ERRCODE_UNDEFINED_COLUMN,
                format!("{argument} names column \"{name}\", which the table does not have"),
            )
            .field(argument)
            .hint("Names are taken as they are in the catalog, without quotes. System columns cannot be named.")
            .raise(),
        }
    }
}

fn primary_key(relation: Relation) -> Vec<String> {
    let places = relation.primary_key().unwrap_or_default();
    let attributes = places.into_iter().filter_map(|place| relation.descriptor().attribute(place));
    attributes.map(|attribute| attribute.name.to_string_lossy().into_owned()).collect()
}
