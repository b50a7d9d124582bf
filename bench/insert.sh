#!/usr/bin/env bash
# bench/insert.sh [OPTION …]: what it costs to write a chained event, beside the same event without a chain and beside
# what a team would write by hand. Builds the extension, runs on a private cluster of its own with durable commits, and
# prints a table; `bench/insert.sh --help` lists the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/insert.py "$@"
