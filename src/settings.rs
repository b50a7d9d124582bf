//! The settings `immutable.*`. Limits and lanes are the superuser's; what describes a session's context is its own.
//!
//! A setting may be given before the library is loaded, in the first statement of a session or in a file, and PostgreSQL
//! then keeps the text unchecked. So nothing relies on a check when a setting is set: what has to be right is looked at
//! where it is used.

use crate::columns::{self as c, Column};
use crate::error::{Code, Fault};
use crate::function::{input, text, text_datum, utf8};
use crate::spi;
use pgrx::pg_sys::{self, Datum};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PgTryBuilder};
use std::ffi::{CStr, CString};

pub static LANES: GucSetting<i32> = GucSetting::<i32>::new(1024);
pub static MAX_CHAINS_PER_TRANSACTION: GucSetting<i32> = GucSetting::<i32>::new(200);
pub static MAX_TARGETS: GucSetting<i32> = GucSetting::<i32>::new(100);
pub static MAX_METADATA_KEYS: GucSetting<i32> = GucSetting::<i32>::new(50);
pub static MAX_METADATA_BYTES: GucSetting<i32> =
    GucSetting::<i32>::new(immutable_format::limits::CANONICAL_BYTES as i32);
pub static MAX_NESTING: GucSetting<i32> = GucSetting::<i32>::new(immutable_format::limits::NESTING as i32);
pub static MAX_BATCH: GucSetting<i32> = GucSetting::<i32>::new(100);
pub static MAX_EXACT_TOTAL: GucSetting<i32> = GucSetting::<i32>::new(10_000);

pub static REQUIRE_TENANT: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static RESTORE: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static ALLOW_DDL: GucSetting<bool> = GucSetting::<bool>::new(false);

static TENANT_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_NAME: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_TYPE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SESSION_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static IP_ADDRESS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static USER_AGENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Its value is a secret for as long as the token is valid, so it is read through [`viewer_token`] alone.
static VIEWER_TOKEN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// A column that a session has a value for, and the setting that holds it.
pub struct Context {
    pub column: Column,
    pub name: &'static CStr,
    short: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
}

/// What a session says of all its events: see [`Context::datum`].
pub static CONTEXT: [Context; 7] = [
    Context {
        column: c::TENANT_ID,
        name: c"immutable.tenant_id",
        short: c"Default of events.tenant_id in this session.",
        setting: &TENANT_ID,
    },
    Context {
        column: c::ACTOR_ID,
        name: c"immutable.actor_id",
        short: c"Default of events.actor_id in this session.",
        setting: &ACTOR_ID,
    },
    Context {
        column: c::ACTOR_NAME,
        name: c"immutable.actor_name",
        short: c"Default of events.actor_name in this session.",
        setting: &ACTOR_NAME,
    },
    Context {
        column: c::ACTOR_TYPE,
        name: c"immutable.actor_type",
        short: c"Default of events.actor_type in this session.",
        setting: &ACTOR_TYPE,
    },
    Context {
        column: c::SESSION_ID,
        name: c"immutable.session_id",
        short: c"Default of events.session_id in this session.",
        setting: &SESSION_ID,
    },
    Context {
        column: c::IP_ADDRESS,
        name: c"immutable.ip_address",
        short: c"Default of events.ip_address in this session.",
        setting: &IP_ADDRESS,
    },
    Context {
        column: c::USER_AGENT,
        name: c"immutable.user_agent",
        short: c"Default of events.user_agent in this session.",
        setting: &USER_AGENT,
    },
];

impl Context {
    /// The setting's bytes, unless it is empty.
    unsafe fn bytes(&self) -> Option<&'static [u8]> {
        // Not through get(), which copies.
        let value = *self.setting.as_ptr();
        (!value.is_null() && *value != 0).then(|| CStr::from_ptr(value).to_bytes())
    }

    /// What the session says for the column, unless the setting is empty. An error if the column cannot hold it.
    pub unsafe fn datum(&self) -> Option<Datum> {
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
pub unsafe fn is_set(column: Column) -> bool {
    context_of(column).is_some_and(|context| context.bytes().is_some())
}

/// The setting that a column's value is from, if it is what the session says.
pub unsafe fn source_of(column: Column, value: &str) -> Option<&'static str> {
    let context = context_of(column)?;
    (context.bytes() == Some(value.as_bytes())).then(|| context.name.to_str().unwrap_or_default())
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
unsafe fn address(value: &str) -> Datum {
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

/// The setting `immutable.viewer_token`, unless it is empty: SET LOCAL leaves an empty one behind.
pub fn viewer_token() -> Option<CString> {
    VIEWER_TOKEN.get().filter(|token| !token.is_empty())
}

/// Defines every setting and reserves the prefix, so that a misspelt one is an error.
pub fn define() {
    use immutable_format::limits;
    let superuser = |name, short, long, setting, min, max: usize| {
        GucRegistry::define_int_guc(
            name,
            short,
            long,
            setting,
            min,
            max as i32,
            GucContext::Suset,
            GucFlags::default(),
        );
    };
    superuser(
        c"immutable.lanes",
        c"Most lanes of each tenant's chain.",
        c"A lane begins when a writer finds all others taken; 1 gives one strict chain and one writer at a time.",
        &LANES,
        1,
        1024,
    );
    superuser(
        c"immutable.max_chains_per_transaction",
        c"Most chains (lanes of tenants) that one transaction locks one by one.",
        c"Beyond it, one lock stands for all other tenants: of a lane of imports, or of the whole log where immutable.lanes is 1.",
        &MAX_CHAINS_PER_TRANSACTION,
        1,
        1_000_000,
    );
    superuser(c"immutable.max_targets", c"Most targets of an event.", c"", &MAX_TARGETS, 0, limits::TARGETS);
    superuser(
        c"immutable.max_metadata_keys",
        c"Most top-level keys of an event's, or of a target's, metadata.",
        c"",
        &MAX_METADATA_KEYS,
        0,
        limits::METADATA_KEYS,
    );
    superuser(
        c"immutable.max_metadata_bytes",
        c"Most bytes of canonical text of an event's metadata, and of each target.",
        c"",
        &MAX_METADATA_BYTES,
        2,
        limits::CANONICAL_BYTES,
    );
    superuser(
        c"immutable.max_nesting",
        c"Deepest nesting of an event's metadata, and of each target; the object itself is level 1.",
        c"",
        &MAX_NESTING,
        1,
        limits::NESTING,
    );
    superuser(c"immutable.max_batch", c"Most events of one track_batch() call.", c"", &MAX_BATCH, 1, 10_000);

    GucRegistry::define_int_guc(
        c"immutable.max_exact_total",
        c"Most events that get_events() counts for a page's total.",
        c"Beyond it, total is an estimate; 0 never counts.",
        &MAX_EXACT_TOTAL,
        0,
        1_000_000,
        GucContext::Userset,
        GucFlags::default(),
    );

    GucRegistry::define_bool_guc(
        c"immutable.require_tenant",
        c"Refuses events without a tenant, but for the log's own.",
        c"For the server, or by ALTER DATABASE or ALTER ROLE: an event that lost its tenant cannot be moved to it later.",
        &REQUIRE_TENANT,
        GucContext::Suset,
        GucFlags::default(),
    );
    // Of a session that restores alone: a server that had it on for everybody would record nothing.
    // SAFETY: the hook neither raises nor panics.
    unsafe {
        GucRegistry::define_bool_guc_with_hooks(
            c"immutable.restore",
            c"Takes events of a dump as they are, and no others.",
            c"Each must match its hash; what is restored so is recorded as immutable.restored with the next event.",
            &RESTORE,
            GucContext::Suset,
            GucFlags::DISALLOW_IN_FILE | GucFlags::DISALLOW_IN_AUTO_FILE,
            Some(off_in_files),
            None,
            None,
        );
    }
    GucRegistry::define_bool_guc(
        c"immutable.allow_ddl",
        c"Lets commands through that change the audit log's tables, functions and policies.",
        c"Each is recorded in the log as immutable.ddl, with who gave it.",
        &ALLOW_DDL,
        GucContext::Suset,
        GucFlags::default(),
    );

    for context in &CONTEXT {
        GucRegistry::define_string_guc(
            context.name,
            context.short,
            c"Used where an INSERT or track() leaves the column out or says NULL; behind a pooler, SET LOCAL it.",
            context.setting,
            GucContext::Userset,
            GucFlags::default(),
        );
    }
    // Whatever it is set to is taken: a check would put a refused token into the error and the log.
    // SAFETY: the hook neither raises nor panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"immutable.viewer_token",
            c"The signed token that says which tenant's events a viewer sees.",
            c"From immutable.create_viewer_token(); behind a transaction pooler, SET LOCAL it. Empty for none.",
            &VIEWER_TOKEN,
            GucContext::Userset,
            GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE | GucFlags::DISALLOW_IN_AUTO_FILE,
            Some(empty_in_files),
            None,
            None,
        );
    }
    // SAFETY: called once, from _PG_init.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"immutable".as_ptr()) };
}

/// Whether a value is everybody's: from a file, the server's command line or its environment. PostgreSQL keeps such a
/// setting out of its files only where the library is loaded, which ALTER SYSTEM need not have.
fn is_of_server(source: pg_sys::GucSource::Type) -> bool {
    source < pg_sys::GucSource::PGC_S_GLOBAL
}

unsafe extern "C-unwind" fn off_in_files(
    value: *mut bool,
    _: *mut *mut std::ffi::c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    *value &= !is_of_server(source);
    true
}

unsafe extern "C-unwind" fn empty_in_files(
    value: *mut *mut std::ffi::c_char,
    _: *mut *mut std::ffi::c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    if is_of_server(source) && !(*value).is_null() {
        **value = 0;
    }
    true
}

/// What ends a setting of the superuser's that is on, by where it was set.
pub unsafe fn how_to_end(name: &str) -> String {
    let mut source = String::new();
    let statement = "SELECT source FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) $1";
    spi::write(statement, &[pg_sys::TEXTOID], &[Some(text_datum(name))], |row| {
        source = text(row.values[0]).to_string();
    });
    let quoted =
        |name: *mut std::ffi::c_char| CStr::from_ptr(pg_sys::quote_identifier(name)).to_string_lossy().into_owned();
    let database = || quoted(pg_sys::get_database_name(pg_sys::MyDatabaseId));
    let role = || quoted(pg_sys::GetUserNameFromId(pg_sys::GetAuthenticatedUserId(), false));
    let owner = match source.as_str() {
        "global" => "ROLE ALL".to_string(),
        "database" => format!("DATABASE {}", database()),
        "user" => format!("ROLE {}", role()),
        "database user" => format!("ROLE {} IN DATABASE {}", role(), database()),
        "client" => return format!("Connect without -c {name} (PGOPTIONS), or SET {name} = off."),
        _ => return format!("SET {name} = off."),
    };
    format!("It is set by ALTER {owner}: a superuser ends it with ALTER {owner} RESET {name}, for new connections.")
}
