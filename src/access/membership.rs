//! The membership that goes with a grant: in `immutable_viewer` to read, and in `immutable_writer` to write.

use crate::access::grants_table::Mode;
use crate::log::distributed;
use crate::pg::error::{Code, Fault};
use crate::pg::extension;
use crate::pg::relation::Relation;
use crate::pg::{role, spi};
use pgrx::pg_sys::Oid;

/// Makes a role of this node a member of the mode's group. `grants` is the table whose owner's rights it has.
pub fn give(grants: Relation, mode: Mode, role: &str) {
    change(grants, "GRANT", "TO", mode, role);
}

/// Ends a role's membership in the mode's group. Raises 55000 if the role would still be a member
/// through another grant.
pub fn end(grants: Relation, role: Oid, mode: Mode) {
    let Some(group) = role::by_name(mode.group()) else { return };
    let shown = role::name(role);
    change(grants, "REVOKE", "FROM", mode, &shown);
    if role::is_member_of(role, group) {
        let group = mode.group().to_string_lossy();
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("role \"{shown}\" would still be a member of {group}, but no longer bound to a tenant"),
        )
        .field("role")
        .hint(format!("First revoke every other grant that makes it a member of {group}."))
        .raise()
    }
}

fn change(grants: Relation, verb: &str, preposition: &str, mode: Mode, role: &str) {
    let group = mode.group().to_string_lossy();
    let statement = format!("{verb} {group} {preposition} {}", role::quoted(role));
    spi::as_owner(grants, || match distributed::is_log() {
        // Each node runs its own. Citus would pass the statement on, and refuse it on other nodes than the coordinator;
        // what an extension's script does it leaves alone.
        true => extension::as_own_script(|| spi::execute(&statement, &[])),
        false => spi::execute(&statement, &[]),
    });
}
