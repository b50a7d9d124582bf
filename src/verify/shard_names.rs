//! The names of a shard's tables, as statements have them.

use crate::log::tables::Events;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::OpenRelation;
use pgrx::pg_sys;

/// The quoted names of a table of events and of the table of targets that refers to it. Raises
/// 42P01 and 55000 if there are no such tables, and 22023 for a name with an apostrophe.
pub fn shard_names(oid: pg_sys::Oid) -> (String, String) {
    let open = |oid| {
        OpenRelation::open(oid, pg_sys::AccessShareLock).unwrap_or_else(|| {
            Fault::new(Code::ERRCODE_UNDEFINED_TABLE, "events must be a table of events").field("events").raise()
        })
    };
    let relation = open(oid);
    let targets = Events::of(relation.get()).targets.unwrap_or_else(|| {
        let message = format!("no table of event targets refers to {}", relation.get().name());
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field("events").raise()
    });
    let [events, targets] = [relation, open(targets)].map(|relation| {
        let name = relation.get().qualified_name();
        if name.contains('\'') {
            Fault::invalid("events", format!("the name {name} contains an apostrophe")).raise()
        }
        name
    });
    (events, targets)
}
