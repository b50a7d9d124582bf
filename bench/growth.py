#!/usr/bin/env python3
"""Measures one-row transactions into a short log and into a long one, in turns; see growth.sh.

The short log is a copy of its own, so that it is as short the next time. Each begins with events that are not measured: after
a checkpoint every page that is touched for the first time goes into the WAL whole, and a long log has more of them."""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import psycopg

from read import ROWS

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(database, events):
    """Seconds and bytes of WAL an event."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script, psycopg.connect(f"dbname={database}", autocommit=True) as conn:
        script.write(ROWS.strip() % 1 + ";")
        script.flush()
        before, = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        done = subprocess.run(
            [f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(options.clients),
             "-j", str(min(options.clients, 2)), "-t", str(events // options.clients), database], text=True, capture_output=True)
        match = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode != 0 or not match:
            sys.exit(done.stderr or done.stdout)
        wal, = conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [before]).fetchone()
        return 1 / float(match[1]), float(wal) / events


def main():
    for command in (["install"], ["start", "bench", f"shared_buffers={options.shared_buffers}", "max_wal_size=10GB",
                                  "checkpoint_timeout=1h", "max_connections=100"]):
        subprocess.run([ROOT / "scripts/pg", *command], check=True, stdout=sys.stderr)
    long, short = f"bench_read_{options.long}", "bench_growth"
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {short}")
        admin.execute(f"CREATE DATABASE {short} TEMPLATE bench_read_{options.short}")
        run(short, options.warm // 10)
        run(long, options.warm)
        rounds = [(run(short, options.events), run(long, options.events)) for _ in range(options.rounds)]
        admin.execute(f"DROP DATABASE {short}")
    median = lambda which, what: statistics.median(r[which][what] for r in rounds)
    print("\n| log of | microseconds an event | bytes of WAL |\n|---|---|---|")
    for which, events in enumerate((options.short, options.long)):
        print(f"| {events:,} | {median(which, 0) * 1e6:.0f} | {median(which, 1):,.0f} |")
    ratios = sorted(r[1][0] / r[0][0] for r in rounds)
    print(f"\nTime of the long to the short: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


parser = argparse.ArgumentParser(prog="bench/growth.sh", description=__doc__.splitlines()[0])
parser.add_argument("--short", type=int, default=100_000)
parser.add_argument("--long", type=int, default=10_000_000)
parser.add_argument("--events", type=int, default=20_000, help="of each round")
parser.add_argument("--warm", type=int, default=300_000, help="events of the long log before the first round; a tenth of it for the short")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--clients", type=int, default=4)
parser.add_argument("--shared-buffers", default="12GB")
options = parser.parse_args()
main()
