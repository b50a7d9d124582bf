//! What alerts remember of an actor between two evaluations: a table that the evaluation writes, and
//! that an erasure cleans.

use crate::pg::lock::ObjectLock;
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use pgrx::pg_sys;

/// The lock of everything that alerts remember. None if the tables are not there, because a newer
/// library runs before ALTER EXTENSION.
pub fn lock() -> Option<ObjectLock> {
    let relation = named(c"alert_state");
    (relation != pg_sys::InvalidOid).then_some(ObjectLock { relation, object: 0, part: 0 })
}

/// Forgets what was remembered of actors of a tenant. The owner's rights are in force. An evaluation
/// that runs is waited for: it may have read the actors before they were erased. Where no rule is
/// enabled, nothing is remembered, and a rule that is made now looks at later events alone.
pub fn forget(tenant_id: &str, actors: &[String]) {
    let Some(lock) = lock().filter(|_| !actors.is_empty()) else { return };
    let mut is_evaluated = false;
    spi::query_now("SELECT FROM immutable.alert_feed", &[], |_| is_evaluated = true);
    if !is_evaluated {
        return;
    }
    lock.acquire(true);
    spi::execute(
        "DELETE FROM immutable.alert_state s WHERE s.tenant_id OPERATOR(pg_catalog.=) $1 \
         AND s.actor_id OPERATOR(pg_catalog.=) ANY ($2)",
        &[Arg::text(tenant_id), Arg::Texts(actors.to_vec())],
    );
}
