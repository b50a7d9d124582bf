//! Reads a stored row. Inserts, erasures and verification all compute the document from what is
//! read here.

use crate::log::columns::{self as c, Layout};
use crate::log::targets::{self, Malformed};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{inet_text, micros, utf8, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::toast;
use crate::pg::tuple::Tuple;
use immutable_format::document::{hash_of_stored, of_stored};
use immutable_format::event::{Content, Envelope, Erasure, EventSecret, Violation};
use immutable_format::hash::Scratch;
use immutable_format::json::{Error, Object};
use immutable_format::target::{Form, Target};
use immutable_format::{limits, Hash};
use std::borrow::Cow;
use std::cell::RefCell;

thread_local! {
    /// Scratch for the texts of a row, kept from row to row.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Calls `body` with the scratch memory, or with new memory if that is in use. After an error of
/// the server, the scratch memory is free again.
pub fn with_scratch<T>(body: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            let made = body(&mut scratch);
            scratch.shrink();
            made
        }
        Err(_) => body(&mut Scratch::default()),
    })
}

/// The event that a row holds; borrowed from the memory context the row was read in.
pub struct Stored<'a> {
    /// The values that the document has as they are.
    pub envelope: Envelope<'a>,
    /// The values that the document has commitments to.
    pub content: Content<'a>,
    /// The salt that the commitments are made with, or what an erasure left of it.
    pub secret: EventSecret,
}

impl Stored<'_> {
    /// The document whose hash the event's hash is; a violation if the row has none.
    pub fn document(&self) -> Result<String, Violation> {
        of_stored(&self.envelope, &self.content, &self.secret)
    }

    /// The hash of the document.
    pub fn hash(&self, scratch: &mut Scratch) -> Result<Hash, Violation> {
        hash_of_stored(&self.envelope, &self.content, &self.secret, scratch)
    }

    /// What was erased from the event, if anything was.
    pub fn erasure(&self) -> Option<&Erasure> {
        match &self.secret {
            EventSecret::Erased(erasure) => Some(erasure),
            EventSecret::Salt(_) => None,
        }
    }
}

const MISSING: Violation = Violation("a mandatory column is NULL");

/// Reads the row whose columns `get` returns. It never raises an error: a value that no writer can
/// have stored, or that cannot be read, is a violation.
pub fn read<'a>(get: impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<Stored<'a>, Violation> {
    let envelope = envelope(&get)?;
    let metadata = metadata(&get)?;
    let targets = targets(&get)?;
    let secret = secret(&get)?;
    Ok(Stored { envelope, content: Content { columns: stored_columns(&get)?, metadata, targets }, secret })
}

fn envelope<'a>(get: &impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<Envelope<'a>, Violation> {
    let text_of = |column| get(column).map(|datum| stored_text(datum).ok_or(c::UNREADABLE[column])).transpose();
    Ok(Envelope {
        log_id: get(c::LOG_ID).map(uuid),
        id: uuid(get(c::ID).ok_or(MISSING)?),
        tenant_id: text_of(c::TENANT_ID)?.ok_or(MISSING)?,
        lane: get(c::LANE).ok_or(MISSING)?.i16(),
        seq: get(c::SEQ).ok_or(MISSING)?.i64(),
        previous_event_hash: match get(c::PREVIOUS_EVENT_HASH) {
            None => None,
            Some(datum) => Some(hash(datum).ok_or(Violation("previous_event_hash is not 32 bytes"))?),
        },
        created_at: micros(get(c::CREATED_AT).ok_or(MISSING)?),
        occurred_at: micros(get(c::OCCURRED_AT).ok_or(MISSING)?),
        recorded_by: text_of(c::RECORDED_BY)?.ok_or(MISSING)?,
        action: text_of(c::ACTION)?.ok_or(MISSING)?,
        action_category: text_of(c::ACTION_CATEGORY)?,
        actor_type: text_of(c::ACTOR_TYPE)?,
        resource_type: text_of(c::RESOURCE_TYPE)?,
        version: get(c::VERSION).map(Datum::i32),
    })
}

fn reader(column: c::Column, datum: Datum<'_>) -> Result<Reader<'_>, Violation> {
    Reader::new(datum).ok_or(c::UNREADABLE[column])
}

/// The violation for an error in the jsonb of a column; `bounds` is the one for a value that
/// exceeds the bounds of an event.
fn refused(column: c::Column, error: Error, bounds: &'static str) -> Violation {
    match error {
        Error::TooDeep | Error::TooLarge => Violation(bounds),
        Error::Syntax(_) | Error::DuplicateKey => c::UNREADABLE[column],
    }
}

fn metadata<'a>(get: &impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<Object<'a>, Violation> {
    let metadata = reader(c::METADATA, get(c::METADATA).ok_or(MISSING)?)?;
    match metadata.object(limits::NESTING, limits::CANONICAL_BYTES) {
        Ok(Some(object)) if object.members().len() <= limits::METADATA_KEYS => Ok(object),
        Ok(_) => Err(Violation("metadata is not an object of at most 1,000 keys")),
        Err(error) => Err(refused(c::METADATA, error, "metadata is too large or too deep")),
    }
}

fn targets<'a>(get: &impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<Vec<Target<'a>>, Violation> {
    let targets = get(c::TARGETS).ok_or(MISSING)?;
    targets::parse(targets, Form::Stored, targets::LARGEST, |_, _, _| {}).map_err(|malformed| match malformed {
        Malformed::Unreadable => c::UNREADABLE[c::TARGETS],
        Malformed::NotAnArray | Malformed::TooMany(_) => Violation("targets is not an array of at most 1,000"),
        Malformed::Element(_, error) => refused(c::TARGETS, error, "a target is too large or too deep"),
        Malformed::Target(..) => Violation("a target is malformed"),
    })
}

fn secret<'a>(get: &impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<EventSecret, Violation> {
    match (get(c::SALT), get(c::ERASED)) {
        (Some(salt), None) => {
            let salt = toast::read(salt).ok_or(c::UNREADABLE[c::SALT])?;
            Ok(EventSecret::Salt(salt.try_into().map_err(|_| Violation("salt is not 16 bytes"))?))
        }
        (None, Some(erased)) => {
            // As many paths as an event can have, each with a name, a salt and a commitment.
            let bound = 16 * limits::CANONICAL_BYTES;
            let erased = reader(c::ERASED, erased)?.value(3, bound);
            let erased = erased.map_err(|error| refused(c::ERASED, error, "erased is malformed"))?;
            Ok(EventSecret::Erased(Box::new(Erasure::new(&erased)?)))
        }
        _ => Err(Violation("salt and erased are both there, or both missing")),
    }
}

/// A stored text, if it can be read.
pub fn stored_text(datum: Datum<'_>) -> Option<&str> {
    utf8(toast::read(datum)?)
}

/// The text of a stored address, if it is valid. It is checked first, because inet_out raises an
/// error for an unknown family, and reads beyond the value if it is too short.
pub fn stored_address(datum: Datum) -> Option<String> {
    match is_address(datum) {
        true => Some(inet_text(toast::detoast(datum)?)),
        false => None,
    }
}

/// Whether a stored inet is valid: it has a known family, and the bytes and bits of that family's
/// addresses.
pub fn is_address(datum: Datum) -> bool {
    const V4: u8 = 2;
    const V6: u8 = 3;
    match toast::read(datum) {
        Some([V4, bits, address @ ..]) => address.len() == 4 && *bits <= 32,
        Some([V6, bits, address @ ..]) => address.len() == 16 && *bits <= 128,
        _ => false,
    }
}

/// The values of the columns that are committed to, as they are stored.
fn stored_columns<'a>(get: &impl Fn(c::Column) -> Option<Datum<'a>>) -> Result<[Option<Cow<'a, str>>; 10], Violation> {
    let mut columns = [const { None }; 10];
    for (place, column) in columns.iter_mut().zip(c::COMMITTED) {
        let Some(datum) = get(column) else { continue };
        let text = match column {
            c::IP_ADDRESS => stored_address(datum).map(Cow::Owned),
            _ => stored_text(datum).map(Cow::Borrowed),
        };
        *place = Some(text.ok_or(c::UNREADABLE[column])?);
    }
    Ok(columns)
}

/// A stored hash, if it has the length of one.
pub fn hash(datum: Datum) -> Option<Hash> {
    toast::read(datum)?.try_into().ok()
}

sql_function!(immutable_canonical, pg_finfo_immutable_canonical, canonical);

/// `immutable.canonical(record)`: the document of an event, NULL if the row has none.
fn canonical(call: Call<'_>) -> Datum<'_> {
    let Some(record) = call.arg(0).map(Tuple::of_record) else { return call.null() };
    let layout = Layout::of(record.descriptor()).unwrap_or_else(|column| {
        Fault::new(Code::ERRCODE_DATATYPE_MISMATCH, format!("the record has no column {column} of the expected type"))
            .field(column)
            .hint("Pass a whole row, as in SELECT immutable.canonical(e) FROM immutable.events e.")
            .raise()
    });
    let row = record.values();
    match read(|column| row.get(&layout, column)).and_then(|stored| stored.document()) {
        Ok(document) => call.text(&document),
        Err(_) => call.null(),
    }
}
