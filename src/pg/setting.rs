//! Settings with a check hook, and the source of a setting's value.

#![allow(unsafe_code)]

use crate::pg::datum::text;
use crate::pg::role;
use crate::pg::spi::{self, Arg};
use pgrx::{pg_sys, GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

/// The value of a setting; None if there is no such setting or it is empty.
pub fn value(name: &CStr) -> Option<CString> {
    // SAFETY: a C string, or null; copied before anything can change the setting.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null() && *value != 0).then(|| CStr::from_ptr(value).to_owned())
    }
}

/// The value that a session began with, which it cannot change: from its connection, or else from the server. None if
/// it is empty.
pub fn at_start(name: &CStr) -> Option<CString> {
    // SAFETY: a C string, or null; an error where there is no such setting.
    unsafe {
        let value = pg_sys::GetConfigOptionResetString(name.as_ptr());
        (!value.is_null() && *value != 0).then(|| CStr::from_ptr(value).to_owned())
    }
}

/// How to turn off a superuser's setting that is on, as sentences for a hint. It depends on where
/// the setting was set.
pub fn how_to_end(name: &str) -> String {
    let mut source = String::new();
    let statement = "SELECT source FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) $1";
    spi::query_now(statement, &[Arg::text(name)], |row| {
        source = row.at(0).map_or(String::new(), |source| text(source).to_string());
    });
    let (database, role) = (role::database, || role::quoted(&role::authenticated()));
    let owner = match source.as_str() {
        "global" => "ROLE ALL".to_string(),
        "database" => format!("DATABASE {}", database()),
        "user" => format!("ROLE {}", role()),
        "database user" => format!("ROLE {} IN DATABASE {}", role(), database()),
        "client" => return format!("Connect without -c {name} (PGOPTIONS), or SET {name} = off."),
        _ => return format!("SET {name} = off."),
    };
    format!("It is set by ALTER {owner}. A superuser can end this for new connections with ALTER {owner} RESET {name}.")
}

/// Calls `look` with the text of a setting, unless it is empty. It copies nothing, unlike get().
pub fn bytes_of<T>(setting: &'static GucSetting<Option<CString>>, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
    // SAFETY: null, or a C string that lives until the setting is set. Nothing that looks at one
    // sets it.
    let bytes = unsafe {
        let text = *setting.as_ptr();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
    };
    look(bytes.filter(|bytes| !bytes.is_empty()))
}

/// Reserves the prefix of the settings' names, so that a misspelt name is an error. Called once,
/// from `_PG_init`, after all settings are defined.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: PostgreSQL copies the name.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
}

/// Defines a switch that has no effect if it is set for the whole server.
pub fn define_session_switch(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<bool>,
    context: GucContext,
    flags: GucFlags,
) {
    // SAFETY: the hook neither raises nor panics.
    unsafe {
        GucRegistry::define_bool_guc_with_hooks(
            name,
            short,
            long,
            setting,
            context,
            flags,
            Some(off_in_files),
            None,
            None,
        );
    }
}

/// Defines a text that is empty if it is set for the whole server.
pub fn define_session_text(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    context: GucContext,
    flags: GucFlags,
) {
    // SAFETY: the hook neither raises nor panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            context,
            flags,
            Some(empty_in_files),
            None,
            None,
        );
    }
}

/// Whether a value applies to the whole server: it comes from a file, the server's command line or
/// its environment. PostgreSQL keeps such a setting out of its files only if the library is loaded,
/// and ALTER SYSTEM can run without it.
fn is_of_server(source: pg_sys::GucSource::Type) -> bool {
    source < pg_sys::GucSource::PGC_S_GLOBAL
}

unsafe extern "C-unwind" fn off_in_files(
    value: *mut bool,
    _: *mut *mut std::ffi::c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL gives the place of the value.
    unsafe { *value &= !is_of_server(source) };
    true
}

unsafe extern "C-unwind" fn empty_in_files(
    value: *mut *mut std::ffi::c_char,
    _: *mut *mut std::ffi::c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL gives the place of the value, a C string of its own or null.
    unsafe {
        if is_of_server(source) && !(*value).is_null() {
            **value = 0;
        }
    }
    true
}

/// Sets one of PostgreSQL's settings until the transaction ends.
pub fn for_transaction(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL);
}

/// Runs `body` with a switch off that a superuser may have on.
pub fn switched_off<T>(switch: &'static GucSetting<bool>, body: impl FnOnce() -> T) -> T {
    struct Restored(&'static GucSetting<bool>, bool);
    impl Drop for Restored {
        fn drop(&mut self) {
            // SAFETY: the variable of a setting lives as long as the library; a plain write, also while unwinding.
            unsafe { *self.0.as_ptr() = self.1 };
        }
    }
    let _restored = Restored(switch, switch.get());
    // SAFETY: as above.
    unsafe { *switch.as_ptr() = false };
    body()
}

/// Runs `body` with other values of these settings. An error puts the old ones back with the transaction or subtransaction
/// that it ends.
pub fn with<T>(settings: &[(CString, CString)], body: impl FnOnce() -> T) -> T {
    at_own_level(settings, true, body)
}

/// The same, for a body that runs code of others: whatever it sets is undone too.
pub fn with_and_undone<T>(settings: &[(CString, CString)], body: impl FnOnce() -> T) -> T {
    at_own_level(settings, false, body)
}

fn at_own_level<T>(settings: &[(CString, CString)], keeps_others: bool, body: impl FnOnce() -> T) -> T {
    // SAFETY: a level that is ended below.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in settings {
        set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
    }
    let done = body();
    // SAFETY: begun above. A level that is not kept takes back what was set in it.
    unsafe { pg_sys::AtEOXact_GUC(keeps_others, level) };
    done
}

fn set(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: both are C strings; a value that the setting does not accept raises an error.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}
