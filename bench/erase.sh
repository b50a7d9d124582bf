#!/usr/bin/env bash
# bench/erase.sh [OPTION …]: what it costs to erase a person, beside a plain UPDATE of the same columns in a table without
# triggers, and how much memory it takes. Builds the extension, runs on a private cluster of its own with durable commits,
# and prints a table; `bench/erase.sh --help` lists the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/erase.py "$@"
