//! Whose events somebody sees, and for whom somebody records. [`scope`] is the one place that decides what a viewer sees;
//! the functions the policies call only ask it.

use crate::access::grants_table::{grants, rows_of, Mode, ROLE_OID};
use crate::access::token::{self, Source};
use crate::log::columns as c;
use crate::log::tables::{events_oid, Events};
use crate::pg::call::{once, sql_function, Call};
use crate::pg::datum::{bytes, text, text_datum, Datum};
use crate::pg::relation::{rows, Equal};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// What a viewer sees: a tenant's events, or those of one actor of it.
struct Scope {
    tenant_id: String,
    actor_id: Option<String>,
}

/// What the caller sees as a viewer, now; None is nothing. The order is the contract: a token that was set is the only
/// one that counts; a role that has a tenant does not have its requests' tokens read, which are the gateway's.
fn scope() -> Option<Scope> {
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
pub fn visible_actor() -> Option<String> {
    scope()?.actor_id
}

/// The tenant whose events, of any actor, the caller sees as a viewer, if no token narrows it to one.
pub fn visible_whole_tenant() -> Option<String> {
    let Scope { tenant_id, actor_id } = scope()?;
    actor_id.is_none().then_some(tenant_id)
}

sql_function!(immutable_visible_tenant, pg_finfo_immutable_visible_tenant, visible_tenant);

/// `immutable.visible_tenant()`
fn visible_tenant(call: Call) -> Datum {
    match scope() {
        Some(scope) => text_datum(&scope.tenant_id),
        None => call.null(),
    }
}

sql_function!(immutable_is_visible, pg_finfo_immutable_is_visible, is_visible);

/// `immutable.is_visible(tenant_id, actor_id)`
fn is_visible(call: Call) -> Datum {
    let Some(scope) = once(call, || scope()) else { return Datum::from(false) };
    let is = |given: Option<Datum>, wanted: &str| given.is_some_and(|given| bytes(given) == wanted.as_bytes());
    Datum::from(is(call.arg(0), &scope.tenant_id) && scope.actor_id.as_ref().is_none_or(|actor| is(call.arg(1), actor)))
}

sql_function!(immutable_is_target_visible, pg_finfo_immutable_is_target_visible, is_target_visible);

/// `immutable.is_target_visible(tenant_id, event_id)`
fn is_target_visible(call: Call) -> Datum {
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
    rows(relation, events.id_index, pg_sys::GetActiveSnapshot(), &keys, |event| {
        let actor = event.get(&events.layout, c::ACTOR_ID);
        visible = actor.is_some_and(|actor| bytes(actor) == actor_id.as_bytes());
    });
    pg_sys::table_close(relation, pg_sys::NoLock as i32);
    Datum::from(visible)
}

/// The tenant that a role may read. Number and name must be the grant's: a role dropped and made again is another, and
/// a dump keeps names, so that a renamed role's grant would come back as another's.
fn readable(role: Oid) -> Option<String> {
    let mut tenant = None;
    rows_of(&grants(pg_sys::AccessShareLock), Datum::from(role), ROLE_OID, Mode::Read, |row| {
        let name = pg_sys::GetUserNameFromId(role, true);
        if !name.is_null() && CStr::from_ptr(name) == CStr::from_ptr(row.values[0].cast_mut_ptr()) {
            tenant = Some(text(row.values[2]).to_string());
        }
    });
    tenant
}

pub const BEFORE_UPDATE_ROW: u32 =
    pg_sys::TRIGGER_EVENT_UPDATE | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;
