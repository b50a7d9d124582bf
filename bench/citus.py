#!/usr/bin/env python3
"""Measures a distributed log; see citus.sh. What is compared takes turns, and the median of the rounds counts."""

import argparse
import importlib.util
import itertools
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Without this directory, whose http.py would hide Python's own package.
sys.path[:1] = [str(ROOT / "tests/citus"), str(ROOT / "tests/server")]
spec = importlib.util.spec_from_file_location("insert", ROOT / "bench/insert.py")
insert = importlib.util.module_from_spec(spec)
spec.loader.exec_module(insert)
import nodes as cluster  # noqa: E402

LOCAL = "bench_local"
TENANTS = 64
DURABLE = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}


class Bench:
    def __init__(self, events):
        cluster.SETTINGS.update(DURABLE)
        self.nodes = cluster.Nodes(int(os.environ["IMMUTABLE_PG_MAJOR"]))
        self.log = cluster.Distributed(self.nodes)
        with self.nodes[0].connect() as admin:
            admin.execute(f"CREATE DATABASE {LOCAL}")
        self.local = self.nodes[0].connect(LOCAL)
        self.local.execute("CREATE EXTENSION immutable")
        for conn in (self.local, self.log.conn):
            conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('bench', 'bench.began')")
        self.make_bare(self.local, False)
        self.make_bare(self.log.conn, True)
        for conn in (self.local, self.log.conn):
            self.fill(conn, events)

    def make_bare(self, conn, distributed):
        """A table with the columns and the indexes of the events, and no trigger: Citus' own price."""
        conn.execute("CREATE SCHEMA bare")
        conn.execute("CREATE TABLE bare.event (LIKE immutable.events INCLUDING DEFAULTS INCLUDING INDEXES)")
        for column in ("occurred_at", "created_at", "lane", "seq", "event_hash", "recorded_by", "xact"):
            conn.execute(f"ALTER TABLE bare.event ALTER {column} DROP NOT NULL")
        if distributed:
            conn.execute("SELECT create_distributed_table('bare.event', 'tenant_id', colocate_with => 'none')")

    def fill(self, conn, events):
        """Events of the usual kind, interleaved over the tenants."""
        each = insert.values(TENANTS, 2, 100)
        for first in range(0, events, 20000):
            conn.execute(f"INSERT INTO immutable.events ({insert.COLUMNS}) SELECT {each} FROM generate_series(1, {min(20000, events - first)}) "
                         "ON CONFLICT DO NOTHING")
        conn.execute("VACUUM (ANALYZE) immutable.events")
        conn.execute("VACUUM (ANALYZE) immutable.event_targets")

    def pgbench(self, node, database, statement, clients, seconds):
        """Transactions in a second."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(statement + "\n")
            script.flush()
            out = self.nodes[node].run("pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(clients), "-j", "2",
                                       "-T", str(seconds), database).stdout
        return float(re.search(r"tps = ([\d.]+)", out)[1])

    def inserts(self, clients, seconds, rounds, targets):
        def one(table):
            return insert.one_row(table, TENANTS, targets, 100)
        ways = {
            "bare table, local": (0, LOCAL, one("bare.event")),
            "log, local": (0, LOCAL, one("immutable.events")),
            "bare table, distributed": (0, self.log.name, one("bare.event")),
            "log, distributed": (0, self.log.name, one("immutable.events")),
            "log, distributed, through a worker": (1, self.log.name, one("immutable.events")),
        }
        tps = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (node, database, statement) in ways.items():
                tps[name].append(self.pgbench(node, database, statement, clients, seconds))
        bare = [log / of for log, of in zip(tps["log, distributed"], tps["bare table, distributed"])]
        local = [log / of for log, of in zip(tps["log, distributed"], tps["log, local"])]
        print(f"\n### Inserts of 1 row, {clients} clients, {TENANTS} tenants, {targets} targets: transactions/s, median of {rounds} rounds\n")
        for name, of in tps.items():
            print(f"{name:36} {statistics.median(of):8,.0f}   ({', '.join(f'{each:,.0f}' for each in of)})")
        print(f"distributed log / bare distributed table: {statistics.median(bare):.2f} ({', '.join(f'{each:.2f}' for each in bare)})")
        print(f"distributed log / local log:              {statistics.median(local):.2f} ({', '.join(f'{each:.2f}' for each in local)})")

    def verification(self, rounds):
        print("\n### Verification of all events: seconds\n")
        times = {"local, one process": [], "local": [], "distributed": []}
        for _ in range(rounds):
            for name, conn, workers in (("local, one process", self.local, 0), ("local", self.local, 2), ("distributed", self.log.conn, 0)):
                conn.execute(f"SET max_parallel_workers_per_gather = {workers}")
                start = time.monotonic()
                valid, checked = conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone()
                times[name].append(time.monotonic() - start)
                assert valid, name
                conn.execute("RESET max_parallel_workers_per_gather")
        for name, of in times.items():
            print(f"{name:22} {statistics.median(of):6.2f} s  {checked / statistics.median(of):10,.0f} events/s   ({', '.join(f'{t:.2f}' for t in of)})")

    def pages(self, calls):
        print(f"\n### Pages of 25 events: milliseconds, median of {calls} calls (a tenant each)\n")
        asked = {
            "tenant": "tenant_id => %s",
            "tenant, without total": "tenant_id => %s, count => 'none'",
            "tenant and action": "tenant_id => %s, action => 'task.completed'",
            "tenant and action 'task.*'": "tenant_id => %s, action => 'task.*'",
            "tenant and actor": "tenant_id => %s, actor_id => 'user_7'",
            "tenant and target": "tenant_id => %s, target_type => 'task', target_id => 'task_000001'",
            "tenant, actor and resource": "tenant_id => %s, actor_id => 'user_7', resource => 'task'",
            "all": "count => 'none'",
            "all, with total": "count => 'auto'",
            "actor of all": "actor_id => 'user_7'",
        }
        print(f"{'':30} {'local':>8} {'coord.':>8} {'worker':>8}   ratio")
        conns = [self.local, self.log.conn, self.log.connect(node=1)]
        for name, arguments in asked.items():
            medians = []
            for conn in conns:
                took = []
                for tenant in itertools.islice(itertools.cycle(range(1, TENANTS + 1)), calls):
                    given = [f"tenant_{tenant}"] if "%s" in arguments else None
                    start = time.monotonic()
                    conn.execute(f"SELECT immutable.get_events({arguments})", given).fetchone()
                    took.append(time.monotonic() - start)
                medians.append(statistics.median(took) * 1000)
            print(f"{name:30} {medians[0]:8.2f} {medians[1]:8.2f} {medians[2]:8.2f}   {medians[1] / medians[0]:.2f}")
        print(f"\n{'changes() of a tenant, 1000':30}", end="")
        for conn in conns:
            start = time.monotonic()
            conn.execute("SELECT count(*) FROM immutable.changes('tenant_3', NULL, 1000)").fetchone()
            print(f" {(time.monotonic() - start) * 1000:8.2f}", end="")
        print()

    def move(self, clients):
        """A shard moves to the other worker and back, both ways, while clients write to all tenants."""
        print("\n### A shard that moves under load\n")
        statement = insert.one_row("immutable.events", TENANTS, 2, 100)
        shard = self.log.conn.execute("SELECT get_shard_id_for_distribution_column('immutable.events', 'tenant_1')").fetchone()[0]
        for mode in ("block_writes", "force_logical"):
            result = {}
            load = threading.Thread(target=lambda: result.update(tps=self.pgbench(0, self.log.name, statement, clients, 40)))
            load.start()
            time.sleep(5)
            (name, place) = self.log.shard_of("tenant_1")
            to = next(worker for worker in cluster.WORKERS if worker != place)
            size = self.log.conn.execute("SELECT pg_size_pretty(size) FROM citus_shard_sizes() WHERE shard_id = %s", [shard]).fetchone()
            start = time.monotonic()
            try:
                self.log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, %s)",
                                      [shard, *self.log.address(place), *self.log.address(to), mode])
                took = f"{time.monotonic() - start:.1f} s"
            except psycopg.Error as refused:
                took = str(refused).splitlines()[0]
            load.join()
            valid = self.log.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone()
            print(f"{mode:14} {name} of {size and size[0]}: {took}; {result['tps']:,.0f} transactions/s meanwhile, none failed; "
                  f"verify_chain(): valid = {valid[0]}, {valid[1]:,} events")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=["inserts", "verification", "pages", "move"])
    options = parser.parse_args()
    bench = Bench(options.events)
    try:
        if "verification" in options.only:
            bench.verification(options.rounds)
        if "pages" in options.only:
            bench.pages(200)
        if "inserts" in options.only:
            for targets in (0, 2):
                bench.inserts(options.clients, options.seconds, options.rounds, targets)
        if "move" in options.only:
            bench.move(options.clients)
    finally:
        bench.nodes.stop()


main()
