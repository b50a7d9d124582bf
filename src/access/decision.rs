//! Records who decided that somebody may see or record something.

use crate::log::own_event::{caller, metadata, record, Own};
use crate::log::seam;
use crate::log::tables::events_oid;
use crate::pg::error::Code;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// Records a decision about who sees or records what. A copy of another server's log takes no event: there it is in the
/// server's log, because a token that is known to whom it should not be has to be revoked there as well.
pub fn decide(own: &Own<'_>) {
    let relation = pg_sys::table_open(events_oid(), pg_sys::RowExclusiveLock as i32);
    let is_copy = seam::is_copy(relation);
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    if !is_copy {
        record(own);
        return;
    }
    let (caller, action, metadata) = (caller(), own.action, metadata(own));
    let of = own.resource_id.map_or(String::new(), |id| format!(" of \"{id}\""));
    ereport!(
        PgLogLevel::LOG_SERVER_ONLY,
        Code::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("immutable: {action}{of} by role \"{caller}\": {metadata}")
    );
    ereport!(
        PgLogLevel::WARNING,
        Code::ERRCODE_WARNING,
        "immutable: this is in the server's log alone",
        "The audit log is a copy that a subscription feeds: nothing is recorded in it."
    );
}
