#!/usr/bin/env bash
# bench/capture.sh [OPTION …]: what it costs to record the row changes of a table, beside no trigger, a plain jsonb history and
# supa_audit's way. Builds a release as `make` does, whatever the environment says, runs on a private cluster of its own with
# durable commits, prints Markdown tables with the bars, and writes all figures to target/capture.json; in some ten minutes after
# the build. `bench/capture.sh --quick` tries all of it in less than one; `--help` lists the options. The plot is of docs/benchmarks.md:
# bench/plot.py '## Row changes' 'jsonb history' "supa_audit's way" immutable >docs/images/capture.svg
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_INCREMENTAL=false
set -a && eval "$(scripts/pg env capture)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/capture.py "$@"
