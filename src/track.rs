//! track() and track_batch(): the service's calls. They insert like anybody else, with the caller's rights.

use crate::error::{self, Code, Fault};
use crate::function::{input, sql_function, text, text_datum, timestamptz, uuid, Call};
use crate::jsonb::{self, Jsonb, Kind, Member};
use crate::relation::{events_oid, has_invalid_key};
use crate::{settings, spi};
use immutable_format::document::uuid_text;
use immutable_format::{time, Id};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::PgTryBuilder;

/// A field of the payload: its name there and as an argument, its column, its type.
const FIELDS: [(&str, &str, Oid); 19] = [
    ("actor_id", "actor_id", pg_sys::TEXTOID),
    ("action", "action", pg_sys::TEXTOID),
    ("actor_name", "actor_name", pg_sys::TEXTOID),
    ("actor_type", "actor_type", pg_sys::TEXTOID),
    ("action_category", "action_category", pg_sys::TEXTOID),
    ("resource", "resource_type", pg_sys::TEXTOID),
    ("resource_id", "resource_id", pg_sys::TEXTOID),
    ("resource_name", "resource_name", pg_sys::TEXTOID),
    ("targets", "targets", pg_sys::JSONBOID),
    ("metadata", "metadata", pg_sys::JSONBOID),
    ("tenant_id", "tenant_id", pg_sys::TEXTOID),
    ("session_id", "session_id", pg_sys::TEXTOID),
    ("idempotency_key", "idempotency_key", pg_sys::TEXTOID),
    ("version", "version", pg_sys::INT4OID),
    ("occurred_at", "occurred_at", pg_sys::TIMESTAMPTZOID),
    ("ip_address", "ip_address", pg_sys::INETOID),
    ("ip_country", "ip_country", pg_sys::TEXTOID),
    ("ip_city", "ip_city", pg_sys::TEXTOID),
    ("user_agent", "user_agent", pg_sys::TEXTOID),
];
const TENANT_ID: usize = 10;
const IDEMPOTENCY_KEY: usize = 12;

/// What one event is given; what is not given takes the column's default, and so the session's.
type Given = [Option<Datum>; 19];

const EVENT_HINT: &str = "For example {\"actor_id\": \"user_1\", \"action\": \"document.created\"}.";
const BATCH_HINT: &str = "For example [{\"actor_id\": \"user_1\", \"action\": \"document.created\"}].";

struct Recorded {
    id: Id,
    is_duplicate: bool,
}

impl Recorded {
    fn json(&self) -> String {
        let status = if self.is_duplicate { "duplicate" } else { "recorded" };
        format!("{{\"id\":\"{}\",\"status\":\"{status}\"}}", uuid_text(&self.id))
    }
}

sql_function!(immutable_track, pg_finfo_immutable_track, track);

/// `immutable.track(actor_id, action, …)`
unsafe fn track(call: Call) -> Datum {
    let mut given: Given = [None; 19];
    for (index, value) in given.iter_mut().enumerate() {
        *value = call.arg(index);
    }
    // An untyped literal, track('{...}'), resolves to this function: PostgreSQL prefers text to jsonb. Without an action
    // it can be no call of this one.
    if let [Some(event), None, ..] = given {
        let only = given.iter().flatten().count() == 1;
        if only && text(event).trim_start().starts_with('{') {
            given = payload(Jsonb::new(jsonb::datum(text(event))));
        }
    }
    jsonb::datum(&record_once(&given).json())
}

sql_function!(immutable_track_event, pg_finfo_immutable_track_event, track_event);

/// `immutable.track(event jsonb)`
unsafe fn track_event(call: Call) -> Datum {
    let Some(event) = call.arg(0) else {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "event must not be NULL")
            .field("event")
            .hint(EVENT_HINT)
            .raise()
    };
    jsonb::datum(&record_once(&payload(Jsonb::new(event))).json())
}

sql_function!(immutable_track_batch, pg_finfo_immutable_track_batch, track_batch);

/// `immutable.track_batch(events jsonb)`
unsafe fn track_batch(call: Call) -> Datum {
    let Some(events) = call.arg(0) else {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "events must not be NULL")
            .field("events")
            .hint(BATCH_HINT)
            .raise()
    };
    let events = unwrap_batch(Jsonb::new(events));
    let most = settings::MAX_BATCH.get();
    if events.len() > most as usize {
        Fault::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("events has {} elements, at most {most}", events.len()),
        )
        .field("events")
        .hint("Send several batches, or raise immutable.max_batch.")
        .raise()
    }
    let mut answers = Vec::with_capacity(events.len());
    events.each_element(|event| answers.push(record_or_error(event)));
    jsonb::datum(&format!("{{\"events\":[{}]}}", answers.join(",")))
}

/// A batch is an array, or an object whose only member `events` is one.
unsafe fn unwrap_batch(batch: Jsonb) -> Jsonb {
    let mut inner = None;
    match batch.kind() {
        Kind::Array => return batch,
        Kind::Object if batch.len() == 1 => batch.members(|key, value| match value {
            Member::Nested(events) if key == "events" => inner = Some(events),
            _ => {}
        }),
        _ => {}
    }
    match inner {
        Some(events) if events.kind() == Kind::Array => events,
        _ => Fault::invalid("events", "events must be a JSON array of events, or {\"events\": [...]}")
            .hint(BATCH_HINT)
            .raise(),
    }
}

/// The payload of one event, member by member. Nothing in it is ignored: what is unknown is refused.
unsafe fn payload(event: Jsonb) -> Given {
    if event.kind() != Kind::Object {
        not_an_object()
    }
    let mut given: Given = [None; 19];
    event.members(|key, value| {
        let Some(index) = FIELDS.iter().position(|(name, _, _)| *name == key) else {
            let shown: String = key.chars().take(64).collect();
            Fault::invalid(&shown, format!("an event has no field \"{shown}\""))
                .hint("Put what has no field of its own into metadata.")
                .raise()
        };
        given[index] = value_of(index, value);
    });
    given
}

fn not_an_object() -> ! {
    Fault::invalid("event", "an event must be a JSON object").hint(EVENT_HINT).raise()
}

fn not_a_string(field: &str) -> ! {
    Fault::invalid(field, format!("{field} must be a string")).hint("Write it in quotes, or leave it out.").raise()
}

fn not_an_integer(field: &str) -> ! {
    Fault::invalid(field, format!("{field} must be an integer from {} to {}", i32::MIN, i32::MAX))
        .hint("Write a plain number, or leave it out.")
        .raise()
}

unsafe fn value_of(index: usize, value: Member) -> Option<Datum> {
    let (field, _, oid) = FIELDS[index];
    match (oid, value) {
        (_, Member::Null) => None,
        (pg_sys::TEXTOID, Member::Text(text)) => Some(text_datum(&text)),
        (pg_sys::TEXTOID, _) => not_a_string(field),
        // the trigger says what is wrong with a value that is no array, or no object
        (pg_sys::JSONBOID, Member::Nested(value)) => Some(value.datum()),
        (pg_sys::JSONBOID, _) => Some(jsonb::datum("0")),
        (pg_sys::INT4OID, Member::Number(number)) => match number.parse::<i32>() {
            Ok(version) => Some(Datum::from(version)),
            Err(_) => not_an_integer(field),
        },
        (pg_sys::INT4OID, _) => not_an_integer(field),
        (pg_sys::TIMESTAMPTZOID, Member::Text(text)) => match time::parse(&text) {
            Ok(micros) => Some(timestamptz(micros)),
            Err(time::Error::Form) => {
                Fault::new(Code::ERRCODE_INVALID_DATETIME_FORMAT, format!("{field} must be an RFC 3339 timestamp"))
                    .field(field)
                    .hint("For example 2026-03-15T14:32:18.847312Z; without an offset it is UTC.")
                    .raise()
            }
            Err(time::Error::Range) => Fault::new(
                Code::ERRCODE_DATETIME_FIELD_OVERFLOW,
                format!("{field} must be in the years 0001 to 9999 (UTC)"),
            )
            .field(field)
            .hint("Leave occurred_at out for the time of recording.")
            .raise(),
        },
        (pg_sys::INETOID, Member::Text(text)) => Some(inet(field, &text)),
        _ => not_a_string(field),
    }
}

unsafe fn inet(field: &str, text: &str) -> Datum {
    // Caught to be raised again with the field's name, never swallowed.
    PgTryBuilder::new(|| input(pg_sys::F_INET_IN, text))
        .catch_when(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, |_| {
            Fault::new(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, format!("{field} must be an IP address"))
                .field(field)
                .hint("For example 203.0.113.7 or 2001:db8::1.")
                .raise()
        })
        .execute()
}

/// Inserts one event; with an idempotency key that is there already, gives the event that has it.
unsafe fn record(given: &Given) -> Recorded {
    let mut columns = Vec::new();
    let mut types = Vec::new();
    let mut values = Vec::new();
    for ((_, column, oid), value) in FIELDS.iter().zip(given) {
        if value.is_some() {
            columns.push(*column);
            types.push(*oid);
            values.push(*value);
        }
    }
    let numbers: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let source = match columns.len() {
        0 => "DEFAULT VALUES".to_string(), // refused by the trigger, which says what is missing
        _ => format!("({}) VALUES ({})", columns.join(", "), numbers.join(", ")),
    };
    let arbiter = match given[IDEMPOTENCY_KEY] {
        Some(_) => " ON CONFLICT (tenant_id, idempotency_key) DO NOTHING",
        None => "",
    };
    let mut id = None;
    let statement = format!("INSERT INTO immutable.events {source}{arbiter} RETURNING id");
    spi::write(&statement, &types, &values, |row| id = Some(uuid(row.values[0])));
    if let Some(id) = id {
        return Recorded { id, is_duplicate: false };
    }
    match original(given) {
        Some(id) => Recorded { id, is_duplicate: true },
        None => Fault::new(
            Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "an event with this idempotency_key was recorded by a concurrent transaction",
        )
        .field("idempotency_key")
        .hint("Retry the transaction.")
        .raise(),
    }
}

/// The id of the event that has the key. With the owner's rights: a writer may know the id of what it recorded before,
/// and sees no other row.
unsafe fn original(given: &Given) -> Option<Id> {
    let relation = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
    let tenant = given[TENANT_ID].map(|tenant| text(tenant).to_string());
    let mut id = None;
    spi::as_owner(relation, || {
        let statement = "SELECT id FROM immutable.events WHERE tenant_id OPERATOR(pg_catalog.=) \
             coalesce($1, pg_catalog.current_setting('immutable.tenant_id', true), '') \
             AND idempotency_key OPERATOR(pg_catalog.=) $2";
        let values = [tenant.as_ref().map(|tenant| text_datum(tenant)), given[IDEMPOTENCY_KEY]];
        spi::write(statement, &[pg_sys::TEXTOID; 2], &values, |row| id = Some(uuid(row.values[0])));
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    id
}

/// One event of a call of its own. While REINDEX CONCURRENTLY builds the keys' index anew, the new one refuses what ON CONFLICT
/// waits for in the old; by then that is committed, so that ON CONFLICT finds it the second time.
unsafe fn record_once(given: &Given) -> Recorded {
    if given[IDEMPOTENCY_KEY].is_none() || !is_key_rebuilt() {
        return record(given);
    }
    match attempt(|| record(given), |code, _| code == Code::ERRCODE_UNIQUE_VIOLATION) {
        Ok(recorded) => recorded,
        Err(_) => record(given),
    }
}

/// Whether a unique index of events is being made, or is a remnant. The lock is kept: REINDEX waits for whoever did not see it.
unsafe fn is_key_rebuilt() -> bool {
    let relation = pg_sys::table_open(events_oid(), pg_sys::RowExclusiveLock as i32);
    let rebuilt = has_invalid_key(relation);
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    rebuilt
}

/// One event of a batch in a subtransaction of its own: refused input becomes its answer, anything else (a lost
/// connection, a full disk, a serialization failure, a missing right) ends the whole batch.
unsafe fn record_or_error(event: Member) -> String {
    let event = match event {
        Member::Nested(event) => Some(event),
        _ => None,
    };
    // As in record_once().
    match record_within(event) {
        Err((Code::ERRCODE_UNIQUE_VIOLATION, _)) => record_within(event),
        answer => answer,
    }
    .unwrap_or_else(|(_, error)| error)
}

/// The answer, or the error's code and the answer about it.
unsafe fn record_within(event: Option<Jsonb>) -> Result<String, (Code, String)> {
    let recorded = || {
        let Some(event) = event else { not_an_object() };
        record(&payload(event)).json()
    };
    attempt(recorded, is_refusal).map_err(|refused| {
        let Refused { code, message, field } = refused;
        (code, error_json(code, &message, field.as_deref()))
    })
}

/// An error that was caught.
pub struct Refused {
    code: Code,
    message: String,
    field: Option<String>,
}

/// Runs it in a subtransaction. An error that is caught, by its code and whether it names a field, undoes that alone.
pub unsafe fn attempt<T>(body: impl FnOnce() -> T, is_caught: fn(Code, bool) -> bool) -> Result<T, Refused> {
    error::take_field();
    let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
    pg_sys::BeginInternalSubTransaction(std::ptr::null());
    pg_sys::MemoryContextSwitchTo(context);
    let answer = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        let done = body();
        pg_sys::ReleaseCurrentSubTransaction();
        Ok(done)
    }))
    .catch_others(|caught| {
        let field = error::take_field();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = &caught else { caught.rethrow() };
        let code = report.sql_error_code();
        if !is_caught(code, field.is_some()) {
            caught.rethrow()
        }
        Err(Refused { code, message: report.message().to_string(), field })
    })
    .execute();
    pg_sys::MemoryContextSwitchTo(context);
    pg_sys::CurrentResourceOwner = owner;
    answer
}

/// Whether an error is about this one event: bad data, a violated key, a limit. A missing right is, where it names a
/// field (a reserved action), and is not, where the caller may not write at all.
fn is_refusal(code: Code, names_field: bool) -> bool {
    let state = sqlstate(code);
    matches!(&state[..2], "22" | "23") || (names_field && matches!(state.as_str(), "42501" | "54000" | "428C9"))
}

fn sqlstate(code: Code) -> String {
    let mut packed = code as u32;
    (0..5)
        .map(|_| {
            let character = char::from((packed & 0x3F) as u8 + b'0');
            packed >>= 6;
            character
        })
        .collect()
}

fn error_json(code: Code, message: &str, field: Option<&str>) -> String {
    use immutable_format::json::write_string;
    let mut json = String::from("{\"status\":\"error\",\"error\":{\"code\":");
    write_string(&sqlstate(code), &mut json);
    json.push_str(",\"message\":");
    write_string(message, &mut json);
    json.push_str(",\"field\":");
    match field {
        Some(field) => write_string(field, &mut json),
        None => json.push_str("null"),
    }
    json.push_str("}}");
    json
}
