//! The wait between the two transactions of sealing. A statement that was planned before the segment's tables were made
//! does not read them, so that it would miss the events that are moved there.

use crate::log::own_change::by_log;
use crate::log::segments;
use crate::log::tables::events_oid;
use crate::pg::datum::text;
use crate::pg::error::{in_place_of, Code, Fault};
use crate::pg::lock::{lock, try_lock, Timeouts};
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use pgrx::pg_sys;

/// For how many milliseconds sealing waits for a lock where the session has no `lock_timeout`.
pub const LOCK_TIMEOUT: i32 = 10_000;

/// The timeouts of the session, with one for locks.
pub fn timeouts() -> Timeouts {
    let now = Timeouts::now();
    Timeouts { lock: if now.lock > 0 { now.lock } else { LOCK_TIMEOUT }, ..now }
}

/// Notes the transactions that hold a lock on a table that readers go through, unless that is noted already. VACUUM and its
/// like plan nothing. Virtual transactions are counted anew after a crash, so each is noted with its process; a prepared
/// transaction, which outlives a crash, has none.
const NOTE_LOCKERS: &str = "UPDATE immutable.segments s SET waits_for = ARRAY(SELECT DISTINCT pg_catalog.concat(l.virtualtransaction, ' ' || l.pid) \
    FROM pg_catalog.pg_locks l \
    WHERE l.locktype = 'relation' AND l.granted AND l.mode <> 'ShareUpdateExclusiveLock' \
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
      AND l.relation IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()) \
    WHERE s.segment = $1 AND s.waits_for IS NULL";

/// Those of them that have not ended, the oldest first, with what is known about each.
const LEFT: &str = "SELECT CASE WHEN l.pid IS NULL THEN pg_catalog.format('a prepared transaction%s', \
          (SELECT pg_catalog.format(' (%s of role %s, prepared at %s)', pg_catalog.quote_literal(p.gid), p.owner, p.prepared) \
             FROM pg_catalog.pg_prepared_xacts p \
            WHERE l.virtualtransaction = '-1/' || p.transaction::pg_catalog.text)) \
        ELSE pg_catalog.format('process %s (role %s, application %s), whose transaction began at %s', l.pid, \
          coalesce(a.usename, 'unknown'), coalesce(pg_catalog.quote_literal(NULLIF(a.application_name, '')), 'unnamed'), \
          coalesce(a.xact_start::pg_catalog.text, 'an unknown time')) END \
    FROM (SELECT DISTINCT l.virtualtransaction, l.pid FROM pg_catalog.pg_locks l \
      WHERE l.locktype = 'relation' AND l.granted AND pg_catalog.concat(l.virtualtransaction, ' ' || l.pid) = ANY ($1) \
        AND l.relation IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass)) l \
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid ORDER BY a.xact_start LIMIT 1";

/// Notes who may have planned without the segment, once everybody can see its tables. Whoever locks the parents later knows
/// of them. So a call that has waited in vain leaves the next one fewer to wait for, and never others.
pub fn note_old_transactions(number: i32) {
    by_log(|| spi::affected(NOTE_LOCKERS, &[Arg::Int8(i64::from(number))]));
}

/// Waits until these transactions have ended. Raises 55P03 when `lock_timeout`, or 10 seconds, are over.
pub fn wait_for_old_transactions(number: i32) {
    let mut old = Vec::new();
    spi::query_now_planned_once(
        "SELECT t.name FROM immutable.segments s, pg_catalog.unnest(s.waits_for) t(name) WHERE s.segment = $1",
        &[Arg::Int8(i64::from(number))],
        |row| old.extend(row.at(0).map(|transaction| text(transaction).to_string())),
    );
    let begun = transaction::now();
    let mut pause = 1;
    loop {
        let mut left = None;
        if !old.is_empty() {
            spi::query_now_planned_once(LEFT, &[Arg::Texts(old.clone())], |row| {
                left = row.at(0).map(|who| text(who).to_string());
            });
        }
        let Some(left) = left else { return };
        if transaction::now() - begun > i64::from(timeouts().lock) * 1000 {
            Fault::new(Code::ERRCODE_LOCK_NOT_AVAILABLE, "sealing waits for a transaction that began before it")
                .detail(format!("It is {left}. It may read the log without knowing of the new segment."))
                .hint("End that transaction. Nothing is lost: the next call goes on from here.")
                .raise()
        }
        transaction::sleep(pause);
        pause = (pause * 2).min(100);
    }
}

/// Becomes the one session that makes, fills, drops and empties segments; false if another session is that and `waits` is
/// false. Raises 55P03 when `lock_timeout`, or 10 seconds, are over.
pub fn become_sealer(waits: bool) -> bool {
    let instead = || {
        Fault::new(Code::ERRCODE_LOCK_NOT_AVAILABLE, "another session seals or prunes the log")
            .hint("Nothing was changed. Try again once it has ended. lock_timeout says how long to wait.")
    };
    let _restored = timeouts().set();
    in_place_of(Code::ERRCODE_LOCK_NOT_AVAILABLE, instead, || segments::become_sealer(waits))
}

/// Takes the locks that making a segment needs on the log's tables. A command that builds an index concurrently waits for
/// this transaction, so that this one must not wait for it: that would be a deadlock. Autovacuum gives way. Raises
/// 55P03 where another command works on a table.
pub fn lock_parents() {
    for table in [events_oid(), named(c"event_targets")] {
        if try_lock(table, pg_sys::ShareUpdateExclusiveLock) {
            continue;
        }
        let mut by = None;
        spi::query_now_planned_each_time(
            "SELECT pg_catalog.format('process %s', l.pid) FROM pg_catalog.pg_locks l \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'relation' AND l.granted AND l.relation = $1 AND l.pid <> pg_catalog.pg_backend_pid() \
               AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
               AND a.backend_type IS DISTINCT FROM 'autovacuum worker' \
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) LIMIT 1",
            &[Arg::Oid(table)],
            |row| by = row.at(0).map(|who| text(who).to_string()),
        );
        if let Some(by) = by {
            Fault::new(Code::ERRCODE_LOCK_NOT_AVAILABLE, "sealing waits for another command on the log's tables")
                .detail(format!("It is that of {by}, such as VACUUM, REINDEX or CREATE INDEX."))
                .hint("Nothing was changed. Call immutable.seal() again once that command has ended.")
                .raise()
        }
        lock(table, pg_sys::ShareUpdateExclusiveLock);
    }
}
