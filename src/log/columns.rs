//! The columns of an event, and where a relation or record keeps them. They are looked up by name
//! and type, never by number, because a Citus shard, an upgraded table and a subquery's record have
//! the same columns in other places.

use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::tuple::{Descriptor, Values};
use immutable_format::event::Violation;
use pgrx::pg_sys::{self, Oid};

/// A column of `immutable.events`, as an index into [`ALL`].
pub type Column = usize;

macro_rules! columns {
    ($($name:ident $text:literal $type:ident $kind:ident),+ $(,)?) => {
        /// Name, type and who sets it.
        pub const ALL: &[(&str, Oid, SetBy)] = &[$(($text, pg_sys::$type, SetBy::$kind)),+];
        /// Why a row has no document if a column's value cannot be read.
        pub const UNREADABLE: &[Violation] = &[$(Violation(concat!($text, " cannot be read: it is damaged, or a part of it is lost"))),+];
        columns!(@number 0usize; $($name)+);
    };
    (@number $n:expr; $name:ident $($rest:ident)*) => {
        pub const $name: Column = $n;
        columns!(@number $n + 1usize; $($rest)*);
    };
    (@number $n:expr;) => {};
}

/// Who sets a column: the caller of an INSERT, or only the chain trigger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    Caller,
    Chain,
}

columns! {
    ID "id" UUIDOID Caller,
    TENANT_ID "tenant_id" TEXTOID Caller,
    ACTOR_ID "actor_id" TEXTOID Caller,
    ACTOR_NAME "actor_name" TEXTOID Caller,
    ACTOR_TYPE "actor_type" TEXTOID Caller,
    ACTION "action" TEXTOID Caller,
    ACTION_CATEGORY "action_category" TEXTOID Caller,
    RESOURCE_TYPE "resource_type" TEXTOID Caller,
    RESOURCE_ID "resource_id" TEXTOID Caller,
    RESOURCE_NAME "resource_name" TEXTOID Caller,
    TARGETS "targets" JSONBOID Caller,
    METADATA "metadata" JSONBOID Caller,
    SESSION_ID "session_id" TEXTOID Caller,
    IDEMPOTENCY_KEY "idempotency_key" TEXTOID Caller,
    IP_ADDRESS "ip_address" INETOID Caller,
    IP_COUNTRY "ip_country" TEXTOID Caller,
    IP_CITY "ip_city" TEXTOID Caller,
    USER_AGENT "user_agent" TEXTOID Caller,
    VERSION "version" INT4OID Caller,
    OCCURRED_AT "occurred_at" TIMESTAMPTZOID Caller,
    CREATED_AT "created_at" TIMESTAMPTZOID Chain,
    LANE "lane" INT2OID Chain,
    SEQ "seq" INT8OID Chain,
    PREVIOUS_EVENT_HASH "previous_event_hash" BYTEAOID Chain,
    EVENT_HASH "event_hash" BYTEAOID Chain,
    SALT "salt" BYTEAOID Chain,
    ERASED "erased" JSONBOID Chain,
    RECORDED_BY "recorded_by" TEXTOID Chain,
    LOG_ID "log_id" UUIDOID Chain,
    XACT "xact" XID8OID Chain,
}

/// The columns that are committed to, in the order of [`immutable_format::event::COLUMNS`].
pub const COMMITTED: [Column; 10] = [
    ACTOR_ID,
    ACTOR_NAME,
    IDEMPOTENCY_KEY,
    IP_ADDRESS,
    IP_CITY,
    IP_COUNTRY,
    RESOURCE_ID,
    RESOURCE_NAME,
    SESSION_ID,
    USER_AGENT,
];

/// Where a tuple descriptor keeps each column.
#[derive(Clone)]
pub struct Layout {
    /// Attribute numbers minus one, by [`Column`].
    places: Vec<usize>,
    /// The number of attributes, including dropped ones and columns that are not the extension's.
    pub width: usize,
}

impl Layout {
    /// Finds the columns. The error is the name of the first column that is missing or has another
    /// type.
    pub fn of(descriptor: Descriptor) -> Result<Layout, &'static str> {
        let width = descriptor.width();
        let mut places = [None; ALL.len()];
        for place in 0..width {
            let Some(attribute) = descriptor.attribute(place) else { continue };
            let is_it = |(name, oid, _): &(&str, Oid, SetBy)| {
                attribute.oid == *oid && attribute.name.to_bytes() == name.as_bytes()
            };
            if let Some(column) = ALL.iter().position(is_it) {
                places[column].get_or_insert(place);
            }
        }
        let found = places.iter().zip(ALL).map(|(place, (name, _, _))| place.ok_or(*name));
        Ok(Layout { places: found.collect::<Result<_, _>>()?, width })
    }

    /// The layout of `e.*`; raises 55000 for a table that has lost a column.
    pub fn of_events(descriptor: Descriptor) -> Layout {
        Layout::of(descriptor).unwrap_or_else(|column| {
            let message = format!("immutable.events has no column {column} of the expected type");
            Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).raise()
        })
    }

    /// Where the column is among the attributes, counted from 0.
    pub fn place(&self, column: Column) -> usize {
        self.places[column]
    }

    /// The attribute number, as scan keys count.
    pub fn number(&self, column: Column) -> i16 {
        self.places[column] as i16 + 1
    }
}

/// A tuple's values by column.
impl<'m> Values<'m> {
    /// The column's value, unless it is NULL.
    pub fn get(&self, layout: &Layout, column: Column) -> Option<Datum<'m>> {
        self.at(layout.place(column))
    }

    /// Gives the column a value.
    pub fn set(&mut self, layout: &Layout, column: Column, value: Datum<'m>) {
        self.put(layout.place(column), Some(value));
    }

    /// Makes the column NULL.
    pub fn unset(&mut self, layout: &Layout, column: Column) {
        self.put(layout.place(column), None);
    }
}
