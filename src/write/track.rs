//! track(): the call for services. It inserts with the caller's rights, as any INSERT does.

use crate::log::columns as c;
use crate::log::tables::{events_oid, Events};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Jsonb;
use crate::pg::memory::here;
use crate::pg::relation::OpenRelation;
use crate::pg::setting;
use crate::pg::spi::{self, Arg};
use crate::pg::subtransaction::attempt;
use crate::pg::tuple::CopiedTuple;
use crate::settings;
use crate::write::at_shard;
use crate::write::payload::{self, Given, ACTOR_ID, EVENT_HINT, FIELDS, IDEMPOTENCY_KEY, TENANT_ID};
use crate::write::repeated::Original;
use crate::write::schemas::warnings::{self, Warning};
use crate::write::watch;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys;
use std::ffi::CString;

/// What became of an event.
pub enum Outcome {
    /// It was recorded, perhaps with warnings of the action schemas.
    Recorded(Id, Vec<Warning>),
    /// The event that has the key is the same.
    Duplicate(Id),
    /// The event that has the key is another one, which differs in these fields.
    Conflict(Id, Vec<&'static str>),
}

impl Outcome {
    /// The answer: an object with id, status and, for a conflict, the fields that differ; warnings, if
    /// there are any.
    pub fn json(&self) -> String {
        let (id, status) = match self {
            Outcome::Recorded(id, _) => (id, "recorded"),
            Outcome::Duplicate(id) => (id, "duplicate"),
            Outcome::Conflict(id, _) => (id, "conflict"),
        };
        let mut json = format!("{{\"id\":\"{}\",\"status\":\"{status}\"", uuid_text(id));
        if let Outcome::Conflict(_, differing) = self {
            json.push_str(",\"differs\":[");
            for (n, field) in differing.iter().enumerate() {
                if n > 0 {
                    json.push(',');
                }
                write_string(field, &mut json);
            }
            json.push(']');
        }
        if let Outcome::Recorded(_, warnings) = self {
            warnings::write(warnings, &mut json);
        }
        json.push('}');
        json
    }
}

/// The hint of the message that [`conflict`] makes.
pub const CONFLICT_HINT: &str = "Give each new event a key of its own, and repeat an event unchanged.";

/// The message about an event that differs from the one that has its key. It names fields, and no
/// values.
pub fn conflict(id: &Id, differing: &[&str]) -> String {
    format!("idempotency_key was already used for event {}, which differs in {}", uuid_text(id), differing.join(", "))
}

sql_function!(immutable_track, pg_finfo_immutable_track, track);

/// `immutable.track(actor_id, action, …, on_conflict)`
fn track(call: Call) -> Datum {
    let mut given: Given = Given::default();
    for (index, value) in given.iter_mut().enumerate() {
        *value = call.arg(index);
    }
    // An untyped literal, track('{...}'), resolves to this function, because PostgreSQL prefers
    // text to json. Without an action it cannot be meant for this function.
    if let [Some(event), None, ..] = given {
        let only = given.iter().flatten().count() == 1;
        if only && text(event).trim_start().starts_with('{') {
            given = payload::of_text(text(event), call.memory());
        }
    }
    answer(call, given.len(), given)
}

sql_function!(immutable_track_event, pg_finfo_immutable_track_event, track_event);

/// `immutable.track(event jsonb, on_conflict)`
fn track_event(call: Call) -> Datum {
    let given = payload::of_jsonb(Jsonb::new(required(call)), call.memory());
    answer(call, 1, given)
}

sql_function!(immutable_track_text, pg_finfo_immutable_track_text, track_text);

/// `immutable.track(payload json, on_conflict)`
fn track_text(call: Call) -> Datum {
    let given = payload::of_text(text(required(call)), call.memory());
    answer(call, 1, given)
}

fn required(call: Call<'_>) -> Datum<'_> {
    call.arg(0).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "event must not be NULL")
            .field("event")
            .hint(EVENT_HINT)
            .raise()
    })
}

/// What the argument on_conflict says: whether the call answers if another event has the key, and is not refused.
pub fn is_answered(on_conflict: Option<Datum>) -> bool {
    match on_conflict.map(text) {
        None | Some("error") => false,
        Some("answer") => true,
        Some(_) => Fault::invalid("on_conflict", "on_conflict must be error or answer")
            .hint(
                "If another event has the idempotency_key, error raises 23505, and answer \
                 returns {\"status\": \"conflict\"}.",
            )
            .raise(),
    }
}

/// Records the event and returns the answer. `on_conflict` is the place of that argument.
fn answer<'c>(call: Call<'c>, on_conflict: usize, given: Given<'c>) -> Datum<'c> {
    let is_answered = is_answered(call.arg(on_conflict));
    let answer = match at_shard::is_needed() {
        true => answer_through_citus(&given, is_answered),
        false => answer_once(&given, is_answered),
    };
    call.memory().jsonb(&answer)
}

/// Records one event that is not part of a batch and returns the answer. If another event has the key, that is an error
/// (23505), unless the call is to answer.
pub fn answer_once(given: &Given, is_answered: bool) -> String {
    let outcome = record_once(given);
    if let (Outcome::Conflict(id, differing), false) = (&outcome, is_answered) {
        Fault::new(Code::ERRCODE_UNIQUE_VIOLATION, conflict(id, differing))
            .field("idempotency_key")
            .hint(format!(
                "{CONFLICT_HINT} With on_conflict => 'answer', the call returns the status \
                 conflict instead of an error."
            ))
            .raise()
    }
    outcome.json()
}

/// The same in a distributed log. Only the shard can say to whom a key that is in use belongs.
fn answer_through_citus(given: &Given, is_answered: bool) -> String {
    let mut given = *given;
    drop_empty_key(&mut given);
    // Citus writes a time into its statement as DateStyle says, and no node reads all of these styles as they were meant.
    let recorded = setting::with(&[(c"DateStyle".to_owned(), c"ISO".to_owned())], || insert(&given));
    match recorded {
        Some(id) => Outcome::Recorded(id, Vec::new()).json(),
        None if given[IDEMPOTENCY_KEY].is_none() => refuse_left_out(),
        None => at_shard::repeat(&given, if is_answered { "answer" } else { "error" }),
    }
}

/// An empty key counts as no key.
fn drop_empty_key(given: &mut Given) {
    given[IDEMPOTENCY_KEY] = given[IDEMPOTENCY_KEY].filter(|key| !bytes(*key).is_empty());
}

/// Inserts one event. If its idempotency key is already in use, compares it with the event that has
/// the key.
pub fn record(given: &Given) -> Outcome {
    let mut given = *given;
    drop_empty_key(&mut given);
    let is_keyed = given[IDEMPOTENCY_KEY].is_some();
    let mut id = None;
    let mut insert = || id = insert(&given);
    let (passed, warnings) = warnings::collect(|| match is_keyed {
        true => watch::watch(insert),
        false => {
            insert();
            None
        }
    });
    match (id, passed) {
        (Some(id), _) => Outcome::Recorded(id, warnings),
        (None, Some(row)) => original(&given, &row).unwrap_or_else(|| refuse_concurrent()),
        (None, None) => refuse_left_out(),
    }
}

/// Inserts the event and returns its id; nothing if its key is already in use, or a trigger left
/// the event out.
fn insert(given: &Given) -> Option<Id> {
    let mut columns = Vec::new();
    let mut arguments = Vec::new();
    for ((_, column, oid), value) in FIELDS.iter().zip(given) {
        if let Some(value) = value {
            columns.push(*column);
            arguments.push(Arg::Given(*oid, *value));
        }
    }
    let numbers: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let source = match columns.len() {
        // The trigger refuses it, and says what is missing.
        0 => "DEFAULT VALUES".to_string(),
        _ => format!("({}) VALUES ({})", columns.join(", "), numbers.join(", ")),
    };
    let arbiter = match given[IDEMPOTENCY_KEY] {
        Some(_) => " ON CONFLICT (tenant_id, idempotency_key) DO NOTHING",
        None => "",
    };
    let mut id = None;
    let statement = format!("INSERT INTO immutable.events {source}{arbiter} RETURNING id");
    spi::query_now(&statement, &arguments, |row| id = row.at(0).map(uuid));
    id
}

fn refuse_concurrent() -> ! {
    Fault::new(
        Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "a concurrent transaction recorded an event with this idempotency_key",
    )
    .field("idempotency_key")
    .hint("Retry the transaction.")
    .raise()
}

fn refuse_left_out() -> ! {
    Fault::new(Code::ERRCODE_TRIGGERED_ACTION_EXCEPTION, "a trigger on immutable.events left the event out")
        .hint(
            "Nothing was recorded. SELECT tgname FROM pg_trigger WHERE tgrelid = \
             'immutable.events'::regclass shows the triggers.",
        )
        .raise()
}

/// Compares the event that has the key with the one given, which would have become `row`. It reads
/// with the owner's rights: a writer may know the id of what it recorded before, and in which
/// fields a call with the same key differs. It sees no other row, and no value.
fn original(given: &Given, row: &CopiedTuple) -> Option<Outcome> {
    let relation = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    let relation = relation.get();
    let events = Events::of(relation);
    let by_log = |name: &CString| name.to_bytes().starts_with(b"~immutable_");
    let filled_in = !events.before_insert.iter().all(by_log);
    here(|memory| {
        let row = row.tuple(relation.descriptor(), memory).values();
        let mut entered = Given::default();
        for (value, (_, column, _)) in entered.iter_mut().zip(FIELDS) {
            let column = c::ALL.iter().position(|(name, ..)| *name == column);
            *value = column.and_then(|column| row.get(&events.layout, column));
        }
        let mut given = *given;
        // The actor counts, whether the call names it or the session does.
        let actor_id = settings::ACTOR_ID.get().filter(|actor_id| !actor_id.is_empty());
        given[ACTOR_ID] = given[ACTOR_ID].or_else(|| actor_id.map(|actor_id| memory.bytes(actor_id.to_bytes())));
        spi::as_owner(relation, || compared(&given, &entered, filled_in))
    })
}

/// Finds the event that has the key of `entered`, and compares it with the one given.
fn compared(given: &Given, entered: &Given, filled_in: bool) -> Option<Outcome> {
    let columns: Vec<&str> = FIELDS.iter().map(|(_, column, _)| *column).collect();
    // A trigger may have changed the tenant or the key that was given.
    let key = [TENANT_ID, IDEMPOTENCY_KEY].map(|field| Arg::given(pg_sys::TEXTOID, entered[field]));
    // Most repeated events are new, and in the hot table alone they are found faster.
    let mut outcome = None;
    for table in ["ONLY immutable.events", "immutable.events"] {
        let statement = format!(
            "SELECT id, erased, {} FROM {table} \
             WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND idempotency_key OPERATOR(pg_catalog.=) $2 \
             ORDER BY created_at DESC LIMIT 1",
            columns.join(", ")
        );
        spi::query_now_planned_once(&statement, &key, |row| {
            let differing = Original::new(row, 1, filled_in).differing(given, entered);
            outcome = row.at(0).map(uuid).map(|id| match differing.is_empty() {
                true => Outcome::Duplicate(id),
                false => Outcome::Conflict(id, differing),
            });
        });
        if outcome.is_some() {
            break;
        }
    }
    outcome
}

/// Records one event that is not part of a batch. While REINDEX CONCURRENTLY rebuilds the index of
/// the keys, the new index refuses an event that ON CONFLICT waits for in the old one. By then that
/// event is committed, so ON CONFLICT finds it the second time.
fn record_once(given: &Given) -> Outcome {
    if given[IDEMPOTENCY_KEY].is_none() || !is_key_rebuilt() {
        return record(given);
    }
    match attempt(|| record(given), |code, _| code == Code::ERRCODE_UNIQUE_VIOLATION) {
        Ok(outcome) => outcome,
        Err(_) => record(given),
    }
}

/// Whether a unique index of events is being built, or was left behind. The lock is kept: REINDEX
/// waits for everybody who did not see its index.
fn is_key_rebuilt() -> bool {
    OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock).get().has_invalid_unique_index()
}
