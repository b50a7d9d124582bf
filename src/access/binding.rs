//! The tenants that a writer is bound to.

use crate::access::client;
use crate::access::grants_table::{grants, hold_to_known, rows_of, Mode, ROLE, ROLE_OID, TENANT_ID};
use crate::access::proof::{require_recording, Opened};
use crate::log::shared_table::is_session_of_citus;
use crate::log::small_table::SmallTable;
use crate::log::{captured, columns as c, session_context};
use crate::pg::call::Call;
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::role;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;

/// What holds a writer: its roles, and its proof.
struct Held {
    roles: Vec<Vec<String>>,
    proof: Opened,
    /// Whether any role is bound.
    is_any_bound: bool,
    /// The seal that the last event came with, and the tenants of the roles behind it.
    behind: RefCell<Option<Behind>>,
}

/// A seal, and the tenants of the roles that it names.
type Behind = (Option<String>, Vec<Vec<String>>);

/// Read once in a statement. Raises 28000 and 42501 for a proof that opens no recording.
fn held<'c>(call: Call<'c>) -> &'c Held {
    call.once(|| {
        let proof = require_recording();
        // Every statement that inserts calls this. If no role is bound, no index is read.
        let table = grants(pg_sys::AccessShareLock);
        let is_any_bound = !table.is_empty();
        let roles = if is_any_bound { bound_to(&table, own_roles()) } else { Vec::new() };
        Held { proof, roles, is_any_bound, behind: RefCell::default() }
    })
}

impl Held {
    /// The tenants of the roles behind an event that comes from another node with this seal; see [`client`].
    fn behind(&self, seal: Option<&str>) -> Vec<Vec<String>> {
        let mut known = self.behind.borrow_mut();
        match &mut *known {
            Some((of, bound)) if of.as_deref() == seal => bound.clone(),
            known => {
                let bound = bound_to(&grants(pg_sys::AccessShareLock), client::roles_behind(seal));
                *known = Some((seal.map(str::to_string), bound.clone()));
                bound
            }
        }
    }
}

/// The tenant that the proof opens, if it opens one alone: events that name none are that tenant's.
pub fn tenant_of_proof<'c>(call: Call<'c>) -> Option<&'c str> {
    held(call).proof.tenant_id.as_deref()
}

/// The API key whose proof the session shows, if it does.
pub fn key_of_proof(call: Call) -> Option<Id> {
    held(call).proof.key
}

/// Refuses a tenant that the caller is not bound to (42501). The chain's trigger calls this instead
/// of a policy, because the owner of the function that inserts may bypass row security, and because
/// a bound caller must neither wait for another tenant's lanes nor learn about its keys.
///
/// `seal` is what an event at a shard came with. In a session of Citus', the client's roles count like the session's.
pub fn hold_to_binding(call: Call, tenant_id: &str, is_at_shard: bool, seal: Option<&str>) {
    let held = held(call);
    held.proof.hold_to("tenant_id", tenant_id);
    let mut bound = &held.roles;
    let mut of_all;
    if is_at_shard && held.is_any_bound && is_session_of_citus() {
        of_all = held.behind(seal.map(str::to_string).or_else(client::passed).as_deref());
        of_all.extend(bound.iter().cloned());
        bound = &of_all;
    }
    if !is_common(bound, tenant_id) {
        refuse_other_tenant(bound, tenant_id);
    }
}

fn refuse_other_tenant(bound: &[Vec<String>], tenant_id: &str) -> ! {
    let common: Vec<&str> = bound[0].iter().map(String::as_str).filter(|tenant| is_common(bound, tenant)).collect();
    let Some(first) = common.first() else {
        let each: Vec<String> = bound.iter().map(|allowed| shown(allowed.iter().map(String::as_str))).collect();
        let each = each.join(", another to ");
        refuse(
            format!("the roles of this session are bound to different tenants: one to {each}"),
            "Connect as one of these roles, and use neither SET ROLE nor a function that runs \
             with another role's rights."
                .to_string(),
        )
    };
    if captured::are_appended() {
        let whose =
            if tenant_id.is_empty() { "no tenant".to_string() } else { format!("tenant {}", quoted(tenant_id)) };
        refuse(
            format!("tenant_id must be {}: a row of {whose} was changed", shown(common.iter().copied())),
            "The role cannot record for another tenant. Change rows of its own tenant only, or as another role. An \
             administrator can bind the role to another tenant with immutable.grant_tenant()."
                .to_string(),
        )
    }
    let setting = match session_context::source_of(c::TENANT_ID, tenant_id) {
        Some(setting) => format!("The tenant comes from {setting}. Set it to {}.", quoted(first)),
        None if tenant_id.is_empty() => format!("Give tenant_id, or set immutable.tenant_id to {}.", quoted(first)),
        None => format!("Leave tenant_id out, and set immutable.tenant_id to {}.", quoted(first)),
    };
    refuse(
        format!("tenant_id must be {}: the role cannot record for another tenant", shown(common.iter().copied())),
        format!("{setting} An administrator can bind the role to another tenant with immutable.grant_tenant()."),
    )
}

/// Whether every role that is bound is bound to this tenant.
fn is_common(bound: &[Vec<String>], tenant_id: &str) -> bool {
    bound.iter().all(|allowed| allowed.iter().any(|allowed| allowed == tenant_id))
}

fn refuse(message: String, hint: String) -> ! {
    Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message).field("tenant_id").hint(hint).raise()
}

fn quoted(tenant: &str) -> String {
    format!("\"{tenant}\"")
}

/// At most three of them, for a message.
fn shown<'a>(tenants: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = if tenants.len() > 3 { ", …" } else { "" };
    let first: Vec<String> = tenants.take(3).map(quoted).collect();
    format!("{}{more}", first.join(" or "))
}

/// The caller's roles. Not only the current role counts: neither SET ROLE nor a function that runs with its
/// owner's rights lifts a binding.
fn own_roles() -> Vec<Oid> {
    let mut roles = vec![role::current()];
    for role in [role::outer(), role::session()] {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

/// The tenants that each of these roles is bound to.
fn bound_to(table: &SmallTable, mut roles: Vec<Oid>) -> Vec<Vec<String>> {
    // A superuser has the rights of every role, but is not bound.
    roles.retain(|role| !role::is_superuser_role(*role));
    if !roles.is_empty() {
        // A binding outlasts a new name, so that without its OID any role may be the one that is bound.
        hold_to_known(table, Mode::Write, |_| true);
    }
    roles.into_iter().map(|role| bindings(table, role)).filter(|tenants| !tenants.is_empty()).collect()
}

/// The tenants that a role may record for, if it is bound: its own, or else those of the roles
/// whose rights it inherits, because it has the right to insert from them. A member of a bound role
/// is bound like that role.
fn bindings(table: &SmallTable, role: Oid) -> Vec<String> {
    let writers = role::by_name(Mode::Write.group());
    let mut known = vec![role];
    let mut tenants = Vec::new();
    let mut next = 0;
    while let Some(each) = known.get(next).copied() {
        next += 1;
        tenants.extend(bound_itself(table, each));
        if each == role && !tenants.is_empty() {
            break;
        }
        for group in role::groups(each) {
            // Every writer is a member of immutable_writer, which therefore binds no role.
            if Some(group) != writers && !known.contains(&group) && role::has_rights_of(role, group) {
                known.push(group);
            }
        }
    }
    tenants
}

/// The tenants that a role was bound to itself. The row may match by OID or by name, because a
/// binding must outlast a new name, and a restore that came before the roles.
fn bound_itself(table: &SmallTable, role: Oid) -> Vec<String> {
    let mut tenants = Vec::new();
    let Some(name) = role::known_name(role) else { return tenants };
    here(|memory| {
        for (role, by) in [(Datum::from(role), ROLE_OID), (memory.name(&name), ROLE)] {
            rows_of(table, role, by, Mode::Write, |row| {
                let tenant = row.at(TENANT_ID).map_or("", text);
                if !tenants.iter().any(|known| known == tenant) {
                    tenants.push(tenant.to_string());
                }
            });
        }
    });
    tenants
}
