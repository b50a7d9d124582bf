#!/usr/bin/env bash
# bench/inserts-ab.sh [OPTION …]: inserts into the log beside a log that is written by hand, with its own six indexes ("own six")
# and with the extension's ("hand-written"), in turn. Builds a release as `make` does, whatever the environment says, and prints
# events a second, processor time and bytes; in some six minutes after the build. Options are those of bench/insert.sh.
cd "$(dirname "$0")/.." || exit
export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_INCREMENTAL=false
exec bench/insert.sh --rounds 4 --seconds 3 --tables 'own six,hand-written,immutable' --only \
    '^1 row, (1|16) clients?, 1 tenant$|^1 row, 16 clients, (64 tenants|no targets)$|^100 rows, [14] clients?, 1 tenant$' "$@"
