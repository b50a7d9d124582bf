//! Whose events somebody sees, and for whom somebody records. [`scope`] is the one place that decides what a viewer sees;
//! the functions the policies call only ask it.

use crate::chain::{trigger_data, BEFORE_INSERT_ROW};
use crate::columns::{self as c};
use crate::error::{Code, Fault};
use crate::function::{bytes, sql_function, text, text_datum, Call};
use crate::relation::{events_oid, Events};
use crate::settings;
use crate::table::{now, scan, timestamptz, Equal, Table};
use crate::token::{self, identity, Source};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, CString};

/// What a viewer sees: a tenant's events, or those of one actor of it.
struct Scope {
    tenant_id: String,
    actor_id: Option<String>,
}

/// What the caller sees as a viewer, now; None is nothing. The order is the contract: a token that was set is the only
/// one that counts; a role that has a tenant does not have its requests' tokens read, which are the gateway's.
unsafe fn scope() -> Option<Scope> {
    let claims = if let Some(token) = settings::viewer_token() {
        token::verify(Source::Setting, token.as_bytes())?
    } else if let Some(tenant_id) = granted(pg_sys::GetUserId(), Mode::Read) {
        return Some(Scope { tenant_id, actor_id: None });
    } else {
        let headers = pg_sys::GetConfigOption(c"request.headers".as_ptr(), true, false);
        if headers.is_null() || *headers == 0 {
            return None;
        }
        token::verify(Source::Headers, CStr::from_ptr(headers).to_bytes())?
    };
    Some(Scope { tenant_id: claims.tenant_id.clone(), actor_id: claims.actor_id.clone() })
}

/// The actor whose events alone the caller sees as a viewer, if it is bound to one. For finding them through an index:
/// the policies decide all the same.
pub unsafe fn visible_actor() -> Option<String> {
    scope()?.actor_id
}

/// What `resolve` gives, once for each expression of each execution of a statement.
unsafe fn once<T>(call: Call, resolve: impl FnOnce() -> T) -> &'static T {
    let info = (*call.0).flinfo;
    if (*info).fn_extra.is_null() {
        let resolved = pgrx::PgMemoryContexts::For((*info).fn_mcxt).leak_and_drop_on_delete(resolve());
        (*info).fn_extra = resolved.cast();
    }
    &*(*info).fn_extra.cast::<T>()
}

sql_function!(immutable_visible_tenant, pg_finfo_immutable_visible_tenant, visible_tenant);

/// `immutable.visible_tenant()`
unsafe fn visible_tenant(call: Call) -> Datum {
    match scope() {
        Some(scope) => text_datum(&scope.tenant_id),
        None => call.null(),
    }
}

sql_function!(immutable_is_visible, pg_finfo_immutable_is_visible, is_visible);

/// `immutable.is_visible(tenant_id, actor_id)`
unsafe fn is_visible(call: Call) -> Datum {
    let Some(scope) = once(call, || scope()) else { return Datum::from(false) };
    let is = |given: Option<Datum>, wanted: &str| given.is_some_and(|given| bytes(given) == wanted.as_bytes());
    Datum::from(is(call.arg(0), &scope.tenant_id) && scope.actor_id.as_ref().is_none_or(|actor| is(call.arg(1), actor)))
}

sql_function!(immutable_is_target_visible, pg_finfo_immutable_is_target_visible, is_target_visible);

/// `immutable.is_target_visible(tenant_id, event_id)`
unsafe fn is_target_visible(call: Call) -> Datum {
    let Some(scope) = once(call, || scope()) else { return Datum::from(false) };
    let (Some(tenant_id), Some(event_id)) = (call.arg(0), call.arg(1)) else { return Datum::from(false) };
    if bytes(tenant_id) != scope.tenant_id.as_bytes() {
        return Datum::from(false);
    }
    let Some(actor_id) = &scope.actor_id else { return Datum::from(true) };
    // By the key of the event, in the statement's own snapshot: what is seen here is what is seen there.
    let relation = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
    let events = Events::of(relation);
    let equal =
        |column, function, value| Equal { attribute: events.layout.number(column), function, value: Some(value) };
    let keys = [equal(c::ID, pg_sys::F_UUID_EQ, event_id), equal(c::TENANT_ID, pg_sys::F_TEXTEQ, tenant_id)];
    let mut visible = false;
    scan(relation, events.id_index, pg_sys::GetActiveSnapshot(), &keys, |event| {
        let actor = event.get(&events.layout, c::ACTOR_ID);
        visible = actor.is_some_and(|actor| bytes(actor) == actor_id.as_bytes());
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    Datum::from(visible)
}

sql_function!(immutable_may_record_for, pg_finfo_immutable_may_record_for, may_record_for);

/// `immutable.may_record_for(tenant_id)`
unsafe fn may_record_for(call: Call) -> Datum {
    let bound = once(call, || bound_to());
    let Some(tenant_id) = call.arg(0) else { return Datum::from(false) };
    if let Some(other) = bound.iter().find(|bound| bound.as_bytes() != bytes(tenant_id)) {
        Fault::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("tenant_id must be \"{other}\": the role records for that tenant alone"),
        )
        .field("tenant_id")
        .hint("Set immutable.tenant_id to it, or leave tenant_id to whoever grants: immutable.grant_tenant().")
        .raise()
    }
    Datum::from(true)
}

/// The tenants the caller is bound to. Not the current role's alone: who is a member of a role may set it, and must not
/// leave the binding behind; nor does a function that lends its owner's rights lift it.
unsafe fn bound_to() -> Vec<String> {
    let mut roles = vec![pg_sys::GetUserId()];
    for role in [pg_sys::GetOuterUserId(), pg_sys::GetSessionUserId()] {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles.into_iter().filter_map(|role| granted(role, Mode::Write)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

impl Mode {
    fn text(self) -> &'static str {
        match self {
            Mode::Read => "read",
            Mode::Write => "write",
        }
    }

    /// The role of the extension that a grant makes its role a member of.
    fn group(self) -> &'static CStr {
        match self {
            Mode::Read => c"immutable_viewer",
            Mode::Write => c"immutable_writer",
        }
    }

    unsafe fn of(given: Option<Datum>) -> Mode {
        match given.map(|given| text(given)) {
            Some("read") | None => Mode::Read,
            Some("write") => Mode::Write,
            Some(_) => {
                Fault::invalid("mode", "mode must be read or write").hint("A role may have a grant of each.").raise()
            }
        }
    }
}

/// `immutable.tenant_grants`; its columns are role, mode, tenant_id, role_oid, granted_at, granted_by.
unsafe fn grants(lock: u32) -> Table {
    Table::open(c"tenant_grants", 6, lock)
}

const MODE: i16 = 2;
const ROLE_OID: i16 = 4;

/// The tenant granted to a role.
unsafe fn granted(role: Oid, mode: Mode) -> Option<String> {
    let keys = [
        Equal { attribute: ROLE_OID, function: pg_sys::F_OIDEQ, value: Some(Datum::from(role)) },
        Equal { attribute: MODE, function: pg_sys::F_TEXTEQ, value: Some(text_datum(mode.text())) },
    ];
    let mut tenant = None;
    grants(pg_sys::AccessShareLock).rows(Some(c"tenant_grants_role"), &keys, |row| {
        // The name too: a dump keeps names, and a renamed role's grant would come back as another's.
        let name = pg_sys::GetUserNameFromId(role, true);
        if !name.is_null() && CStr::from_ptr(name) == CStr::from_ptr(row.values[0].cast_mut_ptr()) {
            tenant = Some(text(row.values[2]).to_string());
        }
    });
    tenant
}

unsafe fn role_name(call: Call) -> CString {
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
unsafe fn grant_tenant(call: Call) -> Datum {
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
        Fault::invalid("role", format!("role \"{shown}\" can not be bound to a tenant: {why}"))
            .hint("Bind a login role of its own.")
            .raise()
    }
    let table = grants(pg_sys::RowExclusiveLock);
    table.execute(
        "INSERT INTO immutable.tenant_grants (role, mode, tenant_id, role_oid, granted_at, granted_by) \
         VALUES ($1, $2, $3, 0, $4, session_user) \
         ON CONFLICT (role, mode) DO UPDATE SET tenant_id = excluded.tenant_id, granted_at = excluded.granted_at, \
             granted_by = excluded.granted_by",
        &[pg_sys::NAMEOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
        &[call.arg(0), Some(text_datum(mode.text())), Some(text_datum(&tenant_id)), Some(timestamptz(now()))],
    );
    membership(&table, "GRANT", "TO", mode, &name);
    Datum::from(0usize)
}

/// Why row security would not hold a role to its tenant.
unsafe fn not_held(role: Oid, name: &str, mode: Mode) -> Option<&'static str> {
    if name.starts_with("immutable_") {
        return Some("it is one of the extension's own, whose members would all have the tenant");
    }
    if pg_sys::superuser_arg(role) || pg_sys::has_bypassrls_privilege(role) {
        return Some("row security does not hold superusers, nor roles with BYPASSRLS");
    }
    let auditor = pg_sys::get_role_oid(c"immutable_auditor".as_ptr(), true);
    let reads_all = auditor != pg_sys::InvalidOid && pg_sys::has_privs_of_role(role, auditor);
    (mode == Mode::Read && reads_all).then_some("it is a member of immutable_auditor, which sees every tenant")
}

unsafe fn membership(table: &Table, verb: &str, preposition: &str, mode: Mode, name: &CStr) {
    let quoted = CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())).to_string_lossy();
    let group = mode.group().to_string_lossy();
    table.execute(&format!("{verb} {group} {preposition} {quoted}"), &[], &[]);
}

sql_function!(immutable_revoke_tenant, pg_finfo_immutable_revoke_tenant, revoke_tenant);

/// `immutable.revoke_tenant(role, mode)`
unsafe fn revoke_tenant(call: Call) -> Datum {
    let name = role_name(call);
    let mode = Mode::of(call.arg(1));
    let shown = name.to_string_lossy();
    let table = grants(pg_sys::RowExclusiveLock);
    let revoked = table.execute(
        "DELETE FROM immutable.tenant_grants \
         WHERE role OPERATOR(pg_catalog.=) $1 AND mode OPERATOR(pg_catalog.=) $2 RETURNING 1",
        &[pg_sys::NAMEOID, pg_sys::TEXTOID],
        &[call.arg(0), Some(text_datum(mode.text()))],
    );
    if revoked == 0 {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("role \"{shown}\" has no grant of mode {}", mode.text()))
            .field("role")
            .hint("immutable.tenant_grants lists them.")
            .raise()
    }
    let role = pg_sys::get_role_oid(name.as_ptr(), true);
    let group = pg_sys::get_role_oid(mode.group().as_ptr(), true);
    if role == pg_sys::InvalidOid || group == pg_sys::InvalidOid {
        return Datum::from(0usize);
    }
    membership(&table, "REVOKE", "FROM", mode, &name);
    if pg_sys::is_member_of_role_nosuper(role, group) {
        let group = mode.group().to_string_lossy();
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("role \"{shown}\" would still be a member of {group}, and no longer bound to a tenant"),
        )
        .field("role")
        .hint(format!("Revoke what makes it a member of {group} first, whoever granted it."))
        .raise()
    }
    Datum::from(0usize)
}

sql_function!(immutable_bind_role, pg_finfo_immutable_bind_role, bind_role);

const BEFORE_UPDATE_ROW: u32 = pg_sys::TRIGGER_EVENT_UPDATE | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;

/// The trigger of tenant_grants. A restored dump brings names; the numbers of its roles are others here.
unsafe fn bind_role(call: Call) -> Datum {
    let context = (*call.0).context;
    let is_update = !context.is_null()
        && (*context).type_ == pg_sys::NodeTag::T_TriggerData
        && (*context.cast::<pg_sys::TriggerData>()).tg_event & pg_sys::TRIGGER_EVENT_OPMASK
            == pg_sys::TRIGGER_EVENT_UPDATE;
    let data = trigger_data(call, if is_update { BEFORE_UPDATE_ROW } else { BEFORE_INSERT_ROW });
    let descriptor = (*data.tg_relation).rd_att;
    let new = if is_update { data.tg_newtuple } else { data.tg_trigtuple };
    if crate::relation::name(data.tg_relation) != "tenant_grants" || (*descriptor).natts != 6 {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is no table of tenant grants", crate::relation::name(data.tg_relation)),
        )
        .raise()
    }
    let mut row = c::Values::of(new, descriptor);
    if row.nulls[0] {
        return Datum::from(new); // the column's own NOT NULL says it
    }
    let place = ROLE_OID as usize - 1;
    row.values[place] = Datum::from(pg_sys::get_role_oid(row.values[0].cast_mut_ptr(), true));
    row.nulls[place] = false;
    Datum::from(pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr()))
}
