#!/usr/bin/env bash
# bench/export.sh [EVENTS]: how fast an export is written and verified, and what bounds it. Builds the extension and the
# verifier (release), runs on a private cluster of its own, and prints figures to compare side by side, each the best of
# three: the processor's time too, which other load on the machine disturbs least.
cd "$(dirname "$0")/.." || exit
set -euo pipefail
events=${1:-200000}
scripts/setup test >&2
scripts/pg install >&2
make -s verifier >&2
verify=target/release/immutable-verify
set -a && eval "$(scripts/pg env bench_export)" && set +a
scripts/pg start bench_export fsync=off max_wal_size=8GB shared_buffers=512MB
dir=$(mktemp -d "$IMMUTABLE_STATE/export.XXXXXX")
trap 'scripts/pg destroy bench_export; rm -rf "$dir"' EXIT
sql() { scripts/pg psql bench_export -q -A -t -v ON_ERROR_STOP=1 "$@"; }

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

with="WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')"
sql -c "COPY (SELECT immutable.export_events()) TO STDOUT $with" >"$dir/export"
bytes=$(stat -c %s "$dir/export")
gzip -1 <"$dir/export" >"$dir/export.gz"
zstd=$(command -v zstd || true)
[[ -z $zstd ]] || zstd -q -3 "$dir/export" -o "$dir/export.zst"

# best COMMAND …: the least elapsed and processor time of three runs. Status 3 is immutable-verify's for a file that no
# saved head anchors.
best() {
    local n
    for n in 1 2 3; do
        /usr/bin/env bash -c 'TIMEFORMAT="%R %U %S"; time "$@" >/dev/null || [[ $? == 3 ]]' -- "$@" 2>&1 | tail -n 1
    done | sort -n | head -n 1 | awk -v bytes="$bytes" -v events="$events" \
        '{ printf "%8.0f MB/s %8.0f MB/s of one core %10.0f events/s\n", bytes / $1 / 1e6, bytes / ($2 + $3) / 1e6, events / $1 }'
}
# The server's own time: psql's is somebody else's.
export_once() { sql -c "SET statement_timeout = 0" -c "COPY (SELECT immutable.export_events()) TO PROGRAM 'cat >/dev/null' $with"; }
export_text() { sql -c "COPY (SELECT e::text FROM immutable.events e ORDER BY tenant_id, lane, seq) TO PROGRAM 'cat >/dev/null' $with"; }
export -f sql
timed() {
    local n
    for n in 1 2 3; do
        local start=$EPOCHREALTIME
        "$1"
        echo "$start $EPOCHREALTIME"
    done | awk -v bytes="$2" -v events="$events" '{ t = $2 - $1; if (!best || t < best) best = t }
        END { printf "%8.0f MB/s %35.0f events/s\n", bytes / best / 1e6, events / best }'
}
text_bytes=$(sql -c "SELECT sum(octet_length(e::text)) FROM immutable.events e")

echo "$events events, $bytes bytes, $((bytes / events)) for each; $(nproc) processors, PostgreSQL $IMMUTABLE_PG_MAJOR"
printf '%-44s' "export_events()"; timed export_once "$bytes"
printf '%-44s' "beside it: the rows as text, same order"; timed export_text "$text_bytes"
printf '%-44s' "memory of its backend (kB: before, most)"
sql <<SQL
SELECT pg_catalog.regexp_replace(pg_read_file('/proc/self/status'), '.*RssAnon:\s+(\d+) kB.*', '\1');
COPY (SELECT immutable.export_events()) TO PROGRAM 'cat >/dev/null' $with;
SELECT pg_catalog.regexp_replace(pg_read_file('/proc/self/status'), '.*RssAnon:\s+(\d+) kB.*', '\1');
SQL
printf '%-44s' "immutable-verify"; best "$verify" -q "$dir/export"
printf '%-44s' "immutable-verify, gzip"; best "$verify" -q "$dir/export.gz"
[[ -z $zstd ]] || { printf '%-44s' "immutable-verify, zstd"; best "$verify" -q "$dir/export.zst"; }
printf '%-44s' "beside it: SHA-256 of the file (openssl)"; best openssl dgst -sha256 "$dir/export"
printf '%-44s' "beside it: wc -l"; best wc -l "$dir/export"
