#!/usr/bin/env bash
# bench/maintenance.sh: what a call of run_maintenance() at rest costs, with rules and keys, and what a minute's events
# cost it. On the private cluster that bench/verify.sh makes, in a copy of its database.
#
#   bench/maintenance.sh [EVENTS [TENANTS]]          1,000,000 events of 1,000 tenants
. "$(dirname "$0")/../scripts/lib.sh"

events=${1:-1000000} tenants=${2:-1000}
database=bench_maintenance
pg=("$ROOT/scripts/pg")
run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }
in_db() { run -d "$database" "$@"; }
# The median and the 99th percentile of 500 calls in one session, after ten that warm it up.
calls() {
    for ((i = 0; i < 510; i++)); do echo 'CALL immutable.run_maintenance();'; done >"$STATE/calls.sql"
    in_db -c '\timing on' -f "$STATE/calls.sql" | awk '/^Time:/ { print $2 }' | tail -n 500 | sort -n |
        awk '{ t[NR] = $1 } END { printf "median %s ms, 99 %% below %s ms\n", t[int((NR + 1) / 2)], t[int(NR * 0.99 + 0.5)] }'
}

"${pg[@]}" start bench shared_buffers=4GB max_wal_size=8GB fsync=off jit=off
run -c "DROP DATABASE IF EXISTS $database" -c "CREATE DATABASE $database TEMPLATE bench_${events}_${tenants}"
in_db -c "CALL immutable.checkpoint()" -c "SELECT immutable.create_alert_rule('all', 'repeated_action')" \
    -c "SELECT immutable.create_api_key('bench')" >/dev/null
in_db -c "CALL immutable.run_maintenance()" -c "SELECT immutable.resume_maintenance()" >/dev/null
say "the first calls: every event is read for the use of keys"
time (for ((i = 0; i < 60; i++)); do in_db -c "CALL immutable.run_maintenance()" | grep -q '"events"' || break; done)
echo "at rest, in one session: $(calls)"
for n in {1..50}; do
    in_db -c '\timing on' -c "CALL immutable.run_maintenance()" | awk '/^Time:/ { print $2 }'
done | sort -n | awk '{ t[NR] = $1 } END { print "at rest, a session each: median " t[25] " ms, most " t[NR] " ms" }'
in_db -c "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'org_0_000001', 'u', 'a' FROM generate_series(1, 60000)"
echo "60,000 new events: $(in_db -c '\timing on' -c "CALL immutable.run_maintenance()" | awk '/^Time:/ { print $2 }') ms"
