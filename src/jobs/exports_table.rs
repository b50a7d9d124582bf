//! The rows of immutable.exports, read and written with the owner's rights, and who may see which.

use crate::access::proof::Opened;
use crate::log::columns::Column;
use crate::log::row::stored_text;
use crate::log::seam;
use crate::log::small_table::SmallTable;
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::lock::ObjectLock;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use crate::pg::tuple::Values;
use crate::read::filter::FILTERS;
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Value};
use immutable_format::{time, Id};
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;

/// How long an export can be read, in microseconds: seven days.
pub const KEPT: i64 = 7 * DAY;

/// How long it is known after that that there was one.
pub const KNOWN: i64 = 30 * DAY;

/// Most bytes of a tenant_id.
const TENANT_BYTES: usize = 255;

const DAY: i64 = 24 * 3600 * 1_000_000;

/// Filters are read from the table within these bounds.
const FILTERS_DEPTH: usize = 2;
const FILTERS_BYTES: usize = 1 << 20;

const TYPES: [Oid; 12] = [
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::JSONBOID,
    pg_sys::PG_SNAPSHOTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::INT8OID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
];

/// What a statement selects, in the order in which [`Stored::of`] reads it.
pub const SELECTED: &str = "x.id, x.tenant_id, x.filters, CAST(x.pin AS pg_catalog.text), x.pinned_in, x.status, \
     x.counted, x.counted_to, x.error_message, x.created_at, x.expires_at";

/// Opens immutable.exports with a lock of this mode.
pub fn exports(lock: u32) -> SmallTable {
    SmallTable::open(c"exports", &TYPES, lock)
}

/// An export as it is stored.
pub struct Stored {
    pub id: Id,
    /// The only tenant whose events it may have.
    pub tenant_id: Option<String>,
    /// Names and values. The value of a person who was erased is None.
    pub filters: Vec<(String, Option<String>)>,
    /// Whether somebody changed them, or the tenant, so that they would let other events pass.
    are_filters_damaged: bool,
    pub pin: Option<String>,
    pub pinned_in: Option<i64>,
    pub status: String,
    pub counted: i64,
    pub counted_to: Option<String>,
    pub error_message: Option<String>,
    pub created_at: i64,
    pub expires_at: i64,
}

impl Stored {
    /// Reads a row of [`SELECTED`].
    pub fn of(row: &Values) -> Stored {
        let text_at = |place: Column| row.at(place).map(|value| text(value).to_string());
        let time_at = |place: Column| row.at(place).map(micros);
        let filters = row.at(2).and_then(filters);
        Stored {
            id: row.at(0).map(uuid).unwrap_or_default(),
            tenant_id: text_at(1),
            are_filters_damaged: filters.is_none() || !row.at(1).is_none_or(is_tenant),
            filters: filters.unwrap_or_default(),
            pin: text_at(3),
            pinned_in: time_at(4),
            status: text_at(5).unwrap_or_default(),
            counted: row.at(6).map_or(0, Datum::i64),
            counted_to: text_at(7),
            error_message: text_at(8),
            created_at: time_at(9).unwrap_or_default(),
            expires_at: time_at(10).unwrap_or_default(),
        }
    }

    /// The export with this id, if the caller may see it.
    pub fn find(id: &Id, opened: &Opened) -> Option<Stored> {
        let statement = format!("SELECT {SELECTED} FROM immutable.exports x WHERE x.id OPERATOR(pg_catalog.=) $1");
        let mut found = None;
        exports(pg_sys::AccessShareLock).returning(&statement, &[Arg::Uuid(*id)], |row| found = Some(Stored::of(row)));
        found.filter(|export| export.is_open_to(opened))
    }

    /// Whether the proof opens it: a ticket opens its own export, and a key that is bound to a
    /// tenant those that were made under the same bound.
    fn is_open_to(&self, opened: &Opened) -> bool {
        match (&opened.ticket, &opened.tenant_id) {
            (Some(ticket), only) => *ticket == self.id && only.as_deref() == self.only_tenant(),
            (None, Some(tenant_id)) => self.tenant_id.as_ref() == Some(tenant_id),
            (None, None) => true,
        }
    }

    /// A filter's value.
    pub fn filter(&self, name: &str) -> Option<&str> {
        self.filters.iter().find(|(of, _)| of == name)?.1.as_deref()
    }

    /// The only tenant that its events can be of.
    pub fn only_tenant(&self) -> Option<&str> {
        self.tenant_id.as_deref().or_else(|| self.filter("tenant_id"))
    }

    /// Why it cannot be read, if so.
    pub fn failure(&self) -> Option<&str> {
        if self.status == "failed" {
            return Some(self.error_message.as_deref().unwrap_or("it failed"));
        }
        if self.pin.is_none() || self.pinned_in.is_none() || self.pinned_in != seam::written_here_since() {
            return Some(SEAM);
        }
        // Only an export that failed has the filter of a person who was erased.
        if self.are_filters_damaged || self.filters.iter().any(|(_, value)| value.is_none()) {
            return Some(DAMAGED);
        }
        None
    }

    /// Whether its events are still to be counted.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "processing")
    }

    /// Raises 55000 if it has expired.
    pub fn refuse_expired(&self) {
        if self.expires_at <= transaction::now() {
            self.refuse("has expired", "Make a new one with immutable.create_export().")
        }
    }

    /// Raises 55000 with what is the matter with it.
    pub fn refuse(&self, what: &str, hint: &str) -> ! {
        let message = format!("export {} {what}", uuid_text(&self.id));
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field("id").hint(hint).raise()
    }

    /// The lock of those who write its row, which they hold until their transaction ends.
    pub fn lock(&self, table: &SmallTable) -> ObjectLock {
        let [a, b, c, d, .., e, f] = self.id;
        let (object, part) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
        ObjectLock { relation: table.relation().oid(), object, part: part | 1 }
    }
}

/// Why an export fails after a seam.
pub const SEAM: &str = "the log has gone on elsewhere since the export was made: it was restored, promoted or copied";

/// Why an export fails whose row somebody changed.
const DAMAGED: &str = "its filters are damaged";

fn is_tenant(stored: Datum) -> bool {
    stored_text(stored).is_some_and(|tenant_id| tenant_id.len() <= TENANT_BYTES)
}

/// None for filters that were not written here.
fn filters(stored: Datum) -> Option<Vec<(String, Option<String>)>> {
    let Ok(Value::Object(members)) = Reader::new(stored)?.value(FILTERS_DEPTH, FILTERS_BYTES) else { return None };
    let filter = |(name, value): &(Cow<str>, Value)| {
        let value = match value {
            Value::Null => None,
            value => Some(value.as_str()?.to_string()),
        };
        let (_, oid) = FILTERS.iter().find(|(known, _)| known == name)?;
        let is_sound = *oid == pg_sys::TEXTOID
            || value.as_deref().is_none_or(|at| time::parse(at).is_ok() || ["infinity", "-infinity"].contains(&at));
        is_sound.then(|| (name.to_string(), value))
    };
    members.iter().map(filter).collect()
}

/// Filters as a JSON object.
pub fn filters_json<'f>(filters: impl Iterator<Item = (&'f str, Option<&'f str>)>) -> String {
    let mut json = String::from("{");
    for (n, (name, value)) in filters.enumerate() {
        if n > 0 {
            json.push(',');
        }
        write_string(name, &mut json);
        json.push(':');
        match value {
            Some(value) => write_string(value, &mut json),
            None => json.push_str("null"),
        }
    }
    json.push('}');
    json
}
