#!/usr/bin/env bash
# bench/read.sh [OPTION …]: what a page costs, for every filter, on a log of a million events or more. Builds the extension,
# fills a private cluster of its own (kept for the next run with as many events), and prints a table; `bench/read.sh --help`
# lists the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/read.py "$@"
