//! The rows of immutable.streams, and the locks of those who write them.

use crate::jobs::pause;
use crate::jobs::streams_given::{
    Filters, DESTINATION_BYTES, DESTINATION_LEVELS, FILTER_BYTES, FILTER_LEVELS, NAME_BYTES,
};
use crate::log::row::stored_text;
use crate::log::tables::events_oid;
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::lock::ObjectLock;
use crate::pg::relation::{named, OpenRelation};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Value};
use immutable_format::{time, Id};
use pgrx::pg_sys;

/// How many failures in a row are an error, and not a hitch.
const FAILURES: i32 = 3;

/// A stream as it is stored.
pub struct Stored {
    pub id: Id,
    pub name: String,
    /// As JSON.
    pub destination: String,
    pub format: String,
    /// As JSON.
    pub filters: String,
    pub tenant_id: Option<String>,
    pub content: String,
    pub enabled: bool,
    pub disabled_because: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// Whether a part of the row cannot be read. Such a stream is not delivered, and can be deleted.
    pub is_damaged: bool,
}

const COLUMNS: &str = "s.id, s.name, s.destination, s.format, s.filters, s.tenant_id, s.content, s.enabled, \
     s.disabled_because, s.created_at, s.updated_at";
const WIDTH: usize = 11;

impl Stored {
    /// What of a row can be read.
    fn of(row: &Values) -> Stored {
        let mut is_damaged = false;
        let mut read = |part: Option<String>| {
            part.unwrap_or_else(|| {
                is_damaged = true;
                String::new()
            })
        };
        let text_at =
            |place| row.at(place).and_then(stored_text).filter(|text| text.len() <= NAME_BYTES).map(str::to_string);
        let json_at = |place, levels, bytes| {
            let given = row.at(place).and_then(Reader::new).and_then(|given| given.value(levels, bytes).ok());
            given.filter(|given| matches!(given, Value::Object(_))).map(|given| given.canonical())
        };
        let (name, format, content) = (read(text_at(1)), read(text_at(3)), read(text_at(6)));
        let tenant_id = row.at(5).map(|_| read(text_at(5)));
        let destination = json_at(2, DESTINATION_LEVELS, DESTINATION_BYTES);
        let filters = json_at(4, FILTER_LEVELS, FILTER_BYTES);
        let is_damaged = is_damaged
            || destination.is_none()
            || filters.is_none()
            || [7, 9, 10].into_iter().any(|place| row.at(place).is_none());
        let at = |place| row.at(place).map_or(0, micros);
        Stored {
            id: row.at(0).map(uuid).unwrap_or_default(),
            name,
            destination: destination.unwrap_or_else(|| "null".to_string()),
            format,
            filters: filters.unwrap_or_else(|| "null".to_string()),
            tenant_id,
            content,
            enabled: row.at(7).is_some_and(Datum::bool),
            disabled_because: row.at(8).and_then(stored_text).map(str::to_string),
            created_at: at(9),
            updated_at: at(10),
            is_damaged,
        }
    }

    /// The stream with this id. The owner's rights are in force.
    pub fn find(id: &Id) -> Option<Stored> {
        let statement = format!("SELECT {COLUMNS} FROM immutable.streams s WHERE s.id OPERATOR(pg_catalog.=) $1");
        let mut found = None;
        spi::query_now(&statement, &[Arg::Uuid(*id)], |row| found = Some(Stored::of(row)));
        found
    }

    /// The same; P0002 if there is none.
    pub fn required(id: &Id) -> Stored {
        Stored::find(id).unwrap_or_else(|| {
            Fault::new(Code::ERRCODE_NO_DATA_FOUND, format!("there is no stream {}", uuid_text(id)))
                .field("id")
                .hint("immutable.get_streams() lists the streams.")
                .raise()
        })
    }

    /// All streams, the oldest first.
    pub fn all() -> Vec<Stored> {
        let mut streams = Vec::new();
        let statement = format!("SELECT {COLUMNS} FROM immutable.streams s ORDER BY s.created_at, s.id");
        spi::query_now(&statement, &[], |row| streams.push(Stored::of(row)));
        streams
    }

    /// The filters; None if they were damaged, or lost the value of a person.
    pub fn filters(&self) -> Option<Filters> {
        let given = Value::parse(&self.filters, FILTER_LEVELS, FILTER_BYTES).ok()?;
        Filters::read(&self.content, &given).ok().filter(|_| !self.is_damaged)
    }

    /// Raises 55000 for one that somebody changed by hand.
    pub fn refuse_damaged(&self) {
        if self.is_damaged {
            Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the stream is damaged")
                .field("id")
                .hint("Somebody has changed the table by hand. Delete the stream, and create it again.")
                .raise()
        }
    }
}

/// A stream as get_streams() shows it, and whether the program may deliver it.
pub struct Shown {
    pub stream: Stored,
    pub json: String,
    pub state: &'static str,
    pub failures: i32,
    pub dead_letters: i64,
}

const SHOWN: &str = "p.failures, p.failed_at, p.last_error, p.retry_at, p.delivered, p.delivered_at, \
     p.test_requested_at, p.test_finished_at, p.test_error, \
     (SELECT pg_catalog.count(*) FROM immutable.dead_letters d WHERE d.stream_id OPERATOR(pg_catalog.=) s.id)";

/// All streams as they are shown, or the one that is asked for, the oldest first.
pub fn shown(id: Option<&Id>) -> Vec<Shown> {
    let is_paused = pause::is_paused();
    let statement = format!(
        "SELECT {COLUMNS}, {SHOWN} FROM immutable.streams s LEFT JOIN immutable.stream_positions p \
           ON p.stream_id OPERATOR(pg_catalog.=) s.id \
         WHERE $1 IS NULL OR s.id OPERATOR(pg_catalog.=) $1 ORDER BY s.created_at, s.id"
    );
    let mut shown = Vec::new();
    let id = id.map_or(Arg::Null(pg_sys::UUIDOID), |id| Arg::Uuid(*id));
    spi::query_now(&statement, &[id], |row| shown.push(Shown::of(row, is_paused)));
    shown
}

impl Shown {
    fn of(row: &Values, is_paused: bool) -> Shown {
        let stream = Stored::of(row);
        let text = |place: usize| row.at(WIDTH + place).and_then(stored_text);
        let failures = row.at(WIDTH).map_or(0, Datum::i32);
        let dead_letters = row.at(WIDTH + 9).map_or(0, Datum::i64);
        let (state, reason) = match &stream {
            _ if stream.is_damaged => ("error", Some("the row is damaged: delete the stream, and create it again")),
            Stored { enabled: false, disabled_because, .. } => {
                ("paused", Some(disabled_because.as_deref().unwrap_or("somebody paused it")))
            }
            _ if is_paused => ("paused", Some(PAUSED)),
            _ if failures >= FAILURES => ("error", text(2)),
            _ => ("active", None),
        };
        let at = |place: usize| quoted(row.at(WIDTH + place).and_then(|at| time::format(micros(at))));
        let test = match row.at(WIDTH + 6) {
            None => "null".to_string(),
            Some(_) => {
                format!("{{\"requested_at\":{},\"finished_at\":{},\"error\":{}}}", at(6), at(7), quoted(text(8)))
            }
        };
        let time = |at| quoted(time::format(at));
        let json = format!(
            "{{\"id\":\"{}\",\"name\":{},\"destination\":{},\"format\":{},\"filters\":{},\"tenant_id\":{},\
             \"content\":{},\"enabled\":{},\"state\":\"{state}\",\"reason\":{},\"failures\":{failures},\
             \"failed_at\":{},\"last_error\":{},\"retry_at\":{},\"delivered\":{},\"delivered_at\":{},\
             \"dead_letters\":{dead_letters},\"test\":{test},\"created_at\":{},\"updated_at\":{}}}",
            uuid_text(&stream.id),
            quoted(Some(&stream.name)),
            stream.destination,
            quoted(Some(&stream.format)),
            stream.filters,
            quoted(stream.tenant_id.as_ref()),
            quoted(Some(&stream.content)),
            stream.enabled,
            quoted(reason),
            at(1),
            quoted(text(2)),
            at(3),
            row.at(WIDTH + 4).map_or(0, Datum::i64),
            at(5),
            time(stream.created_at),
            time(stream.updated_at),
        );
        Shown { stream, json, state, failures, dead_letters }
    }
}

/// Why nothing is delivered after a seam.
pub const PAUSED: &str = "the log was restored, promoted or copied: SELECT immutable.resume_maintenance() goes on here";

/// What JSON has for a text, null for none.
pub fn quoted(text: Option<impl AsRef<str>>) -> String {
    text.map_or("null".to_string(), |text| {
        let mut out = String::new();
        write_string(text.as_ref(), &mut out);
        out
    })
}

/// The lock of those who make, change or delete streams.
pub fn lock_all() -> ObjectLock {
    ObjectLock { relation: named(c"streams"), object: 0, part: 0 }
}

/// The lock of those who write a stream's position.
pub fn lock(id: &Id) -> ObjectLock {
    let [a, b, .., c, d, e, f] = *id;
    let object = u32::from_be_bytes([c, d, e, f]);
    ObjectLock { relation: named(c"stream_positions"), object, part: u16::from_be_bytes([a, b]) | 1 }
}

/// Runs `body` with the owner's rights.
pub fn as_owner<T>(body: impl FnOnce() -> T) -> T {
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), body)
}

/// Says to programs that listen that there is something to do. It has no payload, because every role of
/// the database may listen.
pub fn notify() {
    spi::execute("NOTIFY immutable_streams", &[]);
}
