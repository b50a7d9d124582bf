#!/usr/bin/env bash
# bench/size.sh [EVENTS]: bytes of tables, indexes and WAL for each event, and what VACUUM of an append-only table costs.
. "$(dirname "$0")/../scripts/lib.sh"
events=${1:-500000}
pg=$ROOT/scripts/pg

"$pg" start size fsync=off max_wal_size=8GB autovacuum=off shared_buffers=256MB
trap '"$pg" destroy size' EXIT
"$pg" psql size -X -q -v ON_ERROR_STOP=1 -v events="$events" <<'SQL'
CREATE EXTENSION immutable;
CREATE FUNCTION pg_temp.per_event(bytes numeric, events numeric) RETURNS text LANGUAGE sql
RETURN pg_size_pretty(bytes) || ', ' || round(bytes / events) || ' bytes an event';
SELECT pg_current_wal_insert_lsn() AS before \gset
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id, session_id, ip_address, targets, metadata)
SELECT 't' || n % 1000, 'user_' || n % 5000, 'Sarah Chen', 'user', (ARRAY['document.created', 'document.viewed', 'task.completed'])[1 + n % 3],
  'document', 'doc_' || n % 100000, 'sess_' || n / 20, '203.0.113.7',
  '[{"type": "project", "id": "proj_4a9f2c", "name": "Q3 Marketing"}, {"type": "task", "id": "task_7b2e9d", "name": "Landing page"}]',
  '{"project_id": "proj_4a9f2c", "priority": "high", "size": 1024}'
FROM generate_series(1, :events) n;
SELECT pg_current_wal_insert_lsn() AS after \gset
SELECT 'events, rows' AS what, pg_temp.per_event(pg_table_size('immutable.events'), :events) AS size
UNION ALL SELECT 'events, indexes', pg_temp.per_event(pg_indexes_size('immutable.events'), :events)
UNION ALL SELECT 'event_targets, rows', pg_temp.per_event(pg_table_size('immutable.event_targets'), :events)
UNION ALL SELECT 'event_targets, indexes', pg_temp.per_event(pg_indexes_size('immutable.event_targets'), :events)
UNION ALL SELECT 'WAL', pg_temp.per_event(pg_wal_lsn_diff(:'after', :'before'), :events);
\timing on
SELECT pg_current_wal_insert_lsn() AS before \gset
\echo VACUUM, the first
VACUUM immutable.events, immutable.event_targets;
SELECT pg_temp.per_event(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'before'), :events) AS wal;
SELECT pg_current_wal_insert_lsn() AS before \gset
\echo VACUUM FREEZE after it
VACUUM (FREEZE) immutable.events, immutable.event_targets;
SELECT pg_temp.per_event(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'before'), :events) AS wal;
\echo VACUUM FREEZE of what is frozen
VACUUM (FREEZE) immutable.events, immutable.event_targets;
SELECT relname, relpages, relallvisible FROM pg_class WHERE relname IN ('events', 'event_targets');
SQL
