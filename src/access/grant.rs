//! Grants: which roles read or record which tenants; they are given and taken here.

use crate::access::decision::decide;
use crate::access::grants_table::{grants, Mode, COLUMNS, ROLE, ROLE_OID};
use crate::access::token::parse_identity;
use crate::log::own_event::LogEvent;
use crate::log::seam;
use crate::log::small_table::SmallTable;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{name, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{OpenRelation, Relation};
use crate::pg::role;
use crate::pg::spi::Arg;
use crate::pg::transaction::now_in_seconds;
use crate::pg::trigger::{BEFORE_INSERT_ROW, BEFORE_UPDATE_ROW};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

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
    let given = Arg::given(pg_sys::NAMEOID, call.arg(0));
    // A grant to the same role under another name is replaced as well.
    table.execute(
        "DELETE FROM immutable.tenant_grants WHERE role_oid OPERATOR(pg_catalog.=) $1 \
         AND mode OPERATOR(pg_catalog.=) $2 AND role OPERATOR(pg_catalog.<>) $3",
        &[Arg::Oid(role), Arg::text(mode.text()), given.clone()],
    );
    table.execute(
        "INSERT INTO immutable.tenant_grants (role, mode, tenant_id, role_oid, granted_at, granted_by) \
         VALUES ($1, $2, $3, 0, $4, session_user) \
         ON CONFLICT (role, mode) DO UPDATE SET tenant_id = excluded.tenant_id, granted_at = excluded.granted_at, \
             granted_by = excluded.granted_by",
        &[given, Arg::text(mode.text()), Arg::text(&*tenant_id), Arg::seconds(now_in_seconds())],
    );
    membership(&table, "GRANT", "TO", mode, &shown);
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

/// Whether it is one of the extension's own roles.
fn is_extension_role(name: &str) -> bool {
    name.starts_with("immutable_")
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

/// Makes a role a member of the mode's group, or ends the membership.
fn membership(table: &SmallTable, verb: &str, preposition: &str, mode: Mode, role: &str) {
    let group = mode.group().to_string_lossy();
    table.execute(&format!("{verb} {group} {preposition} {}", role::quoted(role)), &[]);
}

sql_function!(immutable_revoke_tenant, pg_finfo_immutable_revoke_tenant, revoke_tenant);

/// `immutable.revoke_tenant(role, mode)`
fn revoke_tenant(call: Call) -> Datum {
    let shown = role_name(call).to_string_lossy();
    let mode = Mode::of(call.arg(1));
    let table = grants(pg_sys::RowExclusiveLock);
    let (roles, tenants) = delete_grants(&table, call, mode);
    if tenants.is_empty() {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" has no grant of mode {}", mode.text()))
            .field("role")
            .hint("The table immutable.tenant_grants lists all grants.")
            .raise()
    }
    for tenant_id in &tenants {
        record_decision("immutable.tenant_revoked", &shown, mode, tenant_id);
    }
    if let Some(group) = role::by_name(mode.group()) {
        for role in roles {
            end_membership(&table, role, mode, group);
        }
    }
    call.void()
}

/// Deletes a role's grants of a mode. They are found by the role's current name and by the name at
/// the time of the grant. Returns the roles that lose the membership, and the tenants.
fn delete_grants(table: &SmallTable, call: Call, mode: Mode) -> (Vec<Oid>, Vec<String>) {
    let role = role::by_name(role_name(call));
    let mut roles = Vec::from_iter(role);
    let mut tenants = Vec::new();
    table.returning(
        "DELETE FROM immutable.tenant_grants WHERE mode OPERATOR(pg_catalog.=) $1 AND (role OPERATOR(pg_catalog.=) $2 \
         OR role_oid OPERATOR(pg_catalog.=) $3 AND role_oid OPERATOR(pg_catalog.<>) 0) RETURNING role_oid, tenant_id",
        &[
            Arg::text(mode.text()),
            Arg::given(pg_sys::NAMEOID, call.arg(0)),
            Arg::Oid(role.unwrap_or(pg_sys::InvalidOid)),
        ],
        |row| {
            tenants.push(row.at(1).map_or("", text).to_string());
            let granted = row.at(0).map_or(pg_sys::InvalidOid, Datum::oid);
            if !roles.contains(&granted) && role::known_name(granted).is_some() {
                roles.push(granted);
            }
        },
    );
    (roles, tenants)
}

/// Ends a role's membership in the mode's group. Raises 55000 if the role would still be a member
/// through another grant.
fn end_membership(table: &SmallTable, role: Oid, mode: Mode, group: Oid) {
    let shown = role::name(role);
    membership(table, "REVOKE", "FROM", mode, &shown);
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

sql_function!(immutable_bind_role, pg_finfo_immutable_bind_role, bind_role);

/// The trigger of tenant_grants. It looks up the role's OID, because a dump contains the OIDs of
/// another cluster.
fn bind_role(call: Call) -> Datum {
    let is_update = call.any_trigger().operation() == pg_sys::TRIGGER_EVENT_UPDATE;
    let trigger = call.trigger(if is_update { BEFORE_UPDATE_ROW } else { BEFORE_INSERT_ROW });
    let table = trigger.relation();
    if table.name() != "tenant_grants" || !table.descriptor().is_of(&COLUMNS) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is not a table of tenant grants", table.name()),
        )
        .raise()
    }
    let new = if is_update { trigger.new_row() } else { trigger.row() };
    let mut row = new.values();
    let Some(role) = row.at(ROLE as usize - 1).map(name) else {
        return trigger.go_on_with(new); // the column's own NOT NULL says it
    };
    if !is_update {
        allow_insert(table, role);
    }
    let role = role::by_name(role).unwrap_or(pg_sys::InvalidOid);
    row.put(ROLE_OID as usize - 1, Some(Datum::from(role)));
    trigger.go_on_with(row.form(table.descriptor()))
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
