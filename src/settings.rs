//! The settings `immutable.*`, as one table. Only a superuser sets limits and lanes; every session
//! sets what describes its own context.
//!
//! A setting may be given before the library is loaded, in the first statement of a session or in a
//! file, and PostgreSQL then keeps the text unchecked. So no code relies on a check when a setting
//! is set; every value is checked where it is used.

use immutable_format::limits;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

type Text = GucSetting<Option<CString>>;

/// The setting immutable.lanes. [`SETTINGS`] describes this setting and the following ones.
pub static LANES: GucSetting<i32> = GucSetting::<i32>::new(1024);
/// The setting immutable.max_chains_per_transaction.
pub static MAX_CHAINS_PER_TRANSACTION: GucSetting<i32> = GucSetting::<i32>::new(200);
/// The setting immutable.max_targets.
pub static MAX_TARGETS: GucSetting<i32> = GucSetting::<i32>::new(100);
/// The setting immutable.max_metadata_keys.
pub static MAX_METADATA_KEYS: GucSetting<i32> = GucSetting::<i32>::new(50);
/// The setting immutable.max_metadata_bytes.
pub static MAX_METADATA_BYTES: GucSetting<i32> = GucSetting::<i32>::new(limits::CANONICAL_BYTES as i32);
/// The setting immutable.max_nesting.
pub static MAX_NESTING: GucSetting<i32> = GucSetting::<i32>::new(limits::NESTING as i32);
/// The setting immutable.max_batch.
pub static MAX_BATCH: GucSetting<i32> = GucSetting::<i32>::new(100);
/// The setting immutable.max_exact_total.
pub static MAX_EXACT_TOTAL: GucSetting<i32> = GucSetting::<i32>::new(10_000);

/// The setting immutable.require_tenant.
pub static REQUIRE_TENANT: GucSetting<bool> = GucSetting::<bool>::new(false);
/// The setting immutable.restore.
pub static RESTORE: GucSetting<bool> = GucSetting::<bool>::new(false);
/// The setting immutable.allow_ddl.
pub static ALLOW_DDL: GucSetting<bool> = GucSetting::<bool>::new(false);

/// The setting immutable.sign_checkpoints.
pub static SIGN_CHECKPOINTS: GucSetting<bool> = GucSetting::<bool>::new(true);
/// The setting immutable.origin_prefix.
pub static ORIGIN_PREFIX: Text = Text::new(Some(c"immutable"));
/// The setting immutable.log_key_file.
pub static LOG_KEY_FILE: Text = Text::new(None);

/// The setting immutable.viewer_proofs.
pub static VIEWER_PROOFS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// The setting immutable.tenant_id.
pub static TENANT_ID: Text = Text::new(None);
/// The setting immutable.actor_id.
pub static ACTOR_ID: Text = Text::new(None);
/// The setting immutable.actor_name.
pub static ACTOR_NAME: Text = Text::new(None);
/// The setting immutable.actor_type.
pub static ACTOR_TYPE: Text = Text::new(None);
/// The setting immutable.session_id.
pub static SESSION_ID: Text = Text::new(None);
/// The setting immutable.ip_address.
pub static IP_ADDRESS: Text = Text::new(None);
/// The setting immutable.user_agent.
pub static USER_AGENT: Text = Text::new(None);

/// Its value is a secret while the token is valid, so it is read only through [`viewer_token`].
static VIEWER_TOKEN: Text = Text::new(None);

/// What opens the log to a program outside of the database, read only through [`proof`].
static PROOF: Text = Text::new(None);

/// The setting immutable.client_address.
pub static CLIENT_ADDRESS: Text = Text::new(None);
/// The setting immutable.worker_databases.
pub static WORKER_DATABASES: Text = Text::new(None);
/// The setting immutable.worker_interval.
pub static WORKER_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60);

/// The setting immutable.hot_events.
pub static HOT_EVENTS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
/// The setting immutable.seal_events.
pub static SEAL_EVENTS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
/// The setting immutable.segment_events.
pub static SEGMENT_EVENTS: GucSetting<i32> = GucSetting::<i32>::new(1_000_000);
/// The setting immutable.hot_age.
pub static HOT_AGE: GucSetting<i32> = GucSetting::<i32>::new(30 * DAY);
/// The setting immutable.retention_wait.
pub static RETENTION_WAIT: GucSetting<i32> = GucSetting::<i32>::new(7 * DAY);

/// The setting immutable.trust_context_of.
pub static TRUST_CONTEXT_OF: Text = Text::new(None);
/// The setting immutable.mask_key_file.
pub static MASK_KEY_FILE: Text = Text::new(None);
/// The setting immutable.max_capture_size.
pub static MAX_CAPTURE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(4096);

/// A day in seconds.
const DAY: i32 = 86_400;

/// What a setting holds, who may set it, and where.
enum Kind {
    /// A number from the first bound to the second, set by a superuser.
    Limit(&'static GucSetting<i32>, i32, usize),
    /// The same, set by every role.
    OwnLimit(&'static GucSetting<i32>, i32, usize),
    /// A time in seconds, set by a superuser.
    Seconds(&'static GucSetting<i32>, i32, usize),
    /// A size in megabytes, set by a superuser.
    Megabytes(&'static GucSetting<i32>, i32, usize),
    /// A time in seconds for the whole server.
    SecondsOfServer(&'static GucSetting<i32>, i32, usize),
    /// On or off, set by a superuser.
    Switch(&'static GucSetting<bool>),
    /// The same, but only for sessions: if it were on for a whole server, the server would record
    /// nothing.
    SessionSwitch(&'static GucSetting<bool>),
    /// The default of a column for the events of a session.
    Default(&'static Text),
    /// A text that a superuser sets.
    Text(&'static Text),
    /// A text about a session that is no column's default.
    OfSession(&'static Text),
    /// A text for the whole server.
    OfServer(&'static Text),
    /// The name of a file, for the whole server. Only superusers see it.
    File(&'static Text),
    /// Never shown, and only for sessions. It accepts every value, because a check would put a
    /// refused token into the error message and the log.
    Secret(&'static Text),
}

/// One row of the table: name, short and long description, kind.
type Setting = (&'static CStr, &'static CStr, &'static CStr, Kind);

const OF_SESSION: &CStr =
    c"Used where an INSERT or track() leaves the column out or gives NULL. Behind a connection pooler, use SET LOCAL.";

const SETTINGS: [Setting; 35] = [
    (c"immutable.lanes", c"Maximum number of lanes of each tenant's chain.", c"A new lane begins when a writer finds all others taken. With 1, each tenant has one strict chain and one writer at a time.", Kind::Limit(&LANES, 1, 1024)),
    (c"immutable.max_chains_per_transaction", c"Maximum number of chains (lanes of tenants) that one transaction locks one by one.", c"Beyond it, one lock stands for all other tenants: the lock of a lane for imports, or of the whole log where immutable.lanes is 1.", Kind::Limit(&MAX_CHAINS_PER_TRANSACTION, 1, 1_000_000)),
    (c"immutable.max_targets", c"Maximum number of targets of an event.", c"", Kind::Limit(&MAX_TARGETS, 0, limits::TARGETS)),
    (c"immutable.max_metadata_keys", c"Maximum number of top-level keys in the metadata of an event or of a target.", c"", Kind::Limit(&MAX_METADATA_KEYS, 0, limits::METADATA_KEYS)),
    (c"immutable.max_metadata_bytes", c"Maximum size, in bytes of canonical text, of an event's metadata and of each target.", c"", Kind::Limit(&MAX_METADATA_BYTES, 2, limits::CANONICAL_BYTES)),
    (c"immutable.max_nesting", c"Maximum nesting of an event's metadata and of each target. The object itself is level 1.", c"", Kind::Limit(&MAX_NESTING, 1, limits::NESTING)),
    (c"immutable.max_batch", c"Maximum number of events in one call of track_batch().", c"", Kind::Limit(&MAX_BATCH, 1, 10_000)),
    (c"immutable.max_exact_total", c"Maximum number of events that get_events() counts for a page's total.", c"Beyond it, the total is an estimate. With 0, nothing is counted.", Kind::OwnLimit(&MAX_EXACT_TOTAL, 0, 1_000_000)),
    (c"immutable.require_tenant", c"Refuses events without a tenant, except the log's own.", c"Set it for the server, a database or a role. An event that was recorded without its tenant cannot be moved to it later.", Kind::Switch(&REQUIRE_TENANT)),
    (c"immutable.restore", c"Accepts events of a dump as they are, and no others.", c"Each event must match its hash. The next event comes after immutable.restored, which records the restore.", Kind::SessionSwitch(&RESTORE)),
    (c"immutable.allow_ddl", c"Allows commands that change the audit log's tables, functions and policies.", c"Each is recorded in the log as immutable.ddl, with the role that gave it.", Kind::Switch(&ALLOW_DDL)),
    (c"immutable.sign_checkpoints", c"Signs checkpoints with a key of the log's own.", c"Set it to off where a program outside of the database signs what immutable.tree_head() returns.", Kind::Switch(&SIGN_CHECKPOINTS)),
    (c"immutable.origin_prefix", c"What the log's name in its checkpoints begins with, before the first checkpoint is made.", c"The name is this text, a slash and the log's identity. It should be a URL without scheme, such as audit.example.com.", Kind::Text(&ORIGIN_PREFIX)),
    (c"immutable.log_key_file", c"File with the private keys that sign checkpoints.", c"One line each: PRIVATE+KEY+..., or 64 hex digits. It must be outside of the data directory, so that copies of the server cannot sign.", Kind::File(&LOG_KEY_FILE)),
    (c"immutable.viewer_proofs", c"Shows viewers where in the tree their events are, and the checkpoint that covers them.", c"An index and a size show how much the log as a whole grows. Whoever may call inclusion_proof() sees both anyway.", Kind::Switch(&VIEWER_PROOFS)),
    (c"immutable.tenant_id", c"Default of events.tenant_id in this session.", OF_SESSION, Kind::Default(&TENANT_ID)),
    (c"immutable.actor_id", c"Default of events.actor_id in this session.", OF_SESSION, Kind::Default(&ACTOR_ID)),
    (c"immutable.actor_name", c"Default of events.actor_name in this session.", OF_SESSION, Kind::Default(&ACTOR_NAME)),
    (c"immutable.actor_type", c"Default of events.actor_type in this session.", OF_SESSION, Kind::Default(&ACTOR_TYPE)),
    (c"immutable.session_id", c"Default of events.session_id in this session.", OF_SESSION, Kind::Default(&SESSION_ID)),
    (c"immutable.ip_address", c"Default of events.ip_address in this session.", OF_SESSION, Kind::Default(&IP_ADDRESS)),
    (c"immutable.user_agent", c"Default of events.user_agent in this session.", OF_SESSION, Kind::Default(&USER_AGENT)),
    (c"immutable.viewer_token", c"The signed token that says which tenant's events a viewer sees.", c"immutable.create_viewer_token() makes it. Behind a connection pooler, use SET LOCAL. An empty text means none.", Kind::Secret(&VIEWER_TOKEN)),
    (c"immutable.proof", c"What opens the log to the caller: the digest of an API key, a viewer token or an export ticket.", c"The digest is SHA-256 of the key, in 64 hex digits. Behind a connection pooler, use SET LOCAL. An empty text means none.", Kind::Secret(&PROOF)),
    (c"immutable.client_address", c"The address of the client that shows an API key.", c"The program that takes the key sets it. An API key with allowed addresses is refused without it.", Kind::OfSession(&CLIENT_ADDRESS)),
    (c"immutable.worker_databases", c"Databases in which a background worker calls immutable.run_maintenance() each minute.", c"Names with commas between them. The library must be in shared_preload_libraries.", Kind::OfServer(&WORKER_DATABASES)),
    (c"immutable.worker_interval", c"Seconds between two runs of the background worker.", c"", Kind::SecondsOfServer(&WORKER_INTERVAL, 1, 3600)),
    (c"immutable.hot_events", c"Number of events that stay in immutable.events itself when older ones are sealed into a segment.", c"Inserts are fast while this part of the log fits into memory. With -1, immutable.run_maintenance() seals nothing.", Kind::Limit(&HOT_EVENTS, -1, 100_000_000)),
    (c"immutable.seal_events", c"Number of events beyond immutable.hot_events at which immutable.run_maintenance() seals them.", c"So many events go into one segment at the most.", Kind::Limit(&SEAL_EVENTS, 1, 1_000_000)),
    (c"immutable.segment_events", c"Number of events that a segment has at the least once smaller ones are merged.", c"", Kind::Limit(&SEGMENT_EVENTS, 1, 1_000_000_000)),
    (c"immutable.hot_age", c"Age at which immutable.run_maintenance() seals events even if there are few.", c"", Kind::Seconds(&HOT_AGE, 0, i32::MAX as usize)),
    (c"immutable.retention_wait", c"How long a shorter retention waits before it takes effect.", c"", Kind::Seconds(&RETENTION_WAIT, 0, i32::MAX as usize)),
    (c"immutable.trust_context_of", c"Roles whose sessions may say who is the actor, and for which tenant, of row changes.", c"Names with commas between them. The settings immutable.actor_id and others, and request.jwt.claims, count for row changes in their sessions alone.", Kind::Text(&TRUST_CONTEXT_OF)),
    (c"immutable.mask_key_file", c"File with the key of the HMAC that stands for masked values of row changes.", c"64 hex digits. Without it, an event says only that a masked value has changed.", Kind::File(&MASK_KEY_FILE)),
    (c"immutable.max_capture_size", c"Maximum size of the row changes that one transaction records.", c"They wait on disk for the commit. A statement that exceeds it is refused.", Kind::Megabytes(&MAX_CAPTURE_SIZE, 1, 1_048_576)),
];

/// How a setting is defined that only a session can have, not a file or a whole server.
pub struct OfSessions {
    pub switch: fn(&'static CStr, &'static CStr, &'static CStr, &'static GucSetting<bool>, GucContext, GucFlags),
    pub text: fn(&'static CStr, &'static CStr, &'static CStr, &'static Text, GucContext, GucFlags),
}

/// Defines every setting.
pub fn define(of_sessions: &OfSessions) {
    use GucContext::{Sighup, Suset, Userset};
    let (plain, not_in_files) = (GucFlags::default(), GucFlags::DISALLOW_IN_FILE | GucFlags::DISALLOW_IN_AUTO_FILE);
    for (name, short, long, kind) in SETTINGS {
        match kind {
            Kind::Limit(setting, least, most) => {
                GucRegistry::define_int_guc(name, short, long, setting, least, most as i32, Suset, plain);
            }
            Kind::OwnLimit(setting, least, most) => {
                GucRegistry::define_int_guc(name, short, long, setting, least, most as i32, Userset, plain);
            }
            Kind::Seconds(setting, least, most) => {
                GucRegistry::define_int_guc(name, short, long, setting, least, most as i32, Suset, GucFlags::UNIT_S);
            }
            Kind::Megabytes(setting, least, most) => {
                GucRegistry::define_int_guc(name, short, long, setting, least, most as i32, Suset, GucFlags::UNIT_MB);
            }
            Kind::SecondsOfServer(setting, least, most) => {
                GucRegistry::define_int_guc(name, short, long, setting, least, most as i32, Sighup, GucFlags::UNIT_S);
            }
            Kind::Switch(setting) => GucRegistry::define_bool_guc(name, short, long, setting, Suset, plain),
            Kind::SessionSwitch(setting) => (of_sessions.switch)(name, short, long, setting, Suset, not_in_files),
            Kind::Text(setting) => GucRegistry::define_string_guc(name, short, long, setting, Suset, plain),
            Kind::OfSession(setting) => GucRegistry::define_string_guc(name, short, long, setting, Userset, plain),
            Kind::OfServer(setting) => GucRegistry::define_string_guc(name, short, long, setting, Sighup, plain),
            Kind::File(setting) => {
                GucRegistry::define_string_guc(name, short, long, setting, Sighup, GucFlags::SUPERUSER_ONLY);
            }
            Kind::Default(setting) => GucRegistry::define_string_guc(name, short, long, setting, Userset, plain),
            Kind::Secret(setting) => {
                (of_sessions.text)(name, short, long, setting, Userset, GucFlags::NO_SHOW_ALL | not_in_files);
            }
        }
    }
}

/// The setting `immutable.viewer_token`, unless it is empty, as it is after a transaction with SET
/// LOCAL.
pub fn viewer_token() -> Option<CString> {
    VIEWER_TOKEN.get().filter(|token| !token.is_empty())
}

/// The setting `immutable.proof`, unless it is empty, as it is after a transaction with SET LOCAL.
pub fn proof() -> Option<CString> {
    PROOF.get().filter(|proof| !proof.is_empty())
}
