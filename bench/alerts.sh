#!/usr/bin/env bash
# bench/alerts.sh: how long the evaluation of alerts takes: a backlog of events against rules of all types, in the first
# evaluation, which remembers nothing, and in the next one; then what a call with one new event takes.
#
#   bench/alerts.sh [EVENTS [RULES]]                 100,000 events of 2,000 actors in 100 tenants, 50 rules
. "$(dirname "$0")/../scripts/lib.sh"

events=${1:-100000} rules=${2:-50} database=bench_alerts
pg=("$ROOT/scripts/pg")
run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }
in_db() { run -d "$database" "$@"; }
milliseconds() { in_db -c '\timing on' -c "$1" | awk '/^Time:/ { print $2 } /"alerts": [{]/ { print > "/dev/stderr" }'; }

"${pg[@]}" start bench shared_buffers=1GB max_wal_size=8GB fsync=off jit=off
run -c "DROP DATABASE IF EXISTS $database" -c "CREATE DATABASE $database TEMPLATE template0"
in_db -c "CREATE EXTENSION immutable"

in_db >/dev/null <<SQL
SELECT immutable.create_alert_rule('rule ' || n, t, CASE t
    WHEN 'new_country' THEN jsonb_build_object('action_pattern', p)
    WHEN 'off_hours' THEN jsonb_build_object('action_pattern', p, 'timezone', z, 'start_hour', 6 + n % 5)
    ELSE jsonb_build_object('action_pattern', p, 'threshold', CASE t WHEN 'ingestion_spike' THEN 500 ELSE 5 + n % 20 END, 'window_minutes', 1 + n % 15) END)
FROM generate_series(1, $rules) n, LATERAL (SELECT
    (array['new_country', 'high_volume_destructive', 'ingestion_spike', 'repeated_action', 'off_hours'])[1 + n % 5] t,
    (array['*', 'document.*', '*.deleted', 'login.failed'])[1 + n / 5 % 4] p,
    (array['UTC', 'Europe/Berlin', 'America/New_York'])[1 + n % 3] z) x;
SQL

# Ten events in each transaction.
record() {
    in_db <<SQL
DO \$\$ BEGIN FOR n IN 1 .. $1 / 10 LOOP
    INSERT INTO immutable.events (tenant_id, actor_id, action, ip_country)
    SELECT 'org_' || n % 100, 'user_' || (n * 10 + i) * 7919 % 2000,
      (array['document.viewed', 'document.deleted', 'login.failed', 'login', 'document.created', 'team.removed'])[1 + i % 6],
      (array['DE', 'DE', 'FR', 'US', NULL])[1 + (n + i) % 5]
    FROM generate_series(1, 10) i;
    COMMIT;
END LOOP; END \$\$;
SQL
}

for round in first second third; do
    record "$events"
    echo "$round evaluation of $events events against $rules rules: $(milliseconds "CALL immutable.run_maintenance(NULL)") ms"
done
echo "alerts: $(in_db -c "SELECT count(*) FROM immutable.alerts"), remembered: $(in_db -c "SELECT count(*), pg_size_pretty(sum(length(state))) FROM immutable.alert_state")"
for _ in {1..20}; do
    record 10
    milliseconds "CALL immutable.run_maintenance(NULL)"
done 2>/dev/null | sort -n | awk '{ t[NR] = $1 } END { print "a call with ten new events: median " t[int(NR / 2)] " ms, most " t[NR] " ms" }'
