//! The settings `immutable.*`. Limits and lanes are the superuser's; what describes a session's context is its own.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

pub static LANES: GucSetting<i32> = GucSetting::<i32>::new(1024);
pub static MAX_CHAINS_PER_TRANSACTION: GucSetting<i32> = GucSetting::<i32>::new(200);
pub static MAX_TARGETS: GucSetting<i32> = GucSetting::<i32>::new(100);
pub static MAX_METADATA_KEYS: GucSetting<i32> = GucSetting::<i32>::new(50);
pub static MAX_METADATA_BYTES: GucSetting<i32> =
    GucSetting::<i32>::new(immutable_format::limits::CANONICAL_BYTES as i32);
pub static MAX_NESTING: GucSetting<i32> = GucSetting::<i32>::new(immutable_format::limits::NESTING as i32);
pub static MAX_BATCH: GucSetting<i32> = GucSetting::<i32>::new(100);
pub static MAX_EXACT_TOTAL: GucSetting<i32> = GucSetting::<i32>::new(10_000);

pub static RESTORE: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static MAINTENANCE: GucSetting<bool> = GucSetting::<bool>::new(false);

static TENANT_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_NAME: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_TYPE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SESSION_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static IP_ADDRESS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static USER_AGENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Its value is a secret for as long as the token is valid, so it is read through [`viewer_token`] alone.
static VIEWER_TOKEN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

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

    // Of a session that restores alone: a server that had it on for everybody would record nothing.
    GucRegistry::define_bool_guc(
        c"immutable.restore",
        c"Takes events of a dump as they are, and no others.",
        c"Each must match its hash; what is restored so is recorded as immutable.restored with the next event.",
        &RESTORE,
        GucContext::Suset,
        GucFlags::DISALLOW_IN_FILE | GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_bool_guc(
        c"immutable.maintenance",
        c"Lets commands through that change the audit log's tables, functions and policies.",
        c"Each is recorded in the log as immutable.maintenance, with who gave it.",
        &MAINTENANCE,
        GucContext::Suset,
        GucFlags::default(),
    );

    for (name, short, setting, check) in [
        (c"immutable.tenant_id", c"Default of events.tenant_id in this session.", &TENANT_ID, None),
        (c"immutable.actor_id", c"Default of events.actor_id in this session.", &ACTOR_ID, None),
        (c"immutable.actor_name", c"Default of events.actor_name in this session.", &ACTOR_NAME, None),
        (c"immutable.actor_type", c"Default of events.actor_type in this session.", &ACTOR_TYPE, None),
        (c"immutable.session_id", c"Default of events.session_id in this session.", &SESSION_ID, None),
        (c"immutable.ip_address", c"Default of events.ip_address in this session.", &IP_ADDRESS, IS_ADDRESS),
        (c"immutable.user_agent", c"Default of events.user_agent in this session.", &USER_AGENT, None),
    ] {
        // SAFETY: the hook neither raises nor panics.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                short,
                c"Used where an INSERT or track() leaves the column out; behind a transaction pooler, SET LOCAL it.",
                setting,
                GucContext::Userset,
                GucFlags::default(),
                check,
                None,
                None,
            );
        }
    }
    // Whatever it is set to is taken: a check would put a refused token into the error and the log.
    GucRegistry::define_string_guc(
        c"immutable.viewer_token",
        c"The signed token that says which tenant's events a viewer sees.",
        c"From immutable.create_viewer_token(); behind a transaction pooler, SET LOCAL it. Empty for none.",
        &VIEWER_TOKEN,
        GucContext::Userset,
        GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE | GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    // SAFETY: called once, from _PG_init.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"immutable".as_ptr()) };
}

const IS_ADDRESS: pgrx::pg_sys::GucStringCheckHook = Some(is_address);

/// Refuses what is no address when it is set, where the setting's name is in the error, and not at the next INSERT.
unsafe extern "C-unwind" fn is_address(
    value: *mut *mut std::ffi::c_char,
    _: *mut *mut std::ffi::c_void,
    _: pgrx::pg_sys::GucSource::Type,
) -> bool {
    if (*value).is_null() {
        return true;
    }
    let Ok(text) = std::ffi::CStr::from_ptr(*value).to_str() else { return false };
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return text.is_empty() };
    let most = if address.is_ipv4() { 32 } else { 128 };
    mask.is_none_or(|mask| mask.parse::<u8>().is_ok_and(|mask| mask <= most))
}
