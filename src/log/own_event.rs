//! Events that the log records about itself: erasures, decisions about who sees which events,
//! seams, and DDL. Their actions begin with `immutable.`, which is reserved for them. Only
//! `metadata.reason` can be erased from them.

use crate::log::tables::events_oid;
use crate::pg::call::Call;
use crate::pg::datum::{text, uuid};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::memory::{here, Memory};
use crate::pg::relation::OpenRelation;
use crate::pg::role;
use crate::pg::spi::{self, Arg};
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;
use std::cell::Cell;

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this process is recording an event of the log's own.
pub fn is_recording() -> bool {
    RECORDING.get()
}

/// While this lives, [`is_recording`] is true.
struct Recording(bool);

impl Recording {
    fn begin() -> Recording {
        Recording(RECORDING.replace(true))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.set(self.0);
    }
}

/// An event that the log records about itself. Values that it does not give are NULL; the session's
/// settings are not used.
pub struct LogEvent<'a> {
    /// Decisions about tenants have no tenant, because they are the operator's, and no tenant's
    /// feed may show them.
    pub tenant_id: &'a str,
    /// It begins with `immutable.`.
    pub action: &'a str,
    /// The type of the resource,
    pub resource_type: Option<&'a str>,
    /// and its name or id.
    pub resource_id: Option<&'a str>,
    /// A JSON array.
    pub targets: &'a str,
    /// Names and texts.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Further metadata, as names and JSON.
    pub metadata_json: &'a [(&'a str, &'a str)],
    /// Whether the actor is the log itself.
    pub unasked: bool,
}

impl Default for LogEvent<'_> {
    fn default() -> Self {
        LogEvent {
            tenant_id: "",
            action: "",
            resource_type: None,
            resource_id: None,
            targets: "[]",
            metadata: &[],
            metadata_json: &[],
            unasked: false,
        }
    }
}

/// Finds the API key that acts in this session.
type FindKey = fn() -> Option<Id>;

thread_local! {
    /// A room above this one knows about API keys.
    static FIND_KEY: Cell<Option<FindKey>> = const { Cell::new(None) };
}

/// Makes events name the API key that `find` finds, where it finds one.
pub fn name_callers_by(find: FindKey) {
    FIND_KEY.set(Some(find));
}

/// The API key that acts in this session.
pub fn acting_key() -> Option<Id> {
    FIND_KEY.get().and_then(|find| find())
}

/// How events name an API key.
pub fn key_name(key: &Id) -> String {
    format!("key:{}", uuid_text(key))
}

/// The API key or the role that gave the command. This is the outer user, because the current user
/// may be the owner, and the session's user may be a gateway's login.
pub fn caller() -> String {
    acting_key().map_or_else(|| role::name(role::outer()), |key| key_name(&key))
}

/// What `recorded_by` says of events that are recorded now: the login, and the API key that acts.
pub fn recorder() -> String {
    here(|memory| recorder_by(acting_key(), memory).into_owned())
}

/// The same for a caller who knows already which API key acts, in this memory.
pub fn recorder_by(key: Option<Id>, memory: Memory<'_>) -> Cow<'_, str> {
    recorder_of(role::session(), key, memory)
}

/// The same at a shard. Citus connects to another node as the role whose rights apply, so that there is no other login. It
/// is that role also where the shard is on the client's node: what an event says must not depend on where its shard is.
pub fn recorder_at_shard(key: Option<Id>, memory: Memory<'_>) -> Cow<'_, str> {
    recorder_of(role::current(), key, memory)
}

fn recorder_of(role: Oid, key: Option<Id>, memory: Memory<'_>) -> Cow<'_, str> {
    let role = role::name_in(role, memory);
    match key {
        Some(key) => Cow::Owned(format!("{role} {}", key_name(&key))),
        None => role,
    }
}

/// The role that logged in, which may be a gateway's.
pub fn login() -> String {
    role::name(role::session())
}

/// Records the event with the owner's rights, with the caller as the actor, and returns its id. It
/// gives every column that has a setting, so that no setting of the session is used.
pub fn record(event: &LogEvent<'_>) -> Id {
    let (actor, actor_type) = match event.unasked {
        true => ("immutable".to_string(), "extension"),
        false => match acting_key() {
            Some(key) => (key_name(&key), "api_key"),
            None => (caller(), "role"),
        },
    };
    let relation = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    let mut id = None;
    let _recording = Recording::begin();
    spi::as_owner(relation.get(), || {
        spi::query_now(
            "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, \
                 resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, \
                 ip_address, ip_country, ip_city, user_agent, version, occurred_at) \
             VALUES ($1, $2, NULL, $3, $4, NULL, $5, $6, NULL, $7, $8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                 NULL) RETURNING id",
            &[
                Arg::text(event.tenant_id),
                Arg::text(&*actor),
                Arg::text(actor_type),
                Arg::text(event.action),
                Arg::maybe_text(event.resource_type),
                Arg::maybe_text(event.resource_id),
                Arg::Json(event.targets.into()),
                Arg::Json(metadata(event).into()),
            ],
            |row| id = row.at(0).map(uuid),
        );
    });
    id.unwrap_or_else(|| internal("one of the log's own events was not recorded"))
}

/// The event's metadata, as JSON.
pub fn metadata(event: &LogEvent<'_>) -> String {
    let mut members = Vec::new();
    for (key, value) in event.metadata {
        let mut json = String::new();
        write_string(value, &mut json);
        members.push((*key, json));
    }
    members.extend(event.metadata_json.iter().map(|(key, json)| (*key, json.to_string())));
    let members: Vec<String> = members
        .iter()
        .map(|(key, json)| {
            let mut member = String::new();
            write_string(key, &mut member);
            format!("{member}:{json}")
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// How many bytes a reason may have.
const REASON_BYTES: usize = 4096;

/// The argument at `index`, which says why something is done and is recorded. Raises 22004 if it is
/// NULL, 22023 if it is empty, and 22001 if it is too long.
pub fn reason(call: Call<'_>, index: usize) -> &str {
    let hint = "Say why, for example with the number of a ticket. Do not name the person, because \
        the record is kept.";
    let reason = text(call.required(index, "reason", hint));
    if reason.trim().is_empty() {
        Fault::invalid("reason", "reason must not be empty").hint(hint).raise()
    }
    if reason.len() > REASON_BYTES {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("reason is too long: {} bytes, at most {REASON_BYTES}", reason.len()),
        )
        .field("reason")
        .hint("Bytes of UTF-8 are counted. Refer to a ticket that explains it at length.")
        .raise()
    }
    reason
}
