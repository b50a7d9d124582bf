//! Events that the log records about itself: erasures, decisions about who sees which events,
//! seams, and DDL. Their actions begin with `immutable.`, which is reserved for them. Only
//! `metadata.reason` can be erased from them.
//!
//! In a log that Citus has distributed, the event is recorded at the shard of its tenant, in the same
//! transaction. The session there is another one, so that who caused the event goes along with it.

use crate::log::distributed;
use crate::log::tables::{events_oid, is_on_shard};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::memory::{here, Memory};
use crate::pg::relation::OpenRelation;
use crate::pg::role;
use crate::pg::spi::{self, Arg};
use crate::pg::trigger::BEFORE_INSERT_ROW;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};

thread_local! {
    /// What `recorded_by` says of the event of the log's own that this process is recording.
    static RECORDING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether this process is recording an event of the log's own.
pub fn is_recording() -> bool {
    RECORDING.with_borrow(Option::is_some)
}

/// What `recorded_by` says of the event of the log's own that this process is recording, if it is.
pub fn recorder_of_recording() -> Option<String> {
    RECORDING.with_borrow(Clone::clone)
}

/// While this lives, [`is_recording`] is true.
struct Recording(Option<String>);

impl Recording {
    fn begin(recorded_by: &str) -> Recording {
        Recording(RECORDING.replace(Some(recorded_by.to_string())))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.set(self.0.take());
    }
}

/// Who causes an event of the log's own.
pub struct Cause {
    /// The API key, the role, or the log itself.
    pub actor_id: String,
    /// What `actor_id` is.
    pub actor_type: Cow<'static, str>,
    /// What `recorded_by` says.
    pub recorded_by: String,
}

impl Cause {
    /// The caller of this session, or the log itself if nobody asked for what it does.
    pub fn of_session(unasked: bool) -> Cause {
        let (actor_id, actor_type) = match unasked {
            true => ("immutable".to_string(), "extension"),
            false => match acting_key() {
                Some(key) => (key_name(&key), "api_key"),
                None => (caller(), "role"),
            },
        };
        Cause { actor_id, actor_type: actor_type.into(), recorded_by: recorder() }
    }

    /// What another session has sent, as three arguments of a function from `index` on. Raises 55000 in a log that is
    /// not distributed.
    pub fn received(call: Call, index: usize) -> Cause {
        distributed::require();
        let given = |index, name| text(call.required(index, name, distributed::CALLED_BY_LOG)).to_string();
        Cause {
            actor_id: given(index, "actor_id"),
            actor_type: given(index + 1, "actor_type").into(),
            recorded_by: given(index + 2, "recorded_by"),
        }
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

/// Records the event with the owner's rights, with the caller as the actor, and returns its id.
pub fn record(event: &LogEvent<'_>) -> Id {
    record_for(event, &Cause::of_session(event.unasked))
}

/// The same for a caller of another session, which runs this one.
pub fn record_for(event: &LogEvent<'_>, cause: &Cause) -> Id {
    let columns = Columns {
        tenant_id: event.tenant_id,
        action: event.action,
        resource: [event.resource_type, event.resource_id],
        targets: Arg::Json(event.targets.into()),
        metadata: Arg::Json(metadata(event).into()),
    };
    match distributed::is() && !is_on_shard() {
        true => send(columns, cause),
        false => append(columns, cause),
    }
}

/// Records the event where [`record`] could not: while Citus runs an ALTER TABLE, it skips every SELECT of distributed
/// tables. A row for immutable.placement goes to the shard instead, where the trigger records the event.
pub fn record_during_ddl(event: &LogEvent<'_>) {
    if !distributed::is() || is_on_shard() {
        record(event);
        return;
    }
    let cause = Cause::of_session(event.unasked);
    distributed::as_owner(|| {
        spi::execute_planned_each_time(
            "INSERT INTO immutable.placement (tenant_id, action, metadata, actor_id, actor_type, recorded_by) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                Arg::text(event.tenant_id),
                Arg::text(event.action),
                Arg::Json(metadata(event).into()),
                Arg::text(&*cause.actor_id),
                Arg::text(&*cause.actor_type),
                Arg::text(&*cause.recorded_by),
            ],
        );
    });
}

sql_function!(immutable_record_at_shard, pg_finfo_immutable_record_at_shard, record_at_shard);

/// The trigger of immutable.placement: records the event that the row holds, and keeps no row. Raises 42501 if the row
/// holds an event and another role than the owner inserts it: writers have the right to insert rows that hold none.
fn record_at_shard(call: Call) -> Datum {
    let trigger = call.trigger(BEFORE_INSERT_ROW);
    let row = trigger.row().values();
    let given = |place| row.at(place).map(|value| text(value).to_string());
    let (Some(tenant_id), Some(action), Some(metadata)) = (given(0), given(1), row.at(2)) else {
        return trigger.nothing();
    };
    if role::current() != trigger.relation().owner() && !role::is_superuser_role(role::current()) {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, "only the log itself records its own events")
            .field("action")
            .hint(distributed::CALLED_BY_LOG)
            .raise()
    }
    let cause = Cause {
        actor_id: given(3).unwrap_or_default(),
        actor_type: given(4).unwrap_or_default().into(),
        recorded_by: given(5).unwrap_or_default(),
    };
    let columns = Columns {
        tenant_id: &tenant_id,
        action: &action,
        resource: [None, None],
        targets: Arg::Json("[]".into()),
        metadata: Arg::given(pg_sys::JSONBOID, Some(metadata)),
    };
    distributed::on_own_shard(&tenant_id, || append(columns, &cause));
    trigger.nothing()
}

/// What an event of the log's own says besides who caused it.
struct Columns<'a> {
    tenant_id: &'a str,
    action: &'a str,
    /// Its type, and its name or id.
    resource: [Option<&'a str>; 2],
    targets: Arg<'a>,
    metadata: Arg<'a>,
}

/// Records the event here. It gives every column that has a setting, so that no setting of the session
/// is used.
fn append(event: Columns<'_>, cause: &Cause) -> Id {
    let [resource_type, resource_id] = event.resource;
    let relation = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    let mut id = None;
    let _recording = Recording::begin(&cause.recorded_by);
    spi::as_owner(relation.get(), || {
        spi::query_now(
            "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, \
                 resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, \
                 ip_address, ip_country, ip_city, user_agent, version, occurred_at) \
             VALUES ($1, $2, NULL, $3, $4, NULL, $5, $6, NULL, $7, $8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                 NULL) RETURNING id",
            &[
                Arg::text(event.tenant_id),
                Arg::text(&*cause.actor_id),
                Arg::text(&*cause.actor_type),
                Arg::text(event.action),
                Arg::maybe_text(resource_type),
                Arg::maybe_text(resource_id),
                event.targets,
                event.metadata,
            ],
            |row| id = row.at(0).map(uuid),
        );
    });
    id.unwrap_or_else(|| not_recorded())
}

fn not_recorded() -> ! {
    internal("one of the log's own events was not recorded")
}

/// Has the event recorded at the shard of its tenant, in this transaction.
fn send(event: Columns<'_>, cause: &Cause) -> Id {
    let [resource_type, resource_id] = event.resource;
    let arguments = [
        Arg::text(event.action),
        Arg::maybe_text(resource_type),
        Arg::maybe_text(resource_id),
        event.targets,
        event.metadata,
        Arg::text(&*cause.actor_id),
        Arg::text(&*cause.actor_type),
        Arg::text(&*cause.recorded_by),
    ];
    let mut id = None;
    distributed::write_as_owner(event.tenant_id, "shard_record_own", &arguments, |row| {
        id = row.values().at(0).map(uuid);
    });
    id.unwrap_or_else(|| not_recorded())
}

sql_function!(immutable_shard_record_own, pg_finfo_immutable_shard_record_own, shard_record_own);

/// `immutable.shard_record_own(here, tenant_id, action, resource_type, resource_id, targets, metadata, actor_id,
/// actor_type, recorded_by)`
fn shard_record_own(call: Call) -> Datum {
    let given = |index, name| text(call.required(index, name, distributed::CALLED_BY_LOG));
    let (tenant_id, action) = (given(1, "tenant_id"), given(2, "action"));
    let json = |index, name| Arg::given(pg_sys::JSONBOID, Some(call.required(index, name, distributed::CALLED_BY_LOG)));
    let cause = Cause::received(call, 7);
    let columns = Columns {
        tenant_id,
        action,
        resource: [call.arg(3).map(text), call.arg(4).map(text)],
        targets: json(5, "targets"),
        metadata: json(6, "metadata"),
    };
    let id = distributed::on_own_shard(tenant_id, || append(columns, &cause));
    call.memory().uuid(&id)
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
