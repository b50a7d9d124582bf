//! Replication from another server into this log: subscriptions, and replication origins that are
//! not PostgreSQL's own.

use crate::pg::datum::quote;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::Relation;
use crate::pg::replication;
use crate::pg::transaction::on_catalog_change;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Whether a subscription feeds a relation. This is forgotten when subscriptions change.
    static IS_FED: RefCell<HashMap<Oid, bool>> = RefCell::new(HashMap::new());
}

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    on_catalog_change(replication::SUBSCRIBED, || IS_FED.with(|known| known.borrow_mut().clear()));
}

/// Whether a subscription feeds the relation.
pub fn is_fed(relation: Oid) -> bool {
    if let Some(known) = IS_FED.with(|known| known.borrow().get(&relation).copied()) {
        return known;
    }
    let found = replication::is_subscribed(relation);
    IS_FED.with(|known| known.borrow_mut().insert(relation, found));
    found
}

/// Refuses to write into a copy (25006), because an event recorded here would take the place of one
/// that has yet to arrive.
pub fn refuse_local_write(relation: Relation) {
    if is_fed(relation.oid()) {
        refuse(relation, "a subscription", "use DROP SUBSCRIPTION")
    }
}

/// The same if a replication that is not PostgreSQL's own was noted, as long as its origin exists.
pub fn refuse_while_fed_by(relation: Relation, origin: &str) {
    if is_there(origin) {
        refuse(
            relation,
            &format!("replication origin \"{origin}\""),
            &format!("drop its subscription, or SELECT pg_replication_origin_drop({}) as a superuser", quote(origin)),
        )
    }
}

fn refuse(relation: Relation, feeder: &str, ends: &str) -> ! {
    let table = relation.name();
    Fault::new(
        Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        format!("{table} is a copy that {feeder} feeds: nothing can be recorded or erased here"),
    )
    .hint(format!("Write to the publisher. To end the replication and record here, {ends}."))
    .raise()
}

/// Whether there is a replication origin of this name.
pub fn is_there(origin: &str) -> bool {
    replication::has_origin(origin)
}

/// The replication origin that the session replays, as the workers of pglogical and others do.
pub fn session_origin() -> Option<String> {
    replication::session_origin()
}

/// Whether ordinary triggers do not fire in this session.
pub fn others_sleep() -> bool {
    replication::is_replica_session()
}

/// Whether this process applies what another server has recorded.
pub fn is_worker() -> bool {
    replication::is_subscription_worker() || others_sleep() && session_origin().is_some()
}
