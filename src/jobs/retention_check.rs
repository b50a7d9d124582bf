//! Part of status(): the rules and holds of which the log says something else than their row does.

use crate::log::distributed;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::spi;

/// What the log said may have gone by a rule of the events without a tenant. An event may be damaged, and status() does
/// not fail then: only what is a time is read as one.
const CHANGED: &str = "WITH x AS ( \
      SELECT 'retention' AS tab, r.tenant_id, r.event_id, r.changed_at AS at, r.keep, r.next_keep, \
        pg_catalog.to_char(r.next_from AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS next_from \
      FROM immutable.retention r \
      UNION ALL SELECT 'holds', h.tenant_id, h.event_id, h.held_at, NULL, NULL, NULL FROM immutable.holds h), \
    said AS ( \
      SELECT e.id, e.action, m.counts_from, \
        CASE WHEN m.keep ~ w.is_time THEN CAST(m.keep AS pg_catalog.interval) END AS keep, \
        CASE WHEN m.old_keep ~ w.is_time THEN CAST(m.old_keep AS pg_catalog.interval) END AS old_keep \
      FROM immutable.events e \
        LEFT JOIN LATERAL (SELECT r.metadata ->> 'keep' AS keep, r.metadata ->> 'old_keep' AS old_keep, \
            r.metadata ->> 'counts_from' AS counts_from \
          FROM (SELECT CASE WHEN immutable.is_readable(e.metadata) THEN e.metadata END AS metadata OFFSET 0) r) m ON true, \
        (SELECT '^P(?!$)([0-9]{1,4}Y)?([0-9]{1,2}M)?([0-9]{1,6}D)?(T[0-9]{1,11}([.][0-9]{1,6})?S)?$' AS is_time) w \
      WHERE e.tenant_id = '' AND e.id IN (SELECT x.event_id FROM x) \
        AND e.action IN ('immutable.held', 'immutable.retention_set')) \
    SELECT x.tab, x.tenant_id FROM x \
    WHERE NOT EXISTS (SELECT FROM said s WHERE s.id = x.event_id AND CASE \
        WHEN x.tab = 'holds' THEN s.action = 'immutable.held' \
        WHEN s.action <> 'immutable.retention_set' THEN false \
        WHEN x.next_from IS NULL THEN s.keep IS NOT DISTINCT FROM x.keep \
        ELSE s.keep IS NOT DISTINCT FROM x.next_keep AND s.counts_from = x.next_from \
          AND (x.keep IS NOT DISTINCT FROM x.next_keep OR x.keep IS NOT DISTINCT FROM s.old_keep) END) \
      AND NOT EXISTS (SELECT FROM immutable.events e \
        WHERE e.tenant_id = '' AND e.action = 'immutable.pruned' AND e.created_at > x.at) \
    ORDER BY x.tab, x.tenant_id";

sql_function!(immutable_changed_retention, pg_finfo_immutable_changed_retention, changed_retention);

/// `immutable.changed_retention()`
fn changed_retention(call: Call) -> Datum {
    if distributed::is() {
        return call.null();
    }
    let (memory, mut rows) = (call.memory(), call.rows());
    // status() calls it with its owner's rights.
    spi::read(CHANGED, &[], |row| {
        rows.put(&[row.at(0).map(|tab| memory.text(text(tab))), row.at(1).map(|tenant| memory.text(text(tenant)))]);
    });
    call.null()
}
