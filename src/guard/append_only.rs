//! The triggers that make the log's tables append-only for every role. The only exception is an
//! erasure, which leaves the event's hash as it is.

use crate::log::columns::{self as c, Layout};
use crate::log::own_change::is_by_log;
use crate::log::row::{hash, read, Stored};
use crate::log::tables::{Events, Targets};
use crate::log::targets::{self, Derived};
use crate::log::{lane, segments, subscription};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind};
use crate::pg::relation::{Key, OpenRelation, Relation};
use crate::pg::trigger::{BEFORE_INSERT_ROW, BEFORE_UPDATE_ROW};
use crate::pg::tuple::Values;
use immutable_format::erasure::erase;
use immutable_format::event::{Erasure, EventSecret, Violation, COLUMNS, METADATA, RESERVED, TARGETS};
use immutable_format::json::Value;
use immutable_format::target::Target;
use immutable_format::{document, limits};
use pgrx::pg_sys;

sql_function!(immutable_refuse, pg_finfo_immutable_refuse, refuse);

/// Refuses DELETE, TRUNCATE and every other command that has no exception (42501). The log itself moves rows from one
/// table to another, and notes that.
fn refuse(call: Call) -> Datum {
    let trigger = call.any_trigger();
    if is_by_log() && trigger.operation() != pg_sys::TRIGGER_EVENT_TRUNCATE {
        return trigger.go_on();
    }
    let command = match trigger.operation() {
        pg_sys::TRIGGER_EVENT_INSERT => "INSERT",
        pg_sys::TRIGGER_EVENT_UPDATE => "UPDATE",
        pg_sys::TRIGGER_EVENT_DELETE => "DELETE",
        _ => "TRUNCATE",
    };
    append_only(trigger.relation(), command, "This applies to every role, including the table's owner and superusers.")
}

/// Refuses a command on one of the log's tables (42501).
pub fn append_only(relation: Relation, command: &str, hint: &str) -> ! {
    refusal(relation, command).hint(hint).raise()
}

fn refusal(relation: Relation, command: &str) -> Fault {
    let table = relation.name();
    Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("{table} is append-only: {command} is refused"))
}

sql_function!(immutable_guard_event, pg_finfo_immutable_guard_event, guard_event);

/// Refuses an UPDATE of an event that is not an erasure (42501).
fn guard_event(call: Call) -> Datum {
    let trigger = call.trigger(BEFORE_UPDATE_ROW);
    let relation = trigger.relation();
    let events = Events::of(relation);
    subscription::refuse_local_write(OpenRelation::briefly(events.hot(relation)).get());
    let (old, mut new) = (trigger.row().values(), trigger.new_row().values());
    let erases = erase_requested(&events.layout, &old, &mut new);
    check_update(relation, &events, &old, &new, false);
    trigger.go_on_with(match erases {
        true => new.form(relation.descriptor()),
        false => trigger.new_row(),
    })
}

/// If `erased` of the new row is an array of paths, as immutable.erase() sets it, erases these
/// paths from the new row. Everything else that the statement changed stays for [`check_update`] to
/// see.
pub fn erase_requested(layout: &Layout, old: &Values, new: &mut Values) -> bool {
    let memory = new.memory();
    let requested = new.get(layout, c::ERASED).map(Jsonb::new);
    let Some(requested) = requested.filter(|erased| erased.kind() == Kind::Array) else { return false };
    let Ok(Value::Array(paths)) = requested.value(1, 16 * limits::CANONICAL_BYTES) else { return false };
    let Some(paths) = paths.iter().map(Value::as_str).collect::<Option<Vec<&str>>>() else { return false };
    let Ok(stored) = read(|column| old.get(layout, column)) else { return false };
    let salt = match &stored.secret {
        EventSecret::Salt(salt) => Some(salt),
        EventSecret::Erased(_) => None,
    };
    let Some((left, erasure)) = erase(&stored.content, salt, stored.erasure(), &paths) else {
        return false;
    };
    let touches = |prefix: &str| paths.iter().any(|path| path.starts_with(prefix));
    for (column, name) in c::COMMITTED.into_iter().zip(COLUMNS) {
        if paths.contains(&name) {
            new.unset(layout, column);
        }
    }
    if touches(METADATA) {
        new.set(layout, c::METADATA, memory.jsonb(left.metadata.text()));
    }
    if touches(TARGETS) {
        let targets: Vec<&str> = left.targets.iter().map(Target::canonical).collect();
        new.set(layout, c::TARGETS, memory.jsonb(&format!("[{}]", targets.join(","))));
    }
    new.set(layout, c::ERASED, memory.jsonb(&erasure.to_value().canonical()));
    new.unset(layout, c::SALT);
    true
}

/// Refuses a change of an event that is not an erasure (42501), and takes the lane of the event. An erasure that was made
/// before may be repeated if `may_repeat` says so.
pub fn check_update(relation: Relation, events: &Events, old: &Values, new: &Values, may_repeat: bool) {
    let layout = &events.layout;
    let refuse = |why: &str| -> ! {
        refusal(relation, "UPDATE")
            .detail(why)
            .hint(
                "Events cannot be updated. A member of immutable_eraser can erase values for \
                 good with immutable.erase().",
            )
            .raise()
    };
    let (before, after) = match (read(|column| old.get(layout, column)), read(|column| new.get(layout, column))) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(violation), _) => refuse(&format!("The stored row has no valid document: {violation}.")),
        (_, Err(violation)) => refuse(&format!("The new row has no valid document: {violation}.")),
    };
    let stored = |row: &Values| row.get(layout, c::EVENT_HASH).and_then(hash);
    let (Some(event_hash), true) = (stored(old), stored(old) == stored(new)) else {
        refuse("The event's hash would change.")
    };
    for event in [&before, &after] {
        match event.document().map(|document| document::hash(&document)) {
            Ok(hash) if hash == event_hash => {}
            Ok(_) => refuse("The changed row would not match the event's hash."),
            Err(violation) => refuse(&format!("The changed row would have no valid document: {violation}.")),
        }
    }
    let xact = |row: &Values| row.get(layout, c::XACT).map(Datum::i64);
    if xact(old) != xact(new) {
        refuse("The column xact would change.")
    }
    let repeats = || may_repeat && before.erasure() == after.erasure();
    if let (false, Err(Violation(why))) = (repeats(), erases(&before, &after)) {
        refuse(why)
    }
    // What moves events has copied the row as it was before, and must see this change before it deletes the row.
    segments::keep_in_place();
    // An uncommitted update can hide the lane's tail from a writer that holds the lock. Tails are in the hot table, and
    // the locks of lanes are on it: a segment has no tail that could be hidden.
    let hot = events.hot(relation);
    if hot == relation.oid() {
        let tenant = lane::tenant_number(before.envelope.tenant_id);
        lane::acquire_existing(hot, tenant, before.envelope.lane);
    }
}

/// Both rows have the same hash, so they differ only in what is erased. More must be erased after
/// than before.
fn erases(before: &Stored, after: &Stored) -> Result<(), Violation> {
    let nothing = Erasure::default();
    let (old, new) = (before.erasure().unwrap_or(&nothing), after.erasure());
    let new = new.ok_or(Violation("Nothing would be erased."))?;
    if !new.includes(old) {
        return Err(Violation("An erased value cannot come back."));
    }
    if new.len() == old.len() {
        return Err(Violation("Nothing more would be erased."));
    }
    let by_log = before.envelope.action.starts_with(RESERVED);
    if by_log && !before.content.metadata.members().iter().any(|member| member.key == "reason") {
        return Err(Violation("Only metadata.reason can be erased from one of the log's own events."));
    }
    Ok(())
}

sql_function!(immutable_guard_target, pg_finfo_immutable_guard_target, guard_target);

/// Refuses a row of event_targets that differs from what the event has at that position (42501).
fn guard_target(call: Call) -> Datum {
    let is_update = call.any_trigger().operation() == pg_sys::TRIGGER_EVENT_UPDATE;
    let trigger = call.trigger(if is_update { BEFORE_UPDATE_ROW } else { BEFORE_INSERT_ROW });
    let relation = trigger.relation();
    let new = if is_update { trigger.new_row() } else { trigger.row() };
    if !is_of_event(&Targets::of(relation), &new.values()) {
        let (command, hint) = match is_update {
            true => ("UPDATE", "Its rows are derived from events.targets and change only when a value is erased."),
            false => ("INSERT", "Its rows are derived from events.targets. Insert the event instead."),
        };
        append_only(relation, command, hint)
    }
    trigger.go_on_with(new)
}

/// Whether a row of event_targets equals what the event has at that position.
fn is_of_event(table: &Targets, row: &Values) -> bool {
    let get = |column: usize| row.at(table.places[column]);
    let (Some(tenant_id), Some(event_id), Some(position), Some(events)) = (get(0), get(1), get(2), table.events) else {
        return false;
    };
    let relation = OpenRelation::briefly(events);
    let events = Events::of(relation.get());
    let strategy = pg_sys::BTEqualStrategyNumber;
    let key = |column, function, value| Key { attribute: events.layout.number(column), strategy, function, value };
    let keys = [key(c::ID, pg_sys::F_UUID_EQ, event_id), key(c::TENANT_ID, pg_sys::F_TEXTEQ, tenant_id)];
    let equal = relation.get().last_row(events.id_index, &keys, |event| {
        let event = event.values();
        let Some(stored) = event.get(&events.layout, c::TARGETS) else { return false };
        let derived = targets::derived(stored);
        let at = usize::try_from(position.i16()).ok();
        let Some(Derived { target, metadata }) = at.and_then(|at| derived.get(at)) else { return false };
        let text = |column| get(column).map(text);
        let canonical = |json: Datum| {
            let value = Jsonb::new(json).value(limits::NESTING, limits::CANONICAL_BYTES);
            value.map(|value| value.canonical())
        };
        text(3) == Some(target.kind())
            && text(4) == target.id()
            && text(5) == target.name()
            && get(6).map(canonical) == metadata.map(canonical)
            && get(7).map(Datum::i64) == event.get(&events.layout, c::CREATED_AT).map(Datum::i64)
    });
    equal == Some(true)
}
