//! The pause after a seam. A log that was restored, promoted or copied raises no alerts, delivers and counts
//! nothing until somebody says that it is the one that goes on: a copy for tests must not alarm
//! whom the real log alarms.

use crate::jobs::position::position;
use crate::log::place::Place;
use crate::log::seam;
use crate::log::small_table::SmallTable;
use crate::log::tables::events_oid;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use pgrx::pg_sys;

/// How often a run is noted that differs from the one before in nothing but its time, in seconds.
const NOTED_EACH: i64 = 300;

/// Where maintenance goes on, if that is noted.
pub fn noted(table: &SmallTable) -> Option<Place> {
    table.relation().any_row(|tuple| Place::of(&tuple.values(), 0))
}

/// Whether maintenance goes on here. The first call in a log that has always been here notes that.
pub fn goes_on() -> bool {
    let table = position(pg_sys::RowExclusiveLock);
    if let Some(place) = noted(&table) {
        return place.is_here();
    }
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    let has_begun = seam::is_noted_here(events.get()) && !seam::has_any(events.get());
    if has_begun {
        write(&table);
    }
    has_begun
}

/// Notes that maintenance goes on here, unless something is noted already.
pub fn begin() {
    let table = position(pg_sys::RowExclusiveLock);
    if noted(&table).is_none() {
        write(&table);
    }
}

/// Whether maintenance waits here for somebody who resumes it.
pub fn is_paused() -> bool {
    if transaction::is_in_recovery() {
        return false;
    }
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    match noted(&position(pg_sys::AccessShareLock)) {
        Some(place) => !place.is_here(),
        None => !seam::is_noted_here(events.get()) || seam::has_any(events.get()),
    }
}

/// Notes that maintenance goes on here from now on.
pub fn write(table: &SmallTable) {
    let [system_identifier, timeline, database] = Place::here().columns();
    table.execute(
        "INSERT INTO immutable.maintenance_position (system_identifier, timeline, database, noted_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (singleton) DO UPDATE SET system_identifier = excluded.system_identifier, \
           timeline = excluded.timeline, database = excluded.database, noted_at = excluded.noted_at",
        &[
            Arg::Given(pg_sys::INT8OID, system_identifier),
            Arg::Given(pg_sys::INT4OID, timeline),
            Arg::Given(pg_sys::OIDOID, database),
            Arg::Time(transaction::now()),
        ],
    );
}

/// Notes a run, and which steps have failed, as JSON. A run that is like the one before is noted every
/// few minutes alone, so that a log at rest is not written.
pub fn note_run(failed: Option<&str>) {
    let now = transaction::now();
    let failed = failed.map_or(Arg::Null(pg_sys::JSONBOID), |failed| Arg::Json(failed.into()));
    position(pg_sys::RowExclusiveLock).execute(
        "UPDATE immutable.maintenance_position p SET ran_at = $1, failed = $2 \
         WHERE p.ran_at IS NULL OR p.ran_at OPERATOR(pg_catalog.<) $3 OR p.ran_at OPERATOR(pg_catalog.>) $1 \
           OR p.failed IS DISTINCT FROM $2",
        &[Arg::Time(now), failed, Arg::Time(now - NOTED_EACH * 1_000_000)],
    );
}
