//! What keeps row changes of a tracked table from being recorded as they should be.

use crate::capture::eligible::shown;
use crate::capture::request::can_be_type;
use crate::capture::triggers::{self, Condition, PREFIX};
use crate::capture::{expression, mask, tracking};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::relation::{OpenRelation, Relation};
use crate::settings;
use pgrx::pg_sys::{self, Oid};

/// What is wrong with the recording of a tracked table, as a sentence without a full stop.
pub fn of(relation: Oid) -> Option<String> {
    let Some(open) = OpenRelation::any(relation) else { return Some(of_missing(relation)) };
    let entry = tracking::of(relation)?;
    of_triggers(&entry)
        .or_else(|| of_columns(&entry))
        .or_else(|| of_type(&entry))
        .or_else(|| of_persistence(open.get()))
        .or_else(|| of_condition(open.get(), &entry))
        .or_else(|| of_mask(&entry))
}

fn of_missing(_: Oid) -> String {
    "the table is not there, and nothing of it is recorded. Restore it, or delete its row from immutable.tracking as the \
     log's owner"
        .to_string()
}

fn of_triggers(entry: &tracking::Entry) -> Option<String> {
    let mut bad: Vec<(Oid, &str, String)> = Vec::new();
    triggers::each_of_tree(entry.relation, &entry.recording.operations, |relation, operation, condition| {
        let state = match condition {
            Condition::Fires => return,
            Condition::Switched => "disabled",
            Condition::Missing => "missing",
        };
        bad.push((relation, state, format!("{PREFIX}{}", operation.name())));
    });
    let (relation, state, trigger) = bad.first()?;
    let others = match bad.len() - 1 {
        0 => String::new(),
        1 => " (and one other)".to_string(),
        more => format!(" (and {more} others)"),
    };
    Some(format!(
        "trigger \"{trigger}\" of {} is {state}{others}, and changes are not recorded. Find out who did that, in the events \
         immutable.capture_disabled, and call immutable.track_table() again",
        shown(*relation)
    ))
}

fn of_columns(entry: &tracking::Entry) -> Option<String> {
    let column = entry.gone.first()?;
    Some(format!(
        "column \"{column}\" is not there, and every value is masked. Call immutable.track_table() again with the columns \
         that the table has"
    ))
}

fn of_type(entry: &tracking::Entry) -> Option<String> {
    (!can_be_type(&entry.recording.resource_type)).then(|| {
        "events cannot have the resource_type, and have the table's name instead. Call immutable.track_table() again"
            .to_string()
    })
}

fn of_persistence(table: Relation) -> Option<String> {
    (table.persistence() == pg_sys::RELPERSISTENCE_UNLOGGED).then(|| {
        "the table is unlogged. A crash empties it, and no event says so. Run ALTER TABLE ... SET LOGGED".to_string()
    })
}

fn of_condition(table: Relation, entry: &tracking::Entry) -> Option<String> {
    let condition = entry.recording.condition.as_deref()?;
    expression::problem(table, condition).map(|refused| {
        format!(
            "the condition cannot be evaluated ({}), and every change is recorded. Call immutable.track_table() again with \
             one that can",
            refused.message.trim_end_matches('.')
        )
    })
}

fn of_mask(entry: &tracking::Entry) -> Option<String> {
    let is_set = settings::MASK_KEY_FILE.get().is_some_and(|file| !file.is_empty());
    (!entry.recording.mask.is_empty() && is_set && mask::key().is_none()).then(|| {
        "the file of immutable.mask_key_file cannot be used, and events say only that a masked value has changed. Write 64 hex \
         digits into it, and let PostgreSQL's user alone read it"
            .to_string()
    })
}

sql_function!(immutable_capture_problem, pg_finfo_immutable_capture_problem, capture_problem);

/// `immutable.capture_problem(relation)`
fn capture_problem(call: Call) -> Datum {
    match call.arg(0).and_then(|relation| of(relation.oid())) {
        Some(problem) => call.text(&problem),
        None => call.null(),
    }
}
