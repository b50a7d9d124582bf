#!/usr/bin/env bash
# bench/keys.sh [OPTION …]: what a proof costs a statement: the same statement by a role that needs none, with an API key,
# and with a viewer token as the proof, in pgbench. Builds the extension, runs on a private cluster of its own, and prints a
# table; `bench/keys.sh --help` lists the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/keys.py "$@"
