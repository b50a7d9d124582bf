#!/usr/bin/env bash
# bench/citus.sh [OPTION …]: a distributed log beside a local one and beside a bare distributed table: inserts, verification,
# pages, and a shard that moves under load. PG_CONFIG names a PostgreSQL that has Citus. It builds the extension as a
# release, and runs on private servers: a coordinator and two workers, with durable commits. `bench/citus.sh --help` lists
# the options.
cd "$(dirname "$0")/.." || exit
scripts/setup test >&2 || exit
nodes=$(scripts/citus "${PG_CONFIG:-pg_config}") || exit
venv=$(scripts/pg env | sed -n "s/^IMMUTABLE_STATE=//p")/venv
set -a && eval "$(IMMUTABLE_STATE=$nodes scripts/pg "$(cat "$nodes/major")" env)" && set +a
IMMUTABLE_PG=$IMMUTABLE_PG_MAJOR exec "$venv/bin/python" bench/citus.py "$@"
