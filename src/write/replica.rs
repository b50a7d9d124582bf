//! A database that receives the log by logical replication. It keeps events as it receives them,
//! and records none of its own until the subscription is dropped. Extensions such as pglogical work
//! in sessions that replay a replication origin.

use crate::guard::append_only::{append_only, check_update, erase_requested};
use crate::guard::chained;
use crate::log::columns::{self as c, Layout};
use crate::log::own_change::is_by_log;
use crate::log::seam;
use crate::log::subscription::{is_worker, others_sleep, session_origin};
use crate::log::tables::{events_oid, Events};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{OpenRelation, Relation};
use crate::pg::replication::is_subscription_worker;
use crate::pg::trigger::TriggerCall;
use crate::pg::tuple::Tuple;
use crate::pg::{role, transaction};
use crate::write::{replica_erasures, sealed};
use pgrx::pg_sys;

/// Writers have INSERT on all columns, and only the chain's trigger, which does not fire here,
/// keeps them from setting its columns. So a row is refused (42501) if the role may set
/// session_replication_role but is neither a superuser nor the owner.
fn refuse_unchained(relation: Relation) {
    if role::is_superuser() || role::current() == relation.owner() {
        return;
    }
    let table = relation.name();
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("{table} cannot be changed with session_replication_role = replica: no trigger would check the change"),
    )
    .hint("SET session_replication_role = origin.")
    .raise()
}

/// The tables whose rows belong to one server.
const OWN: [&str; 7] =
    ["cluster", "log_secrets", "segments", "tree_position", "tree_pending", "maintenance_position", "stream_positions"];

sql_function!(immutable_replicate, pg_finfo_immutable_replicate, replicate);

/// The trigger that fires where the others do not: in the workers of a replication, PostgreSQL's
/// own or another. A row is stored as the publisher has it, except for xact, because the
/// publisher's transactions mean nothing here. If a session sets session_replication_role to
/// replica without replaying an origin, no trigger is wanted: nothing is refused to a superuser or
/// the owner except rows without the form of an event, and verification finds what they do.
fn replicate(call: Call) -> Datum {
    let trigger = call.any_trigger();
    let relation = trigger.relation();
    if is_by_log() {
        return trigger.go_on();
    }
    if !others_sleep() {
        // ENABLE TRIGGER ALL has made this trigger fire beside the others, which do everything.
        return trigger.go_on();
    }
    if !is_subscription_worker() {
        refuse_unchained(relation);
    }
    let table = relation.name();
    if is_worker() {
        if OWN.contains(&table.as_str()) {
            // The rows say where the publisher's log is written and signs, not this one, so they are left
            // out.
            return trigger.nothing();
        }
        refuse_other_commands(trigger, &table);
    }
    match trigger.operation() {
        pg_sys::TRIGGER_EVENT_INSERT if table == "log" => {
            note_arrival(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get());
            trigger.go_on()
        }
        pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_UPDATE
            if trigger.is_for_row() && table != "log" && !OWN.contains(&table.as_str()) =>
        {
            trigger.go_on_with(event(trigger))
        }
        _ => trigger.go_on(),
    }
}

fn is_update(trigger: TriggerCall) -> bool {
    trigger.operation() == pg_sys::TRIGGER_EVENT_UPDATE
}

/// Events arrive where they were recorded. That they are moved at the publisher is no event.
const ONLY_HOT: &str =
    "Publish the table that events are recorded in, without its segments: FOR TABLE ONLY immutable.events.";

/// Whether a table that rows are inserted into is a segment's. (With Citus, shards have such names too. The trigger of
/// event_targets itself and of its shards is not for INSERT.)
fn is_segment(relation: Relation, table: &str) -> bool {
    let is_below = || Events::of(relation).hot(relation) != relation.oid();
    table.starts_with("event_targets_") || table.starts_with("events_") && is_below()
}

/// A copy keeps the events that it received. A publisher may only insert rows, and update those
/// that it erases from.
fn refuse_other_commands(trigger: TriggerCall, table: &str) {
    let relation = trigger.relation();
    let hint = "A copy keeps every event that it received. Publish inserts and updates only: WITH \
        (publish = 'insert, update').";
    match trigger.operation() {
        pg_sys::TRIGGER_EVENT_INSERT if is_segment(relation, table) => {
            append_only(relation, "a replicated INSERT", ONLY_HOT)
        }
        pg_sys::TRIGGER_EVENT_INSERT => {}
        pg_sys::TRIGGER_EVENT_UPDATE if table != "log" => {}
        pg_sys::TRIGGER_EVENT_UPDATE => append_only(relation, "a replicated UPDATE", hint),
        pg_sys::TRIGGER_EVENT_DELETE => append_only(relation, "a replicated DELETE", hint),
        _ => append_only(relation, "a replicated TRUNCATE", hint),
    }
}

/// The row of an event as it is kept here; a row of another table as it is given.
fn event(trigger: TriggerCall<'_>) -> Tuple<'_> {
    let relation = trigger.relation();
    // If the table has lost a column, a superuser may be repairing it, and the trigger must not
    // hinder that.
    let Ok(layout) = Layout::of(relation.descriptor()) else { return trigger.given() };
    let mut row = trigger.given().values();
    if is_update(trigger) {
        let old = trigger.row().values();
        if let Some(xact) = old.get(&layout, c::XACT) {
            row.set(&layout, c::XACT, xact);
        }
        if is_worker() {
            // As an erasure that follows a record asks for it.
            erase_requested(&layout, &old, &mut row);
            check_update(relation, &Events::of(relation), &old, &row, true);
        }
    } else {
        note_arrival(relation);
        if is_worker() {
            sealed::refuse_arrived(relation, &layout, &row);
        }
        if is_worker() && replica_erasures::is_record(&row, &layout) {
            replica_erasures::follow(relation, &layout, &row);
        }
        if is_worker() || row.get(&layout, c::XACT).is_some() {
            row.set(&layout, c::XACT, Datum::from(transaction::full_id()));
        }
    }
    chained::hold(relation, &layout, &row);
    row.form(relation.descriptor())
}

/// Notes that the events that arrive were written somewhere else. After the copy is promoted, its
/// first event records that. Until an origin is dropped, it may still bring events.
fn note_arrival(events: Relation) {
    match session_origin() {
        Some(origin) if !is_subscription_worker() => seam::note_feeder(events, &origin),
        _ => seam::forget(events),
    }
}
