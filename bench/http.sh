#!/usr/bin/env bash
# bench/http.sh [OPTION …]: what HTTP costs beside SQL: POST /events beside track() by pgbench, batches beside track_batch(),
# GET /events beside get_events(), and what idle connections take. Builds the extension and the program as releases, runs on a
# private cluster of its own with durable commits, and needs wrk. `bench/http.sh --help` lists the options.
cd "$(dirname "$0")/.." || exit
command -v wrk >/dev/null || { echo "bench/http.sh needs wrk (apt-get install wrk)" >&2; exit 1; }
scripts/setup test >&2 || exit
scripts/pg start bench >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/http.py "$@"
