//! Exports for download. What maintenance does with them: they expire, fail after a seam, and their
//! events are counted.

use crate::jobs::exports_count::count_on;
use crate::jobs::exports_table::{exports, Stored, KNOWN, SEAM, SELECTED};
use crate::jobs::step::Done;
use crate::log::seam;
use crate::log::small_table::SmallTable;
use crate::pg::lock::ObjectLock;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use pgrx::pg_sys;

/// For how many microseconds one step counts.
const COUNTING: i64 = 800_000;

/// Does the next part of the work, in this transaction.
pub fn step() -> Done {
    let table = exports(pg_sys::RowExclusiveLock);
    if !(ObjectLock { relation: table.relation().oid(), object: 0, part: 2 }).acquire(false) {
        return Done::NOTHING;
    }
    let now = transaction::now();
    let expired = table.execute(
        "UPDATE immutable.exports SET filters = '{}', pin = NULL, counted_to = NULL \
         WHERE expires_at <= $1 AND (pin IS NOT NULL OR filters <> '{}' OR counted_to IS NOT NULL) RETURNING id",
        &[Arg::Time(now)],
    );
    let removed =
        table.execute("DELETE FROM immutable.exports WHERE expires_at <= $1 RETURNING id", &[Arg::Time(now - KNOWN)]);
    let here = seam::written_here_since();
    let failed = table.execute(
        "UPDATE immutable.exports SET status = 'failed', error_message = $2, pin = NULL \
         WHERE status <> 'failed' AND pin IS NOT NULL AND pinned_in IS DISTINCT FROM $1 RETURNING id",
        &[here.map_or(Arg::Null(pg_sys::TIMESTAMPTZOID), Arg::Time), Arg::text(SEAM)],
    );
    let (completed, has_more) = count_next(&table, now);
    let counts = [("expired", expired), ("removed", removed), ("failed", failed), ("completed", completed)];
    let did: Vec<String> = counts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("\"{name}\":{n}")).collect();
    Done { did: (!did.is_empty()).then(|| format!("{{{}}}", did.join(","))), has_more }
}

/// Counts the oldest exports that are not counted yet, until the time is up. Returns how many are
/// completed, and whether any are left that nobody else counts.
fn count_next(table: &SmallTable, began: i64) -> (usize, bool) {
    let statement = format!(
        "SELECT {SELECTED} FROM immutable.exports x WHERE x.status IN ('pending', 'processing') \
         AND x.expires_at > $1 AND x.pin IS NOT NULL ORDER BY x.created_at"
    );
    let mut unfinished = Vec::new();
    table.returning(&statement, &[Arg::Time(began)], |row| unfinished.push(Stored::of(row)));
    let until = began + COUNTING;
    let mut completed = 0;
    for export in &unfinished {
        let left = until - transaction::now();
        if left <= 0 {
            return (completed, true);
        }
        if export.failure().is_some() || !export.lock(table).acquire(false) {
            continue;
        }
        match count_on(table, export, left) {
            true => completed += 1,
            false => return (completed, true),
        }
    }
    (completed, false)
}
