//! The payload of track(): its fields, and how jsonb or JSON text becomes their values. Nothing in
//! it is ignored: an unknown field, or one that is there twice, is refused.

use crate::log::columns::{self as c, SetBy};
use crate::pg::datum::{inet_text, micros, text, timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::memory::Memory;
use immutable_format::json::{write_string, Error, Value};
use immutable_format::split::{split, Parts};
use immutable_format::{limits, time};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Oid};
use pgrx::PgTryBuilder;

/// The fields of the payload: the name, which is also that of the argument; the column; the type.
pub const FIELDS: [(&str, &str, Oid); 19] = [
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

/// The index of actor_id in [`FIELDS`].
pub const ACTOR_ID: usize = 0;

/// The index of tenant_id in [`FIELDS`].
pub const TENANT_ID: usize = 10;

/// The index of idempotency_key in [`FIELDS`].
pub const IDEMPOTENCY_KEY: usize = 12;

/// The values that are given for one event, by [`FIELDS`]. A field that is not given takes the
/// column's default, which may be what the session says.
pub type Given<'m> = [Option<Datum<'m>>; FIELDS.len()];

/// The hint where there is no event in the payload.
pub const EVENT_HINT: &str = "For example {\"actor_id\": \"user_1\", \"action\": \"document.created\"}.";

/// Names that other systems use for a field.
const SYNONYMS: [(&str, &str); 5] = [
    ("createdat", "occurred_at"),
    ("timestamp", "occurred_at"),
    ("time", "occurred_at"),
    ("userid", "actor_id"),
    ("ip", "ip_address"),
];

/// The event in an object. Raises 22023 for a value that is not an object, and for a field that is
/// unknown or there twice. Values are made in `memory`.
pub fn of_jsonb<'m>(event: Jsonb<'m>, memory: Memory<'m>) -> Given<'m> {
    if event.kind() != Kind::Object {
        not_an_object()
    }
    let mut payload = Payload::default();
    event.members(|name, value| {
        let field = payload.field(name);
        payload.given[field] = value_of(field, value, memory);
    });
    payload.given
}

/// The event in a JSON text, as [`of_jsonb`]. Each member is converted by itself, so that an error
/// names it; 22P02 for a text that is not JSON.
pub fn of_text<'m>(event: &str, memory: Memory<'m>) -> Given<'m> {
    let members = match split(event) {
        Ok(Parts::Object(members)) => members,
        Ok(_) => not_an_object(),
        Err(error) => not_json("event", error, EVENT_HINT),
    };
    let mut payload = Payload::default();
    for (name, json) in members {
        let field = payload.field(&name);
        payload.given[field] = value_of(field, member(FIELDS[field].0, json, memory), memory);
    }
    payload.given
}

/// The JSON text of an event, which [`of_text`] reads.
pub fn json_of(given: &Given) -> String {
    let mut json = String::from("{");
    for ((name, _, oid), value) in FIELDS.iter().zip(given) {
        let Some(value) = value else { continue };
        if json.len() > 1 {
            json.push(',');
        }
        write_string(name, &mut json);
        json.push(':');
        match *oid {
            pg_sys::JSONBOID => json.push_str(&Jsonb::new(*value).text()),
            pg_sys::INT4OID => json.push_str(&value.i32().to_string()),
            // An INSERT refuses a time that has no such text.
            pg_sys::TIMESTAMPTZOID => write_string(&time::format(micros(*value)).unwrap_or_default(), &mut json),
            pg_sys::INETOID => write_string(&inet_text(*value), &mut json),
            _ => write_string(text(*value), &mut json),
        }
    }
    json.push('}');
    json
}

/// Raises 22023 for an event that is not a JSON object.
pub fn not_an_object() -> ! {
    Fault::invalid("event", "an event must be a JSON object").hint(EVENT_HINT).raise()
}

/// Raises 22P02 for a text that is not JSON.
pub fn not_json(field: &str, error: Error, hint: &str) -> ! {
    Fault::new(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, format!("{field} cannot be read: {error}"))
        .field(field)
        .hint(hint)
        .raise()
}

/// A payload that is being read, and the fields seen so far.
#[derive(Default)]
struct Payload<'m> {
    given: Given<'m>,
    seen: [bool; FIELDS.len()],
}

impl Payload<'_> {
    /// The index of the field of that name; an error if there is none, or if it has been seen
    /// before.
    fn field(&mut self, name: &str) -> usize {
        let field = FIELDS.iter().position(|(field, column, _)| *field == name || *column == name);
        let field = field.unwrap_or_else(|| unknown(name));
        if std::mem::replace(&mut self.seen[field], true) {
            let (field, column, _) = FIELDS[field];
            let names = if field == column { "" } else { " (resource and resource_type are the same)" };
            Fault::invalid(field, format!("an event has the field {field} twice{names}"))
                .hint("Leave one of them out.")
                .raise()
        }
        field
    }
}

fn unknown(name: &str) -> ! {
    let shown: String =
        name.chars().take(64).map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect();
    let fault = Fault::invalid(&shown, format!("an event has no field \"{shown}\""));
    let chain = c::ALL.iter().any(|(column, _, set_by)| *column == name && *set_by == SetBy::Chain);
    match meant(name) {
        Some(field) => fault.hint(format!("Did you mean {field}? Put other values into metadata.")),
        None if chain => fault.hint("The log sets this field. Leave it out."),
        None if name == "id" => {
            fault.hint("The log makes the id. Leave it out, or give one in INSERT INTO immutable.events.")
        }
        None => fault.hint("Put values that have no field of their own into metadata."),
    }
    .raise()
}

/// The field that a name is likely to stand for: it may be spelt in another way, cut short, or have
/// a letter or two wrong.
fn meant(name: &str) -> Option<&'static str> {
    let bare = |name: &str| -> String {
        name.chars().take(32).filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let name = bare(name);
    if let Some((_, field)) = SYNONYMS.iter().find(|(synonym, _)| *synonym == name) {
        return Some(field);
    }
    let by = |like: &dyn Fn(&str) -> bool| {
        let known = FIELDS.iter().find(|(field, column, _)| like(&bare(field)) || like(&bare(column)));
        known.map(|(field, _, _)| *field)
    };
    let (near, cut) = (name.len() / 4, name.len() >= 3);
    by(&|field| field == name)
        .or_else(|| by(&|field| cut && field.starts_with(&name)))
        .or_else(|| by(&|field| distance(field.as_bytes(), name.as_bytes()) <= near.min(2)))
}

/// How many letters have to be inserted, deleted or replaced to turn one word into the other
/// (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The value of a member, given as JSON text.
fn member<'m>(field: &str, json: &str, memory: Memory<'m>) -> Member<'m> {
    // Most are strings without escapes.
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(text) = plain.filter(|text| text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')) {
        return Member::Text(text.to_string());
    }
    let value = converted(field, json, memory);
    if value.kind() == Kind::Scalar {
        let mut scalar = Member::Null;
        value.each_element(|element| scalar = element);
        return scalar;
    }
    // jsonb would keep only the last one.
    if let Err(Error::DuplicateKey) = Value::parse(json, limits::NESTING, usize::MAX) {
        Fault::invalid(field, format!("{field} has an object with two members of the same name"))
            .hint("Only one of them could be kept. Leave the other out, or rename it.")
            .raise()
    }
    Member::Nested(value)
}

/// Converts a JSON text to jsonb. What jsonb cannot hold (\u0000, half a surrogate pair, NaN,
/// 1e999999) is an error that names the field.
fn converted<'m>(field: &str, json: &str, memory: Memory<'m>) -> Jsonb<'m> {
    // Caught to be raised again with the field's name, never swallowed.
    PgTryBuilder::new(|| Jsonb::new(memory.jsonb(json)))
        .catch_others(|caught| {
            let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = &caught else {
                caught.rethrow()
            };
            let code = match report.sql_error_code() {
                Code::ERRCODE_STATEMENT_TOO_COMPLEX => Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                code @ (Code::ERRCODE_INVALID_TEXT_REPRESENTATION
                | Code::ERRCODE_UNTRANSLATABLE_CHARACTER
                | Code::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
                | Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED) => code,
                _ => caught.rethrow(),
            };
            let why = report.detail().map_or(String::new(), |detail| format!(" ({})", detail.trim_end_matches('.')));
            Fault::new(code, format!("{field} cannot be stored as jsonb: {}{why}", report.message()))
                .field(field)
                .hint(match code {
                    Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED => {
                        "It is nested too deeply, or too large. Leave some of it out."
                    }
                    _ => {
                        "It must be JSON (RFC 8259) without \\u0000, halves of surrogate pairs, \
                         or numbers that numeric cannot hold."
                    }
                })
                .raise()
        })
        .execute()
}

fn not_a_string(field: &str) -> ! {
    Fault::invalid(field, format!("{field} must be a string")).hint("Write it in quotes, or leave it out.").raise()
}

fn not_an_integer(field: &str) -> ! {
    Fault::invalid(field, format!("{field} must be an integer from {} to {}", i32::MIN, i32::MAX))
        .hint("Write a plain number, or leave it out.")
        .raise()
}

fn value_of<'m>(index: usize, value: Member<'m>, memory: Memory<'m>) -> Option<Datum<'m>> {
    let (field, _, oid) = FIELDS[index];
    match (oid, value) {
        (_, Member::Null) => None,
        (pg_sys::TEXTOID, Member::Text(text)) => Some(memory.text(&text)),
        (pg_sys::TEXTOID, _) => not_a_string(field),
        // The chain's trigger says what is wrong with a value that is not an array, or not an
        // object.
        (pg_sys::JSONBOID, Member::Nested(value)) => Some(value.datum()),
        (pg_sys::JSONBOID, _) => Some(memory.jsonb("0")),
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
                    .hint("For example 2026-03-15T14:32:18.847312Z. Without an offset, the time is UTC.")
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
        (pg_sys::INETOID, Member::Text(text)) => Some(inet(field, &text, memory)),
        _ => not_a_string(field),
    }
}

fn inet<'m>(field: &str, text: &str, memory: Memory<'m>) -> Datum<'m> {
    // Caught to be raised again with the field's name, never swallowed.
    PgTryBuilder::new(|| memory.inet(text))
        .catch_when(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, |_| {
            Fault::new(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, format!("{field} must be an IP address"))
                .field(field)
                .hint("For example 203.0.113.7 or 2001:db8::1.")
                .raise()
        })
        .execute()
}
