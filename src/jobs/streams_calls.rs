//! The streams: who makes, changes and deletes them. Each such decision is an event of the log.

use crate::access::proof::{self, Scope};
use crate::access::token::parse_identity;
use crate::jobs::pause;
use crate::jobs::streams_given::{content, destination, filters, format, name, names, told};
use crate::jobs::streams_position::Position;
use crate::jobs::streams_table::{as_owner, lock, lock_all, notify, quoted, shown, Stored};
use crate::log::own_event::{record, LogEvent};
use crate::log::tables::events_oid;
use crate::log::{distributed, seam};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::{random, transaction};
use immutable_format::id::uuid_text;
use immutable_format::{time, Id};
use pgrx::pg_sys;

/// Most streams of a log.
const MOST_STREAMS: usize = 100;

/// How PostgreSQL has '-infinity'.
const BEGINNING: i64 = i64::MIN;

pub const ID: &str = "Give the id that create_stream() returned. immutable.get_streams() lists the streams.";

/// Refuses API keys, whoever was granted the function: a receiver is called from inside of the
/// operator's network.
pub fn require_operator() {
    let opened = proof::require(Scope::Admin);
    if opened.key.is_some() || opened.tenant_id.is_some() {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, "streams are the operator's, and no API key opens them")
            .field("proof")
            .hint("Call it as the owner, or as a role to whom the owner has granted it.")
            .raise()
    }
}

/// Runs `body` with the owner's rights, while nobody else makes, changes or deletes a stream.
fn locked<T>(command: &'static std::ffi::CStr, body: impl FnOnce() -> T) -> T {
    transaction::require_writable(command);
    distributed::refuse("streams", "Use immutable.changes() with a tenant_id, tenant by tenant.");
    lock_all().acquire(true);
    as_owner(body)
}

/// The time from which a stream begins; None for now.
fn start(given: Option<Datum>) -> Option<i64> {
    let given = given?.i64();
    if given == BEGINNING {
        return Some(i64::MIN);
    }
    let at = micros(Datum::from(given));
    if at > transaction::now() {
        Fault::invalid("start", "start must not be in the future")
            .hint("Leave it out to begin with what comes from now on; '-infinity' is all there is.")
            .raise()
    }
    Some(at)
}

impl Stored {
    /// Records what was decided. Names and values of filters are left out: they may name a person.
    fn record(&self, action: &str, start: Option<i64>) {
        let (kind, to) = told(&self.destination);
        let mut metadata = vec![("destination", &*kind), ("format", &self.format), ("content", &self.content)];
        metadata.extend(to.as_deref().map(|to| ("to", to)));
        metadata.extend(self.tenant_id.as_deref().map(|tenant_id| ("tenant_id", tenant_id)));
        let start = start.map(|start| time::format(start).unwrap_or_else(|| "-infinity".to_string()));
        metadata.extend(start.as_deref().map(|start| ("start", start)));
        let (enabled, filters) = (self.enabled.to_string(), names(&self.filters));
        record(&LogEvent {
            action,
            resource_type: Some("stream"),
            resource_id: Some(&uuid_text(&self.id)),
            metadata: &metadata,
            metadata_json: &[("enabled", &enabled), ("filters", &filters)],
            ..LogEvent::default()
        });
    }

    fn json(&self) -> String {
        shown(Some(&self.id)).pop().map_or("null".to_string(), |shown| shown.json)
    }
}

sql_function!(immutable_create_stream, pg_finfo_immutable_create_stream, create_stream);

/// `immutable.create_stream(name, destination, format, filters, tenant_id, content, start)`
fn create_stream(call: Call<'_>) -> Datum<'_> {
    require_operator();
    let at = transaction::now();
    let of_what = call.arg(5).map_or("events".to_string(), content);
    let stream = Stored {
        id: random::id(at),
        name: name(call.required(0, "name", "Name what the stream goes to.")),
        destination: destination(call.required(1, "destination", "Say where to deliver, as a JSON object.")),
        format: call.arg(2).map_or("json".to_string(), format),
        filters: filters(&of_what, call.arg(3)),
        tenant_id: parse_identity("tenant_id", call.arg(4)),
        content: of_what,
        enabled: true,
        disabled_because: None,
        created_at: at,
        updated_at: at,
        is_damaged: false,
    };
    let start = start(call.arg(6));
    locked(c"immutable.create_stream()", || {
        refuse_copy();
        refuse_too_many();
        refuse_same_name(&stream);
        spi::execute(
            "INSERT INTO immutable.streams (id, name, destination, format, filters, tenant_id, content, enabled, \
               created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, true, $8, $8)",
            &[
                Arg::Uuid(stream.id),
                Arg::text(&*stream.name),
                Arg::Json((&*stream.destination).into()),
                Arg::text(&*stream.format),
                Arg::Json((&*stream.filters).into()),
                Arg::maybe_text(stream.tenant_id.as_deref()),
                Arg::text(&*stream.content),
                Arg::Time(at),
            ],
        );
        Position::begin(&stream, start);
    });
    stream.record("immutable.stream_created", start);
    notify();
    call.memory().jsonb(&as_owner(|| stream.json()))
}

fn refuse_copy() {
    seam::refuse_copy(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get());
}

fn refuse_too_many() {
    if Stored::all().len() >= MOST_STREAMS {
        Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("a log has at most {MOST_STREAMS} streams"))
            .hint("Delete streams that are not used.")
            .raise()
    }
}

fn refuse_same_name(stream: &Stored) {
    if Stored::all().iter().any(|other| other.name == stream.name && other.id != stream.id) {
        Fault::new(Code::ERRCODE_DUPLICATE_OBJECT, "there is a stream of this name")
            .field("name")
            .hint("immutable.get_streams() lists the streams.")
            .raise()
    }
}

sql_function!(immutable_update_stream, pg_finfo_immutable_update_stream, update_stream);

/// `immutable.update_stream(id, name, destination, format, filters, enabled, start)`
fn update_stream(call: Call<'_>) -> Datum<'_> {
    require_operator();
    let id = uuid(call.required(0, "id", ID));
    let start = start(call.arg(6));
    let stream = locked(c"immutable.update_stream()", || {
        // An erasure that has the lock may remove a value of the filters, so they are read after it.
        lock(&id).acquire(true);
        let mut stream = Stored::required(&id);
        stream.refuse_damaged();
        stream.name = call.arg(1).map_or(stream.name, name);
        stream.destination = call.arg(2).map_or(stream.destination, destination);
        stream.format = call.arg(3).map_or(stream.format, format);
        if let Some(given) = call.arg(4) {
            stream.filters = filters(&stream.content, Some(given));
        }
        stream.enabled = call.arg(5).map_or(stream.enabled, Datum::bool);
        refuse_same_name(&stream);
        refuse_lost_filter(&stream);
        let reason = stream.disabled_because.as_deref().filter(|_| !stream.enabled && call.arg(5).is_none());
        spi::execute(
            "UPDATE immutable.streams s SET name = $2, destination = $3, format = $4, filters = $5, enabled = $6, \
               disabled_because = $7, updated_at = $8 WHERE s.id OPERATOR(pg_catalog.=) $1",
            &[
                Arg::Uuid(id),
                Arg::text(&*stream.name),
                Arg::Json((&*stream.destination).into()),
                Arg::text(&*stream.format),
                Arg::Json((&*stream.filters).into()),
                Arg::Given(pg_sys::BOOLOID, Datum::from(stream.enabled)),
                Arg::maybe_text(reason),
                Arg::Time(transaction::now()),
            ],
        );
        match start {
            None => Position::go_on(&id),
            Some(_) => drop(Position::begin(&stream, start)),
        }
        stream
    });
    stream.record("immutable.stream_updated", start);
    notify();
    call.memory().jsonb(&as_owner(|| stream.json()))
}

/// Refuses to go on with a filter whose value was erased.
fn refuse_lost_filter(stream: &Stored) {
    if stream.enabled && stream.filters().is_none() {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a value of the stream's filters was erased")
            .field("filters")
            .hint("Give other filters.")
            .raise()
    }
}

sql_function!(immutable_delete_stream, pg_finfo_immutable_delete_stream, delete_stream);

/// `immutable.delete_stream(id)`
fn delete_stream(call: Call) -> Datum {
    require_operator();
    let id = uuid(call.required(0, "id", ID));
    let stream = locked(c"immutable.delete_stream()", || {
        lock(&id).acquire(true);
        let stream = Stored::required(&id);
        for statement in [
            "DELETE FROM immutable.streams s WHERE s.id OPERATOR(pg_catalog.=) $1",
            "DELETE FROM immutable.stream_positions p WHERE p.stream_id OPERATOR(pg_catalog.=) $1",
            "DELETE FROM immutable.dead_letters d WHERE d.stream_id OPERATOR(pg_catalog.=) $1",
        ] {
            spi::execute(statement, &[Arg::Uuid(id)]);
        }
        stream
    });
    stream.record("immutable.stream_deleted", None);
    notify();
    call.void()
}

sql_function!(immutable_get_streams, pg_finfo_immutable_get_streams, get_streams);

/// `immutable.get_streams()`
fn get_streams(call: Call) -> Datum {
    require_operator();
    let streams: Vec<String> = as_owner(|| shown(None)).into_iter().map(|shown| shown.json).collect();
    call.memory().jsonb(&format!("{{\"data\":[{}]}}", streams.join(",")))
}

sql_function!(immutable_test_stream, pg_finfo_immutable_test_stream, test_stream);

/// `immutable.test_stream(id)`
fn test_stream(call: Call) -> Datum {
    require_operator();
    let id = uuid(call.required(0, "id", ID));
    let at = transaction::now();
    let stream = locked(c"immutable.test_stream()", || {
        lock(&id).acquire(true);
        let stream = Stored::required(&id);
        stream.refuse_damaged();
        refuse_pause();
        Position::of_stream(&stream);
        spi::execute(
            "UPDATE immutable.stream_positions p SET test_requested_at = $2, test_finished_at = NULL, test_error = NULL \
             WHERE p.stream_id OPERATOR(pg_catalog.=) $1",
            &[Arg::Uuid(id), Arg::Time(at)],
        );
        stream
    });
    stream.record("immutable.stream_tested", None);
    notify();
    let at = quoted(time::format(at));
    call.memory().jsonb(&format!("{{\"id\":\"{}\",\"requested_at\":{at}}}", uuid_text(&id)))
}

fn refuse_pause() {
    if pause::is_paused() {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "deliveries are paused")
            .detail("The log was restored, promoted or copied.")
            .hint("If this log is the one that goes on, run SELECT immutable.resume_maintenance().")
            .raise()
    }
}

/// Switches a stream off, because the receiver asked for that or a filter was lost. The stream's lock
/// is held, and the owner's rights are in force.
pub fn switch_off(id: &Id, reason: &str) {
    let Some(mut stream) = Stored::find(id) else { return };
    stream.enabled = false;
    spi::execute(
        "UPDATE immutable.streams s SET enabled = false, disabled_because = $2, updated_at = $3 \
         WHERE s.id OPERATOR(pg_catalog.=) $1",
        &[Arg::Uuid(*id), Arg::text(reason), Arg::Time(transaction::now())],
    );
    record(&LogEvent {
        action: "immutable.stream_switched_off",
        resource_type: Some("stream"),
        resource_id: Some(&uuid_text(id)),
        metadata: &[("why", reason)],
        unasked: true,
        ..LogEvent::default()
    });
}
