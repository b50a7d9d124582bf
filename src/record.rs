//! What the log records about itself: erasures, and who decided whose events are seen. Such an action begins with
//! `immutable.`, which nobody else may write; of its values nothing but `metadata.reason` can be erased.

use crate::function::text_datum;
use crate::relation::events_oid;
use crate::{jsonb, spi};
use immutable_format::json::write_string;
use pgrx::pg_sys;

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
}

impl Default for Own<'_> {
    fn default() -> Self {
        Own { tenant_id: "", action: "", resource_type: None, resource_id: None, targets: "[]", metadata: &[] }
    }
}

/// Records it, with the owner's rights, as done by the caller.
pub unsafe fn record(own: &Own<'_>) {
    let mut metadata = String::from("{");
    for (key, value) in own.metadata {
        if metadata.len() > 1 {
            metadata.push(',');
        }
        write_string(key, &mut metadata);
        metadata.push(':');
        write_string(value, &mut metadata);
    }
    metadata.push('}');
    // The outer user: the current one may be the owner, and the session's a gateway's login.
    let caller = pg_sys::GetUserNameFromId(pg_sys::GetOuterUserId(), false);
    let caller = std::ffi::CStr::from_ptr(caller).to_string_lossy();
    let relation = pg_sys::table_open(events_oid(), pg_sys::RowExclusiveLock as i32);
    spi::as_owner(relation, || {
        spi::execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, \
                 resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, \
                 ip_address, ip_country, ip_city, user_agent, version, occurred_at) \
             VALUES ($1, $2, NULL, 'role', $3, NULL, $4, $5, NULL, $6, $7, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                 NULL)",
            &[
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
                Some(text_datum(&caller)),
                Some(text_datum(own.action)),
                own.resource_type.map(|resource_type| text_datum(resource_type)),
                own.resource_id.map(|resource_id| text_datum(resource_id)),
                Some(jsonb::datum(own.targets)),
                Some(jsonb::datum(&metadata)),
            ],
        );
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
}
