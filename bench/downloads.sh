#!/usr/bin/env bash
# bench/downloads.sh [EVENTS]: how fast an export for download is made, counted and read, beside export_events(). Builds the
# extension (release), runs on a private cluster of its own, and prints figures to compare side by side, each the best of
# three.
cd "$(dirname "$0")/.." || exit
set -euo pipefail
events=${1:-1000000}
scripts/setup test >&2
scripts/pg install >&2
set -a && eval "$(scripts/pg env bench_downloads)" && set +a
scripts/pg start bench_downloads fsync=off max_wal_size=8GB shared_buffers=512MB
trap 'scripts/pg destroy bench_downloads' EXIT
sql() { scripts/pg psql bench_downloads -q -A -t -v ON_ERROR_STOP=1 "$@"; }

sql -c "CREATE EXTENSION immutable"
sql <<SQL
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type,
  resource_id, resource_name, targets, metadata, session_id, ip_address, user_agent)
SELECT 'org_' || i % 1000, 'user_' || i % 977, 'Sarah Chen', 'user', 'document.shared', 'access', 'document', 'doc_' || i,
  E'Quarterly "Report"\n' || i,
  CASE WHEN i % 3 = 0 THEN '[{"type": "team", "id": "team_5bR7cNx", "name": "Engineering"}]'::jsonb ELSE '[]' END,
  jsonb_build_object('via', 'link', 'size', i, 'note', E'tab\there'), 'sess_' || i % 5000, '203.0.113.7',
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36'
FROM generate_series(1, $events) i;
VACUUM ANALYZE immutable.events;
SQL
export_id=$(sql -c "SELECT immutable.create_export() ->> 'id'")
with="WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')"

# timed LABEL QUERY BYTES: the server's own time, since psql's is somebody else's.
timed() {
    local n
    printf '%-44s' "$1"
    for n in 1 2 3; do
        local start=$EPOCHREALTIME
        sql -c "COPY ($2) TO PROGRAM 'cat >/dev/null' $with"
        echo "$start $EPOCHREALTIME"
    done | awk -v bytes="$3" -v events="$events" '{ t = $2 - $1; if (!best || t < best) best = t }
        END { printf "%8.0f MB/s %12.0f events/s %10.0f ms\n", bytes / best / 1e6, events / best, best * 1000 }'
}
bytes_of() { sql -c "SELECT sum(octet_length(line) + 1) FROM (SELECT $1) e(line)"; }

echo "$events events; $(nproc) processors, PostgreSQL $IMMUTABLE_PG_MAJOR"
for line in "export_events()" "export_rows('$export_id')" "export_rows('$export_id', 'csv_spreadsheet')" \
    "export_rows('$export_id', 'ndjson')"; do
    timed "${line//$export_id/…}" "SELECT immutable.$line" "$(bytes_of "immutable.$line")"
done
printf '%-44s' "get_export(): until it is completed"
start=$EPOCHREALTIME
calls=0
until [[ $(sql -c "SELECT immutable.get_export('$export_id') #>> '{data,status}'") == completed ]]; do calls=$((calls + 1)); done
awk -v a="$start" -v b="$EPOCHREALTIME" -v n="$((calls + 1))" 'BEGIN { printf "%8.0f ms in %d calls\n", (b - a) * 1000, n }'
printf '%-44s' "memory of the backend (kB: before, most)"
sql <<SQL | paste -sd ' '
SELECT pg_catalog.regexp_replace(pg_read_file('/proc/self/status'), '.*RssAnon:\s+(\d+) kB.*', '\1');
COPY (SELECT immutable.export_rows('$export_id')) TO PROGRAM 'cat >/dev/null' $with;
SELECT pg_catalog.regexp_replace(pg_read_file('/proc/self/status'), '.*RssAnon:\s+(\d+) kB.*', '\1');
SQL
