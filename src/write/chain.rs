//! The BEFORE INSERT row trigger: validates the event, commits to its values, takes a lane, and links the row to the one
//! before it.

use crate::access::binding;
use crate::log::row::in_room;
use crate::log::tables::Events;
use crate::log::{columns as c, lane, log_identity, own_event, seam, session_context, subscription, tail, uncommitted};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, bytes_datum, micros, text, text_datum, timestamptz, uuid, uuid_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::Relation;
use crate::pg::trigger::{trigger_data, BEFORE_INSERT_ROW};
use crate::pg::tuple::Values;
use crate::pg::{jsonb, random};
use crate::settings;
use crate::write::{restore, validate, watch};
use immutable_format::commitment::seal;
use immutable_format::document::{self, Envelope};
use immutable_format::link;
use pgrx::pg_sys;

sql_function!(immutable_chain, pg_finfo_immutable_chain, chain);

fn chain(call: Call) -> Datum {
    let data = trigger_data(call, BEFORE_INSERT_ROW);
    let relation = data.tg_relation;
    let events = Events::of(relation);
    let own = std::ffi::CStr::from_ptr((*data.tg_trigger).tgname);
    if let Some(later) = events.before_insert.iter().skip_while(|name| name.as_c_str() != own).nth(1) {
        let (own, later) = (own.to_string_lossy(), later.to_string_lossy());
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("trigger \"{later}\" would run after the chain and could change a row that is hashed already"),
        )
        .hint(format!("Rename the trigger so that it sorts before \"{own}\", or drop it."))
        .raise()
    }
    let layout = &events.layout;
    let descriptor = relation.descriptor();
    let mut row = Values::of(data.tg_trigtuple, descriptor);

    subscription::refuse_local_write(relation);
    if settings::RESTORE.get() {
        return restore::keep(relation, layout, row);
    }
    let own = is_own_writer(relation);
    complete(&mut row, layout);
    let entering = validate::entering(&row, layout, own);
    for (column, empty) in [(c::TARGETS, "[]"), (c::METADATA, "{}")] {
        if row.get(layout, column).is_none() {
            row.set(layout, column, jsonb::datum(empty));
        }
    }
    if entering.reordered {
        let targets: Vec<&str> = entering.content.targets.iter().map(|target| target.canonical()).collect();
        row.set(layout, c::TARGETS, jsonb::datum(&format!("[{}]", targets.join(","))));
    }
    if row.get(layout, c::TENANT_ID).is_none() {
        row.set(layout, c::TENANT_ID, text_datum(""));
    }
    // A function that lends its owner's rights may write the log's actions, and lifts no binding.
    if !own_event::is_recording() {
        binding::hold_to_binding(call, row.get(layout, c::TENANT_ID).map_or("", |tenant_id| text(tenant_id)));
    }
    let id = match row.get(layout, c::ID) {
        Some(id) => uuid(id),
        None => {
            let id = random::id(now());
            row.set(layout, c::ID, uuid_datum(&id));
            id
        }
    };
    let salt = random::salt();
    let commitments = in_room(|room| seal(&entering.content, &salt, room));
    let recorded_by = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), false);
    let recorded_by = std::ffi::CStr::from_ptr(recorded_by).to_string_lossy();

    // From here on nobody else appends to this lane until the transaction ends.
    let tenant = row.get(layout, c::TENANT_ID).unwrap_or(Datum::from(0usize));
    let tenant_id = text(tenant);
    let oid = relation.oid();
    let lane = lane::acquire(oid, lane::tenant_number(tenant_id), own);
    seam::notice(relation);
    let tail = tail::read(relation, &events, tenant, tenant_id, lane);
    let link = link::next(tail.as_ref(), now()).unwrap_or_else(|| {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("nothing can follow the last event of lane {lane} of tenant \"{tenant_id}\""),
        )
        .hint("Its seq or created_at is the greatest there is: immutable.verify_chain() tells whether it was tampered with.")
        .raise()
    });
    let log_id = (link.seq == 1).then(|| log_identity::of(relation));
    let occurred_at = row.get(layout, c::OCCURRED_AT).map_or(link.created_at, micros);
    let text_of = |column| row.get(layout, column).map(|datum| text(datum));
    let envelope = Envelope {
        log_id,
        id,
        tenant_id,
        lane,
        seq: link.seq,
        previous_event_hash: link.previous_event_hash,
        created_at: link.created_at,
        occurred_at,
        recorded_by: &recorded_by,
        action: text_of(c::ACTION).unwrap_or_default(),
        action_category: text_of(c::ACTION_CATEGORY),
        actor_type: text_of(c::ACTOR_TYPE),
        resource_type: text_of(c::RESOURCE_TYPE),
        version: row.get(layout, c::VERSION).map(|datum| datum.i32()),
    };
    let document = document::write(&envelope, &entering.content, &commitments).unwrap_or_else(|violation| {
        Fault::new(Code::ERRCODE_DATETIME_FIELD_OVERFLOW, violation.to_string()).field("created_at").raise()
    });
    tail::remember(oid, tenant_id, lane, link.seq);

    row.set(layout, c::OCCURRED_AT, timestamptz(occurred_at));
    row.set(layout, c::CREATED_AT, timestamptz(link.created_at));
    row.set(layout, c::LANE, Datum::from(lane));
    row.set(layout, c::SEQ, Datum::from(link.seq));
    if let Some(previous) = &link.previous_event_hash {
        row.set(layout, c::PREVIOUS_EVENT_HASH, bytes_datum(previous));
    }
    row.set(layout, c::EVENT_HASH, bytes_datum(&document::hash(&document)));
    row.set(layout, c::SALT, bytes_datum(&salt));
    row.set(layout, c::RECORDED_BY, text_datum(&recorded_by));
    if let Some(log_id) = &log_id {
        row.set(layout, c::LOG_ID, uuid_datum(log_id));
    }
    row.set(layout, c::XACT, Datum::from(uncommitted::recorded(&row, layout)));
    let tuple = pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
    watch::passed(tuple);
    Datum::from(tuple)
}

/// Takes for left out what says nothing, and fills in what the session says for what is left out. An event of the log's
/// own has nothing of the session's.
fn complete(row: &mut Values, layout: &c::Layout) {
    validate::leave_to_chain(row, layout);
    if row.get(layout, c::IDEMPOTENCY_KEY).is_some_and(|key| bytes(key).is_empty()) {
        row.unset(layout, c::IDEMPOTENCY_KEY);
    }
    if own_event::is_recording() {
        return;
    }
    for context in &session_context::CONTEXT {
        if row.get(layout, context.column).is_none() {
            if let Some(datum) = context.datum() {
                row.set(layout, context.column, datum);
            }
        }
    }
}

sql_function!(immutable_new_id, pg_finfo_immutable_new_id, new_id);

/// `immutable.new_id()`
fn new_id(_: Call) -> Datum {
    uuid_datum(&random::id(now()))
}

fn now() -> i64 {
    // SAFETY: reads the clock.
    micros(Datum::from(unsafe { pg_sys::GetCurrentTimestamp() }))
}

/// Whether the log itself writes: a SECURITY DEFINER function of the table's owner. Nothing a session can set makes it
/// so, and being the owner, or a superuser, does not either.
fn is_own_writer(relation: Relation) -> bool {
    pg_sys::InLocalUserIdChange() && pg_sys::GetUserId() == relation.owner()
}
