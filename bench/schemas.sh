#!/usr/bin/env bash
# bench/schemas.sh: what action schemas cost an event: none, those of another tenant, 100 patterns, and a JSON Schema for the
# metadata. Inserts 100 events in each statement on a private cluster, and counts the nanoseconds that the server's process
# had the processor, which other work on the machine changes less than it changes the clock. The cases take turns.
#
#   bench/schemas.sh [ROUNDS [STATEMENTS]]           11 rounds of 100 statements for each case
#
# To compare with another build, run it there with CASES=none, the only case that a build without schemas knows.
# SCHEMAS_PERF=1 pauses before each case's statements until a key is pressed, and prints the process for perf.
. "$(dirname "$0")/../scripts/lib.sh"

rounds=${1:-11} statements=${2:-100}
read -ra cases <<<"${CASES:-none other patterns document}"
pg=("$ROOT/scripts/pg")
"${pg[@]}" start bench shared_buffers=1GB max_wal_size=8GB fsync=off jit=off autovacuum=off
run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }

insert="INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) SELECT 't', 'u', 'service.' || n || '.read', '{\"size\": 1024, \"name\": \"report.pdf\"}' FROM generate_series(1, 100) n;"
ran="SELECT split_part(pg_read_file('/proc/' || pg_backend_pid() || '/schedstat'), ' ', 1);"
{
    # The session reads the schemas, and plans.
    printf '%s\n' "$insert" "$insert"
    [[ ! ${SCHEMAS_PERF:-} ]] || printf '%s\n' '\echo perf record -p' 'SELECT pg_backend_pid() \g /dev/stderr' '\! read -r -n 1 </dev/tty'
    printf '%s\n' "$ran"
    for ((n = 0; n < statements; n++)); do printf '%s\n' "$insert"; done
    printf '%s\n' "$ran"
} >"$STATE/schemas.sql"
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
        # The first round warms up.
        run -d "schemas_$case" -f "$STATE/schemas.sql" | awk -v case="$case" -v round="$round" -v events=$((statements * 100)) \
            'NR == 1 { before = $1 } NR == 2 && round > 0 { print case, ($1 - before) / events / 1000 }' >>"$STATE/schemas.out"
        run -d "schemas_$case" -c "CHECKPOINT"
    done
done
for case in "${cases[@]}"; do
    awk -v case="$case" '$1 == case { print $2 }' "$STATE/schemas.out" | sort -n |
        awk -v case="$case" '{ t[NR] = $1 } END { printf "%-9s median %.2f µs of processor time an event, from %.2f to %.2f\n", case, t[int((NR + 1) / 2)], t[1], t[NR] }'
done
