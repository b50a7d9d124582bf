//! What becomes an event of the log's own when a command has changed how row changes are recorded.

use crate::capture::buffer::{put_notice, Notice};
use crate::capture::eligible::shown;
use crate::capture::operation::Operation;
use crate::capture::tracking::{self, Entry};
use crate::capture::triggers::PREFIX;
use crate::guard::ddl::can_append;
use crate::log::own_event::caller;
use crate::log::tables::events_oid;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{with_ancestors, OpenRelation};
use crate::settings;
use immutable_format::json::write_string;
use pgrx::pg_sys::{self, Oid};

/// The row of the uppermost table that is tracked among a relation and its ancestors.
pub fn root_of(relation: Oid) -> Option<Entry> {
    let all = tracking::all();
    let is_of = |table: &Oid| all.iter().position(|entry| entry.relation == *table && *table != pg_sys::InvalidOid);
    let place = with_ancestors(relation).iter().rev().find_map(is_of)?;
    all.into_iter().nth(place)
}

/// Notes that a relation records operations now that it did not record before.
pub fn note_enabled(tag: &str, relation: Oid, now: &[Operation], before: &[Operation]) {
    let on: Vec<Operation> = now.iter().filter(|operation| !before.contains(operation)).copied().collect();
    note_triggers("immutable.capture_enabled", tag, relation, &on);
}

/// Notes that a relation does not record some operations any more.
pub fn note_disabled(tag: &str, relation: Oid, operations: &[Operation]) {
    note_triggers("immutable.capture_disabled", tag, relation, operations);
}

fn note_triggers(action: &str, tag: &str, relation: Oid, operations: &[Operation]) {
    if !operations.is_empty() {
        let in_order = Operation::ALL.iter().filter(|operation| operations.contains(operation));
        let names: Vec<String> = in_order.map(|operation| format!("{PREFIX}{}", operation.name())).collect();
        note(action, shown(relation), tag, &[("triggers", &names.join(", "))]);
    }
}

/// Keeps an event of the log's own about a table for the commit. While a dump is restored, or where nothing can be recorded,
/// the server's log has it.
pub fn note(action: &str, table: String, tag: &str, more: &[(&str, &str)]) {
    let events = OpenRelation::briefly(events_oid());
    if settings::RESTORE.get() || !can_append(events.get()) {
        let line = format!("immutable: {action}: {tag} by role \"{}\": {table}", caller());
        Fault::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, line).log();
        return;
    }
    let mut metadata = String::from("{\"cause\":");
    write_string(tag, &mut metadata);
    for (key, value) in more {
        metadata.push(',');
        write_string(key, &mut metadata);
        metadata.push(':');
        write_string(value, &mut metadata);
    }
    metadata.push('}');
    put_notice(&Notice { action: action.to_string(), table, metadata });
}
