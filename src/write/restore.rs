//! Restoring a dump: with the setting `immutable.restore`, events come with their place in the
//! chain and keep it, and so does the log's identity. Each row must hash to its own event_hash.
//! Whether the rows link is left to verification, because a dump has them in any order.

use crate::guard::append_only::append_only;
use crate::log::columns::{self as c, Layout};
use crate::log::row::{hash, read, Stored};
use crate::log::tables::{events_oid, is_events_itself};
use crate::log::{distributed, lane, log_identity, seam, uncommitted};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{OpenRelation, Relation};
use crate::pg::setting;
use crate::pg::trigger::BEFORE_INSERT_ROW;
use crate::pg::tuple::{Tuple, Values};
use crate::settings;
use immutable_format::{document, id, Id};
use pgrx::pg_sys;

/// Takes a row as it is, except for xact, which becomes the restoring transaction: transaction
/// numbers of another cluster mean nothing here. Raises 55000 for a row that is not from a dump,
/// and XX001 for one that does not match its hash.
pub fn keep<'c>(relation: Relation<'c>, layout: &Layout, mut row: Values<'c>) -> Tuple<'c> {
    let Some(event_hash) = row.get(layout, c::EVENT_HASH) else {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "only events of a dump, with all their columns, can be inserted while immutable.restore is on",
        )
        .field("event_hash")
        .hint(format!("{} Then new events can be recorded.", setting::how_to_end("immutable.restore")))
        .raise()
    };
    lane::acquire_all(relation.oid());
    match read(|column| row.get(layout, column)) {
        Ok(stored) => {
            refuse_another_log(relation, &stored);
            check(&stored, hash(event_hash))
        }
        Err(violation) => refuse(&row, layout, &format!("It has no valid document: {violation}.")),
    }
    .unwrap_or_else(|why| refuse(&row, layout, &why));
    seam::forget(relation);
    row.set(layout, c::XACT, Datum::from(uncommitted::recorded(&row, layout)));
    row.form(relation.descriptor())
}

/// Refuses an event of another log in a distributed one (XX001). A COPY by Citus passes on the message alone.
fn refuse_another_log(relation: Relation, stored: &Stored<'_>) {
    let (Some(given), Some(log)) = (stored.envelope.log_id, log_identity::known()) else { return };
    if given != log && !is_events_itself(relation.oid()) {
        let id = id::uuid_text(&stored.envelope.id);
        refuse_identity(&format!("event {id} is of log {}", id::uuid_text(&given)), given, log)
    }
}

/// Refuses to restore a log into a distributed one that has another identity (XX001).
fn refuse_identity(what: &str, given: Id, log: Id) -> ! {
    let (given, log) = (id::uuid_text(&given), id::uuid_text(&log));
    Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("{what} and cannot be restored into log {log}"))
        .field("log_id")
        .hint(format!("Restore it into a new database in which immutable.distribute('{given}') was called."))
        .raise()
}

fn check(stored: &Stored<'_>, event_hash: Option<immutable_format::Hash>) -> Result<(), String> {
    match stored.document().map(|document| document::hash(&document)) {
        Ok(hash) if Some(hash) == event_hash => {}
        Ok(_) => return Err("Its content does not match its event_hash.".to_string()),
        Err(violation) => return Err(format!("It has no valid document: {violation}.")),
    }
    // The first event of a lane says to which log it belongs.
    match (stored.envelope.log_id, log_identity::known()) {
        (Some(given), Some(log)) if given != log => Err("It belongs to another log than the one in \
            this database."
            .to_string()),
        _ => Ok(()),
    }
}

fn refuse(row: &Values, layout: &Layout, why: &str) -> ! {
    let get = |column| row.get(layout, column);
    let id = get(c::ID).map_or("without id".to_string(), |id| id::uuid_text(&uuid(id)));
    let lane = get(c::LANE).map_or("?".to_string(), |lane| lane.i16().to_string());
    let seq = get(c::SEQ).map_or("?".to_string(), |seq| seq.i64().to_string());
    Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("event {id} (lane {lane}, seq {seq}) cannot be restored"))
        .detail(why.to_string())
        .hint(
            "The dump was altered, or the log was altered before the dump. Call \
             immutable.verify_breaks() in the database that was dumped.",
        )
        .raise()
}

sql_function!(immutable_guard_log, pg_finfo_immutable_guard_log, guard_log);

/// The trigger for an INSERT into the table of the log's identity: a dump brings its own, once.
/// From then on the log continues in another place than where it was written, whatever else of the
/// dump is restored.
fn guard_log(call: Call) -> Datum {
    let trigger = call.trigger(BEFORE_INSERT_ROW);
    if !settings::RESTORE.get() {
        append_only(
            trigger.relation(),
            "INSERT",
            "The first event makes the log's identity. To restore the identity of a dump, SET \
             immutable.restore = on.",
        )
    }
    let table = trigger.relation();
    if !log_identity::is_first_column(table.descriptor()) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is not immutable.log", table.name()),
        )
        .raise()
    }
    let given = trigger.row().values().at(0).map(uuid);
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    if let (Some(given), Some(log)) = (given, log_identity::of_events(events.get())) {
        if given != log {
            let (given, log) = (id::uuid_text(&given), id::uuid_text(&log));
            Fault::new(
                Code::ERRCODE_DATA_CORRUPTED,
                format!("log_id {given} is not the identity of the events in this database, which belong to log {log}"),
            )
            .field("log_id")
            .hint("Restore the identity and the events of the same dump, into a database without events.")
            .raise()
        }
    }
    seam::forget(events.get());
    // distribute() has told every node the identity.
    if let (Some(given), Some(log), true) = (given, log_identity::known(), distributed::is()) {
        if given != log {
            refuse_identity(&format!("the dump is of log {}", id::uuid_text(&given)), given, log)
        }
        return trigger.nothing();
    }
    trigger.go_on_with(trigger.row())
}

sql_function!(immutable_refuse_part_of, pg_finfo_immutable_refuse_part_of, refuse_part_of);

/// `immutable.refuse_part_of(tab)`: the row security policy of the tables that a dump holds besides
/// events.
fn refuse_part_of(call: Call) -> Datum {
    let table = call.arg(0).map_or("", text);
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("row security would leave out the rows of immutable.{table}"),
    )
    .detail(
        "A dump without these rows, or without the events that its role may not see, could be \
         restored as if it were complete.",
    )
    .hint(
        "Dump without --enable-row-security, as a superuser or a role with BYPASSRLS. See \
         docs/backup-and-restore.md. An auditor can read immutable.log and the events.",
    )
    .raise()
}
