//! What a session says of all its events: the settings that columns take their defaults from.

use crate::log::columns::{self as c, Column};
use crate::pg::datum::{input, text_datum, utf8, Datum};
use crate::pg::error::{Code, Fault};
use crate::settings;
use pgrx::{pg_sys, GucSetting, PgTryBuilder};
use std::ffi::{CStr, CString};

/// A column that a session has a value for, and the setting that holds it.
pub struct Context {
    pub column: Column,
    pub name: &'static str,
    setting: &'static GucSetting<Option<CString>>,
}

/// What a session says of all its events: see [`Context::datum`].
pub static CONTEXT: [Context; 7] = [
    Context { column: c::TENANT_ID, name: "immutable.tenant_id", setting: &settings::TENANT_ID },
    Context { column: c::ACTOR_ID, name: "immutable.actor_id", setting: &settings::ACTOR_ID },
    Context { column: c::ACTOR_NAME, name: "immutable.actor_name", setting: &settings::ACTOR_NAME },
    Context { column: c::ACTOR_TYPE, name: "immutable.actor_type", setting: &settings::ACTOR_TYPE },
    Context { column: c::SESSION_ID, name: "immutable.session_id", setting: &settings::SESSION_ID },
    Context { column: c::IP_ADDRESS, name: "immutable.ip_address", setting: &settings::IP_ADDRESS },
    Context { column: c::USER_AGENT, name: "immutable.user_agent", setting: &settings::USER_AGENT },
];

impl Context {
    /// The setting's bytes, unless it is empty.
    fn bytes(&self) -> Option<&'static [u8]> {
        // Not through get(), which copies.
        let value = *self.setting.as_ptr();
        (!value.is_null() && *value != 0).then(|| CStr::from_ptr(value).to_bytes())
    }

    /// What the session says for the column, unless the setting is empty. An error if the column cannot hold it.
    pub fn datum(&self) -> Option<Datum> {
        let bytes = self.bytes()?;
        let value = utf8(bytes).unwrap_or_else(|| refuse_encoding(self.column));
        Some(match self.column {
            c::IP_ADDRESS => address(value),
            _ => text_datum(value),
        })
    }
}

fn context_of(column: Column) -> Option<&'static Context> {
    CONTEXT.iter().find(|context| context.column == column)
}

/// Whether the session says something for the column.
pub fn is_set(column: Column) -> bool {
    context_of(column).is_some_and(|context| context.bytes().is_some())
}

/// The setting that a column's value is from, if it is what the session says.
pub fn source_of(column: Column, value: &str) -> Option<&'static str> {
    let context = context_of(column)?;
    (context.bytes() == Some(value.as_bytes())).then(|| context.name)
}

/// Of all texts only a setting's can be so: from a connection's options, or a file.
pub fn refuse_encoding(column: Column) -> ! {
    let name = c::ALL[column].0;
    Fault::new(Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, format!("{name} is not valid UTF-8"))
        .field(name)
        .hint(format!("SET immutable.{name}, or use set_config(): a value in the connection's options or in a file is not converted."))
        .raise()
}

/// An address by PostgreSQL's own rule, the same that a column is read by.
fn address(value: &str) -> Datum {
    // Caught to be raised again with the setting's name, never swallowed.
    PgTryBuilder::new(|| input(pg_sys::F_INET_IN, value))
        .catch_when(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, |_| {
            Fault::invalid("ip_address", "immutable.ip_address must be an IP address")
                .detail(format!("It is \"{value}\"."))
                .hint("Set it to one address without port, zone or blanks, for example 203.0.113.7 or 2001:db8::1, or to '' for none.")
                .raise()
        })
        .execute()
}
