//! Records decisions about who may see or record what.

use crate::log::own_event::{caller, metadata, record, LogEvent};
use crate::log::seam;
use crate::log::tables::events_oid;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::OpenRelation;
use pgrx::pg_sys;

/// Records a decision about who may see or record what. Nothing can be recorded in a copy of
/// another server's log. There the decision is written into the server's log instead of being
/// refused, because a token in the wrong hands must be revocable on the copy as well.
pub fn decide(event: &LogEvent<'_>) {
    let events = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    let is_copy = seam::is_copy(events.get());
    drop(events);
    if !is_copy {
        record(event);
        return;
    }
    let (caller, action, metadata) = (caller(), event.action, metadata(event));
    let of = event.resource_id.map_or(String::new(), |id| format!(" of \"{id}\""));
    let decision = format!("immutable: {action}{of} by role \"{caller}\": {metadata}");
    Fault::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, decision).log();
    Fault::new(Code::ERRCODE_WARNING, format!("{action} was recorded only in the server's log"))
        .detail("The audit log is a copy that a subscription feeds, so nothing can be recorded in it.")
        .warn();
}
