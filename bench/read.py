#!/usr/bin/env python3
"""Measures pages of events on a log that is filled as a real one might be; see read.sh.

1,000 tenants of very unequal size (the first has a third), two targets an event on average. Every case is a filter or
a few, with values taken from events picked at random, so that what is frequent in the log is frequent in the bench."""

import argparse
import base64
import concurrent.futures
import contextlib
import hashlib
import json
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time

import psycopg

HERE = pathlib.Path(__file__).resolve().parent

# One statement's rows. `%s`: how many.
ROWS = """
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id,
  resource_name, targets, metadata, session_id, ip_address)
SELECT CASE WHEN r1 < 1 / 3.0 THEN 'tenant_1' ELSE 'tenant_' || 2 + (998 * r1 ^ 6)::int END,
  CASE WHEN r2 < 0.05 THEN 'system' ELSE 'user_' || (r1 * 1000)::int || '_' || (r2 * 200)::int END,
  'Name ' || (r2 * 200)::int, 'user',
  CASE WHEN r3 < 0.0001 THEN 'billing.plan_downgraded'
       ELSE (ARRAY['document', 'folder', 'task', 'project', 'comment', 'user', 'team', 'invoice'])[1 + floor(r3 * 8)::int] || '.'
            || (ARRAY['viewed', 'updated', 'created', 'deleted', 'shared'])[1 + floor(5 * r4 * r4)::int] END,
  (ARRAY['document', 'folder', 'task', 'project', 'comment', 'user', 'team', 'invoice'])[1 + floor(r3 * 8)::int],
  'res_' || (r5 * 500000)::int, 'Resource ' || (r5 * 500000)::int,
  CASE WHEN r6 < 0.1 THEN '[]'
       ELSE jsonb_build_array(jsonb_build_object('type', 'project', 'id', 'proj_' || (r6 * 20000)::int, 'name', 'Project'),
                              jsonb_build_object('type', (ARRAY['task', 'team', 'folder'])[1 + floor(r5 * 3)::int],
                                                 'id', 'target_' || (r4 * 300000)::int))
            || CASE WHEN r6 > 0.8 THEN '[{"type": "workspace", "id": "main"}]'::jsonb ELSE '[]' END END,
  jsonb_build_object('task_id', 'task_' || (r5 * 500000)::int, 'priority', 'high', 'due_date', '2026-04-15',
                     'code', 'code' || (r6 * 1000000)::int),
  'sess_' || (r1 * 1000)::int || '_' || (r2 * 2000)::int, '203.0.113.7'
FROM (SELECT random() r1, random() r2, random() r3, random() r4, random() r5, random() r6 FROM generate_series(1, %s)) r
"""

VIEWER = """
DO $$ BEGIN CREATE ROLE bench_viewer; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA immutable TO bench_viewer;
GRANT SELECT ON immutable.events, immutable.event_targets TO bench_viewer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable TO bench_viewer;
SET immutable.allow_ddl = on;
CREATE POLICY bench_viewer ON immutable.events FOR SELECT TO bench_viewer
  USING (tenant_id = (SELECT current_setting('bench.tenant')));
CREATE POLICY bench_viewer ON immutable.event_targets FOR SELECT TO bench_viewer
  USING (tenant_id = (SELECT current_setting('bench.tenant')));
RESET immutable.allow_ddl;
"""


def fill(database, events):
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'")
    with psycopg.connect(f"dbname={database}", autocommit=True) as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('first', 'log.begun')")
        batch, start = 20_000, time.monotonic()

        def load(share):
            with psycopg.connect(f"dbname={database}", autocommit=True) as own:
                own.execute("SET synchronous_commit = off")
                for n in range(share // batch):
                    own.execute(ROWS % batch)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(load, [events // 2] * 2))
        print(f"filled with {events:,} events in {time.monotonic() - start:.0f} s", file=sys.stderr)
        conn.execute(VIEWER)
        conn.execute("VACUUM (ANALYZE) immutable.events")
        conn.execute("VACUUM (ANALYZE) immutable.event_targets")
        conn.execute("CHECKPOINT")


def size(database):
    with psycopg.connect(f"dbname={database}") as conn:
        return conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0]


class Bench:
    def __init__(self, database, options):
        self.conn = psycopg.connect(f"dbname={database}", autocommit=True)
        self.options = options
        self.random = random.Random(1)
        # Rows to take values from: spread over the table's pages.
        pages, = self.conn.execute("SELECT pg_relation_size('immutable.events') / 8192").fetchone()
        self.samples = []
        while len(self.samples) < 400:
            ctid = f"({self.random.randrange(pages)},{self.random.randrange(1, 8)})"
            self.samples += self.conn.execute(
                "SELECT tenant_id, actor_id, action, resource_type, resource_id, session_id, created_at, id, targets, "
                "metadata ->> 'code' FROM immutable.events WHERE ctid = %s::tid", [ctid]).fetchall()

    def sample(self, with_target=False):
        while True:
            names = ("tenant_id", "actor_id", "action", "resource", "resource_id", "session_id", "at", "id", "targets", "code")
            row = dict(zip(names, self.random.choice(self.samples)))
            if row["targets"]:
                target = self.random.choice(row["targets"])
                return {**row, "target_type": target["type"], "target_id": target.get("id")}
            if not with_target:
                return row

    def counters(self):
        self.conn.execute("SELECT pg_stat_force_next_flush()")
        return self.conn.execute(
            "SELECT sum(seq_tup_read), sum(idx_tup_fetch) FROM pg_stat_user_tables WHERE schemaname = 'immutable'").fetchone()

    def measure(self, make, runs, **more):
        """Median and 99th percentile in ms of what has just been asked before, median of the first time, and rows
        fetched from the tables a page."""
        times, first = [], []
        asked = []
        for _ in range(runs):
            row = self.sample(with_target=True)
            asked.append({**make(row), **more})
        for given in asked[:5]:
            self.page(given)
        before = self.counters()
        for given in asked:
            for spent in (first, times):
                start = time.perf_counter()
                self.page(given)
                spent.append((time.perf_counter() - start) * 1000)
        after = self.counters()
        times.sort()
        scanned, fetched = (after[0] - before[0]) / runs / 2, (after[1] - before[1]) / runs / 2
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        return statistics.median(times), p99, statistics.median(first), fetched, scanned

    def page(self, given):
        arguments = ", ".join(f'"{name}" => %s' for name in given)
        return self.conn.execute(f"SELECT immutable.get_events({arguments})", list(given.values())).fetchone()[0]

    def cursor(self, offset, tenant=None):
        """The cursor of the page after so many events."""
        where = "WHERE tenant_id = %s" if tenant else ""
        at, event, of = self.conn.execute(
            f"SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), id::text, tenant_id "
            f"FROM immutable.events {where} ORDER BY created_at DESC, id DESC OFFSET %s LIMIT 1",
            [tenant, offset] if tenant else [offset]).fetchone()
        filters = hashlib.sha256((f'tenant_id="{tenant}";' if tenant else "").encode()).hexdigest()[:16]
        cursor = json.dumps({"v": 1, "created_at": at, "id": event, "tenant_id": of, "filters": filters})
        return base64.urlsafe_b64encode(cursor.encode()).rstrip(b"=").decode()


def pick(*names):
    return lambda row: {name: row[name] for name in names}


SINGLE = ["actor_id", "action", "resource", "resource_id", "session_id", "target_type", "target_id"]


def cases(bench, limited):
    huge = {"tenant_id": "tenant_1"}
    yield "no filter", lambda row: {}
    yield "tenant", pick("tenant_id")
    for name in SINGLE:
        yield name, pick(name)
    for name in SINGLE:
        yield f"{name} + tenant", pick(name, "tenant_id")
    yield "action document.*", lambda row: {"action": row["action"].split(".")[0] + ".*"}
    yield "action document.* + tenant", lambda row: {"action": row["action"].split(".")[0] + ".*", "tenant_id": row["tenant_id"]}
    yield "action *.deleted", lambda row: {"action": "*." + row["action"].split(".")[-1]}
    yield "action *.deleted + tenant", lambda row: {"action": "*." + row["action"].split(".")[-1], "tenant_id": row["tenant_id"]}
    yield "from, to", lambda row: {"from_date": row["at"] - DAY, "to_date": row["at"]}
    yield "from, to + tenant", lambda row: {"from_date": row["at"] - DAY, "to_date": row["at"], "tenant_id": row["tenant_id"]}
    yield "actor + action", pick("actor_id", "action")
    yield "actor + action + tenant", pick("actor_id", "action", "tenant_id")
    yield "resource + resource_id", pick("resource", "resource_id")
    yield "target_type + target_id", pick("target_type", "target_id")
    yield "search (frequent) + tenant", lambda row: {"search": "resource 1", "tenant_id": row["tenant_id"]}
    yield "hard: rare action", lambda row: {"action": "billing.plan_downgraded"}
    yield "hard: rare action in the huge tenant", lambda row: {"action": "billing.plan_downgraded", **huge}
    yield "hard: rare prefix in the huge tenant", lambda row: {"action": "billing.*", **huge}
    yield "hard: *_downgraded in the huge tenant", lambda row: {"action": "*_downgraded", **huge}
    yield "hard: system + target", lambda row: {"actor_id": "system", "target_id": "main"}
    yield "hard: actor + target", pick("actor_id", "target_id")
    yield "hard: actor + target main in the huge tenant", lambda row: {"actor_id": row["actor_id"], "target_id": "main", **huge}


def run(bench, title, limited, options):
    print(f"\n{title}\n\n| case | median ms | p99 ms | the first time, median ms | rows fetched a page | rows scanned a page |\n|---|---|---|---|---|---|")
    for name, make in cases(bench, limited):
        if options.only not in name:
            continue
        try:
            measured = bench.measure(make, options.runs, **({"count": "none"} if options.no_count else {}))
        except psycopg.errors.QueryCanceled:
            print(f"| {name} | over 20 s | | | | |", flush=True)
            continue
        median, p99, first, fetched, scanned = measured
        print(f"| {name} | {median:.2f} | {p99:.2f} | {first:.2f} | {fetched:.0f} | {scanned:.0f} |", flush=True)


class Writer:
    """Records a number of events a second, in as many small transactions, for as long as it is entered."""

    def __init__(self, database, rate):
        self.database, self.rate, self.stopped, self.recorded = database, rate, threading.Event(), 0

    def __enter__(self):
        self.thread = threading.Thread(target=self.write)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        print(f"\n{self.recorded:,} events were recorded meanwhile, {self.recorded / (time.monotonic() - self.start):.0f} a second", file=sys.stderr)

    def write(self):
        each, self.start = 5, time.monotonic()
        with psycopg.connect(f"dbname={self.database}", autocommit=True) as conn:
            conn.execute("SET synchronous_commit = off")
            while not self.stopped.wait(max(0, self.start + self.recorded / self.rate - time.monotonic())):
                conn.execute(ROWS % each)
                self.recorded += each


def live(bench, database, options):
    """A log that is being written: the newest events are not vacuumed, and others come meanwhile. Autovacuum is off, since it would
    make of each run another state; in service it comes every 10,000 events."""
    bench.conn.execute("SET immutable.allow_ddl = on")
    for table in ("events", "event_targets"):
        bench.conn.execute(f"ALTER TABLE immutable.{table} SET (autovacuum_enabled = off)")
    bench.conn.execute("RESET immutable.allow_ddl")
    for _ in range(options.live // 1000):
        bench.conn.execute(ROWS % 1000)
    bench.samples = [row for row in bench.samples if row[0]]
    of = f"{options.events:,} events and {options.live:,} new, {options.rate} more a second"
    with Writer(database, options.rate) if options.rate else contextlib.nullcontext():
        run(bench, f"{of}, as the owner", False, options)
        token, = bench.conn.execute("SELECT immutable.create_viewer_token('tenant_1') ->> 'token'").fetchone()
        bench.conn.execute("SET ROLE immutable_viewer")
        bench.conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
        bench.counters = lambda: (0, 0)
        bench.samples = [row for row in bench.samples if row[0] == "tenant_1"]
        run(bench, f"{of}, with a viewer's token of the huge tenant", True, options)
        bench.conn.execute("RESET ROLE")
    bench.conn.execute("SET immutable.allow_ddl = on")
    for table in ("events", "event_targets"):
        bench.conn.execute(f"ALTER TABLE immutable.{table} RESET (autovacuum_enabled)")


SEARCHES = [
    ("a rare word", lambda row: {"search": row["code"]}),
    ("a rare word + tenant", lambda row: {"search": row["code"], "tenant_id": row["tenant_id"]}),
    ("a word of 1 event in 10,000", lambda row: {"search": "plan_downgraded"}),
    ("a word of 1 event in 40", lambda row: {"search": row["action"]}),
    ("a word of every event", lambda row: {"search": "priority"}),
    ("two letters", lambda row: {"search": row["code"][-2:]}),
]


def search(bench, options):
    """The index of enable_search(): what it takes to build, what it weighs, and what it gives."""
    bench.conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    start = time.monotonic()
    bench.conn.execute("SELECT immutable.enable_search()")
    size, = bench.conn.execute("SELECT pg_size_pretty(pg_relation_size('immutable.events_search'))").fetchone()
    print(f"\nSearch: the index is built in {time.monotonic() - start:.0f} s and has {size}\n\n| search | median ms | p99 ms |\n|---|---|---|")
    bench.conn.execute("VACUUM (ANALYZE) immutable.events")
    for name, make in SEARCHES:
        median, p99, _, _, _ = bench.measure(make, options.runs)
        print(f"| {name} | {median:.2f} | {p99:.2f} |", flush=True)
    bench.conn.execute("SELECT immutable.disable_search()")


def indexes(conn, options):
    """What each index costs an insert: the same insert without it, in turns, and rolled back."""
    names = [row[0] for row in conn.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisunique "
        "AND i.indrelid IN ('immutable.events'::regclass, 'immutable.event_targets'::regclass) ORDER BY c.relname")]
    batch, costs = 10_000, {name: [] for name in [None, *names]}
    events = conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0]
    # Before what is rolled back below has grown them.
    bytes_of = {name: conn.execute("SELECT pg_relation_size(%s::regclass)", [f"immutable.{name}"]).fetchone()[0] for name in names}

    def insert(without):
        with conn.transaction(force_rollback=True):
            if without:
                conn.execute(f"DROP INDEX immutable.{without}")
            before, = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            start = time.perf_counter()
            conn.execute(ROWS % batch)
            spent = time.perf_counter() - start
            wal, = conn.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before]).fetchone()
        return spent * 1e6 / batch, int(wal) / batch
    conn.execute("SET lock_timeout = '10s'")
    for number in range(options.runs + 1):
        for name in costs:
            cost = insert(name)
            if number:  # the first warms up
                costs[name].append(cost)
    time_of = {name: statistics.median(spent for spent, _ in measured) for name, measured in costs.items()}
    wal_of = {name: statistics.median(wal for _, wal in measured) for name, measured in costs.items()}
    print(f"\nAn insert with all of them: {time_of[None]:.1f} us, {wal_of[None]:.0f} bytes of WAL an event\n\n"
          "| index | bytes an event | us an event | bytes of WAL an event |\n|---|---|---|---|")
    for name in names:
        print(f"| {name} | {bytes_of[name] / events:.0f} | {time_of[None] - time_of[name]:.1f} | {wal_of[None] - wal_of[name]:.0f} |")


def main():
    global DAY
    import datetime
    DAY = datetime.timedelta(seconds=5)
    parser = argparse.ArgumentParser(prog="bench/read.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--only", default="", help="part of the cases' names")
    parser.add_argument("--no-count", action="store_true", help="pages without total")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--shared-buffers", default="8GB")
    parser.add_argument("--prewarm", action="store_true", help="read the indexes into them first")
    parser.add_argument("--search", action="store_true", help="instead, searches with their index")
    parser.add_argument("--live", type=int, default=0, metavar="NEW", help="instead, with so many events that VACUUM has not seen, while others are recorded")
    parser.add_argument("--rate", type=int, default=200, help="events a second that are recorded meanwhile, with --live")
    parser.add_argument("--indexes", action="store_true", help="instead, what each index costs an insert")
    options = parser.parse_args()
    commands = [["start", "bench", f"shared_buffers={options.shared_buffers}", "max_wal_size=6GB", "checkpoint_timeout=30min",
                 "max_connections=100", "effective_cache_size=16GB", "random_page_cost=1.1"]]
    for command in ([] if options.no_build else [["install"]]) + commands:
        subprocess.run([HERE.parent / "scripts/pg", *command], check=True, stdout=sys.stderr)
    database = f"bench_read_{options.events}"
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        is_there = admin.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [database]).fetchone()[0]
        # What inserts were measured on is no longer what it is called.
        if is_there and size(database) > 1.1 * options.events:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
            is_there = False
    if not is_there:
        fill(database, options.events)
    bench = Bench(database, options)
    # What an earlier run inserted would otherwise be looked up in the table, row by row.
    bench.conn.execute("VACUUM immutable.events, immutable.event_targets")
    if options.prewarm:
        bench.conn.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        bench.conn.execute("SELECT pg_prewarm(indexrelid) FROM pg_index WHERE indrelid IN "
                           "('immutable.events'::regclass, 'immutable.event_targets'::regclass)")
    if options.indexes:
        return indexes(bench.conn, options)
    if options.search:
        return search(bench, options)
    bench.conn.execute("SET statement_timeout = '20s'")
    if options.live:
        return live(bench, database, options)
    run(bench, f"{options.events:,} events, as the owner", False, options)
    if not options.only:
        for tenant in (None, "tenant_1"):
            of = f"of {tenant}" if tenant else "of all"
            last = {"tenant_id": tenant} if tenant else {}
            for page in (1, 100, 10_000 if options.events > 900_000 else 1_000):
                cursor = {"cursor": bench.cursor(25 * (page - 1) - 1, tenant)} if page > 1 else {}
                median, p99, first, fetched, scanned = bench.measure(lambda row: {**last, **cursor}, options.runs, count="none")
                print(f"| page {page:,} {of}, not counted | {median:.2f} | {p99:.2f} | {first:.2f} | {fetched:.0f} | {scanned:.0f} |")
    bench.conn.execute("SET ROLE bench_viewer")
    bench.conn.execute("SET bench.tenant = 'tenant_1'")
    bench.samples = [row for row in bench.samples if row[0] == "tenant_1"]
    run(bench, f"{options.events:,} events, under row security in the huge tenant", True, options)


if __name__ == "__main__":
    main()
