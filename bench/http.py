#!/usr/bin/env python3
"""Measures HTTP beside SQL; see http.sh. The variants take turns, and the median of the rounds counts."""

import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATABASE = "bench_http"
EVENT = {"tenant_id": "tenant_1", "actor_id": "user_1", "action": "document.read"}
TRACK = "SELECT immutable.track('user_1', 'document.read', tenant_id => 'tenant_1');"
BATCH = json.dumps([EVENT] * 100)
LIST = "SELECT immutable.get_events(tenant_id => 'tenant_1', actor_id => 'user_1');"
LUA = """
wrk.method = "{method}"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = [=[{body}]=]
"""


def prepare(events):
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
    with psycopg.connect(f"dbname={DATABASE}", autocommit=True) as conn:
        conn.execute("CREATE EXTENSION immutable")
        for role, group in (("bench_writer", "writer"), ("bench_auditor", "auditor"), ("bench_web", "server")):
            conn.execute(f"DROP ROLE IF EXISTS {role}")
            conn.execute(f"CREATE ROLE {role} LOGIN IN ROLE immutable_{group}")
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'tenant_' || n %% 100, 'user_' || n %% 1000, "
                     "'document.read' FROM generate_series(1, %s) n", [events])
        conn.execute("VACUUM ANALYZE")
        return conn.execute("SELECT immutable.create_api_key('bench', '{write,read}') ->> 'key'").fetchone()[0]


def run(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def pgbench(role, statement, clients, seconds):
    """Statements in a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + "\n")
        script.flush()
        out = run(f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(clients),
                  "-j", str(min(clients, 2)), "-T", str(seconds), "-U", role, DATABASE)
    return float(re.search(r"tps = ([\d.]+)", out)[1])


def wrk(url, key, clients, seconds, method="GET", body=""):
    """Requests in a second; none may fail."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA.format(method=method, key=key, body=body))
        script.flush()
        out = run("wrk", "-t", str(min(clients, 2)), "-c", str(clients), "-d", f"{seconds}s", "-s", script.name, url)
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


class Program:
    def __init__(self, path):
        dsn = f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=bench_web dbname={DATABASE}"
        self.process = subprocess.Popen([path, "--listen", "127.0.0.1:0", "--database", dsn], stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r"listens.*127\.0\.0\.1:(\d+)", self.process.stderr.readline())[1])
        self.url = f"http://127.0.0.1:{self.port}/api/v1/events"
        # Nobody may wait for a reader of the log lines.
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def resident(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def idle(self, connections):
        """Kilobytes with so many idle connections that have each made a request."""
        clients = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(connections)]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(4096)
        resident = self.resident()
        for client in clients:
            client.close()
        return resident


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="of each run [8]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--events", type=int, default=50_000, help="in the log at first [50000]")
    parser.add_argument("--program", type=pathlib.Path, help="an immutable-server; without, it is built as a release")
    options = parser.parse_args()
    if not options.program:
        subprocess.run(["cargo", "build", "--profile", "program", "--locked", "-p", "immutable-server"], check=True, cwd=ROOT)
    key = prepare(options.events)
    program = Program(options.program or ROOT / "target/program/immutable-server")
    begun, n = program.resident(), options.seconds
    pairs = {
        "one event, 1 connection": (0.7, lambda: pgbench("bench_writer", TRACK, 1, n), lambda: wrk(program.url, key, 1, n, "POST", json.dumps(EVENT))),
        "one event, 16 connections": (0.7, lambda: pgbench("bench_writer", TRACK, 16, n), lambda: wrk(program.url, key, 16, n, "POST", json.dumps(EVENT))),
        "100 events, 1 connection": (0.8, lambda: pgbench("bench_writer", f"SELECT immutable.track_batch('{BATCH}'::jsonb);", 1, n),
                                     lambda: wrk(program.url + "/batch", key, 1, n, "POST", f'{{"events": {BATCH}}}')),
        "a page, 1 connection": (None, lambda: pgbench("bench_auditor", LIST, 1, n), lambda: wrk(program.url + "?tenant_id=tenant_1&actor_id=user_1", key, 1, n)),
    }
    print("| what | SQL, calls/s | HTTP, calls/s | ratio (range) | HTTP takes more | bar |\n|---|---|---|---|---|---|")
    for name, (bar, sql, http) in pairs.items():
        rounds = [(sql(), http()) for _ in range(options.rounds)]
        ratios = [there / here for here, there in rounds]
        here, there = (statistics.median(column) for column in zip(*rounds))
        more = 1000 / there - 1000 / here if "1 connection" in name else None
        print(f"| {name} | {here:,.0f} | {there:,.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
              f"{f'{more:.2f} ms' if more is not None else ''} | {bar if bar else '1 ms'} |", flush=True)
    time.sleep(1)
    print(f"\nResident memory: {begun:,} kB at first, {program.resident():,} kB after the load, "
          f"{program.idle(1000):,} kB with 1,000 idle connections (bar: 65,536)")
    program.process.terminate()


if __name__ == "__main__":
    main()
