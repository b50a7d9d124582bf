//! The shards that Citus has put on this node. They belong to the log, although they are no members of the extension.

use crate::log::distributed;
use crate::pg::catalog;
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use crate::pg::{role, setting};
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::ffi::CString;

thread_local! {
    /// Whether distribute() or a part of it changes the tables now.
    static CHANGING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` as a part of distribute(), which may make and change shards.
pub fn changing<T>(body: impl FnOnce() -> T) -> T {
    struct Restored(bool);
    impl Drop for Restored {
        fn drop(&mut self) {
            CHANGING.set(self.0);
        }
    }
    let _restored = Restored(CHANGING.replace(true));
    body()
}

/// Whether [`changing`] runs.
pub fn are_changing() -> bool {
    CHANGING.get()
}

/// The table of the extension that a relation is a shard of, if it is one whose rows this node answers for.
///
/// While Citus moves or splits a shard it makes tables and removes others, which nobody is sent to: the new ones not yet,
/// the old ones no longer. Only the tables that Citus' catalogs place on this node hold events of the log.
pub fn table_of(relation: Oid) -> Option<Oid> {
    if relation == pg_sys::InvalidOid || !distributed::is() {
        return None;
    }
    let extension = catalog::extension(c"immutable")?;
    let name = catalog::name_in_schema(relation)?;
    let (table, number) = name.rsplit_once('_')?;
    let number: i64 = number.parse().ok()?;
    let table = named(&CString::new(table).ok()?);
    if !catalog::is_member(extension, pg_sys::RelationRelationId, table) {
        return None;
    }
    let mut is_here = false;
    // Without pg_class: Citus hides shards there.
    spi::query_now(
        "SELECT 1 FROM pg_catalog.pg_dist_shard s \
         JOIN pg_catalog.pg_dist_placement p ON p.shardid OPERATOR(pg_catalog.=) s.shardid \
         JOIN pg_catalog.pg_dist_local_group g ON g.groupid OPERATOR(pg_catalog.=) p.groupid \
         WHERE s.shardid OPERATOR(pg_catalog.=) $1 AND s.logicalrelid::pg_catalog.oid OPERATOR(pg_catalog.=) $2",
        &[Arg::Int8(number), Arg::Oid(table)],
        |_| is_here = true,
    );
    is_here.then_some(table)
}

/// Whether Citus gives this session its commands: in a distributed log, another node passes on what the guard of that node
/// has let through.
///
/// The name of the session says so, as Citus itself decides it. Anybody can take such a name, so that only a superuser's
/// session counts: a superuser can also switch the guard off.
pub fn is_session_of_citus() -> bool {
    let prefixes = ["citus_internal gpid=", "citus_rebalancer gpid="];
    distributed::is()
        && setting::value(c"application_name")
            .is_some_and(|name| prefixes.iter().any(|prefix| name.to_bytes().starts_with(prefix.as_bytes())))
        && role::is_superuser_role(role::session())
}
