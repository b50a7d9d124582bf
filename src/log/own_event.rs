//! What the log records about itself: erasures, who decided whose events are seen, seams, maintenance. Such an action
//! begins with `immutable.`, which nobody else may write; of its values nothing but `metadata.reason` can be erased.

use crate::log::tables::events_oid;
use crate::pg::call::{required, Call};
use crate::pg::datum::{text, text_datum, uuid};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::{jsonb, spi};
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the log records something just now, in this process.
pub fn is_recording() -> bool {
    RECORDING.get()
}

/// For as long as this lives, the log records something.
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

/// An event of the log's own. What it does not have is NULL, not the session's.
pub struct Own<'a> {
    /// Decisions about tenants have none: they are the operator's, and no tenant's feed shows them.
    pub tenant_id: &'a str,
    pub action: &'a str,
    pub resource_type: Option<&'a str>,
    pub resource_id: Option<&'a str>,
    /// A JSON array.
    pub targets: &'a str,
    pub metadata: &'a [(&'a str, &'a str)],
    /// The same where the values are JSON.
    pub metadata_json: &'a [(&'a str, &'a str)],
    /// Whether nobody did it but the log itself.
    pub unasked: bool,
}

impl Default for Own<'_> {
    fn default() -> Self {
        Own {
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

/// Who gave the command: the outer user, since the current one may be the owner, and the session's a gateway's login.
pub fn caller() -> String {
    let name = pg_sys::GetUserNameFromId(pg_sys::GetOuterUserId(), false);
    std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
}

/// The login, which may be a gateway's.
pub fn login() -> String {
    let name = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), false);
    std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
}

/// Records it, with the owner's rights, as done by the caller; returns the event's id. Every column that a session has a
/// default for is given, so that nothing of the session gets in.
pub fn record(own: &Own<'_>) -> Id {
    let (actor, actor_type) = match own.unasked {
        true => ("immutable".to_string(), "extension"),
        false => (caller(), "role"),
    };
    let relation = pg_sys::table_open(events_oid(), pg_sys::RowExclusiveLock as i32);
    let mut id = None;
    let _recording = Recording::begin();
    spi::as_owner(relation, || {
        spi::query_now(
            "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, \
                 resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, \
                 ip_address, ip_country, ip_city, user_agent, version, occurred_at) \
             VALUES ($1, $2, NULL, $3, $4, NULL, $5, $6, NULL, $7, $8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                 NULL) RETURNING id",
            &[
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::JSONBOID,
                pg_sys::JSONBOID,
            ],
            &[
                Some(text_datum(own.tenant_id)),
                Some(text_datum(&actor)),
                Some(text_datum(actor_type)),
                Some(text_datum(own.action)),
                own.resource_type.map(|resource_type| text_datum(resource_type)),
                own.resource_id.map(|resource_id| text_datum(resource_id)),
                Some(jsonb::datum(own.targets)),
                Some(jsonb::datum(&metadata(own))),
            ],
            |row| id = Some(uuid(row.values[0])),
        );
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    id.unwrap_or_else(|| internal("an event of the log's own was not recorded"))
}

pub fn metadata(own: &Own<'_>) -> String {
    let mut members = Vec::new();
    for (key, value) in own.metadata {
        let mut json = String::new();
        write_string(value, &mut json);
        members.push((*key, json));
    }
    members.extend(own.metadata_json.iter().map(|(key, json)| (*key, json.to_string())));
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

/// Bytes of a reason.
const REASON_BYTES: usize = 4096;

/// The argument that says why; it is kept in a record.
pub fn reason<'a>(call: Call, index: usize) -> &'a str {
    let hint = "Say why, without naming the person: the record is kept. For example a ticket's number.";
    let reason = text(required(call, index, "reason", hint));
    if reason.trim().is_empty() {
        Fault::invalid("reason", "reason must not be empty").hint(hint).raise()
    }
    if reason.len() > REASON_BYTES {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("reason is too long: {} bytes, at most {REASON_BYTES}", reason.len()),
        )
        .field("reason")
        .hint("Bytes of UTF-8 are counted. Refer to what explains it at length.")
        .raise()
    }
    reason
}
