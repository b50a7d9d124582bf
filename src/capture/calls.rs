//! track_table() and untrack_table().

use crate::capture::buffer::{put_notice, Notice};
use crate::capture::eligible::{refuse_kind, refuse_part, shown};
use crate::capture::recording::Recording;
use crate::capture::request;
use crate::capture::tracking::{self, Entry};
use crate::capture::{condition, triggers};
use crate::log::tables::events_oid;
use crate::log::{distributed, seam, subscription};
use crate::pg::call::{sql_function, Call};
use crate::pg::catalog;
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{with_ancestors, OpenRelation, Relation};
use crate::pg::{role, transaction};
use immutable_format::json::write_string;
use immutable_format::sha256;
use pgrx::pg_sys::Oid;
use std::ffi::CStr;

sql_function!(immutable_track_table, pg_finfo_immutable_track_table, track_table);

/// `immutable.track_table(relation, resource_type, id_columns, columns, exclude, mask, tenant_column, subject_columns,
/// operations, condition)`
fn track_table(call: Call) -> Datum {
    let relation = call.required(0, "relation", "Give the table, such as 'public.invoices'.").oid();
    refuse_where_nothing_is_recorded(c"immutable.track_table()");
    refuse_kind(open(relation).get());
    refuse_others_condition(call, relation);
    triggers::lock_tree(relation);
    let table = open(relation);
    // Before the lock it may have become something else.
    refuse_kind(table.get());
    refuse_part(table.get());
    let recording = request::read(call, table.get());
    if let Some(expression) = &recording.condition {
        condition::check(table.get(), expression);
    }
    let entry = entry(table.get(), recording);
    drop(table);
    tracking::refresh();
    tracking::store(&entry);
    triggers::install(relation, &entry.recording.operations);
    put_notice(&Notice {
        action: "immutable.table_tracked".to_string(),
        table: shown(relation),
        metadata: metadata(&entry),
    });
    call.void()
}

/// Opens the relation that is given. Raises 42P01 if it was dropped since its name was looked up.
fn open(relation: Oid) -> OpenRelation {
    OpenRelation::any(relation).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_UNDEFINED_TABLE, format!("relation with OID {relation} does not exist"))
            .field("relation")
            .raise()
    })
}

/// Raises 25006 where the log cannot be written, and 0A000 in a distributed log.
fn refuse_where_nothing_is_recorded(function: &CStr) {
    transaction::require_writable(function);
    if distributed::is_log() {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "a distributed log does not record row changes of other tables")
            .hint("Record them with immutable.track().")
            .raise()
    }
    let events = OpenRelation::briefly(events_oid());
    subscription::refuse_local_write(events.get());
    seam::refuse_copy(events.get());
}

/// Refuses (42501) a condition of a caller who may not create triggers on the table, because it runs with the rights of
/// whoever changes rows.
fn refuse_others_condition(call: Call, relation: Oid) {
    if call.arg(9).is_some() && !catalog::may_create_triggers(role::current(), relation) {
        let table = shown(relation);
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("a condition needs the TRIGGER privilege on {table}"))
            .field("condition")
            .detail("Whoever changes rows evaluates the condition with their own rights.")
            .hint(format!("GRANT TRIGGER ON {table}, or leave the condition out."))
            .raise()
    }
}

fn entry(table: Relation, recording: Recording) -> Entry {
    let (schema, name) = catalog::name_of_relation(table.oid()).unwrap_or_default();
    Entry {
        schema,
        table: name,
        relation: table.oid(),
        recording,
        tracked: tracking::tracked_now(),
        ..Entry::default()
    }
}

/// Bytes of a list of columns beyond which the event has their number and a hash, because all lists are to fit into it.
const LIST_BYTES: usize = 8192;

/// What the event says of the configuration: names alone. A condition may contain values.
fn metadata(entry: &Entry) -> String {
    let operations: Vec<&str> = entry.recording.operations.iter().map(|operation| operation.name()).collect();
    let names = |list: &[String]| match array(list.iter().map(String::as_str)) {
        names if names.len() > LIST_BYTES => format!("{{\"count\":{},\"sha256\":\"{}\"}}", list.len(), hex_of(&names)),
        names => names,
    };
    let or_null = |json: Option<String>| json.unwrap_or_else(|| "null".to_string());
    let digest = |text: &String| format!("{{\"length\":{},\"sha256\":\"{}\"}}", text.len(), hex_of(text));
    let members = [
        ("resource_type", string(&entry.recording.resource_type)),
        ("id_columns", names(&entry.recording.id_columns)),
        ("columns", or_null(entry.recording.columns.as_deref().map(names))),
        ("exclude", names(&entry.recording.exclude)),
        ("mask", names(&entry.recording.mask)),
        ("tenant_column", or_null(entry.recording.tenant_column.as_deref().map(string))),
        ("subject_columns", names(&entry.recording.subject_columns)),
        ("operations", array(operations.into_iter())),
        ("condition", or_null(entry.recording.condition.as_ref().map(digest))),
    ];
    let members: Vec<String> = members.iter().map(|(key, json)| format!("\"{key}\":{json}")).collect();
    format!("{{{}}}", members.join(","))
}

fn hex_of(text: &str) -> String {
    sha256(&[text.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn string(text: &str) -> String {
    let mut json = String::new();
    write_string(text, &mut json);
    json
}

fn array<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(string).collect::<Vec<_>>().join(","))
}

sql_function!(immutable_untrack_table, pg_finfo_immutable_untrack_table, untrack_table);

/// `immutable.untrack_table(relation)`
fn untrack_table(call: Call) -> Datum {
    let relation = call.required(0, "relation", "Give the table, such as 'public.invoices'.").oid();
    refuse_where_nothing_is_recorded(c"immutable.untrack_table()");
    refuse_part_of_tracked(relation);
    if tracking::of(relation).is_none() {
        return Datum::from(false);
    }
    let relations = triggers::lock_tree(relation);
    tracking::refresh();
    if !tracking::remove(relation) {
        return Datum::from(false);
    }
    for member in relations {
        triggers::remove(member);
    }
    put_notice(&Notice {
        action: "immutable.table_untracked".to_string(),
        table: shown(relation),
        metadata: "{\"cause\":\"immutable.untrack_table()\"}".to_string(),
    });
    Datum::from(true)
}

/// Refuses (42809) a partition or a child of a tracked table.
fn refuse_part_of_tracked(relation: Oid) {
    let all = tracking::all();
    let is_tracked = |table: &&Oid| all.iter().any(|entry| entry.relation == **table);
    let root = with_ancestors(relation).into_iter().skip(1).find(|table| is_tracked(&table));
    if let Some(root) = root.filter(|_| tracking::of(relation).is_none()) {
        let (table, root) = (shown(relation), shown(root));
        Fault::new(Code::ERRCODE_WRONG_OBJECT_TYPE, format!("{table} is tracked with {root}"))
            .field("relation")
            .hint(format!("SELECT immutable.untrack_table('{root}') ends the recording of the whole tree."))
            .raise()
    }
}
