#!/usr/bin/env bash
# bench/segments.sh [OPTION …]: what a log costs as it grows from 100 thousand events to millions, sealed into segments, with
# memory for a tenth of it. Builds a release, fills a private cluster of its own, prints Markdown tables, and draws
# docs/images/segments-*.svg; `bench/segments.sh --help` lists the options. To limit memory it has to run as root, where the
# memory controller of version 1 can be written; otherwise only shared_buffers is limited, and the table says so.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_INCREMENTAL=false
set -a && eval "$(scripts/pg env segments)" && set +a
exec "$IMMUTABLE_STATE/venv/bin/python" bench/segments.py "$@"
