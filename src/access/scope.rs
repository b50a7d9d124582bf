//! Which events a viewer sees. [`visible`] is the only place that decides it; the functions that
//! the policies call use it.

use crate::access::grants_table::{grants, hold_to_known, rows_of, Mode, ROLE, ROLE_OID, TENANT_ID};
use crate::access::proof;
use crate::access::token::{self, PresentedIn};
use crate::log::segments::{self, Segment};
use crate::log::tables::{events_oid, is_on_shard, Events};
use crate::log::{columns as c, distributed, shared_table};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, name, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{Equal, OpenRelation, Seen};
use crate::pg::{role, setting};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, OnceCell};

/// What the caller sees: all events, a tenant's, or those of one actor of it.
#[derive(Default)]
struct Visible {
    tenant_id: Option<String>,
    actor_id: Option<String>,
}

impl Visible {
    /// What of this another answer shows too; None for nothing.
    fn within(self, other: Visible) -> Option<Visible> {
        Some(Visible {
            tenant_id: common(self.tenant_id, other.tenant_id)?,
            actor_id: common(self.actor_id, other.actor_id)?,
        })
    }

    fn is_of(&self, tenant_id: Option<Datum>) -> bool {
        self.tenant_id.as_deref().is_none_or(|own| tenant_id.is_some_and(|given| bytes(given) == own.as_bytes()))
    }
}

/// The narrower of two bounds, of which None is none; None if they exclude each other.
fn common(one: Option<String>, other: Option<String>) -> Option<Option<String>> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
        (one, other) => Some(one.or(other)),
    }
}

/// What the caller sees now; None means nothing. A proof that is set narrows what the role shows. To a
/// role that needs a proof, only the proof shows anything. Raises 28000 for a proof or a token that
/// is refused, and for a proof that is missing.
fn visible() -> Option<Visible> {
    let Some(opened) = proof::seen() else { return by_role() };
    let opened = opened?;
    let by_proof = Visible { tenant_id: opened.tenant_id, actor_id: opened.actor_id };
    match (proof::is_needed(), settings::viewer_token()) {
        (true, None) => Some(by_proof),
        _ => by_proof.within(by_role()?),
    }
}

/// What the caller sees as a viewer. The order matters: if immutable.viewer_token is set, only that
/// token counts. For a role that is bound to a tenant, the tokens of requests are not read, because
/// they are the gateway's. Raises 28000 for a token that is refused.
fn by_role() -> Option<Visible> {
    let claims = if let Some(token) = settings::viewer_token() {
        token::verify(PresentedIn::Setting, token.as_bytes())?
    } else if let Some(tenant_id) = readable(role::current()) {
        return Some(Visible { tenant_id: Some(tenant_id), actor_id: None });
    } else if let Some(headers) = setting::value(c"request.headers") {
        token::verify(PresentedIn::Headers, headers.as_bytes())?
    } else {
        refuse_token_left_behind();
        return None;
    };
    Some(Visible { tenant_id: Some(claims.tenant_id.clone()), actor_id: claims.actor_id.clone() })
}

/// Raises 28000 for a viewer without a token on another node than its client's. A token may have stayed there, and
/// no rows would be a wrong answer. A role that also writes shows none when it asks for what it has written.
fn refuse_token_left_behind() {
    let role = role::current();
    let has_rights_of = |group| role::by_name(group).is_some_and(|group| role::has_rights_of(role, group));
    if !shared_table::is_session_of_citus()
        || !distributed::is_log()
        || has_rights_of(c"immutable_writer")
        || has_rights_of(c"immutable_auditor")
    {
        return;
    }
    Fault::new(
        Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "no viewer token has reached the node that has the events",
    )
    .field("viewer_token")
    .hint(
        "In a transaction, SET LOCAL citus.propagate_set_commands = 'local', then SET LOCAL immutable.viewer_token. Or call \
         immutable.get_events(), which reads the token where the client is.",
    )
    .raise()
}

/// What the caller sees as a viewer, for reading where its token is not known.
pub struct ShownHere {
    /// None for all tenants.
    pub tenant_id: Option<String>,
    /// None for all actors.
    pub actor_id: Option<String>,
    /// Whether the caller's role shows it, which every node knows, and no token.
    pub by_role: bool,
}

/// What the caller sees as a viewer; None for nothing. Raises 28000 for a proof or a token that is refused.
pub fn shown_here() -> Option<ShownHere> {
    let Visible { tenant_id, actor_id } = visible()?;
    let is_role_alone = proof::seen().is_none() && settings::viewer_token().is_none();
    let by_role = is_role_alone && readable(role::current()).is_some();
    Some(ShownHere { tenant_id, actor_id, by_role })
}

/// The actor whose events alone the caller sees as a viewer, if the token names one. It serves to
/// find the events through an index; the policies still decide. Raises 28000 for a token that is
/// refused.
pub fn visible_actor() -> Option<String> {
    visible()?.actor_id
}

/// Whether the proof alone shows the caller every event of the log. Raises 28000 for a proof that is
/// refused or missing.
pub fn sees_all_by_proof() -> bool {
    proof::is_needed() && visible().is_some_and(|visible| visible.tenant_id.is_none() && visible.actor_id.is_none())
}

/// The tenant of which the caller sees the events of every actor as a viewer, if the token names no
/// actor. Raises 28000 for a token that is refused.
pub fn visible_whole_tenant() -> Option<String> {
    let Visible { tenant_id, actor_id } = visible()?;
    tenant_id.filter(|_| actor_id.is_none())
}

sql_function!(immutable_visible_tenant, pg_finfo_immutable_visible_tenant, visible_tenant);

/// `immutable.visible_tenant()`
fn visible_tenant(call: Call) -> Datum {
    match visible().and_then(|visible| visible.tenant_id) {
        Some(tenant_id) => call.text(&tenant_id),
        None => call.null(),
    }
}

sql_function!(immutable_is_visible, pg_finfo_immutable_is_visible, is_visible);

/// `immutable.is_visible(tenant_id, actor_id)`
fn is_visible(call: Call) -> Datum {
    let Some(visible) = call.once(visible) else { return Datum::from(false) };
    let is = |wanted: &String| call.arg(1).is_some_and(|given| bytes(given) == wanted.as_bytes());
    Datum::from(visible.is_of(call.arg(0)) && visible.actor_id.as_ref().is_none_or(is))
}

sql_function!(immutable_is_target_visible, pg_finfo_immutable_is_target_visible, is_target_visible);

/// `immutable.is_target_visible(tenant_id, event_id)`
fn is_target_visible(call: Call) -> Datum {
    let (visible, tables) = call.once(|| (visible(), OnceCell::new()));
    let Some(visible) = visible else { return Datum::from(false) };
    let (Some(tenant_id), Some(event_id)) = (call.arg(0), call.arg(1)) else { return Datum::from(false) };
    if !visible.is_of(Some(tenant_id)) {
        return Datum::from(false);
    }
    let Some(actor_id) = &visible.actor_id else { return Datum::from(true) };
    let tables = tables.get_or_init(|| Tables::that_hold_events(tenant_id));
    let is_visible = tables.find(|table| is_of_actor(table, event_id, tenant_id, actor_id));
    Datum::from(is_visible == Some(true))
}

/// The tables that an event can be in: the hot one, and those of segments.
struct Tables {
    oids: Vec<Oid>,
    /// The one where the last event was. Rows that are read one after the other are often of one segment.
    last: Cell<usize>,
}

impl Tables {
    fn that_hold_events(tenant_id: Datum) -> Tables {
        let hot = match distributed::is() && !is_on_shard() {
            // The tenant is the token's, and so the same for all rows that come here.
            true => distributed::shard_oid(text(tenant_id)),
            false => events_oid(),
        };
        let segments = segments::seen();
        let segments = segments.iter().map(Segment::events_oid).filter(|table| *table != pg_sys::InvalidOid);
        Tables { oids: std::iter::once(hot).chain(segments).collect(), last: Cell::new(0) }
    }

    /// What `look` finds, in the first table where it finds something.
    fn find<T>(&self, look: impl Fn(Oid) -> Option<T>) -> Option<T> {
        let first = self.last.get();
        let others = (0..self.oids.len()).filter(|place| *place != first);
        std::iter::once(first).chain(others).find_map(|place| {
            let found = look(self.oids[place])?;
            self.last.set(place);
            Some(found)
        })
    }
}

/// Whether an event of the table is the actor's; None if it is not there. It is looked up by its key and in the
/// statement's snapshot, so that the statement and this function see the same events.
fn is_of_actor(table: Oid, event_id: Datum, tenant_id: Datum, actor_id: &str) -> Option<bool> {
    let relation = OpenRelation::read(table)?;
    if relation.get().indexes().is_empty() {
        return None; // a segment that is not filled yet
    }
    let events = Events::of(relation.get());
    let equal =
        |column, function, value| Equal { attribute: events.layout.number(column), function, value: Some(value) };
    let keys = [equal(c::ID, pg_sys::F_UUID_EQ, event_id), equal(c::TENANT_ID, pg_sys::F_TEXTEQ, tenant_id)];
    let mut is_of_actor = None;
    relation.get().rows(Some(events.id_index), Seen::ByStatement, &keys, |event| {
        let actor = event.values().get(&events.layout, c::ACTOR_ID);
        is_of_actor = Some(actor.is_some_and(|actor| bytes(actor) == actor_id.as_bytes()));
        true
    });
    is_of_actor
}

/// The tenant that a role may read. Both OID and name must match the grant. A role that was dropped
/// and created again is another role, and because a dump keeps names, a renamed role's grant could
/// come back as another role's.
fn readable(role: Oid) -> Option<String> {
    let (table, own) = (grants(pg_sys::AccessShareLock), role::known_name(role));
    hold_to_known(&table, Mode::Read, |role| own.as_deref() == Some(role));
    let mut tenant = None;
    rows_of(&table, Datum::from(role), ROLE_OID, Mode::Read, |row| {
        let granted = row.at(ROLE as usize - 1).map(name);
        if granted.is_some() && granted == own.as_deref() {
            tenant = row.at(TENANT_ID).map(|tenant| text(tenant).to_string());
        }
    });
    tenant
}
