//! Refuses the download of an export of which retention has removed events since it was made: it would no longer be what
//! was asked for.

use crate::jobs::exports_table::Stored;
use crate::log::pruned_before::time_of;
use crate::log::tables::events_oid;
use crate::pg::datum::{micros, Datum};
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::time::time_of_text;
use pgrx::pg_sys;

/// Raises 55000 if a record of a pruning that the export's snapshot did not see is about its tenants and its time.
pub fn refuse(export: &Stored) {
    let from = export.filter("from_date").map(|from| micros(Datum::from(time_of_text(from))));
    let statement = "SELECT e.metadata \
         FROM immutable.events e WHERE e.action = 'immutable.pruned' AND ($1 IS NULL OR e.tenant_id = $1) \
         AND NOT pg_catalog.pg_visible_in_snapshot(e.xact, CAST($2 AS pg_catalog.pg_snapshot))";
    let mut is_pruned = false;
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    let given = [Arg::maybe_text(export.only_tenant()), Arg::text(export.pin.as_deref().unwrap_or_default())];
    spi::as_owner(events.get(), || {
        spi::read(statement, &given, |row| {
            let before = row.at(0).and_then(time_of);
            is_pruned |= before.is_none_or(|before| from.is_none_or(|from| from < before));
        });
    });
    if is_pruned {
        export.refuse(
            "failed: retention has removed events that it has",
            "Make a new one with immutable.create_export(): it has the events that are left.",
        )
    }
}
