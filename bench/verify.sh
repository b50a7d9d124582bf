#!/usr/bin/env bash
# bench/verify.sh: what verify_chain() costs, beside a query that does nothing but read the same rows and print them,
# in one and in two processes. It makes a private cluster (scripts/pg) and loads it, once.
#
#   bench/verify.sh [EVENTS [TENANTS [ROUNDS]]]      1,000,000 events of 1,000 tenants, 3 rounds
. "$(dirname "$0")/../scripts/lib.sh"

events=${1:-1000000} tenants=${2:-1000} rounds=${3:-3}
database=bench_${events}_${tenants}
pg=("$ROOT/scripts/pg")

run() { "${pg[@]}" psql bench -X -q -At -v ON_ERROR_STOP=1 "$@"; }

"${pg[@]}" start bench shared_buffers=4GB max_wal_size=4GB fsync=off jit=off
if [[ -z $(run -c "SELECT 1 FROM pg_database WHERE datname = '$database'") ]]; then
    say "loading $events events of $tenants tenants in two sessions"
    run -c "CREATE DATABASE $database"
    run -d "$database" -c "CREATE EXTENSION immutable"
    for part in 0 1; do
        run -d "$database" -v events=$((events / 2)) -v tenants=$((tenants / 2)) -v part=$part \
            -f "$ROOT/bench/load.sql" &
    done
    wait
    run -d "$database" -c "VACUUM ANALYZE"
fi
eval "$("${pg[@]}" env bench)"
postmaster=$(head -n 1 "$IMMUTABLE_PG_DATA/postmaster.pid")

# Anonymous memory of the process that has most of it: of all processes of the cluster, sampled while $1 is there.
watch_memory() {
    local most=0 kib process
    while [[ -e $1 ]]; do
        for process in $(cat "/proc/$postmaster/task/$postmaster/children" 2>/dev/null); do
            kib=$(awk '/^RssAnon/ { print $2 }' "/proc/$process/status" 2>/dev/null) || true
            ((${kib:-0} <= most)) || most=$kib
        done
        sleep 0.05
    done
    echo $((most / 1024))
}

# One call in a session of its own, after a first one that warms it up: milliseconds and MiB.
measure() {
    local flag memory
    flag=$(mktemp)
    watch_memory "$flag" >"$flag.memory" &
    run -d "$database" -c "SET max_parallel_workers_per_gather = $1" -c '\timing on' -c "$2" |
        awk '/^Time:/ { print $2 }' >"$flag.time"
    rm "$flag"
    wait $!
    memory=$(cat "$flag.memory")
    printf '%s %s\n' "$(cat "$flag.time")" "$memory"
    rm "$flag.memory" "$flag.time"
}

queries=(
    "read and print|SELECT sum(octet_length(e::text)) FROM immutable.events e"
    "verify, targets left out|SELECT * FROM immutable.verify_chain(targets => false)"
    "verify|SELECT * FROM immutable.verify_chain()"
)
for query in "${queries[@]}"; do measure 1 "${query#*|}" >/dev/null; done # warm
printf '%-26s %9s %11s %11s %14s %7s\n' query processes 'median ms' 'best ms' 'events/s core' 'MiB'
for processes in 1 2; do
    declare -A times=() memories=()
    for ((round = 0; round < rounds; round++)); do
        for query in "${queries[@]}"; do
            read -r time memory < <(measure $((processes - 1)) "${query#*|}")
            times[${query%%|*}]+="$time "
            ((memory <= ${memories[${query%%|*}]:-0})) || memories[${query%%|*}]=$memory
        done
    done
    for query in "${queries[@]}"; do
        name=${query%%|*}
        mapfile -t sorted < <(tr ' ' '\n' <<<"${times[$name]}" | grep . | sort -n)
        median=${sorted[$((rounds / 2))]}
        printf '%-26s %9s %11.0f %11.0f %14.0f %7s\n' "$name" $processes "$median" "${sorted[0]}" \
            "$(awk -v e="$events" -v p=$processes -v t="$median" 'BEGIN { print e / p / t * 1000 }')" "${memories[$name]}"
    done
done
say "one minute's load: $(cut -d' ' -f1 /proc/loadavg), $(nproc) cores; the memory is of the greatest process, its start included"
