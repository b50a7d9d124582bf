#!/usr/bin/env bash
# bench/evidence.sh: what the tree costs: the first checkpoint of a log, a checkpoint of one new event, inserts with a
# checkpoint each second, proofs and receipts, verification with a checkpoint, and bytes. On the private cluster that
# bench/verify.sh makes, in a copy of its database, so that it can be run again.
#
#   bench/evidence.sh [EVENTS [TENANTS]]             1,000,000 events of 1,000 tenants
. "$(dirname "$0")/../scripts/lib.sh"

events=${1:-1000000} tenants=${2:-1000}
loaded=bench_${events}_${tenants} database=${EVIDENCE_DATABASE:-bench_evidence}
pg=("$ROOT/scripts/pg")
run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }
in_db() { run -d "$database" "$@"; }

"${pg[@]}" start bench shared_buffers=4GB max_wal_size=8GB fsync=off jit=off
if [[ $database == bench_evidence ]]; then
    run -c "DROP DATABASE IF EXISTS $database" -c "CREATE DATABASE $database TEMPLATE $loaded"
fi
eval "$("${pg[@]}" env bench | sed 's/^/export /')"
PATH=$IMMUTABLE_PG_BIN:$PATH

# Milliseconds of a command, measured by the server's psql.
milliseconds() { in_db -c '\timing on' -c "$1" | awk '/^Time:/ { print $2 }'; }
# The median and the 99th percentile of N calls of a statement in one session, after ten that warm it up.
calls() {
    local n=$1 statement=$2
    { for ((i = 0; i < n + 10; i++)); do printf '%s\n' "$statement"; done; } >"$STATE/calls.sql"
    in_db -c '\timing on' -f "$STATE/calls.sql" | awk '/^Time:/ { print $2 }' | tail -n "$n" | sort -n |
        awk '{ t[NR] = $1 } END { printf "median %s ms, 99 %% below %s ms", t[int((NR + 1) / 2)], t[int(NR * 0.99 + 0.5)] }'
}

say "warming: every event is read once"
in_db -c "SELECT count(*) FROM (SELECT event_hash, previous_event_hash FROM immutable.events OFFSET 0) x" >/dev/null
say "verification without a tree, one process"
echo "verify_chain(): $(milliseconds "SET max_parallel_workers_per_gather = 0; SELECT valid, events_checked FROM immutable.verify_chain()" | tail -n 1) ms"
if [[ -z $(in_db -c "SELECT FROM immutable.tree") ]]; then
    say "the first checkpoint"
    echo "first checkpoint with its verification: $(milliseconds "CALL immutable.checkpoint()") ms"
fi
backlog=300000
say "a backlog in long runs: $backlog events of one tenant"
in_db -c "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'org_backlog', 'u', 'a' FROM generate_series(1, $backlog)"
took=$(milliseconds "CALL immutable.checkpoint()")
echo "$backlog events: $took ms, $(awk -v n="$backlog" -v t="$took" 'BEGIN { printf "%d", n / t * 1000 }') events/s"
say "one new event, and nothing new"
for n in {1..60}; do
    printf '%s\n' "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('org_0_000001', 'u', 'a');" '\timing on' \
        'CALL immutable.checkpoint();' '\timing off'
done >"$STATE/one.sql"
in_db -f "$STATE/one.sql" | awk '/^Time:/ { print $2 }' | tail -n 50 | sort -n |
    awk '{ t[NR] = $1 } END { print "CALL with one new event, in one session: median " t[25] " ms, most " t[NR] " ms" }'
for n in {1..60}; do
    in_db -c "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('org_0_000001', 'u', 'a')" >/dev/null
    milliseconds "CALL immutable.checkpoint()"
done | sort -n | awk '{ t[NR] = $1 } END { print "CALL with one new event, a session each: median " t[int(NR / 2)] " ms, most " t[NR] " ms" }'
echo "CALL with nothing new: $(calls 200 "CALL immutable.checkpoint();")"

say "inserts of one row, 4 clients, with and without a checkpoint each second"
cat >"$STATE/insert.sql" <<'SQL'
\set t random(1, 64)
INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, resource_id, targets, metadata) VALUES ('bench_' || :t, 'user_1', 'document.viewed', 'document', 'doc_1', '[{"type": "team", "id": "t1"}, {"type": "user", "id": "u1"}]', '{"via": "link"}');
SQL
rate() { pgbench -n -c 4 -j 2 -T "${SECONDS_EACH:-10}" -f "$STATE/insert.sql" "$database" 2>/dev/null | awk '/^tps/ { print $3 }'; }
for round in 1 2 3 4; do
    without=$(rate)
    # In one session, so that starting psql does not count.
    psql -X -q -At -d "$database" >/dev/null 2>&1 <<<'CALL immutable.checkpoint();
\watch 1' &
    each=$!
    with=$(rate)
    kill "$each"
    wait "$each" 2>/dev/null || true
    echo "round $round: $without without, $with with, ratio $(awk -v a="$without" -v b="$with" 'BEGIN { printf "%.3f", b / a }')"
done

say "proofs and receipts"
(cd "$ROOT" && cargo build --release --locked --quiet -p immutable-verify)
verify=$ROOT/target/release/immutable-verify
rm -f "$STATE"/bench-witness*
in_db -c "SELECT immutable.add_witness('$("$verify" witness-key witness.example/bench --key "$STATE/bench-witness.key")')" >/dev/null
"$verify" witness --listen 127.0.0.1:7391 --state "$STATE/bench-witness" --init --key "$STATE/bench-witness.key" \
    --log "$(in_db -c "SELECT immutable.verifier_key()")" >/dev/null 2>&1 &
witness=$!
trap 'kill "$witness" 2>/dev/null || true' EXIT
sleep 1
"$ROOT/scripts/immutable-cosign" -d "$database" http://127.0.0.1:7391
size=$(in_db -c "SELECT size FROM immutable.tree")
read -r id tenant < <(in_db -F ' ' -c "SELECT id, tenant_id FROM immutable.events WHERE tenant_id = 'org_0_000777' AND seq = 100")
echo "inclusion_proof():   $(calls 300 "SELECT length(immutable.inclusion_proof('$id', '$tenant', $size));")"
echo "consistency_proof(): $(calls 300 "SELECT length(immutable.consistency_proof($((size / 3)), $size));")"
echo "receipt():           $(calls 300 "SELECT length(immutable.receipt('$id', '$tenant'));"), $(in_db -c "SELECT octet_length(immutable.receipt('$id', '$tenant'))") bytes"
say "verification against a checkpoint, one process"
in_db -c "SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1" >"$STATE/note"
note=$(cat "$STATE/note")
echo "verify_chain(checkpoint => …): $(milliseconds "SET max_parallel_workers_per_gather = 0; SELECT valid, events_checked FROM immutable.verify_chain(checkpoint => '$note' || E'\\n')" | tail -n 1) ms"
say "bytes"
in_db -F ' ' -c "SELECT relname, pg_size_pretty(pg_total_relation_size(oid)), round(pg_total_relation_size(oid)::numeric / $size, 1) || ' an event'
    FROM pg_class WHERE relnamespace = 'immutable'::regnamespace AND relkind = 'r' AND relname LIKE 'tree%' ORDER BY relname"
in_db -F ' ' -c "SELECT count(*) || ' runs', round(pg_total_relation_size('immutable.tree_runs')::numeric / count(*), 1) || ' bytes a run' FROM immutable.tree_runs"
