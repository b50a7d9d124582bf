//! A database that another one feeds by logical replication: it keeps what it gets as it gets it, and records nothing of
//! its own until its subscription is dropped. pglogical and its kin work in sessions that replay a replication origin.

use crate::guard::append_only::{append_only, check_update};
use crate::log::columns::{self as c, Layout};
use crate::log::seam;
use crate::log::subscription::{is_worker, others_sleep, session_origin};
use crate::log::tables::{events_oid, Events};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{name, Relation};
use crate::pg::tuple::Values;
use pgrx::pg_sys;

/// Writers hold INSERT on all columns, and what keeps them from the chain's is a trigger that sleeps here. Who may set
/// session_replication_role and is neither superuser nor owner gets no row past it.
fn refuse_unchained(relation: Relation) {
    if pg_sys::superuser() || pg_sys::GetUserId() == relation.owner() {
        return;
    }
    let table = relation.name();
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("{table} takes no change with session_replication_role = replica: no trigger would check it"),
    )
    .hint("SET session_replication_role = origin.")
    .raise()
}

sql_function!(immutable_replicate, pg_finfo_immutable_replicate, replicate);

/// The trigger that fires where others sleep: for the workers of a replication, PostgreSQL's own or another. A row comes
/// in as the publisher has it, but for xact: the publisher's transactions mean nothing here. Who has set
/// session_replication_role to replica and replays no origin wants no trigger at all, and a superuser or the owner is refused
/// nothing: verification finds what he does.
fn replicate(call: Call) -> Datum {
    let context = (*call.0).context;
    if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
        crate::pg::trigger::trigger_data(call, 0);
    }
    let data = &*context.cast::<pg_sys::TriggerData>();
    let relation = data.tg_relation;
    let command = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
    let is_update = command == pg_sys::TRIGGER_EVENT_UPDATE;
    let given = Datum::from(if is_update { data.tg_newtuple } else { data.tg_trigtuple });
    if !others_sleep() {
        // ENABLE TRIGGER ALL has made it fire beside the others, which do all that is to be done.
        return given;
    }
    if !pg_sys::IsLogicalWorker() {
        refuse_unchained(relation);
    }
    let table = relation.name();
    if is_worker() {
        if table == "cluster" {
            // Where the publisher writes is not where this log is written: no row, so none is changed.
            return Datum::from(0usize);
        }
        let hint = "A copy keeps what it got. Publish insert and update only: WITH (publish = 'insert, update').";
        match command {
            pg_sys::TRIGGER_EVENT_INSERT => {}
            pg_sys::TRIGGER_EVENT_UPDATE if table != "log" => {}
            pg_sys::TRIGGER_EVENT_UPDATE => append_only(relation, "a replicated UPDATE", hint),
            pg_sys::TRIGGER_EVENT_DELETE => append_only(relation, "a replicated DELETE", hint),
            _ => append_only(relation, "a replicated TRUNCATE", hint),
        }
    }
    match command {
        pg_sys::TRIGGER_EVENT_INSERT if table == "log" => {
            let events = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
            note_arrival(events);
            pg_sys::table_close(events, pg_sys::NoLock as i32);
            given
        }
        pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_UPDATE
            if !["log", "cluster"].contains(&table.as_str()) =>
        {
            event(data, is_update)
        }
        _ => given,
    }
}

fn event(data: &pg_sys::TriggerData, is_update: bool) -> Datum {
    let relation = data.tg_relation;
    let descriptor = relation.descriptor();
    let given = if is_update { data.tg_newtuple } else { data.tg_trigtuple };
    // Somebody may be mending the table with no trigger in his way.
    let Ok(layout) = Layout::of(descriptor) else { return Datum::from(given) };
    let mut row = Values::of(given, descriptor);
    if is_update {
        let old = Values::of(data.tg_trigtuple, descriptor);
        if let Some(xact) = old.get(&layout, c::XACT) {
            row.set(&layout, c::XACT, xact);
        }
        if is_worker() {
            check_update(relation, &Events::of(relation), &old, &row);
        }
    } else {
        note_arrival(relation);
        if is_worker() || row.get(&layout, c::XACT).is_some() {
            row.set(&layout, c::XACT, Datum::from(pg_sys::GetTopFullTransactionId().value));
        }
    }
    Datum::from(pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr()))
}

/// What arrives was written somewhere else. Whoever promotes the copy records that first, and an origin is asked for until
/// then: it may go on with what is on its way.
fn note_arrival(events: Relation) {
    match session_origin() {
        Some(origin) if !pg_sys::IsLogicalWorker() => seam::note_feeder(events, &origin),
        _ => seam::forget(events),
    }
}
