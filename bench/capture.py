#!/usr/bin/env python3
"""Measures what recording the row changes of a table costs, in several ways side by side; see capture.sh.

Each way has a database of its own, made anew in every round, whose history only grows within the round. Every change is made
in each of them in turn; a ratio is formed within a turn, so that what the machine does meanwhile meets both sides, and the
median is shown with the least and the greatest."""

import argparse
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
ROOT = HERE.parent
TICKS = os.sysconf("SC_CLK_TCK")

# The ways: their names in the tables. The empty trigger gets the old and the new rows of a statement, as the extension's does.
WAYS = {"none": "no trigger", "empty": "empty trigger", "jsonb": "jsonb history", "supa_audit": "supa_audit's way",
        "immutable": "immutable"}
OURS = "immutable"

ONE_COLUMN = "UPDATE invoice SET status = 'sent ' || id % 10"
# Every column but the key.
ALL_COLUMNS = """UPDATE invoice SET number = number || 'a', customer_id = customer_id + 1, status = status || 'a',
  currency = 'USD', net = net + 1, tax = tax + 1, discount = discount + 1, issued_on = issued_on + 1, due_on = due_on + 1,
  is_paid = NOT is_paid, reminders = reminders + 1, note = coalesce(note, '') || 'a', street = street || 'a',
  city = city || 'a', country = country || 'a', iban = coalesce(iban, '') || 'a', details = details || '{"lines": 10}',
  created_at = created_at + interval '1 s', updated_at = updated_at + interval '1 s'"""
EXCLUDED = "UPDATE invoice SET updated_at = updated_at + interval '1 s'"
ONE_ROW = r"\set id random(1, {rows})" "\n" r"\set v random(1, 1000000000)" "\n" "UPDATE invoice SET status = 'v' || :v WHERE id = :id;"
ONE_ROW_EXCLUDED = r"\set id random(1, {rows})" "\n" "UPDATE invoice SET updated_at = clock_timestamp() WHERE id = :id;"
INSERT = "INSERT INTO invoice SELECT * FROM staged WHERE id > {rows}"
DELETE = "DELETE FROM invoice WHERE id > {rows}"
COPY = "COPY"


class Workload:
    """A change: what is run, by how many clients (None for one statement over all rows), how often in a round, whether only
    a column changes that is excluded, and the bars: a way that is compared with, and the least ratio of rates to it, or
    the greatest of processor time. Only the extension can exclude a column: for the others that is an UPDATE as any."""

    def __init__(self, name, statement, clients=None, turns=1, excluded=False, bar=None, cpu_bar=None):
        self.name, self.statement, self.clients, self.turns = name, statement, clients, turns
        self.excluded, self.bar, self.cpu_bar = excluded, bar, cpu_bar
        self.ways = ("none", "empty", OURS) if excluded else tuple(way for way in WAYS if way != "empty")


WORKLOADS = [
    Workload("UPDATE of a row, 1 client", ONE_ROW, clients=1, bar=("supa_audit", 1.0)),
    Workload("UPDATE of a row, 16 clients", ONE_ROW, clients=16, bar=("supa_audit", 1.0)),
    Workload("UPDATE of a row, nothing tracked, 1 client", ONE_ROW_EXCLUDED, clients=1, turns=2, excluded=True,
             bar=("none", 1 / 1.05)),
    Workload("UPDATE of a row, nothing tracked, 16 clients", ONE_ROW_EXCLUDED, clients=16, turns=2, excluded=True,
             bar=("none", 1 / 1.05)),
    Workload("UPDATE of {rows} rows, nothing tracked", EXCLUDED, turns=2, excluded=True, cpu_bar=("none", 1.5)),
    Workload("UPDATE of {rows} rows, one column", ONE_COLUMN, bar=("supa_audit", 1.5)),
    Workload("UPDATE of {rows} rows, all columns", ALL_COLUMNS, bar=("supa_audit", 1.5)),
    Workload("INSERT of {rows} rows", INSERT),
    Workload("DELETE of {rows} rows", DELETE),
    Workload("COPY of {rows} rows", COPY),
]


def processor_time(pid, of_children=False):
    """Seconds of processor time, user and system, of a process, or of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    place = 13 if of_children else 11
    return (int(fields[place]) + int(fields[place + 1])) / TICKS


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Way:
    """One way to record, in its database."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.database = f"bench_capture_{name}"
        self.conn = None
        self.is_excluding = False

    def prepare(self):
        if self.conn:
            self.conn.close()
        with psycopg.connect("dbname=postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {self.database} TEMPLATE template0 ENCODING 'UTF8'")
        self.conn = psycopg.connect(f"dbname={self.database}", autocommit=True)
        self.is_excluding = False
        self.conn.execute((HERE / "capture.sql").read_text().replace("{rows}", str(self.options.rows)))
        if self.name == OURS:
            self.conn.execute("CREATE EXTENSION immutable")
            self.conn.execute("SELECT immutable.track_table('invoice')")
        elif self.name != "none":
            self.conn.execute((HERE / f"capture-{self.name}.sql").read_text())

    def exclude(self, is_excluding):
        """Has the column updated_at excluded, or not."""
        if self.name == OURS and is_excluding != self.is_excluding:
            self.conn.execute("SELECT immutable.track_table('invoice', exclude => %s)",
                              [["updated_at"] if is_excluding else []])
        self.is_excluding = is_excluding

    def recorded(self):
        """How many changes are recorded."""
        query = {"none": "SELECT 0", "empty": "SELECT 0", "jsonb": "SELECT count(*) FROM history",
                 "supa_audit": "SELECT count(*) FROM audit.record_version",
                 OURS: "SELECT count(*) FROM immutable.events WHERE resource_type = 'invoice' AND action LIKE 'invoice.%'"}
        return self.conn.execute(query[self.name]).fetchone()[0]

    def expected(self, workload, rows):
        """How many changes the workload should leave."""
        return 0 if self.name in ("none", "empty") or self.name == OURS and workload.excluded else rows

    def run(self, workload):
        """Rows a second, microseconds of the server's processor time and bytes of WAL for each row."""
        self.exclude(workload.excluded)
        self.conn.execute("VACUUM invoice")
        self.conn.execute("CHECKPOINT")
        before = self.recorded()
        lsn = "SELECT pg_current_wal_insert_lsn()"
        start = self.conn.execute(lsn).fetchone()[0]
        changed, seconds, processor = self.single(workload) if workload.clients else self.bulk(workload)
        wal, = self.conn.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [start]).fetchone()
        recorded, expected = self.recorded() - before, self.expected(workload, changed)
        if recorded != expected:
            sys.exit(f"{workload.name}: {self.name} recorded {recorded} changes and not {expected}")
        return {"rate": changed / seconds, "processor_us": processor / changed * 1e6, "wal_bytes": float(wal) / changed}

    def bulk(self, workload):
        backend = self.conn.info.backend_pid
        data = self.staged() if workload.statement is COPY else None
        processor, start = processor_time(backend), time.perf_counter()
        if data is not None:
            with self.conn.cursor() as cursor, cursor.copy("COPY invoice FROM STDIN") as copy:
                for block in data:
                    copy.write(block)
        else:
            self.conn.execute(workload.statement.replace("{rows}", str(self.options.rows)))
        seconds = time.perf_counter() - start
        return self.options.rows, seconds, processor_time(backend) - processor

    def staged(self):
        query = f"COPY (SELECT * FROM staged WHERE id > {self.options.rows}) TO STDOUT"
        with self.conn.cursor() as cursor, cursor.copy(query) as copy:
            return [bytes(block) for block in copy]

    def single(self, workload):
        with open(f"{os.environ['IMMUTABLE_PG_DATA']}/postmaster.pid", encoding="ascii") as file:
            server = int(file.readline())
        processor = processor_time(server, of_children=True)
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(workload.statement.replace("{rows}", str(self.options.rows)))
            script.flush()
            done = subprocess.run(
                [f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c",
                 str(workload.clients), "-j", str(min(workload.clients, 2)), "-T", str(self.options.seconds)],
                env={**os.environ, "PGDATABASE": self.database}, text=True, capture_output=True)
        match = re.search(r"actually processed: (\d+).*tps = ([\d.]+)", done.stdout, re.S)
        if done.returncode != 0 or not match:
            sys.exit(done.stderr or done.stdout)
        # The server has to notice that the sessions have ended.
        time.sleep(0.2)
        return int(match[1]), int(match[1]) / float(match[2]), processor_time(server, of_children=True) - processor


def measure(options):
    """All figures, by workload and way, one of each kind for every turn; and the number of rounds."""
    ways = [Way(name, options) for name in WAYS if name in options.ways]
    chosen = [workload for workload in WORKLOADS if re.search(options.only, workload.name)]
    results, turn, rounds, begun, longest = {}, 0, 0, time.monotonic(), 0
    for number in range(options.rounds):
        start = time.monotonic()
        if start - begun + longest > options.minutes * 60:
            say("another round would take too long")
            break
        say(f"round {number + 1} of {options.rounds}")
        for way in ways:
            way.prepare()
        for workload in chosen:
            for _ in range(1 if options.quick else workload.turns):
                turn += 1
                for way in ways if turn % 2 else reversed(ways):
                    if way.name not in workload.ways:
                        continue
                    figures = way.run(workload)
                    of_way = results.setdefault(workload.name, {}).setdefault(way.name, {})
                    for kind, figure in figures.items():
                        of_way.setdefault(kind, []).append(figure)
                    say(f"{workload.name.format(rows=f'{options.rows:,}')}: {way.name}: {figures['rate']:,.0f} rows/s, "
                        f"{figures['processor_us']:.1f} µs, {figures['wal_bytes']:,.0f} bytes of WAL")
        longest, rounds = max(longest, time.monotonic() - start), number + 1
    return results, rounds


def ratios(by_way, kind, ours, theirs):
    """The ratio of each turn, or nothing where one of the two was not run."""
    return [a / b for a, b in zip(by_way.get(ours, {}).get(kind, []), by_way.get(theirs, {}).get(kind, []))]


def median(by_way, way, kind, form):
    return form.format(statistics.median(by_way[way][kind])) if way in by_way else ""


def spread(each):
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" if each else ""


def rates(results, options):
    """Rows a second, and the extension's ratio to each of the others."""
    peers = [way for way in options.ways if way != OURS]
    shown = OURS in options.ways
    print(f"\n| rows/s | {' | '.join(WAYS[way] for way in options.ways)} |"
          + "".join(f" to {WAYS[way]} |" for way in peers if shown))
    print("|---" * (1 + len(options.ways) + (len(peers) if shown else 0)) + "|")
    for name, by_way in results.items():
        medians = [median(by_way, way, "rate", "{:,.0f}") for way in options.ways]
        each = [spread(ratios(by_way, "rate", OURS, way)) for way in peers if shown]
        print(f"| {' | '.join([name.format(rows=f'{options.rows:,}'), *medians, *each])} |")


def costs(results, options, kind, heading, form):
    """Another figure of each row, for every way."""
    print(f"\n| {heading} | {' | '.join(WAYS[way] for way in options.ways)} |\n|---{'|---' * len(options.ways)}|")
    for name, by_way in results.items():
        medians = [median(by_way, way, kind, form) for way in options.ways]
        print(f"| {' | '.join([name.format(rows=f'{options.rows:,}'), *medians])} |")


def bars(results, options):
    """What the extension has to reach, and whether it does; as rows for JSON too."""
    rows = []
    for workload in WORKLOADS:
        by_way = results.get(workload.name, {})
        for bar, kind in ((workload.bar, "rate"), (workload.cpu_bar, "processor_us")):
            each = ratios(by_way, kind, OURS, bar[0]) if bar else []
            if each:
                ratio = statistics.median(each)
                is_met = ratio >= bar[1] if kind == "rate" else ratio <= bar[1]
                rows.append({"workload": workload.name.format(rows=f"{options.rows:,}"), "to": WAYS[bar[0]],
                             "figure": {"rate": "rate", "processor_us": "processor time"}[kind],
                             "bar": f"{'at least' if kind == 'rate' else 'at most'} {bar[1]:.2f}",
                             "ratio": spread(each), "is_met": is_met})
    if rows:
        print("\n| bar | of | to | must be | is | |\n|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['workload']} | {row['figure']} | {row['to']} | {row['bar']} | {row['ratio']} | "
              f"{'met' if row['is_met'] else '**SHORT**'} |")
    return rows


def machine():
    """What the figures are of; the load tells whether they count."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    with psycopg.connect("dbname=postgres") as conn:
        version, = conn.execute("SHOW server_version").fetchone()
    return {"processors": os.cpu_count(), "model": model and model[1], "load_at_start": os.getloadavg()[0],
            "postgresql": version, "at": time.strftime("%Y-%m-%d %H:%M")}


def arguments():
    parser = argparse.ArgumentParser(prog="bench/capture.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=12, help="no further round begins that would end later")
    parser.add_argument("--rows", type=int, default=100_000, help="of the table, and of each change in bulk")
    parser.add_argument("--seconds", type=int, default=3, help="of each run of pgbench")
    parser.add_argument("--only", default="", help="a regular expression of the workloads' names")
    parser.add_argument("--ways", type=lambda names: names.split(","), default=list(WAYS), help=", ".join(WAYS))
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "target/capture.json", help="where all figures go")
    parser.add_argument("--no-install", dest="install", action="store_false", help="take what is installed in the private tree")
    parser.add_argument("--quick", action="store_true", help="try it: few rows, one round; the figures mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.seconds, options.rounds = 2000, 1, 1
    return options


def main():
    options = arguments()
    if options.install:
        subprocess.run([ROOT / "scripts/pg", "install"], check=True, stdout=sys.stderr)
    settings = ["shared_buffers=2GB", "max_wal_size=16GB", "checkpoint_timeout=1h", "max_connections=50", "jit=off",
                "autovacuum=off"]
    subprocess.run([ROOT / "scripts/pg", "start", "capture", *settings], check=True, stdout=sys.stderr)
    begun, about = time.monotonic(), machine()
    results, rounds = measure(options)
    about["rounds"] = rounds
    about["load_at_end"] = os.getloadavg()[0]
    about["minutes"] = round((time.monotonic() - begun) / 60, 1)
    print(f"\n{about['at']}, PostgreSQL {about['postgresql']}, {about['processors']} processors ({about['model']}), load "
          f"{about['load_at_start']:.1f} before and {about['load_at_end']:.1f} after; "
          f"rounds: {about['rounds']}, in {about['minutes']} minutes. Medians; ratios with the least and the greatest.")
    rates(results, options)
    costs(results, options, "processor_us", "µs of processor time a row", "{:.1f}")
    costs(results, options, "wal_bytes", "bytes of WAL a row", "{:,.0f}")
    reached = bars(results, options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": about, "rows": options.rows, "results": results, "bars": reached}, indent=1))
    subprocess.run([ROOT / "scripts/pg", "stop", "capture"], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
