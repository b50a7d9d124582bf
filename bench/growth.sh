#!/usr/bin/env bash
# bench/growth.sh [OPTION …]: what an event costs in a log of ten million beside the same in one of a hundred thousand. Takes
# the databases that bench/read.sh left (`bench/read.sh --events 100000`, `--events 10000000`); `bench/growth.sh --help` lists
# the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/growth.py "$@"
