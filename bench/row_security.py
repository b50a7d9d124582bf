#!/usr/bin/env python3
"""Measures pages under row security beside the same pages without; see row_security.sh.

Both sides ask in turn for the same tenants, one prepared statement each, from one client. A ratio is formed within a
round, so that what the machine does meanwhile meets both sides; the median of the rounds is shown with the least and the
greatest."""

import argparse
import os
import pathlib
import random
import statistics
import subprocess
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATABASE = "bench_row_security"
PAGE = "SELECT * FROM immutable.events {} ORDER BY created_at DESC, id DESC LIMIT 25"
WORK = [
    # name, without row security, under it
    ("page of 25, SELECT", PAGE.format("WHERE tenant_id = %s"), PAGE.format("")),
    ("page of 25, get_events()", "SELECT immutable.get_events(tenant_id => %s)", "SELECT immutable.get_events()"),
    ("page of 25, find_events()", "SELECT * FROM immutable.find_events(tenant_id => %s)",
     "SELECT * FROM immutable.find_events()"),
    ("targets of a tenant", "SELECT count(*) FROM immutable.event_targets WHERE tenant_id = %s",
     "SELECT count(*) FROM immutable.event_targets"),
    ("count(*) of a tenant", "SELECT count(*) FROM immutable.events WHERE tenant_id = %s",
     "SELECT count(*) FROM immutable.events"),
]


def connect(user="postgres", dbname=DATABASE):
    return psycopg.connect(f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user={user} dbname={dbname}",
                           autocommit=True, prepare_threshold=0)


def load(events, tenants):
    with connect(dbname="postgres") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    with connect() as admin:
        admin.execute("CREATE EXTENSION immutable")
        admin.execute("DROP ROLE IF EXISTS bench_viewer")
        admin.execute("CREATE ROLE bench_viewer LOGIN IN ROLE immutable_viewer")
        for start in range(0, events, 50_000):
            admin.execute(
                "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, resource_type, resource_id, "
                "targets, metadata) SELECT 'tenant_' || i %% %s, 'user_' || i %% 7919, 'Sarah Chen', 'task.completed', "
                "'task', 'task_' || i, '[{\"type\": \"project\", \"id\": \"project_1\"}]', "
                "'{\"priority\": \"high\", \"points\": 12.5}' FROM generate_series(%s::int, %s) i",
                (tenants, start, min(start + 50_000, events) - 1))
        admin.execute("VACUUM ANALYZE immutable.events")
        admin.execute("VACUUM ANALYZE immutable.event_targets")


def measure(connection, statement, tenants, arguments, token=None):
    """Seconds per statement. The token is set outside of what is measured, once a tenant."""
    spent = 0.0
    for tenant in tenants:
        if token:
            connection.execute("SELECT set_config('immutable.viewer_token', %s, false)", (token[tenant],))
        for _ in range(options.repeat):
            start = time.perf_counter()
            connection.execute(statement, (tenant,) if arguments else None).fetchall()
            spent += time.perf_counter() - start
    return spent / len(tenants) / options.repeat


def main():
    if not options.keep:
        for command in (["install"], ["start", "bench_rls", "shared_buffers=1GB", "max_wal_size=8GB", "fsync=off"]):
            subprocess.run([ROOT / "scripts/pg", *command], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        load(options.events, options.tenants)
    admin, viewer = connect(), connect("bench_viewer")
    names = [f"tenant_{n}" for n in random.Random(1).sample(range(options.tenants), options.pages)]
    tokens = {name: admin.execute("SELECT immutable.create_viewer_token(%s) ->> 'token'", (name,)).fetchone()[0]
              for name in names}
    version = admin.execute("SHOW server_version").fetchone()[0]
    print(f"PostgreSQL {version}, {options.events:,} events of {options.tenants:,} tenants, {options.rounds} rounds of "
          f"{options.pages * options.repeat} statements; load {os.getloadavg()[0]:.1f}\n")
    print("| statement | without, µs | under row security, µs | ratio (least to greatest) |")
    print("|---|---|---|---|")
    for name, without, under in WORK:
        pairs = []
        for _ in range(options.rounds):
            pairs.append((measure(admin, without, names, True), measure(viewer, under, names, False, tokens)))
        ratios = sorted(b / a for a, b in pairs)
        print(f"| {name} | {statistics.median(a for a, _ in pairs) * 1e6:,.0f} "
              f"| {statistics.median(b for _, b in pairs) * 1e6:,.0f} "
              f"| **{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")
    for name, per_call in resolving(viewer, tokens, names).items():
        print(f"\n{name}: {per_call:.1f} µs")


def resolving(viewer, tokens, names):
    """Microseconds of one resolution of a token, in a statement that makes thousands."""
    first, second = (tokens[name] for name in names[:2])
    switch = "set_config('immutable.viewer_token', CASE i % 2 WHEN 0 THEN '{}' ELSE '{}' END, false)"

    def spent(expression):
        rounds = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            viewer.execute(f"SELECT count({expression}) FROM generate_series(1, 20000) i".replace("%", "%%"), ())
            rounds.append(time.perf_counter() - start)
        return statistics.median(rounds) / 20000 * 1e6

    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", (first,))
    same = spent("immutable.visible_tenant()") - spent("i::text")
    switched = switch.format(first, second)
    return {"a token verified before, looked up again": same,
            "another token each time": spent(f"{switched} || immutable.visible_tenant()") - spent(f"{switched} || i")}


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--events", type=int, default=1_000_000)
parser.add_argument("--tenants", type=int, default=1000)
parser.add_argument("--pages", type=int, default=40, help="tenants that are asked for in a round")
parser.add_argument("--repeat", type=int, default=10, help="statements for each of them")
parser.add_argument("--rounds", type=int, default=11)
parser.add_argument("--keep", action="store_true", help="measure on what an earlier run loaded")
options = parser.parse_args()
main()
