//! A database that another one feeds by logical replication: it keeps what it gets as it gets it,
//! and records nothing of its own until its subscription is dropped. Extensions such as pglogical
//! work in sessions that replay a replication origin.

use crate::guard::append_only::{append_only, check_update};
use crate::log::columns::{self as c, Layout};
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
use pgrx::pg_sys;

/// Writers hold INSERT on all columns, and what keeps them from the chain's is a trigger that
/// sleeps here. So a role that may set session_replication_role, and is neither superuser nor the
/// owner, gets no row past this.
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

sql_function!(immutable_replicate, pg_finfo_immutable_replicate, replicate);

/// The trigger that fires where others sleep: for the workers of a replication, PostgreSQL's own or
/// another. A row comes in as the publisher has it, but for xact: the publisher's transactions mean
/// nothing here. A session that has session_replication_role set to replica and replays no origin
/// wants no trigger at all, and a superuser or the owner is refused nothing: verification finds
/// what they do.
fn replicate(call: Call) -> Datum {
    let trigger = call.any_trigger();
    let relation = trigger.relation();
    if !others_sleep() {
        // ENABLE TRIGGER ALL has made it fire beside the others, which do everything.
        return as_given(trigger);
    }
    if !is_subscription_worker() {
        refuse_unchained(relation);
    }
    let table = relation.name();
    if is_worker() {
        if table == "cluster" {
            // The publisher's place is not where this log is written, so the row is left out.
            return trigger.nothing();
        }
        refuse_other_commands(trigger, &table);
    }
    match trigger.operation() {
        pg_sys::TRIGGER_EVENT_INSERT if table == "log" => {
            note_arrival(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get());
            as_given(trigger)
        }
        pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_UPDATE
            if !["log", "cluster"].contains(&table.as_str()) =>
        {
            trigger.go_on_with(event(trigger))
        }
        _ => as_given(trigger),
    }
}

/// Goes on with what is given: a statement has no row.
fn as_given(trigger: TriggerCall<'_>) -> Datum<'_> {
    match trigger.is_for_row() {
        true => trigger.go_on_with(given(trigger)),
        false => trigger.nothing(),
    }
}

/// The row as it is to be.
fn given(trigger: TriggerCall<'_>) -> Tuple<'_> {
    match is_update(trigger) {
        true => trigger.new_row(),
        false => trigger.row(),
    }
}

fn is_update(trigger: TriggerCall) -> bool {
    trigger.operation() == pg_sys::TRIGGER_EVENT_UPDATE
}

/// A copy keeps what it got: of what a publisher sends, rows may be inserted, and updated where an
/// erasure does that.
fn refuse_other_commands(trigger: TriggerCall, table: &str) {
    let relation = trigger.relation();
    let hint = "A copy keeps every event that it received. Publish inserts and updates only: WITH \
        (publish = 'insert, update').";
    match trigger.operation() {
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
    // A table of events may have lost a column, too: a superuser may be mending it, with no trigger
    // in the way.
    let Ok(layout) = Layout::of(relation.descriptor()) else { return given(trigger) };
    let mut row = given(trigger).values();
    if is_update(trigger) {
        let old = trigger.row().values();
        if let Some(xact) = old.get(&layout, c::XACT) {
            row.set(&layout, c::XACT, xact);
        }
        if is_worker() {
            check_update(relation, &Events::of(relation), &old, &row);
        }
    } else {
        note_arrival(relation);
        if is_worker() || row.get(&layout, c::XACT).is_some() {
            row.set(&layout, c::XACT, Datum::from(transaction::full_id()));
        }
    }
    row.form(relation.descriptor())
}

/// Notes that what arrives was written somewhere else. Once the copy is promoted, the first event
/// records that. Until an origin is dropped, it may still bring what is on its way.
fn note_arrival(events: Relation) {
    match session_origin() {
        Some(origin) if !is_subscription_worker() => seam::note_feeder(events, &origin),
        _ => seam::forget(events),
    }
}
