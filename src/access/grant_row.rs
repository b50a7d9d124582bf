//! The trigger of the table of grants. Citus fires it on every node, at the node's copy, so that it can do what each
//! node has to do for itself.

use crate::access::grants_table::{is_of_grants, is_of_node, Mode, COLUMNS, GRANTED_BY, MODE, NODE, ROLE, ROLE_OID};
use crate::access::membership;
use crate::log::seam;
use crate::log::shared_table::node;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{name, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{OpenRelation, Relation};
use crate::pg::role;
use crate::pg::trigger::{TriggerCall, BEFORE_INSERT_ROW, BEFORE_UPDATE_ROW};
use crate::pg::tuple::Values;
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// In the place of the OID of a role: the trigger makes the role a member of the mode's group on its node. No role
/// has this number, and it does not stay in the table, so that no dump contains it.
pub const GIVE: Oid = Oid::from_u32(1);
/// The same: no role has the grant, because its name is another role's by now.
pub const NOBODY: Oid = Oid::from_u32(3);
/// The same: the trigger ends the membership, of the role of the grant and of that which `granted_by` names.
pub const END: Oid = Oid::from_u32(2);

/// Whether it is one of the extension's own roles.
pub fn is_extension_role(name: &str) -> bool {
    name.starts_with("immutable_")
}

sql_function!(immutable_bind_role, pg_finfo_immutable_bind_role, bind_role);

/// `immutable.bind_role()`. It looks up the role's OID, because a dump contains the OIDs of another cluster, and Citus
/// writes the same row on every node.
fn bind_role(call: Call) -> Datum {
    let is_update = call.any_trigger().operation() == pg_sys::TRIGGER_EVENT_UPDATE;
    let trigger = call.trigger(if is_update { BEFORE_UPDATE_ROW } else { BEFORE_INSERT_ROW });
    let table = trigger.relation();
    if !is_grants(&table.name()) || !is_of_grants(table.descriptor()) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is not a table of tenant grants", table.name()),
        )
        .raise()
    }
    let new = if is_update { trigger.new_row() } else { trigger.row() };
    let mut row = new.values();
    let Some(given) = row.at(ROLE as usize - 1).map(name) else {
        return trigger.go_on_with(new); // the column's own NOT NULL says it
    };
    if !is_update {
        allow_insert(table, given);
    }
    let node = node();
    if node.is_some() {
        if is_update && is_known(trigger, &row) {
            return trigger.go_on_with(new);
        }
        obey(trigger, &row, given);
    }
    let role = match node {
        Some(_) if oid_of(&row) == NOBODY => pg_sys::InvalidOid,
        Some(_) if is_update => kept_oid(trigger, given),
        _ => role::by_name(given).unwrap_or(pg_sys::InvalidOid),
    };
    row.put(ROLE_OID as usize - 1, Some(Datum::from(role)));
    if table.descriptor().width() == COLUMNS.len() {
        row.put(NODE as usize - 1, node.map(Datum::from));
    }
    trigger.go_on_with(row.form(table.descriptor()))
}

/// Whether it is the table of grants, or a copy of it on a node of Citus.
fn is_grants(name: &str) -> bool {
    let rest = name.strip_prefix("tenant_grants");
    rest.is_some_and(|rest| {
        let number = rest.strip_prefix('_');
        rest.is_empty() || number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn oid_of(row: &Values) -> Oid {
    row.at(ROLE_OID as usize - 1).map_or(pg_sys::InvalidOid, Datum::oid)
}

/// Whether an update leaves the role as it is, and the OID is this node's. distribute() updates all rows for the nodes
/// that do not know the roles yet. On the others, a name may by now be another role's.
fn is_known(trigger: TriggerCall, row: &Values) -> bool {
    let old = trigger.row().values();
    let is_same_role = old.at(ROLE as usize - 1).map(name) == row.at(ROLE as usize - 1).map(name);
    is_same_role && oid_of(&old) == oid_of(row) && is_of_node(old.at(NODE as usize - 1))
}

/// The OID for an update of a node's copy. A new name in the row is that of the same role, by which other nodes find
/// it; this node may not have the new name yet, because Citus does not pass a new name on.
fn kept_oid(trigger: TriggerCall, given: &CStr) -> Oid {
    let old = trigger.row().values();
    let is_renamed = old.at(ROLE as usize - 1).map(name) != Some(given);
    if is_renamed && is_of_node(old.at(NODE as usize - 1)) && role::known_name(oid_of(&old)).is_some() {
        return oid_of(&old);
    }
    role::by_name(given).unwrap_or(pg_sys::InvalidOid)
}

/// Does on this node what grant_tenant() and revoke_tenant() have to do on all.
fn obey(trigger: TriggerCall, row: &Values, given: &CStr) {
    let (table, order) = (trigger.relation(), oid_of(row));
    let user = role::current();
    if order != GIVE && order != END || user != table.owner() && !role::is_superuser_role(user) {
        return;
    }
    let mode = Mode::of(row.at(MODE as usize - 1));
    if order == GIVE {
        let shown = given.to_string_lossy();
        if role::by_name(given).is_none() {
            Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" does not exist on every node"))
                .field("role")
                .hint("Create the role on the coordinator. Citus then creates it on every node.")
                .raise()
        }
        return membership::give(table, mode, &shown);
    }
    let old = trigger.row().values();
    let named = row.at(GRANTED_BY as usize - 1).and_then(|role| CString::new(text(role)).ok());
    let mut roles = Vec::from_iter(named.and_then(|named| role::by_name(&named)));
    if is_of_node(old.at(NODE as usize - 1)) && role::known_name(oid_of(&old)).is_some() {
        roles.push(oid_of(&old));
    }
    roles.dedup();
    for role in roles {
        membership::end(table, role, mode);
    }
}

/// Accepts grants from grant_tenant(), which runs with the owner's rights, and from a dump that is
/// being restored. Raises 42501 for any other.
fn allow_insert(table: Relation, role: &CStr) {
    let user = role::current();
    if user == table.owner() || role::is_superuser_role(user) {
        return;
    }
    let role = role.to_string_lossy();
    let why = match settings::RESTORE.get() {
        true if is_extension_role(&role) => {
            "It is one of the extension's own roles, and the tenant would apply to all its members."
        }
        true => {
            let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
            return seam::forget(events.get());
        }
        false => "No dump is being restored.",
    };
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("a grant to role \"{role}\" cannot be inserted into tenant_grants"),
    )
    .detail(why)
    .hint(
        "Use immutable.grant_tenant(), which records the grant in the log. To restore a dump, \
         SET immutable.restore = on.",
    )
    .raise()
}
