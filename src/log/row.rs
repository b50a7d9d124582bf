//! A stored row read back: what insert, erasure and verification all compute the document from.

use crate::log::columns::{self as c, Layout};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, output, text, text_datum, utf8, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::toast;
use crate::pg::tuple::Values;
use immutable_format::commitment::{Content, Erasure, Room, Violation};
use immutable_format::document::{hash_of_stored, of_stored, Envelope, Secret};
use immutable_format::json::Error;
use immutable_format::{limits, target, Hash};
use pgrx::pg_sys;
use std::borrow::Cow;
use std::cell::RefCell;

thread_local! {
    /// Room for the texts of a row, kept from row to row.
    static ROOM: RefCell<Room> = RefCell::new(Room::default());
}

/// Gives `body` the room. An error of the server leaves it borrowed no longer than the error takes.
pub fn in_room<T>(body: impl FnOnce(&mut Room) -> T) -> T {
    ROOM.with(|room| match room.try_borrow_mut() {
        Ok(mut room) => {
            let made = body(&mut room);
            room.shrink();
            made
        }
        Err(_) => body(&mut Room::default()),
    })
}

/// The event that a row holds; borrowed from the memory context the row was read in.
pub struct Stored<'a> {
    pub envelope: Envelope<'a>,
    pub content: Content<'a>,
    pub secret: Secret,
}

impl Stored<'_> {
    pub fn document(&self) -> Result<String, Violation> {
        of_stored(&self.envelope, &self.content, &self.secret)
    }

    /// The hash of the document.
    pub fn hash(&self, room: &mut Room) -> Result<Hash, Violation> {
        hash_of_stored(&self.envelope, &self.content, &self.secret, room)
    }

    pub fn erasure(&self) -> Option<&Erasure> {
        match &self.secret {
            Secret::Erased(erasure) => Some(erasure),
            Secret::Salt(_) => None,
        }
    }
}

/// Reads the row whose columns `get` gives. Whatever is in it, this raises nothing: what no writer can have left, and what
/// cannot be read, is a violation.
pub fn read<'a>(get: impl Fn(c::Column) -> Option<Datum>) -> Result<Stored<'a>, Violation> {
    let required = Violation("a mandatory column is NULL");
    let text_of = |column| get(column).map(|datum| stored_text(datum).ok_or(c::UNREADABLE[column])).transpose();
    let envelope = Envelope {
        log_id: get(c::LOG_ID).map(|datum| uuid(datum)),
        id: uuid(get(c::ID).ok_or(required)?),
        tenant_id: text_of(c::TENANT_ID)?.ok_or(required)?,
        lane: get(c::LANE).ok_or(required)?.value() as i16,
        seq: get(c::SEQ).ok_or(required)?.value() as i64,
        previous_event_hash: match get(c::PREVIOUS_EVENT_HASH) {
            None => None,
            Some(datum) => Some(hash(datum).ok_or(Violation("previous_event_hash is not 32 bytes"))?),
        },
        created_at: micros(get(c::CREATED_AT).ok_or(required)?),
        occurred_at: micros(get(c::OCCURRED_AT).ok_or(required)?),
        recorded_by: text_of(c::RECORDED_BY)?.ok_or(required)?,
        action: text_of(c::ACTION)?.ok_or(required)?,
        action_category: text_of(c::ACTION_CATEGORY)?,
        actor_type: text_of(c::ACTOR_TYPE)?,
        resource_type: text_of(c::RESOURCE_TYPE)?,
        version: get(c::VERSION).map(|datum| datum.i32()),
    };
    let reader = |column: c::Column, datum| Reader::new(datum).ok_or(c::UNREADABLE[column]);
    let refused = |column: c::Column, error, bounds| match error {
        Error::TooDeep | Error::TooLarge => Violation(bounds),
        Error::Syntax(_) | Error::DuplicateKey => c::UNREADABLE[column],
    };
    let metadata = reader(c::METADATA, get(c::METADATA).ok_or(required)?)?;
    let metadata = match metadata.object(limits::NESTING, limits::CANONICAL_BYTES) {
        Ok(Some(object)) if object.members().len() <= limits::METADATA_KEYS => object,
        Ok(_) => return Err(Violation("metadata is not an object of at most 1,000 keys")),
        Err(error) => return Err(refused(c::METADATA, error, "metadata is too large or too deep")),
    };
    let targets = reader(c::TARGETS, get(c::TARGETS).ok_or(required)?)?;
    if targets.array_len().is_none_or(|length| length > limits::TARGETS) {
        return Err(Violation("targets is not an array of at most 1,000"));
    }
    let targets = targets.objects(limits::NESTING, limits::CANONICAL_BYTES);
    let targets = targets.map_err(|(_, error)| refused(c::TARGETS, error, "a target is too large or too deep"))?;
    let targets = target::stored(targets).ok_or(Violation("a target is malformed"))?;
    let secret = match (get(c::SALT), get(c::ERASED)) {
        (Some(salt), None) => {
            let salt = toast::read(salt).ok_or(c::UNREADABLE[c::SALT])?;
            Secret::Salt(salt.try_into().map_err(|_| Violation("salt is not 16 bytes"))?)
        }
        (None, Some(erased)) => {
            // As many paths as an event can have, each with a name, a salt and a commitment.
            let bound = 16 * limits::CANONICAL_BYTES;
            let erased = reader(c::ERASED, erased)?.value(3, bound);
            let erased = erased.map_err(|error| refused(c::ERASED, error, "erased is malformed"))?;
            Secret::Erased(Box::new(Erasure::new(&erased)?))
        }
        _ => return Err(Violation("salt and erased are both there, or both missing")),
    };
    Ok(Stored { envelope, content: Content { columns: stored_columns(get)?, metadata, targets }, secret })
}

/// A stored text, if it can be read.
pub fn stored_text<'a>(datum: Datum) -> Option<&'a str> {
    utf8(toast::read(datum)?)
}

/// What inet prints of a stored address, if it is one: a family with the bytes and bits of its addresses, where inet_out
/// raises an error, or reads bytes of the next column.
pub fn stored_address(datum: Datum) -> Option<String> {
    match is_address(datum) {
        true => Some(output(pg_sys::inet_out, toast::detoast(datum)?)),
        false => None,
    }
}

/// Whether a stored inet is one.
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
fn stored_columns<'a>(get: impl Fn(c::Column) -> Option<Datum>) -> Result<[Option<Cow<'a, str>>; 10], Violation> {
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

/// The values of the columns that are committed to, of a row that enters, as the commitments take them.
pub fn committed<'a>(get: impl Fn(c::Column) -> Option<Datum>) -> [Option<Cow<'a, str>>; 10] {
    c::COMMITTED.map(|column| {
        get(column).map(|datum| match column {
            c::IP_ADDRESS => Cow::Owned(output(pg_sys::inet_out, datum)),
            _ => Cow::Borrowed(text(datum)),
        })
    })
}

/// A stored hash, if it has the length of one.
pub fn hash(datum: Datum) -> Option<Hash> {
    toast::read(datum)?.try_into().ok()
}

sql_function!(immutable_canonical, pg_finfo_immutable_canonical, canonical);

/// `immutable.canonical(record)`: the document of an event, NULL if the row has none.
fn canonical(call: Call) -> Datum {
    let Some(record) = call.arg(0) else { return call.null() };
    let header = pg_sys::pg_detoast_datum(record.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
    let fields = (*header).t_choice.t_datum;
    let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(fields.datum_typeid, fields.datum_typmod);
    let layout = Layout::of(descriptor).unwrap_or_else(|column| {
        Fault::new(Code::ERRCODE_DATATYPE_MISMATCH, format!("the record has no column {column} of its type"))
            .field(column)
            .hint("Pass a whole row: SELECT immutable.canonical(e) FROM immutable.events e")
            .raise()
    });
    let mut tuple = pg_sys::HeapTupleData {
        t_len: pgrx::varlena::varsize_any(header.cast()) as u32,
        t_data: header,
        ..Default::default()
    };
    let row = Values::of(&mut tuple, descriptor);
    match read(|column| row.get(&layout, column)).and_then(|stored| stored.document()) {
        Ok(document) => text_datum(&document),
        Err(_) => call.null(),
    }
}
