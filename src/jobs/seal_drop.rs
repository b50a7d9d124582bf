//! Dropping the tables of segments that have no events any more.

use crate::log::segments::{Segment, State};
use crate::pg::error::{Code, Fault};
use crate::pg::extension::as_own_script;
use crate::pg::lock::Timeouts;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use pgrx::pg_sys;

/// For how many milliseconds a drop waits for readers. Other readers wait behind it.
const WAIT: i32 = 100;

/// A segment that no snapshot needs any more.
pub fn droppable(known: &[Segment]) -> Option<&Segment> {
    let is_over = |segment: &Segment| {
        segment.emptied_by.is_some_and(|xact| {
            OpenRelation::read(segment.events_oid()).is_none_or(|events| events.get().is_past(xact))
        })
    };
    known.iter().find(|segment| segment.state == State::Emptied && is_over(segment))
}

/// Makes standbys cancel the readers that need the rows which are gone. The rows are on pages that are full, so that
/// whoever reads one of these removes the rows from it, and tells standbys which snapshots must not read it any more. The
/// drop of a table tells them nothing of the kind.
pub fn warn_standbys(segment: &Segment) {
    for table in [segment.events_table(), segment.targets_table()] {
        let first_pages =
            format!("SELECT pg_catalog.count(*) FROM ONLY immutable.{table} WHERE ctid < '(8,0)'::pg_catalog.tid");
        spi::query_now_planned_each_time(&first_pages, &[], |_| {});
    }
}

/// Drops the tables of a segment and forgets it. Raises 55P03 if somebody reads them, and XX001 if they have rows.
pub fn drop_tables(segment: &Segment) {
    refuse_rows(segment);
    let _restored = Timeouts { lock: WAIT, ..Timeouts::now() }.set();
    as_own_script(|| {
        for (table, oid) in
            [(segment.targets_table(), segment.targets_oid()), (segment.events_table(), segment.events_oid())]
        {
            if oid != pg_sys::InvalidOid {
                spi::execute(&format!("DROP TABLE immutable.{table}"), &[]);
            }
        }
    });
    spi::execute("DELETE FROM immutable.segments s WHERE s.segment = $1", &[Arg::Int8(i64::from(segment.number))]);
}

/// Refuses to drop tables that have rows, whatever the segment's state says: events would be lost.
fn refuse_rows(segment: &Segment) {
    for (table, oid) in
        [(segment.events_table(), segment.events_oid()), (segment.targets_table(), segment.targets_oid())]
    {
        let mut has_rows = false;
        if oid != pg_sys::InvalidOid {
            let one = format!("SELECT FROM ONLY immutable.{table} LIMIT 1");
            spi::query_now_planned_each_time(&one, &[], |_| has_rows = true);
        }
        if has_rows {
            Fault::new(
                Code::ERRCODE_DATA_CORRUPTED,
                format!("immutable.{table} has rows, although immutable.segments says that it is to be dropped"),
            )
            .detail("Somebody else than the log has changed one of them. Nothing was dropped.")
            .hint("Compare them with a backup, and set the segment's state to sealed if its events are nowhere else.")
            .raise()
        }
    }
}
