//! The tenants that a writer is bound to.

use crate::access::grants_table::{grants, rows_of, Mode, ROLE, ROLE_OID};
use crate::log::small_table::Table;
use crate::log::{columns as c, session_context};
use crate::pg::call::{once, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use pgrx::pg_sys::{self, Oid};

/// Refuses a tenant that the caller is not bound to. The chain's trigger asks, not a policy: whoever owns the function
/// that inserts may pass row security by, and nobody bound is to wait for another tenant's lanes, or to meet its keys.
pub fn hold_to_binding(call: Call, tenant_id: &str) {
    let bound = once(call, || bound_to());
    if bound.iter().all(|allowed| allowed.iter().any(|allowed| allowed == tenant_id)) {
        return;
    }
    let common: Vec<&str> = bound[0]
        .iter()
        .map(String::as_str)
        .filter(|tenant| bound.iter().all(|allowed| allowed.iter().any(|allowed| allowed == tenant)))
        .collect();
    let fault = |message: String, hint: String| {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message).field("tenant_id").hint(hint).raise()
    };
    let Some(first) = common.first() else {
        let each: Vec<String> = bound.iter().map(|allowed| shown(allowed.iter().map(String::as_str))).collect();
        fault(
            format!(
                "no tenant_id can be recorded: the roles of this session record for {} alone",
                each.join(", and for ")
            ),
            "Do it as one of these roles only: connect as it, and neither SET ROLE nor call another's function."
                .to_string(),
        )
    };
    let setting = match session_context::source_of(c::TENANT_ID, tenant_id) {
        Some(setting) => format!("{setting} is another: set it to {}.", quoted(first)),
        None if tenant_id.is_empty() => format!("Give it, or set immutable.tenant_id to {}.", quoted(first)),
        None => format!("Leave tenant_id out, with immutable.tenant_id set to {}.", quoted(first)),
    };
    fault(
        format!("tenant_id must be {}: the role records for that tenant alone", shown(common.iter().copied())),
        format!("{setting} To record for others is for whoever grants to decide: immutable.grant_tenant()."),
    )
}

pub fn quoted(tenant: &str) -> String {
    format!("\"{tenant}\"")
}

/// At most three of them.
pub fn shown<'a>(tenants: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = if tenants.len() > 3 { ", …" } else { "" };
    let first: Vec<String> = tenants.take(3).map(quoted).collect();
    format!("{}{more}", first.join(" or "))
}

/// The tenants that each of the caller's roles is bound to. Not the current role's alone: who is a member of a role may
/// set it, and must not leave the binding behind; nor does a function that lends its owner's rights lift it.
fn bound_to() -> Vec<Vec<String>> {
    let mut roles = vec![pg_sys::GetUserId()];
    for role in [pg_sys::GetOuterUserId(), pg_sys::GetSessionUserId()] {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let mut bound = Vec::new();
    // Every statement that inserts asks. Where nobody is bound, it costs no look into an index.
    let table = grants(pg_sys::AccessShareLock);
    if table.is_empty() {
        return bound;
    }
    for role in roles {
        // A superuser has every role's rights and was bound by nobody.
        if !pg_sys::superuser_arg(role) {
            let tenants = bindings(&table, role);
            if !tenants.is_empty() {
                bound.push(tenants);
            }
        }
    }
    bound
}

/// The tenants that a role may record for, if it is bound: its own, or else those of the roles whose rights it inherits,
/// since with them it has the right to insert. Whoever joins a bound team is bound as the team is.
fn bindings(table: &Table, role: Oid) -> Vec<String> {
    let writers = pg_sys::get_role_oid(Mode::Write.group().as_ptr(), true);
    let mut known = vec![role];
    let mut tenants = Vec::new();
    let mut next = 0;
    while let Some(each) = known.get(next).copied() {
        next += 1;
        tenants.extend(bound_itself(table, each));
        if each == role && !tenants.is_empty() {
            break;
        }
        for group in groups(each) {
            // That all writers are members of it binds none.
            if group != writers && !known.contains(&group) && pg_sys::has_privs_of_role(role, group) {
                known.push(group);
            }
        }
    }
    tenants
}

/// The roles that a role is a member of.
fn groups(role: Oid) -> Vec<Oid> {
    let none = Datum::from(0usize);
    let cache = pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32;
    // Its place differs from one PostgreSQL to the next.
    let catalog = pg_sys::get_namespace_oid(c"pg_catalog".as_ptr(), false);
    let members = pg_sys::get_relname_relid(c"pg_auth_members".as_ptr(), catalog);
    let roleid = pg_sys::get_attnum(members, c"roleid".as_ptr());
    let list = pg_sys::SearchSysCacheList(cache, 1, Datum::from(role), none, none);
    let members = std::slice::from_raw_parts((*list).members.as_ptr(), (*list).n_members as usize);
    let mut groups = Vec::with_capacity(members.len());
    for member in members {
        let mut null = false;
        let group = pg_sys::SysCacheGetAttr(cache, std::ptr::addr_of_mut!((**member).tuple), roleid, &mut null);
        groups.push(Oid::from(group.value() as u32));
    }
    pg_sys::ReleaseCatCacheList(list);
    groups
}

/// The tenants that a role has been bound to itself. Here number or name will do: what takes a right away must outlast
/// a new name, and a restore that came before the roles.
fn bound_itself(table: &Table, role: Oid) -> Vec<String> {
    let mut tenants = Vec::new();
    let name = pg_sys::GetUserNameFromId(role, true);
    if name.is_null() {
        return tenants;
    }
    for (role, by) in [(Datum::from(role), ROLE_OID), (Datum::from(name), ROLE)] {
        rows_of(table, role, by, Mode::Write, |row| {
            let tenant = text(row.values[2]);
            if !tenants.iter().any(|known| known == tenant) {
                tenants.push(tenant.to_string());
            }
        });
    }
    tenants
}
