//! Grants: which roles read or record which tenants; they are given and taken here.

use crate::access::decision::decide;
use crate::access::grant_row::{is_extension_role, END, GIVE};
use crate::access::grants_table::{grants, has_own_oid, rows_of, Mode, ROLE, ROLE_OID};
use crate::access::membership;
use crate::access::token::parse_identity;
use crate::log::own_event::{login, LogEvent};
use crate::log::small_table::SmallTable;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{name, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::role;
use crate::pg::spi::Arg;
use crate::pg::transaction::now_in_seconds;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// The argument `role`; raises 22004 if it is NULL.
fn role_name(call: Call<'_>) -> &CStr {
    name(call.required(0, "role", "Name a role."))
}

sql_function!(immutable_grant_tenant, pg_finfo_immutable_grant_tenant, grant_tenant);

/// `immutable.grant_tenant(role, tenant_id, mode)`
fn grant_tenant(call: Call) -> Datum {
    let name = role_name(call);
    let tenant_id = parse_identity("tenant_id", call.arg(1)).unwrap_or_default();
    let mode = Mode::of(call.arg(2));
    let role = role_to_bind(name, mode);
    let shown = name.to_string_lossy();
    let table = grants(pg_sys::RowExclusiveLock);
    // A grant to the same role under another name is replaced as well.
    for other in names_of(&table, role, mode).iter().filter(|other| other.as_c_str() != name) {
        delete(&table, other, mode);
    }
    // On another node, session_user is the owner.
    table.execute(
        "INSERT INTO immutable.tenant_grants (role, mode, tenant_id, role_oid, granted_at, granted_by) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (role, mode) DO UPDATE SET tenant_id = excluded.tenant_id, role_oid = excluded.role_oid, \
             granted_at = excluded.granted_at, granted_by = excluded.granted_by",
        &[
            Arg::given(pg_sys::NAMEOID, call.arg(0)),
            Arg::text(mode.text()),
            Arg::text(&*tenant_id),
            Arg::Oid(if table.is_shared() { GIVE } else { pg_sys::InvalidOid }),
            Arg::seconds(now_in_seconds()),
            Arg::text(login()),
        ],
    );
    if !table.is_shared() {
        membership::give(table.relation(), mode, &shown);
    }
    record_decision("immutable.tenant_granted", &shown, mode, &tenant_id);
    call.void()
}

/// The role of that name. Raises 42704 if there is none, and 22023 if row security does not apply
/// to it.
fn role_to_bind(name: &CStr, mode: Mode) -> Oid {
    let shown = name.to_string_lossy();
    let role = role::by_name(name).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" does not exist"))
            .field("role")
            .hint("Create the role first.")
            .raise()
    });
    if let Some(why) = not_held(role, &shown, mode) {
        Fault::invalid("role", format!("role \"{shown}\" cannot be bound to a tenant: {why}"))
            .hint("Create a login role for the tenant, and bind that role.")
            .raise()
    }
    role
}

/// Why a role cannot be bound to a tenant; None if it can.
fn not_held(role: Oid, name: &str, mode: Mode) -> Option<&'static str> {
    if is_extension_role(name) {
        return Some("it is one of the extension's own roles, and the tenant would apply to all its members");
    }
    if role::is_superuser_role(role) || role::bypasses_row_security(role) {
        return Some("row security does not apply to superusers or to roles with BYPASSRLS");
    }
    let auditor = role::by_name(c"immutable_auditor");
    let reads_all = auditor.is_some_and(|auditor| role::has_rights_of(role, auditor));
    (mode == Mode::Read && reads_all).then_some("it is a member of immutable_auditor, which sees every tenant")
}

fn record_decision(action: &str, role: &str, mode: Mode, tenant_id: &str) {
    decide(&LogEvent {
        action,
        resource_type: Some("role"),
        resource_id: Some(role),
        metadata: &[("mode", mode.text()), ("tenant_id", tenant_id)],
        ..LogEvent::default()
    });
}

/// The names by which a role has grants of a mode.
fn names_of(table: &SmallTable, role: Oid, mode: Mode) -> Vec<CString> {
    let mut names = Vec::new();
    rows_of(table, Datum::from(role), ROLE_OID, mode, |row| names.extend(row.at(0).map(|role| name(role).to_owned())));
    names
}

/// Deletes a grant. Returns its tenant, unless there was none.
fn delete(table: &SmallTable, role: &CStr, mode: Mode) -> Option<String> {
    let mut tenant = None;
    here(|memory| {
        table.returning(
            "DELETE FROM immutable.tenant_grants WHERE role OPERATOR(pg_catalog.=) $1 AND mode OPERATOR(pg_catalog.=) $2 \
             RETURNING tenant_id",
            &[Arg::given(pg_sys::NAMEOID, Some(memory.name(role))), Arg::text(mode.text())],
            |row| tenant = row.at(0).map(|tenant| text(tenant).to_string()),
        );
    });
    tenant
}

sql_function!(immutable_revoke_tenant, pg_finfo_immutable_revoke_tenant, revoke_tenant);

/// `immutable.revoke_tenant(role, mode)`
fn revoke_tenant(call: Call) -> Datum {
    let shown = role_name(call).to_string_lossy();
    let mode = Mode::of(call.arg(1));
    let table = grants(pg_sys::RowExclusiveLock);
    let taken = Taken::of(&table, role_name(call), mode);
    if table.is_shared() {
        taken.end_on_all_nodes(&table, role_name(call), mode);
    }
    let tenants: Vec<String> = taken.names.iter().filter_map(|name| delete(&table, name, mode)).collect();
    if tenants.is_empty() {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" has no grant of mode {}", mode.text()))
            .field("role")
            .hint("The table immutable.tenant_grants lists all grants.")
            .raise()
    }
    for tenant_id in &tenants {
        record_decision("immutable.tenant_revoked", &shown, mode, tenant_id);
    }
    if !table.is_shared() {
        for role in taken.roles {
            membership::end(table.relation(), role, mode);
        }
    }
    call.void()
}

/// What a revocation takes: the grants by the role's name of today and by that of the grant.
struct Taken {
    /// The names in the grants.
    names: Vec<CString>,
    /// The roles that lose the membership.
    roles: Vec<Oid>,
}

impl Taken {
    fn of(table: &SmallTable, given: &CStr, mode: Mode) -> Taken {
        let role = role::by_name(given);
        let mut taken = Taken { names: Vec::new(), roles: Vec::from_iter(role) };
        here(|memory| {
            rows_of(table, memory.name(given), ROLE, mode, |row| {
                taken.names.push(given.to_owned());
                let granted = row.at(ROLE_OID as usize - 1).filter(|_| has_own_oid(table, row)).map(Datum::oid);
                let is_other = |granted: &Oid| role != Some(*granted) && role::known_name(*granted).is_some();
                taken.roles.extend(granted.filter(is_other));
            });
        });
        if let Some(role) = role {
            taken.names.extend(names_of(table, role, mode));
        }
        taken.names.sort();
        taken.names.dedup();
        taken
    }

    /// Makes the trigger end the memberships on every node, where the roles have other OIDs.
    fn end_on_all_nodes(&self, table: &SmallTable, given: &CStr, mode: Mode) {
        for name in &self.names {
            here(|memory| {
                table.execute(
                    "UPDATE immutable.tenant_grants SET role_oid = $3, granted_by = $4 \
                     WHERE role OPERATOR(pg_catalog.=) $1 AND mode OPERATOR(pg_catalog.=) $2",
                    &[
                        Arg::given(pg_sys::NAMEOID, Some(memory.name(name))),
                        Arg::text(mode.text()),
                        Arg::Oid(END),
                        Arg::text(given.to_string_lossy()),
                    ],
                );
            });
        }
    }
}
