#!/usr/bin/env python3
"""Measures inserts into the chained table beside the same inserts into others; see insert.sh.

Every workload is run on each table in turn, several times over; a ratio is formed within a round, so that what the
machine does meanwhile meets both sides, and the median of the rounds is shown with the least and the greatest."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import psycopg

HERE = pathlib.Path(__file__).resolve().parent
DATABASE = "bench_insert"
COLUMNS = ("tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id, resource_name, targets, "
           "metadata, session_id, ip_address, user_agent")

TABLES = {
    "bare": "bare.event",
    "own six": "own_six.event",
    "hand-written": "hand_written.event",
    "plpgsql-chain": "plpgsql_chain.event",
    "immutable": "immutable.events",
}

# What a team that writes its log by hand would index, in place of the extension's indexes. With the primary key they are six.
OWN_INDEXES = """
CREATE INDEX ON own_six.event (tenant_id, created_at DESC, id DESC);
CREATE INDEX ON own_six.event (actor_id, created_at DESC, id DESC);
CREATE INDEX ON own_six.event (action text_pattern_ops, created_at DESC, id DESC);
CREATE INDEX ON own_six.event (resource_type, resource_id, created_at DESC, id DESC);
CREATE INDEX ON own_six.event (session_id, created_at DESC, id DESC);
CREATE INDEX ON own_six.event_target (type, id, created_at DESC, event_id DESC);
"""


def own_six():
    """The hand-written tables without the column that only the extension's indexes need, and with indexes of their own."""
    tables = (HERE / "hand-written.sql").read_text().partition("-- The floor")[0].replace("hand_written", "own_six")
    tables, count = re.subn(r",\n *-- For the index.*?\n *xact xid8[^\n]*\);", ");", tables)
    assert count == 1, "hand-written.sql has no column xact"
    return tables + OWN_INDEXES


def metadata(size):
    """An object of about `size` bytes, like the ones of the guide."""
    members = {"task_id": "task_7b2e9d", "priority": "high", "due_date": "2026-04-15", "points": 12.5, "done": False}
    missing = size - len(json.dumps(members))
    if missing > 0:
        members["description"] = ("Design of the landing page. " * (missing // 28 + 1))[:missing]
    return json.dumps(members)


def targets(number):
    return json.dumps([{"type": "task", "id": f"task_{n:06}", "name": f"Design of page {n}"} for n in range(number)])


def values(tenants, number_of_targets, metadata_bytes, prefix=""):
    """One row's values. The tenant and what an index sees differ from row to row."""
    tenant = "'tenant_1'" if tenants == 1 else f"'tenant_' || (1 + (random() * {tenants - 1})::int)"
    return (f"{tenant}, 'user_' || (random() * 1000)::int, 'Sarah Chen', 'user', 'task.completed', 'task', "
            f"'task_' || (random() * 100000)::int, 'Design landing page mockup', '{targets(number_of_targets)}', "
            f"'{metadata(metadata_bytes)}', 'sess_' || (random() * 10000)::int, '203.0.113.7', "
            f"'Mozilla/5.0 (X11; Linux x86_64)'")


def one_row(table, tenants, number, size):
    return f"INSERT INTO {table} ({COLUMNS}) VALUES ({values(tenants, number, size)});"


def hundred_rows(table, tenants, number, size):
    return f"INSERT INTO {table} ({COLUMNS}) SELECT {values(tenants, number, size)} FROM generate_series(1, 100);"


def many_tenants(table, tenants, number, size):
    tenant_first = values(tenants, number, size).replace("'tenant_' || (1 + (random() * 19999)::int)", "'tenant_' || n", 1)
    return f"INSERT INTO {table} ({COLUMNS}) SELECT {tenant_first} FROM generate_series(1, {tenants}) n;"


def track(table, tenants, number, size):
    names = [name.strip().replace("resource_type", "resource") for name in COLUMNS.split(",")]
    given = re.split(r", (?=(?:[^']*'[^']*')*[^']*$)(?![^()]*\))", values(tenants, number, size))
    assert len(given) == len(names), given
    return "SELECT immutable.track(" + ", ".join(f"{n} => {v}" for n, v in zip(names, given)) + ");"


def track_batch(table, tenants, number, size):
    event = {"tenant_id": "tenant_1", "actor_id": "user_1", "actor_name": "Sarah Chen", "actor_type": "user",
             "action": "task.completed", "resource": "task", "resource_id": "task_1",
             "resource_name": "Design landing page mockup", "targets": json.loads(targets(number)),
             "metadata": json.loads(metadata(size)), "session_id": "sess_1", "ip_address": "203.0.113.7",
             "user_agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    return f"SELECT immutable.track_batch('{json.dumps([event] * 100)}');"


ALL = [table for table in TABLES if table != "own six"]
BESIDE = "beside an idle transaction"
#           name                                   statement     rows clients tenants targets metadata tables
WORKLOADS = [
    (f"1 row, {c} client{'s' if c > 1 else ''}, {t} tenant{'s' if t > 1 else ''}", one_row, 1, c, t, 2, 100, ALL)
    for t in (1, 64) for c in (1, 4, 16, 32, 64)
] + [
    (f"100 rows, {c} client{'s' if c > 1 else ''}, 1 tenant", hundred_rows, 100, c, 1, 2, 100, ALL) for c in (1, 4)
] + [
    # With plpgsql-chain everybody would wait for the idle one.
    (f"1 row, 40 clients, 1 tenant, {BESIDE}", one_row, 1, 40, 1, 2, 100, ["bare", "hand-written", "immutable"]),
    ("20,000 tenants in one statement", many_tenants, 20000, 1, 20000, 2, 100, ALL),
    ("1 row, 16 clients, no targets", one_row, 1, 16, 1, 0, 100, ALL),
    ("1 row, 16 clients, 20 targets", one_row, 1, 16, 1, 20, 100, ALL),
    ("1 row, 16 clients, metadata of 8 KB", one_row, 1, 16, 1, 2, 8192, ALL),
    ("100 rows, 1 client, 20 targets", hundred_rows, 100, 1, 1, 20, 100, ALL),
    ("track(), 1 client", track, 1, 1, 1, 2, 100, ["immutable"]),
    ("track(), 16 clients", track, 1, 16, 1, 2, 100, ["immutable"]),
    ("track_batch() of 100, 1 client", track_batch, 100, 1, 1, 2, 100, ["immutable"]),
]


class Bench:
    def __init__(self, options):
        self.options = options
        self.env = {**os.environ, "PGDATABASE": DATABASE}
        self.conn = None
        # Microseconds of the server's processor time an event, by workload and table.
        self.costs = {}

    def prepare(self):
        with psycopg.connect("dbname=postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
        self.conn = psycopg.connect(f"dbname={DATABASE}", autocommit=True)
        self.conn.execute("CREATE EXTENSION immutable")
        # The first event makes the log's identity, and keeps others waiting until it is committed.
        self.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('bench', 'bench.began')")
        for file in ("hand-written.sql", "plpgsql-chain.sql"):
            self.conn.execute((HERE / file).read_text())
        self.conn.execute(own_six())
        self.same_indexes()

    def same_indexes(self):
        """The extension's indexes on the others too, but for its primary keys, the chain's own and the one on erased rows."""
        rows = self.conn.execute(
            "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "WHERE c.oid IN ('immutable.events'::regclass, 'immutable.event_targets'::regclass) "
            "AND NOT i.indisprimary AND pg_get_indexdef(i.indexrelid) !~ 'tenant_id, lane, seq|erased'").fetchall()
        for relation, definition in rows:
            definition = re.sub(r"INDEX \S+ ON", "INDEX ON", definition)
            for schema in ("bare", "hand_written", "plpgsql_chain"):
                if relation == "events":
                    mine = definition.replace("immutable.events", f"{schema}.event")
                elif schema == "bare":
                    continue
                else:
                    mine = definition.replace("immutable.event_targets", f"{schema}.event_target")
                    mine = mine.replace("target_type", "type").replace("target_id", "id")
                self.conn.execute(mine)

    def reset(self):
        """Each round begins with a checkpoint, so that none has to pay for the one before."""
        self.conn.execute("CHECKPOINT")

    @contextlib.contextmanager
    def idle(self, name, statement):
        """Another transaction that has recorded for the same tenant and stays open, where the workload is named for it."""
        with psycopg.connect(f"dbname={DATABASE}") as conn:
            if BESIDE in name:
                conn.execute(statement)
            yield
            conn.rollback()

    def processor_time(self):
        """Seconds that the server's processes have taken which have ended: the sessions, not what writes in the background."""
        with open(f"{os.environ['IMMUTABLE_PG_DATA']}/postmaster.pid", encoding="ascii") as file:
            server = int(file.readline())
        with open(f"/proc/{server}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def run(self, statement, clients):
        """Transactions a second, and the seconds of processor time that each took in the server."""
        before = self.processor_time()
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(statement)
            script.flush()
            done = subprocess.run(
                [f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", self.options.protocol, "-f", script.name,
                 "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(self.options.seconds)],
                env=self.env, text=True, capture_output=True)
        match = re.search(r"actually processed: (\d+).*tps = ([\d.]+)", done.stdout, re.S)
        if done.returncode != 0 or not match:
            sys.exit(done.stderr or done.stdout)
        # The server has to notice that the sessions have ended.
        time.sleep(0.2)
        return float(match[2]), (self.processor_time() - before) / int(match[1])

    def copy(self, table, file):
        start = self.conn.execute("SELECT clock_timestamp()").fetchone()[0]
        with self.conn.cursor() as cursor, cursor.copy(f"COPY {table} ({COLUMNS}) FROM STDIN") as copy:
            with open(file, "rb") as data:
                while block := data.read(1 << 20):
                    copy.write(block)
        end = self.conn.execute("SELECT clock_timestamp()").fetchone()[0]
        return self.options.copy_rows / (end - start).total_seconds()

    def measure(self):
        results = {}
        chosen = [w for w in WORKLOADS if re.search(self.options.only, w[0])]
        for name, make, rows, clients, tenants, number, size, tables in chosen:
            tables = self.options.tables or tables
            for number_of_round in range(self.options.rounds):
                for table in tables if number_of_round % 2 == 0 else reversed(tables):
                    self.reset()
                    statement = make(TABLES[table], tenants, number, size)
                    with self.idle(name, statement):
                        tps, seconds = self.run(statement, clients)
                    results.setdefault(name, {}).setdefault(table, []).append(tps * rows)
                    self.costs.setdefault(name, {}).setdefault(table, []).append(seconds / rows * 1e6)
                    print(f"{name}: {table}: {tps * rows:.0f} events/s, {seconds / rows * 1e6:.1f} µs", file=sys.stderr)
        if not self.options.tables and re.search(self.options.only, "COPY"):
            self.measure_copy(results)
        return results

    def measure_copy(self, results):
        with tempfile.NamedTemporaryFile("wb", suffix=".tsv") as file:
            query = f"COPY (SELECT {values(1, 2, 100)} FROM generate_series(1, {self.options.copy_rows})) TO STDOUT"
            with self.conn.cursor() as cursor, cursor.copy(query) as copy:
                for block in copy:
                    file.write(block)
            file.flush()
            name = f"COPY of {self.options.copy_rows:,} rows"
            for _ in range(self.options.rounds):
                # In one transaction every row looks for its head behind all of its old versions: that never ends.
                for table in [table for table in ALL if table != "plpgsql-chain"]:
                    self.reset()
                    speed = self.copy(TABLES[table], file.name)
                    results.setdefault(name, {}).setdefault(table, []).append(speed)
                    print(f"{name}: {table}: {speed:.0f} events/s", file=sys.stderr)

    def sizes(self):
        """Bytes of table and WAL that 100,000 events with two targets take."""
        print("\n| per event with 2 targets | table bytes | index bytes | WAL bytes |\n|---|---|---|---|")
        for name in self.options.tables or ALL:
            table = TABLES[name]
            parts = [table] + ([] if name == "bare" else [
                "immutable.event_targets" if name == "immutable" else table + "_target"])
            size = "SELECT " + ", ".join(
                f"{' + '.join(f'''{function}('{part}')''' for part in parts)}"
                for function in ("pg_table_size", "pg_indexes_size")) + ", pg_current_wal_insert_lsn()"
            self.conn.execute(f"CHECKPOINT")
            before = self.conn.execute(size).fetchone()
            for _ in range(100):
                self.conn.execute(
                    f"INSERT INTO {table} ({COLUMNS}) SELECT {values(1, 2, 100)} FROM generate_series(1, 1000)")
            after = self.conn.execute(size).fetchone()
            wal, = self.conn.execute("SELECT %s::pg_lsn - %s::pg_lsn", [after[2], before[2]]).fetchone()
            print(f"| {name} | {(after[0] - before[0]) / 1e5:.0f} | {(after[1] - before[1]) / 1e5:.0f} "
                  f"| {float(wal) / 1e5:.0f} |")


def spread(each):
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def beside(results, costs, tables):
    """The table for chosen tables: rates, the last one's ratio to each of the others, and processor time."""
    *peers, ours = tables
    print(f"\n| events/s | {' | '.join(tables)} | {' | '.join(f'to {peer}' for peer in peers)} |")
    print("|---" * (1 + len(tables) + len(peers)) + "|")
    for name, rates in results.items():
        medians = [f"{statistics.median(rates[table]):,.0f}" for table in tables]
        ratios = [spread([mine / theirs for mine, theirs in zip(rates[ours], rates[peer])]) for peer in peers]
        print(f"| {name} | {' | '.join(medians + ratios)} |")
    print(f"\n| µs of the server's processor time an event | {' | '.join(tables)} |")
    print("|---" * (1 + len(tables)) + "|")
    for name, cost in costs.items():
        print(f"| {name} | {' | '.join(f'{statistics.median(cost[table]):.1f} (least {min(cost[table]):.1f})' for table in tables)} |")


def table(results):
    print("| workload | bare | hand-written | plpgsql-chain | immutable | to bare | to hand-written | to plpgsql-chain |")
    print("|---|---|---|---|---|---|---|---|")
    for name, by_table in results.items():
        speeds = [f"{statistics.median(by_table[t]):,.0f}" if t in by_table else "" for t in ALL]
        ratios = []
        for peer in ("bare", "hand-written", "plpgsql-chain"):
            if peer in by_table:
                each = [ours / theirs for ours, theirs in zip(by_table["immutable"], by_table[peer])]
                ratios.append(spread(each))
            else:
                ratios.append("")
        print(f"| {name} | {' | '.join(speeds)} | {' | '.join(ratios)} |")


def main():
    parser = argparse.ArgumentParser(prog="bench/insert.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of pgbench")
    parser.add_argument("--copy-rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="a regular expression of the workloads' names")
    parser.add_argument("--protocol", default="prepared", choices=["simple", "extended", "prepared"])
    parser.add_argument("--no-sizes", action="store_true")
    parser.add_argument("--tables", type=lambda names: names.split(","), help="run these alone, the last one beside the others: "
                        + ", ".join(TABLES))
    options = parser.parse_args()
    root = HERE.parent
    for command in (["install"], ["start", "bench", "shared_buffers=1GB", "max_wal_size=8GB",
                                  "checkpoint_timeout=30min", "max_connections=100"]):
        subprocess.run([root / "scripts/pg", *command], check=True, stdout=sys.stderr)
    bench = Bench(options)
    bench.prepare()
    results = bench.measure()
    if options.tables:
        beside(results, bench.costs, options.tables)
    else:
        table(results)
    if not options.no_sizes:
        bench.sizes()


if __name__ == "__main__":
    main()
