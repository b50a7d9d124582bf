//! The settings of a session from which columns of its events take their defaults.

use crate::log::columns::{self as c, Column};
use crate::pg::datum::{utf8, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::Memory;
use crate::pg::setting::{self, bytes_of};
use crate::settings;
use pgrx::{GucSetting, PgTryBuilder};
use std::ffi::CString;
use std::panic::AssertUnwindSafe;

/// A column that a session has a value for, and the setting that holds it.
pub struct Context {
    /// The column that takes its default from the setting.
    pub column: Column,
    /// The setting's name.
    pub name: &'static str,
    setting: &'static GucSetting<Option<CString>>,
}

/// The columns that have a setting.
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
    /// The value of the setting, made in `memory`; None if the setting is empty. Raises 22021 for a
    /// value that is not UTF-8, and 22023 for one that the column cannot hold.
    pub fn datum<'m>(&self, memory: Memory<'m>) -> Option<Datum<'m>> {
        bytes_of(self.setting, |bytes| {
            let value = utf8(bytes?).unwrap_or_else(|| refuse_encoding(self.column));
            Some(match self.column {
                c::IP_ADDRESS => address(value, memory),
                _ => memory.text(value),
            })
        })
    }
}

/// The values of all settings, in the order of [`CONTEXT`], for another session to take over; see [`with_values`]. Empty
/// texts stand for those that are not set. Raises 22021 for a value that is not UTF-8.
pub fn values() -> Vec<String> {
    let value = |context: &Context| {
        bytes_of(context.setting, |bytes| {
            let value = utf8(bytes.unwrap_or_default()).unwrap_or_else(|| refuse_encoding(context.column));
            value.to_string()
        })
    };
    CONTEXT.iter().map(value).collect()
}

/// Runs `body` with these values of the settings, in the order of [`CONTEXT`]. Those that are missing are empty.
pub fn with_values<T>(values: &[&str], body: impl FnOnce() -> T) -> T {
    let value = |place: usize| CString::new(values.get(place).copied().unwrap_or_default()).unwrap_or_default();
    let settings: Vec<(CString, CString)> = CONTEXT
        .iter()
        .enumerate()
        .map(|(place, context)| (CString::new(context.name).unwrap_or_default(), value(place)))
        .collect();
    setting::with(&settings, body)
}

fn context_of(column: Column) -> Option<&'static Context> {
    CONTEXT.iter().find(|context| context.column == column)
}

/// Whether the session has set a value for the column.
pub fn is_set(column: Column) -> bool {
    context_of(column).is_some_and(|context| bytes_of(context.setting, |bytes| bytes.is_some()))
}

/// The setting that a column's value comes from; None if the session has set another value or none.
pub fn source_of(column: Column, value: &str) -> Option<&'static str> {
    let context = context_of(column)?;
    bytes_of(context.setting, |bytes| bytes == Some(value.as_bytes())).then_some(context.name)
}

/// Raises 22021 for a value that is not UTF-8. Only a setting from a connection's options or a file
/// can have one, because PostgreSQL converts every other text.
pub fn refuse_encoding(column: Column) -> ! {
    let name = c::ALL[column].0;
    Fault::new(Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, format!("{name} is not valid UTF-8"))
        .field(name)
        .hint(format!(
            "Use SET immutable.{name} or set_config(). PostgreSQL does not convert a \
             value in the connection's options or in a file."
        ))
        .raise()
}

/// Reads an address as PostgreSQL reads a value of type inet.
fn address<'m>(value: &str, memory: Memory<'m>) -> Datum<'m> {
    // The error is caught and always raised again, with the setting's name.
    PgTryBuilder::new(AssertUnwindSafe(|| memory.inet(value)))
        .catch_when(Code::ERRCODE_INVALID_TEXT_REPRESENTATION, |_| {
            Fault::invalid("ip_address", "immutable.ip_address must be an IP address")
                .detail(format!("Its value is \"{value}\"."))
                .hint("Set it to one address without port, zone or blanks, for example 203.0.113.7 or 2001:db8::1, or to '' for none.")
                .raise()
        })
        .execute()
}
