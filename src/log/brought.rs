//! Rows that a dump brings into tables which functions write otherwise. Whoever may restore inserts into
//! them, and an API key, for one, opens the log. So such a row is refused where no dump is restored, and
//! otherwise leaves a seam.

use crate::log::seam;
use crate::log::subscription::others_sleep;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{OpenRelation, Relation};
use crate::pg::role;
use crate::pg::trigger::BEFORE_INSERT_ROW;
use crate::settings;
use pgrx::pg_sys;

/// Accepts a row from the functions, which run with the owner's rights, from a replication, and from a
/// dump that is being restored, which is recorded. Raises 42501 for any other.
pub fn allow_insert(table: Relation) {
    let user = role::current();
    if user == table.owner() || role::is_superuser_role(user) || others_sleep() {
        return;
    }
    if settings::RESTORE.get() {
        let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
        return seam::forget(events.get());
    }
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("rows cannot be inserted into {}: no dump is being restored", table.name()),
    )
    .hint(
        "Use the functions of the extension, which record what they change in the log. To restore a dump, \
         SET immutable.restore = on.",
    )
    .raise()
}

sql_function!(immutable_guard_brought, pg_finfo_immutable_guard_brought, guard_brought);

/// The trigger of these tables.
fn guard_brought(call: Call) -> Datum {
    let trigger = call.trigger(BEFORE_INSERT_ROW);
    allow_insert(trigger.relation());
    trigger.go_on_with(trigger.row())
}
