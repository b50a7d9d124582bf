#!/usr/bin/env bash
# bench/schemas.sh: what action schemas cost an event: none, 100 patterns, and a JSON Schema for the metadata. pgbench inserts
# 100 events in each statement, one client, on a private cluster without fsync; the cases take turns, and the median of the
# rounds is printed.
#
#   bench/schemas.sh [ROUNDS [SECONDS]]              9 rounds of 4 seconds for each case
#
# To compare with another build, run it there: the case "none" is the only one that a build without schemas knows, and
# CASES=none leaves the others out.
. "$(dirname "$0")/../scripts/lib.sh"

rounds=${1:-9} seconds=${2:-4}
read -ra cases <<<"${CASES:-none other patterns document}"
pg=("$ROOT/scripts/pg")
"${pg[@]}" start bench shared_buffers=1GB max_wal_size=8GB fsync=off jit=off autovacuum=off
eval "$("${pg[@]}" env bench | sed 's/^/export /')"
PATH=$IMMUTABLE_PG_BIN:$PATH
run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }

printf '%s\n' "INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) SELECT 't', 'u', 'service.' || n || '.read', '{\"size\": 1024, \"name\": \"report.pdf\"}' FROM generate_series(1, 100) n;" >"$STATE/schemas.sql"
for case in "${cases[@]}"; do
    run -c "DROP DATABASE IF EXISTS schemas_$case" -c "CREATE DATABASE schemas_$case TEMPLATE template0"
    in_case() { run -d "schemas_$case" "$@" >/dev/null; }
    in_case -c "CREATE EXTENSION immutable"
    patterns="SELECT immutable.set_action_schema('service.' || n || '.*', NULL, %s, %s) FROM generate_series(1, 100) n"
    schema="'{\"type\": \"object\", \"required\": [\"size\"], \"properties\": {\"size\": {\"type\": \"integer\", \"minimum\": 0}, \"name\": {\"type\": \"string\", \"maxLength\": 255}}}'"
    case $case in
    none) ;;
    # Patterns of another tenant alone.
    other) in_case -c "$(printf "$patterns" NULL "'another'")" ;;
    patterns) in_case -c "$(printf "$patterns" NULL NULL)" -c "SELECT immutable.set_action_schema_mode('strict')" ;;
    document) in_case -c "$(printf "$patterns" "$schema" NULL)" -c "SELECT immutable.set_action_schema_mode('strict')" ;;
    esac
done

: >"$STATE/schemas.out"
for ((round = 0; round <= rounds; round++)); do
    for case in "${cases[@]}"; do
        tps=$(pgbench -n -M prepared -f "$STATE/schemas.sql" -T "$seconds" "schemas_$case" | awk '/^tps/ { print $3 }')
        # The first round warms up.
        ((round == 0)) || echo "$case $tps" >>"$STATE/schemas.out"
        run -d "schemas_$case" -c "CHECKPOINT"
    done
done
for case in "${cases[@]}"; do
    awk -v case="$case" '$1 == case { print 10000 / $2 }' "$STATE/schemas.out" | sort -n |
        awk -v case="$case" '{ t[NR] = $1 } END { printf "%-9s median %.2f µs an event, from %.2f to %.2f\n", case, t[int((NR + 1) / 2)], t[1], t[NR] }'
done
