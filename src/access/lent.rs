//! The owner's rights for reading, lent to an API key of no tenant. Row security would ask for each
//! row what is known for all of them, and keep searches from their index.

use crate::access::scope::sees_all_by_proof;
use crate::log::tables::events_oid;
use crate::pg::datum::Datum;
use crate::pg::relation::OpenRelation;
use crate::pg::transaction::{on_catalog_change, on_relation_change};
use crate::pg::{role, spi};
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;

thread_local! {
    /// Whether the policies that concern a role are as they were made.
    static AS_MADE: Cell<Option<(Oid, bool)>> = const { Cell::new(None) };
}

/// Called once, when the library is loaded. Whoever changes a policy invalidates the table.
pub fn register_callbacks() {
    on_relation_change(|_| AS_MADE.set(None));
    for cache in role::CACHES {
        on_catalog_change(cache, || AS_MADE.set(None));
    }
}

/// Runs `body`, with the rights of the log's owner if the caller's proof shows it every event and no
/// other policy has a say. What `body` reads must not go further than events and their targets.
pub fn with_rights<T>(body: impl FnOnce() -> T) -> T {
    match sees_all_by_proof() && are_policies_as_made() {
        true => with_rights_of_owner(body),
        false => body(),
    }
}

/// Runs `body` with the rights of the log's owner.
pub fn with_rights_of_owner<T>(body: impl FnOnce() -> T) -> T {
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), body)
}

/// Whether the extension's own policies for viewers or for the server, as they were made, are the
/// only ones that concern the caller.
pub fn are_policies_as_made() -> bool {
    let role = role::current();
    if let Some((_, known)) = AS_MADE.get().filter(|(known, _)| *known == role) {
        return known;
    }
    let as_made = ask_for_policies();
    AS_MADE.set(Some((role, as_made)));
    as_made
}

/// The policies by which a caller sees events and targets, as they were made; in a distributed log the first two have no
/// subquery.
const MADE: &str = "ARRAY[\
    '((tenant_id = ( SELECT immutable.visible_tenant() AS visible_tenant)) AND immutable.is_visible(tenant_id, actor_id))', \
    '((tenant_id = ( SELECT immutable.visible_tenant() AS visible_tenant)) AND immutable.is_target_visible(tenant_id, event_id))', \
    '((tenant_id = immutable.visible_tenant()) AND immutable.is_visible(tenant_id, actor_id))', \
    '((tenant_id = immutable.visible_tenant()) AND immutable.is_target_visible(tenant_id, event_id))', \
    '(immutable.is_visible(tenant_id, actor_id) OR ((xact = pg_current_xact_id_if_assigned()) AND immutable.is_own(xact, tenant_id, lane, seq) AND immutable.is_opened(''write''::text, tenant_id)))', \
    'immutable.is_target_visible(tenant_id, event_id)']";

/// The policies that concern the caller when it reads.
const CONCERNING: &str = "FROM pg_catalog.pg_policy p \
    WHERE p.polrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
    AND p.polcmd IN ('r', '*') AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r WHERE r = 0 OR pg_catalog.pg_has_role(r, 'USAGE'))";

fn ask_for_policies() -> bool {
    is_so(&format!(
        "SELECT pg_catalog.count(*) = 2 AND pg_catalog.count(DISTINCT p.polname) = 1 AND pg_catalog.bool_and(\
             p.polname IN ('viewer_select', 'server_select') AND p.polpermissive \
             AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = ANY ({MADE})) {CONCERNING}"
    ))
}

/// Whether other policies than the extension's own, as they were made, concern the caller. What a writer sees of its own
/// transaction does not count.
pub fn has_other_policies() -> bool {
    is_so(&format!(
        "SELECT pg_catalog.count(*) > 0 {CONCERNING} AND NOT (p.polpermissive AND (p.polname = 'writer_returning' \
             OR p.polname IN ('viewer_select', 'server_select') AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = ANY ({MADE})))"
    ))
}

fn is_so(statement: &str) -> bool {
    let mut is = false;
    spi::read_planned_once(statement, &[], |row| is = row.at(0).is_some_and(Datum::bool));
    is
}
