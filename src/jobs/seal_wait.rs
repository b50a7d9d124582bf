//! The wait between the two transactions of sealing. A statement that was planned before the segment's tables were made
//! does not read them, so that it would miss the events that are moved there.

use crate::jobs::seal_prepare::timeouts;
use crate::log::own_change::by_log;
use crate::pg::datum::text;
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;

/// Notes the transactions that hold a lock on a table that readers go through, unless that is noted already. VACUUM and its
/// like plan nothing.
const NOTE_LOCKERS: &str = "UPDATE immutable.segments s SET waits_for = ARRAY(SELECT DISTINCT l.virtualtransaction FROM pg_catalog.pg_locks l \
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
      WHERE l.locktype = 'relation' AND l.granted AND l.virtualtransaction = ANY ($1) \
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
