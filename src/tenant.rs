//! Whose events somebody sees, and for whom somebody records. [`scope`] is the one place that decides what a viewer sees;
//! the functions the policies call only ask it.

use crate::chain::{trigger_data, BEFORE_INSERT_ROW};
use crate::columns::{self as c};
use crate::error::{Code, Fault};
use crate::function::{bytes, sql_function, text, text_datum, Call};
use crate::record::{decide, Own};
use crate::relation::{events_oid, Events};
use crate::table::{now, scan, timestamptz, Equal, Table};
use crate::token::{self, identity, Source};
use crate::{seam, settings};
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
    } else if let Some(tenant_id) = readable(pg_sys::GetUserId()) {
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

/// The tenant whose events, of any actor, the caller sees as a viewer, if no token narrows it to one.
pub unsafe fn visible_whole_tenant() -> Option<String> {
    let Scope { tenant_id, actor_id } = scope()?;
    actor_id.is_none().then_some(tenant_id)
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

/// Refuses a tenant that the caller is not bound to. The chain's trigger asks, not a policy: whoever owns the function
/// that inserts may pass row security by, and nobody bound is to wait for another tenant's lanes, or to meet its keys.
pub unsafe fn hold_to_binding(call: Call, tenant_id: &str) {
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
    let setting = match settings::source_of(c::TENANT_ID, tenant_id) {
        Some(setting) => format!("{setting} is another: set it to {}.", quoted(first)),
        None if tenant_id.is_empty() => format!("Give it, or set immutable.tenant_id to {}.", quoted(first)),
        None => format!("Leave tenant_id out, with immutable.tenant_id set to {}.", quoted(first)),
    };
    fault(
        format!("tenant_id must be {}: the role records for that tenant alone", shown(common.iter().copied())),
        format!("{setting} To record for others is for whoever grants to decide: immutable.grant_tenant()."),
    )
}

fn quoted(tenant: &str) -> String {
    format!("\"{tenant}\"")
}

/// At most three of them.
fn shown<'a>(tenants: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = if tenants.len() > 3 { ", …" } else { "" };
    let first: Vec<String> = tenants.take(3).map(quoted).collect();
    format!("{}{more}", first.join(" or "))
}

/// The tenants that each of the caller's roles is bound to. Not the current role's alone: who is a member of a role may
/// set it, and must not leave the binding behind; nor does a function that lends its owner's rights lift it.
unsafe fn bound_to() -> Vec<Vec<String>> {
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
unsafe fn bindings(table: &Table, role: Oid) -> Vec<String> {
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
unsafe fn groups(role: Oid) -> Vec<Oid> {
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

const ROLE: i16 = 1;
const MODE: i16 = 2;
const ROLE_OID: i16 = 4;

/// The rows of a mode that a role's number, or its name, leads to.
unsafe fn rows_of(table: &Table, role: Datum, by: i16, mode: Mode, each: impl FnMut(&c::Values)) {
    let (index, function) = match by {
        ROLE => (c"tenant_grants_pkey", pg_sys::F_NAMEEQ),
        _ => (c"tenant_grants_role", pg_sys::F_OIDEQ),
    };
    let keys = [
        Equal { attribute: by, function, value: Some(role) },
        Equal { attribute: MODE, function: pg_sys::F_TEXTEQ, value: Some(text_datum(mode.text())) },
    ];
    table.rows(Some(index), &keys, each);
}

/// The tenant that a role may read. Number and name must be the grant's: a role dropped and made again is another, and
/// a dump keeps names, so that a renamed role's grant would come back as another's.
unsafe fn readable(role: Oid) -> Option<String> {
    let mut tenant = None;
    rows_of(&grants(pg_sys::AccessShareLock), Datum::from(role), ROLE_OID, Mode::Read, |row| {
        let name = pg_sys::GetUserNameFromId(role, true);
        if !name.is_null() && CStr::from_ptr(name) == CStr::from_ptr(row.values[0].cast_mut_ptr()) {
            tenant = Some(text(row.values[2]).to_string());
        }
    });
    tenant
}

/// The tenants that a role has been bound to itself. Here number or name will do: what takes a right away must outlast
/// a new name, and a restore that came before the roles.
unsafe fn bound_itself(table: &Table, role: Oid) -> Vec<String> {
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
        &[call.arg(0), Some(text_datum(mode.text())), Some(text_datum(&tenant_id)), Some(timestamptz(now()))],
    );
    membership(&table, "GRANT", "TO", mode, &name);
    record_decision("immutable.tenant_granted", &shown, mode, &tenant_id);
    Datum::from(0usize)
}

fn is_own_role(name: &str) -> bool {
    name.starts_with("immutable_")
}

/// Why row security would not hold a role to its tenant.
unsafe fn not_held(role: Oid, name: &str, mode: Mode) -> Option<&'static str> {
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

unsafe fn record_decision(action: &str, role: &str, mode: Mode, tenant_id: &str) {
    decide(&Own {
        action,
        resource_type: Some("role"),
        resource_id: Some(role),
        metadata: &[("mode", mode.text()), ("tenant_id", tenant_id)],
        ..Own::default()
    });
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
    if !is_update {
        allow_insert(data.tg_relation, &row);
    }
    let place = ROLE_OID as usize - 1;
    row.values[place] = Datum::from(pg_sys::get_role_oid(row.values[0].cast_mut_ptr(), true));
    row.nulls[place] = false;
    Datum::from(pg_sys::heap_form_tuple(descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr()))
}

/// Grants come from grant_tenant(), with the owner's rights, and from a dump that is restored.
unsafe fn allow_insert(relation: pg_sys::Relation, row: &c::Values) {
    let user = pg_sys::GetUserId();
    if user == (*(*relation).rd_rel).relowner || pg_sys::superuser_arg(user) {
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
