//! Somebody says that the log goes on here: alerts, deliveries and the use of API keys do, with what is
//! recorded from then on.

use crate::jobs::position::position;
use crate::jobs::{alerts, pause, streams_position, usage};
use crate::log::own_event::{record, LogEvent};
use crate::log::place::Place;
use crate::log::tables::events_oid;
use crate::log::{distributed, seam, subscription};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::relation::{named, OpenRelation};
use crate::pg::{spi, transaction};
use crate::read::feed;
use pgrx::pg_sys;

sql_function!(immutable_resume_maintenance, pg_finfo_immutable_resume_maintenance, resume_maintenance);

/// `immutable.resume_maintenance()`
fn resume_maintenance(_: Call) -> Datum {
    transaction::require_writable(c"immutable.resume_maintenance()");
    if distributed::is() {
        // Nothing pauses: what pauses is what a distributed log does not have.
        return Datum::from(false);
    }
    let events = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    subscription::refuse_local_write(events.get());
    seam::refuse_copy(events.get());
    // Two that resume at the same time do it once.
    let table = position(pg_sys::ShareRowExclusiveLock);
    if pause::goes_on() {
        return Datum::from(false);
    }
    let from = pause::noted(&table);
    pause::write(&table);
    let mark = feed::now();
    usage::set_mark(&table, &mark);
    alerts::set_mark(&table, &mark);
    if named(c"streams") != pg_sys::InvalidOid {
        spi::as_owner(events.get(), streams_position::begin_all);
    }
    record(&LogEvent {
        action: "immutable.maintenance_resumed",
        metadata_json: &[("from", &from.map_or("null".to_string(), Place::json)), ("to", &Place::here().json())],
        ..LogEvent::default()
    });
    Datum::from(true)
}
