#!/usr/bin/env python3
"""Measures what a proof costs a statement; see keys.sh.

Each statement runs in pgbench with one client: by a role that needs no proof, by the server's login with the digest of a
key of no tenant, of a key of one tenant, and with a viewer token, if that may call it. The proof is set once for the
session, so that the difference is what it costs to resolve it. The variants take turns; the median of the rounds counts."""

import argparse
import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import psycopg

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATABASE = "bench_keys"
STATEMENTS = {
    "track": ("bench_writer", "SELECT immutable.track('user_1', 'document.read', tenant_id => 'tenant_1');"),
    "get_event": ("bench_auditor", "SELECT immutable.get_event(:id);"),
    "get_events of a tenant": ("bench_auditor", "SELECT immutable.get_events(tenant_id => 'tenant_1', count => 'none');"),
    "get_events": ("bench_auditor", "SELECT immutable.get_events(count => 'none');"),
}


def prepare(events, keys):
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
        conn.execute("SELECT count(immutable.create_api_key('k')) FROM generate_series(1, %s)", [keys])
        conn.execute("VACUUM ANALYZE")
        made = [conn.execute("SELECT immutable.create_api_key('bench', '{write,read}', %s) ->> 'key'", [tenant]).fetchone()[0]
                for tenant in (None, "tenant_1")]
        token, = conn.execute("SELECT immutable.create_viewer_token('tenant_1', NULL, 86400) ->> 'token'").fetchone()
        event, = conn.execute("SELECT id::text FROM immutable.events WHERE tenant_id = 'tenant_1' LIMIT 1").fetchone()
    key, bound = (hashlib.sha256(key.encode()).hexdigest() for key in made)
    return {"a key": key, "a key of one tenant": bound, "a viewer token": token}, event


def latency(role, proof, statement, event, seconds):
    """Milliseconds of one statement; None if it is refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + "\n")
        script.flush()
        done = subprocess.run(
            [f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", "1", "-T", str(seconds),
             "-D", f"id={event}", "-U", role, DATABASE],
            env={**os.environ, "PGOPTIONS": f"-c immutable.proof={proof}" if proof else ""}, text=True, capture_output=True)
    found = re.search(r"latency average = ([\d.]+) ms", done.stdout)
    return float(found[1]) if found and done.returncode == 0 else None


def run(options):
    proofs, event = prepare(options.events, options.keys)
    found = {}
    for _ in range(options.rounds):
        for name, (role, statement) in STATEMENTS.items():
            found.setdefault((name, "none"), []).append(latency(role, None, statement, event, options.seconds))
            for proof, value in proofs.items():
                if proof != "a viewer token" or name != "track":
                    found.setdefault((name, proof), []).append(latency("bench_web", value, statement, event, options.seconds))
    variants = ["none", *proofs]
    print(f"| milliseconds of one statement, {options.keys:,} keys | " + " | ".join(f"proof: {variant}" for variant in variants) + " |")
    print("|---|" + "---|" * len(variants))
    for name in STATEMENTS:
        shown = []
        for variant in variants:
            values = found.get((name, variant), [None])
            shown.append("" if None in values else f"{statistics.median(values):.3f}")
        print(f"| {name} | " + " | ".join(shown) + " |")


def main():
    parser = argparse.ArgumentParser(prog="bench/keys.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each run of pgbench")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=1000, help="how many other keys there are")
    options = parser.parse_args()
    for command in (["install"], ["start", "bench", "shared_buffers=1GB", "max_wal_size=8GB", "synchronous_commit=off"]):
        subprocess.run([ROOT / "scripts/pg", *command], check=True, stdout=sys.stderr)
    run(options)


if __name__ == "__main__":
    main()
