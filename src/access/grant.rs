//! Grants: which roles read or record which tenants; they are given and taken here.

use crate::access::decision::decide;
use crate::access::grants_table::{grants, Mode, ROLE_OID};
use crate::access::scope::BEFORE_UPDATE_ROW;
use crate::access::token::identity;
use crate::log::own_event::Own;
use crate::log::seam;
use crate::log::small_table::Table;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{now, text, text_datum, timestamptz_of_seconds, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::Relation;
use crate::pg::trigger::{trigger_data, BEFORE_INSERT_ROW};
use crate::pg::tuple::Values;
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

fn role_name(call: Call) -> CString {
    let Some(role) = call.arg(0) else {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "role must not be NULL")
            .field("role")
            .hint("Name a role.")
            .raise()
    };
    CStr::from_ptr(role.cast_mut_ptr()).to_owned()
}

sql_function!(immutable_grant_tenant, pg_finfo_immutable_grant_tenant, grant_tenant);

/// `immutable.grant_tenant(role, tenant_id, mode)`
fn grant_tenant(call: Call) -> Datum {
    let name = role_name(call);
    let tenant_id = identity("tenant_id", call.arg(1)).unwrap_or_default();
    let mode = Mode::of(call.arg(2));
    let role = pg_sys::get_role_oid(name.as_ptr(), true);
    let shown = name.to_string_lossy();
    if role == pg_sys::InvalidOid {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" does not exist"))
            .field("role")
            .hint("CREATE ROLE it first.")
            .raise()
    }
    if let Some(why) = not_held(role, &shown, mode) {
        Fault::invalid("role", format!("role \"{shown}\" cannot be bound to a tenant: {why}"))
            .hint("Bind a login role of its own.")
            .raise()
    }
    let table = grants(pg_sys::RowExclusiveLock);
    // What it was granted under another name is replaced as well.
    table.execute(
        "DELETE FROM immutable.tenant_grants WHERE role_oid OPERATOR(pg_catalog.=) $1 \
         AND mode OPERATOR(pg_catalog.=) $2 AND role OPERATOR(pg_catalog.<>) $3",
        &[pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::NAMEOID],
        &[Some(Datum::from(role)), Some(text_datum(mode.text())), call.arg(0)],
    );
    table.execute(
        "INSERT INTO immutable.tenant_grants (role, mode, tenant_id, role_oid, granted_at, granted_by) \
         VALUES ($1, $2, $3, 0, $4, session_user) \
         ON CONFLICT (role, mode) DO UPDATE SET tenant_id = excluded.tenant_id, granted_at = excluded.granted_at, \
             granted_by = excluded.granted_by",
        &[pg_sys::NAMEOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
        &[
            call.arg(0),
            Some(text_datum(mode.text())),
            Some(text_datum(&tenant_id)),
            Some(timestamptz_of_seconds(now())),
        ],
    );
    membership(&table, "GRANT", "TO", mode, &name);
    record_decision("immutable.tenant_granted", &shown, mode, &tenant_id);
    Datum::from(0usize)
}

fn is_own_role(name: &str) -> bool {
    name.starts_with("immutable_")
}

/// Why row security would not hold a role to its tenant.
fn not_held(role: Oid, name: &str, mode: Mode) -> Option<&'static str> {
    if is_own_role(name) {
        return Some("it is one of the extension's own, whose members would all have the tenant");
    }
    if pg_sys::superuser_arg(role) || pg_sys::has_bypassrls_privilege(role) {
        return Some("row security does not hold superusers, nor roles with BYPASSRLS");
    }
    let auditor = pg_sys::get_role_oid(c"immutable_auditor".as_ptr(), true);
    let reads_all = auditor != pg_sys::InvalidOid && pg_sys::has_privs_of_role(role, auditor);
    (mode == Mode::Read && reads_all).then_some("it is a member of immutable_auditor, which sees every tenant")
}

fn record_decision(action: &str, role: &str, mode: Mode, tenant_id: &str) {
    decide(&Own {
        action,
        resource_type: Some("role"),
        resource_id: Some(role),
        metadata: &[("mode", mode.text()), ("tenant_id", tenant_id)],
        ..Own::default()
    });
}

fn membership(table: &Table, verb: &str, preposition: &str, mode: Mode, name: &CStr) {
    let quoted = CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())).to_string_lossy();
    let group = mode.group().to_string_lossy();
    table.execute(&format!("{verb} {group} {preposition} {quoted}"), &[], &[]);
}

sql_function!(immutable_revoke_tenant, pg_finfo_immutable_revoke_tenant, revoke_tenant);

/// `immutable.revoke_tenant(role, mode)`
fn revoke_tenant(call: Call) -> Datum {
    let name = role_name(call);
    let mode = Mode::of(call.arg(1));
    let shown = name.to_string_lossy();
    let table = grants(pg_sys::RowExclusiveLock);
    let role = pg_sys::get_role_oid(name.as_ptr(), true);
    // Under its name of today, or the one it was granted under: whoever is bound by the grant loses the membership.
    let mut roles = if role == pg_sys::InvalidOid { Vec::new() } else { vec![role] };
    let mut revoked = Vec::new();
    table.returning(
        "DELETE FROM immutable.tenant_grants WHERE mode OPERATOR(pg_catalog.=) $1 AND (role OPERATOR(pg_catalog.=) $2 \
         OR role_oid OPERATOR(pg_catalog.=) $3 AND role_oid OPERATOR(pg_catalog.<>) 0) RETURNING role_oid, tenant_id",
        &[pg_sys::TEXTOID, pg_sys::NAMEOID, pg_sys::OIDOID],
        &[Some(text_datum(mode.text())), call.arg(0), Some(Datum::from(role))],
        |row| {
            revoked.push(text(row.values[1]).to_string());
            let granted = Oid::from(row.values[0].value() as u32);
            if !roles.contains(&granted) && !pg_sys::GetUserNameFromId(granted, true).is_null() {
                roles.push(granted);
            }
        },
    );
    if revoked.is_empty() {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" has no grant of mode {}", mode.text()))
            .field("role")
            .hint("immutable.tenant_grants lists them.")
            .raise()
    }
    for tenant_id in &revoked {
        record_decision("immutable.tenant_revoked", &shown, mode, tenant_id);
    }
    let group = pg_sys::get_role_oid(mode.group().as_ptr(), true);
    if group == pg_sys::InvalidOid {
        return Datum::from(0usize);
    }
    for role in roles {
        let name = CStr::from_ptr(pg_sys::GetUserNameFromId(role, false));
        membership(&table, "REVOKE", "FROM", mode, name);
        if pg_sys::is_member_of_role_nosuper(role, group) {
            let (shown, group) = (name.to_string_lossy(), mode.group().to_string_lossy());
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("role \"{shown}\" would still be a member of {group}, and no longer bound to a tenant"),
            )
            .field("role")
            .hint(format!("Revoke what makes it a member of {group} first, whoever granted it."))
            .raise()
        }
    }
    Datum::from(0usize)
}

sql_function!(immutable_bind_role, pg_finfo_immutable_bind_role, bind_role);

/// The trigger of tenant_grants. A restored dump brings names; the numbers of its roles are others here.
fn bind_role(call: Call) -> Datum {
    let context = (*call.0).context;
    let is_update = !context.is_null()
        && (*context).type_ == pg_sys::NodeTag::T_TriggerData
        && (*context.cast::<pg_sys::TriggerData>()).tg_event & pg_sys::TRIGGER_EVENT_OPMASK
            == pg_sys::TRIGGER_EVENT_UPDATE;
    let data = trigger_data(call, if is_update { BEFORE_UPDATE_ROW } else { BEFORE_INSERT_ROW });
    let descriptor = data.tg_relation.descriptor();
    let new = if is_update { data.tg_newtuple } else { data.tg_trigtuple };
    if crate::pg::relation::data.tg_relation.name() != "tenant_grants" || (*descriptor).natts != 6 {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is no table of tenant grants", crate::pg::relation::data.tg_relation.name()),
        )
        .raise()
    }
    let mut row = Values::of(new, descriptor);
    if row.nulls[0] {
        return Datum::from(new); // the column's own NOT NULL says it
    }
    if !is_update {
        allow_insert(data.tg_relation, &row);
    }
    let place = ROLE_OID as usize - 1;
    row.values[place] = Datum::from(pg_sys::get_role_oid(row.values[0].cast_mut_ptr(), true));
    row.nulls[place] = false;
    Datum::from(pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr()))
}

/// Grants come from grant_tenant(), with the owner's rights, and from a dump that is restored.
fn allow_insert(relation: Relation, row: &Values) {
    let user = pg_sys::GetUserId();
    if user == relation.owner() || pg_sys::superuser_arg(user) {
        return;
    }
    let role = CStr::from_ptr(row.values[0].cast_mut_ptr()).to_string_lossy();
    let why = match settings::RESTORE.get() {
        true if is_own_role(&role) => {
            "It is one of the extension's own roles, whose members would all have the tenant."
        }
        true => {
            let events = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
            seam::forget(events);
            return pg_sys::table_close(events, pg_sys::NoLock as i32);
        }
        false => "It is not in a dump that is restored.",
    };
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("tenant_grants takes no grant of a tenant to role \"{role}\" from elsewhere"),
    )
    .detail(why)
    .hint("immutable.grant_tenant() grants, and records it. A dump is restored with immutable.restore = on.")
    .raise()
}
