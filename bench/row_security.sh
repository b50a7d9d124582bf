#!/usr/bin/env bash
# bench/row_security.sh [OPTION …]: what a viewer's page costs beside the same page without row security, at a million
# events of a thousand tenants. Builds the extension, runs on a private cluster of its own, and prints a table;
# `bench/row_security.sh --help` lists the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
set -a && eval "$(scripts/pg env bench_rls)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/row_security.py "$@"
