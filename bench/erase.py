#!/usr/bin/env python3
"""Measures erase_subject() beside a plain UPDATE; see erase.sh.

A tenant has one person with a thousandth of its events and one with all others. Each round begins with a new log; a
ratio is formed within a round, and the median of the rounds is shown with the least and the greatest."""

import argparse
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATABASE = "bench_erase"
INSERT = """
    INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id,
                                  resource_name, targets, metadata, session_id, ip_address, user_agent)
    SELECT 'tenant_1', CASE WHEN n %% 1000 = 0 THEN 'few' ELSE 'many' END, 'Sarah Chen', 'user', 'task.completed',
           'task', 'task_' || n, 'Design landing page mockup',
           '[{"type": "project", "id": "project_1"}, {"type": "user", "id": "user_7", "name": "Bob"}]',
           jsonb_build_object('priority', 'high', 'points', 12.5, 'assignee_id', 'user_8', 'n', n), 'sess_' || n %% 99,
           '203.0.113.7', 'Mozilla/5.0 (X11; Linux x86_64)'
    FROM generate_series(1, %s) n"""
UPDATE = """
    UPDATE bare.events SET actor_id = NULL, actor_name = NULL, resource_id = NULL, resource_name = NULL,
           session_id = NULL, ip_address = NULL, user_agent = NULL, metadata = '{}', salt = NULL,
           targets = '[{"type": "project"}, {"type": "user"}]', erased = '{"commitments": {}, "salts": {}}'
    WHERE actor_id = 'many'"""
UPDATE_TARGETS = "UPDATE bare.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL"


def prepare(events):
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
    conn = psycopg.connect(f"dbname={DATABASE}", autocommit=True)
    conn.execute("CREATE EXTENSION immutable")
    conn.execute(INSERT, [events])
    conn.execute("CREATE SCHEMA bare")
    for name in ("events", "event_targets"):
        conn.execute(f"CREATE TABLE bare.{name} (LIKE immutable.{name} INCLUDING INDEXES)")
        conn.execute(f"ALTER TABLE bare.{name} SET (autovacuum_enabled = off)")
        conn.execute(f"ALTER TABLE immutable.{name} SET (autovacuum_enabled = off)")
        conn.execute(f"INSERT INTO bare.{name} TABLE immutable.{name}")
    conn.execute("VACUUM ANALYZE")
    return conn


class Peak(threading.Thread):
    """The most memory of its own that a backend has while this runs, over what it had before."""

    def __init__(self, conn):
        super().__init__()
        self.status = pathlib.Path(f"/proc/{conn.info.backend_pid}/status")
        self.before = self.most = self.now()
        self.stopped = threading.Event()

    def now(self):
        return int(next(line for line in self.status.read_text().splitlines() if "RssAnon" in line).split()[1])

    def run(self):
        while not self.stopped.wait(0.005):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()

    def megabytes(self):
        return (self.most - self.before) / 1024


def timed(conn, statement):
    conn.execute("CHECKPOINT")
    start = time.perf_counter()
    answer = conn.execute(statement).fetchone() if statement.startswith("SELECT") else None
    return time.perf_counter() - start, answer


def run(options):
    results = {}
    for _ in range(options.rounds):
        conn = prepare(options.events)
        call = "SELECT count(*), count(DISTINCT event_id) FROM immutable.erase_subject('tenant_1', '{}', 'bench'{})"
        for name, statement in (
                ("few, dry run", call.format("few", ", dry_run => true")), ("few", call.format("few", "")),
                ("many, dry run", call.format("many", ", dry_run => true")), ("many", call.format("many", ""))):
            with Peak(conn) as peak:
                seconds, (values, events) = timed(conn, statement)
            results.setdefault(name, []).append((seconds, events, values, peak.megabytes()))
            print(f"{name}: {seconds:.3f} s", file=sys.stderr)
        conn.execute("CHECKPOINT")
        start = time.perf_counter()
        conn.execute("BEGIN")
        conn.execute(UPDATE)
        conn.execute(UPDATE_TARGETS)
        conn.execute("COMMIT")
        results.setdefault("plain UPDATE of many", []).append(
            (time.perf_counter() - start, events, None, 0))
        valid, = conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone()
        if not valid:
            sys.exit("the chain does not verify")
        conn.close()
    print(f"| of {options.events:,} events | seconds | events | values | events/s | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        seconds = statistics.median(round[0] for round in rounds)
        _, events, values, _ = rounds[0]
        memory = max(round[3] for round in rounds)
        print(f"| {name} | {seconds:.3f} | {events:,} | {values or '':,} | {events / seconds:,.0f} | {memory:.0f} |"
              if values else f"| {name} | {seconds:.3f} | {events:,} | | {events / seconds:,.0f} | |")
    each = [ours[0] / plain[0] for ours, plain in zip(results["many"], results["plain UPDATE of many"])]
    print(f"\nerase_subject() takes {statistics.median(each):.1f} times as long as the plain UPDATE "
          f"({min(each):.1f} to {max(each):.1f}).")


def main():
    parser = argparse.ArgumentParser(prog="bench/erase.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    for command in (["install"], ["start", "bench", "shared_buffers=1GB", "max_wal_size=8GB",
                                  "checkpoint_timeout=30min"]):
        subprocess.run([ROOT / "scripts/pg", *command], check=True, stdout=sys.stderr)
    run(options)


if __name__ == "__main__":
    main()
