#!/usr/bin/env python3
"""Measures one log at several sizes, sealed but for its newest events, with memory for a tenth of it; see segments.sh.

The log grows from mark to mark with all memory. At each mark the server starts anew with the limit, and with nothing of the
log in the page cache."""

import argparse
import contextlib
import math
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

from read import ROWS
from segments_plot import plot

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATABASE = "bench_segments"
GROUPS = pathlib.Path("/sys/fs/cgroup/memory")
MB = 1 << 20
# Less than this the server cannot run in: its own code, a few sessions, and the extension's library in each.
LEAST_MEMORY = 192 * MB
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Server:
    """The private cluster, with a limit of its memory or without."""

    def __init__(self):
        self.data = pathlib.Path(os.environ["IMMUTABLE_PG_DATA"])
        self.group = GROUPS / f"immutable_bench_{os.getpid()}"
        self.limits_memory = False
        with contextlib.suppress(OSError):
            self.group.mkdir()
            self.limits_memory = True

    def pids(self):
        server = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server)], text=True, capture_output=True)
        return [server, *map(int, children.stdout.split())]

    def start(self, memory=None):
        """`memory`: bytes, of which a quarter are shared buffers; None for all there is."""
        shared = "2GB" if memory is None else f"{memory // 4 // MB}MB"
        settings = [f"shared_buffers={shared}", "max_wal_size=4GB", "checkpoint_timeout=30min", "max_connections=50", "jit=off",
                    "max_locks_per_transaction=256", "maintenance_work_mem=" + ("512MB" if memory is None else "32MB"),
                    "log_min_messages=error"]
        subprocess.run([ROOT / "scripts/pg", "start", "segments", *settings], check=True, stdout=sys.stderr)
        self.forget_pages()
        if memory is not None and self.limits_memory:
            (self.group / "memory.limit_in_bytes").write_text(str(memory))
            for pid in self.pids():
                (self.group / "cgroup.procs").write_text(str(pid))

    def forget_pages(self):
        """The log's files leave the page cache, so that only what is read from now on counts against the limit."""
        os.sync()
        for path in self.data.glob("base/*/*"):
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)

    def processor_time(self):
        """Seconds that the server's processes have taken, those that live and those that have ended."""
        total = 0
        server, *others = self.pids()
        for pid in (server, *others):
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
                if pid == server:
                    total += int(fields[13]) + int(fields[14])
        return total / TICKS

    def destroy(self):
        subprocess.run([ROOT / "scripts/pg", "destroy", "segments"], check=True)
        with contextlib.suppress(OSError):
            self.group.rmdir()


class Log:
    def __init__(self, options, server):
        self.options, self.server = options, server
        self.conn = None
        self.has_segments = self.has_pruning = False
        # Bytes an event of a log of which nothing has been sealed yet. Later the hot tables keep the files of their fullest.
        self.hot_bytes = None

    def connect(self, **more):
        return psycopg.connect(f"dbname={DATABASE}", autocommit=True, **more)

    def make(self):
        with psycopg.connect("dbname=postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
        with self.connect() as conn:
            conn.execute("CREATE EXTENSION immutable")
            conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('bench', 'bench.began')")
            for name, value in (("seal_events", self.options.seal), ("segment_events", self.options.segment),
                                ("hot_events", self.options.hot), ("retention_wait", 0)):
                # Not every version has all of them.
                with contextlib.suppress(psycopg.Error):
                    conn.execute(f"ALTER DATABASE {DATABASE} SET immutable.{name} = {value}")
            self.has_segments, self.has_pruning = conn.execute(
                "SELECT to_regprocedure('immutable.seal(timestamptz, jsonb)') IS NOT NULL, "
                "EXISTS (SELECT FROM pg_proc WHERE proname = 'prune' AND pronamespace = 'immutable'::regnamespace)").fetchone()

    def value(self, statement, *arguments):
        with self.connect() as conn:
            row = conn.execute(statement, arguments).fetchone()
            return row and row[0]

    def fill(self, events):
        """Records so many events, several sessions at a time, and seals what is more than stays hot."""
        statement = ROWS.strip() % self.options.rows
        left, lock, failures = [events], threading.Lock(), []

        def client():
            try:
                with self.connect() as conn:
                    conn.execute("SET synchronous_commit = off")
                    while True:
                        with lock:
                            if left[0] <= 0 or failures:
                                return
                            left[0] -= self.options.rows
                        conn.execute(statement)
            except psycopg.Error as error:
                failures.append(error)

        while left[0] > 0 and not failures:
            # A part of it, then the sealing of that part, so that the log is never much longer than what stays hot.
            goal = max(0, left[0] - self.options.seal)
            rest, left[0] = goal, left[0] - goal
            threads = [threading.Thread(target=client) for _ in range(self.options.clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            left[0] = rest
            self.hot_bytes = self.hot_bytes or self.hot_size() / self.value("SELECT count(*) FROM ONLY immutable.events")
            self.seal()
        if failures:
            raise failures[0]

    def seal(self, before=None):
        """Seals until no more is done."""
        if not self.has_segments:
            return
        with self.connect() as conn:
            for _ in range(1000):
                count = "SELECT coalesce(sum(events), 0) FROM immutable.segments WHERE state = 'sealed'"
                was, = conn.execute(count).fetchone()
                conn.execute("CALL immutable.seal(%s, NULL)", [before])
                if conn.execute(count).fetchone()[0] == was:
                    return

    def pgbench(self, seconds, clients=None, extra=()):
        """Events a second of one-row transactions, and their processor time in the server, in microseconds."""
        clients = clients or self.options.clients
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(ROWS.strip() % 1 + ";")
            script.flush()
            before = self.server.processor_time()
            done = subprocess.run(
                [f"{os.environ['IMMUTABLE_PG_BIN']}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(clients),
                 "-j", "2", "-T", str(seconds), *extra, DATABASE], text=True, capture_output=True)
        match = re.search(r"actually processed: (\d+).*tps = ([\d.]+)", done.stdout, re.S)
        if done.returncode or not match:
            sys.exit(done.stderr or done.stdout)
        time.sleep(0.2)
        return float(match[2]), (self.server.processor_time() - before) / int(match[1]) * 1e6

    def page_times(self):
        """Median milliseconds of each kind of page, and of a session's first call."""
        with self.connect() as conn:
            low, high = conn.execute("SELECT min(created_at), max(created_at) FROM immutable.events").fetchone()
            calls = {
                "newest": ("SELECT immutable.get_events(count => 'none')", lambda n: []),
                "deep": ("SELECT immutable.get_events(to_date => %s, count => 'none')",
                         lambda n: [(low + (high - low) * ((n * 0.618) % 1)).isoformat()]),
                "tenant": ("SELECT immutable.get_events(tenant_id => %s, count => 'none')", lambda n: [f"tenant_{1 + n % 500}"]),
                "tenant, deep": ("SELECT immutable.get_events(tenant_id => %s, to_date => %s, count => 'none')",
                                 lambda n: [f"tenant_{1 + n % 500}", (low + (high - low) * ((n * 0.618) % 1)).isoformat()]),
            }
            times = {}
            for name, (statement, arguments) in calls.items():
                each = []
                for n in range(self.options.pages):
                    begun = time.perf_counter()
                    conn.execute(statement, arguments(n)).fetchall()
                    each.append((time.perf_counter() - begun) * 1000)
                times[name] = statistics.median(each)
                times[name + ", p99"] = sorted(each)[int(len(each) * 0.99)]
        firsts = []
        for n in range(8):
            with self.connect() as conn:
                conn.execute("SELECT 1")
                begun = time.perf_counter()
                conn.execute("SELECT immutable.get_events(tenant_id => %s)", [f"tenant_{1 + n}"]).fetchall()
                firsts.append((time.perf_counter() - begun) * 1000)
        times["first call of a session"] = statistics.median(firsts)
        return times

    def hot_size(self):
        """Bytes of the tables that are hot, with their indexes."""
        return int(self.value("SELECT pg_total_relation_size('immutable.events') + pg_total_relation_size('immutable.event_targets')"))

    def sizes(self):
        """Bytes an event of the segments, and how many segments there are."""
        if not self.has_segments:
            return None, 0
        with self.connect() as conn:
            return conn.execute(
                "SELECT sum(pg_total_relation_size(to_regclass('immutable.events_' || segment)) "
                "+ pg_total_relation_size(to_regclass('immutable.event_targets_' || segment)))::float8 / nullif(sum(events), 0), "
                "count(*) FROM immutable.segments WHERE state = 'sealed'").fetchone()

    def sealing(self):
        """Seals what a fill has added, with VACUUM: events a second, and processor time an event."""
        self.fill_hot(self.options.seal)
        before, begun = self.server.processor_time(), time.monotonic()
        was = self.sealed_events()
        self.seal()
        self.value_free("VACUUM immutable.events")
        self.value_free("VACUUM immutable.event_targets")
        moved = self.sealed_events() - was
        if moved <= 0:
            return None, None
        seconds, taken = time.monotonic() - begun, self.server.processor_time() - before
        return moved / seconds, taken / moved * 1e6

    def value_free(self, statement):
        with self.connect() as conn:
            conn.execute(statement)

    def sealed_events(self):
        return int(self.value("SELECT coalesce(sum(events), 0) FROM immutable.segments WHERE state = 'sealed'"))

    def fill_hot(self, events):
        """Records without sealing."""
        has, self.has_segments = self.has_segments, False
        try:
            self.fill(events)
        finally:
            self.has_segments = has

    def rate_while_sealing(self, seconds):
        """Events a second while another session seals, as maintenance does: a part, then a pause of as long."""
        done, failures = threading.Event(), []

        def sealer():
            try:
                with self.connect() as conn:
                    conn.execute(f"SET immutable.seal_events = {max(1000, self.options.seal // 10)}")
                    while not done.is_set():
                        begun = time.monotonic()
                        conn.execute("CALL immutable.seal()")
                        done.wait(time.monotonic() - begun)
            except psycopg.Error as error:
                failures.append(error)

        self.fill_hot(self.options.seal)
        thread = threading.Thread(target=sealer)
        thread.start()
        rate, _ = self.pgbench(seconds)
        done.set()
        thread.join()
        if failures:
            say(f"sealing: {failures[0]}")
        return rate

    def verification(self):
        """Nanoseconds an event of verify_chain() of everything."""
        events = self.value("SELECT count(*) FROM immutable.events")
        begun = time.monotonic()
        valid = self.value("SELECT valid FROM immutable.verify_chain()")
        assert valid, "the log is not valid"
        return (time.monotonic() - begun) / events * 1e9

    def pruning(self):
        """Seconds to remove what is older than a second, and how many events went."""
        with self.connect() as conn:
            conn.execute("CALL immutable.checkpoint()")
            conn.execute("SELECT immutable.set_retention(interval '1 second')")
            time.sleep(2)
            before, begun = conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0], time.monotonic()
            conn.execute("SELECT * FROM immutable.prune(dry_run => false)").fetchall()
            seconds = time.monotonic() - begun
            return seconds, before - conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0]


def limit_of(log, fraction):
    """Bytes for a part of the log, but not so few that the server cannot run."""
    size = log.value("SELECT pg_database_size(current_database())")
    return size, max(size // fraction, LEAST_MEMORY)


def measure(log, server, options):
    """All figures at the size that the log has now. The server has been started with its limit."""
    row = {"rate": None}
    say("pages")
    row |= log.page_times()
    say("inserts")
    row["rate"], row["insert_us"] = log.pgbench(options.seconds)
    say("verification")
    row["verify_ns"] = log.verification()
    row["segment_bytes"], row["segments"] = log.sizes()
    row["hot_bytes"], row["hot_mb"] = log.hot_bytes, log.hot_size() / MB
    if log.has_segments:
        say("sealing")
        row["seal_rate"], row["seal_us"] = log.sealing()
        row["rate_sealing"] = log.rate_while_sealing(options.seconds)
    return row


def main():
    options = arguments()
    if options.install:
        subprocess.run([ROOT / "scripts/pg", "install"], check=True, stdout=sys.stderr)
    server = Server()
    log = Log(options, server)
    rows, begun = {}, time.monotonic()
    try:
        server.start()
        log.make()
        for size in options.sizes:
            say(f"filling up to {size:,} events")
            filling = time.monotonic()
            had = log.value("SELECT count(*) FROM immutable.events")
            if had < size:
                log.fill(size - had)
            log.value_free("VACUUM ANALYZE")
            # What the measurements at the last mark have recorded may reach beyond this one already.
            filled = max(0, size - had) / (time.monotonic() - filling)
            bytes_of_log, memory = limit_of(log, options.fraction)
            server.start(memory)
            say(f"{size:,} events, {bytes_of_log // MB:,} MB, memory for {memory // MB:,} MB; filled at {filled:,.0f} events/s")
            rows[size] = {"mb": bytes_of_log / MB, "memory": memory / MB, "fill": filled, **measure(log, server, options)}
            server.start()
        if log.has_pruning and log.has_segments:
            say("pruning")
            rows[options.sizes[-1]]["prune"] = log.pruning()
    finally:
        if rows:
            report(rows, server.limits_memory)
            if not options.no_plots:
                plot(rows, options.images)
        say(f"took {time.monotonic() - begun:.0f} s")
        if not options.keep:
            server.destroy()


# What the table has, in its order: the heading, the figure's name, and how it is printed.
COLUMNS = [
    ("log, MB", "mb", "{:,.0f}"), ("memory, MB", "memory", "{:,.0f}"), ("segments", "segments", "{:,}"),
    ("inserts/s", "rate", "{:,.0f}"), ("µs of processor time an insert", "insert_us", "{:.0f}"),
    ("inserts/s while sealing", "rate_sealing", "{:,.0f}"),
    ("newest page, ms", "newest", "{:.2f}"), ("deep page, ms", "deep", "{:.2f}"),
    ("tenant's page, ms", "tenant", "{:.2f}"), ("tenant's deep page, ms", "tenant, deep", "{:.2f}"),
    ("first call of a session, ms", "first call of a session", "{:.1f}"),
    ("hot tables' files, MB", "hot_mb", "{:,.0f}"), ("bytes an event, hot", "hot_bytes", "{:,.0f}"), ("bytes an event, segments", "segment_bytes", "{:,.0f}"),
    ("sealed/s, with VACUUM", "seal_rate", "{:,.0f}"), ("µs of processor time a sealed event", "seal_us", "{:.0f}"),
    ("verify_chain(), ns an event", "verify_ns", "{:,.0f}"), ("filled, events/s", "fill", "{:,.0f}"),
]


def report(rows, limits_memory):
    """The table, one column a size, and what a billion events would come to."""
    print(f"\nMemory: shared_buffers are a quarter of the limit{', and a control group holds the server to the limit, page cache included' if limits_memory else '; THE PAGE CACHE IS NOT LIMITED (no memory controller)'}. "
          f"The limit is never below {LEAST_MEMORY // MB} MB.\n")
    print(f"| events | {' | '.join(f'{size:,}' for size in rows)} |\n|---{'|---' * len(rows)}|")
    for heading, name, form in COLUMNS:
        cells = [form.format(row[name]) if row.get(name) is not None else "" for row in rows.values()]
        if any(cells):
            print(f"| {heading} | {' | '.join(cells)} |")
    if len(rows) > 1:
        project(rows)
    last = list(rows.values())[-1]
    if "prune" in last:
        seconds, events = last["prune"]
        print(f"\nPruning {events:,} events took {seconds:.2f} s.")


def project(rows):
    """Says what the trend between the last two sizes comes to at a billion events. That is no measurement."""
    (small, before), (large, after) = list(rows.items())[-2:]
    steps = math.log10(1e9 / large) / math.log10(large / small)
    print("\nProjected to a billion events, not measured: each figure changes once more by what it changed from "
          f"{small:,} to {large:,} events, for every such step; sizes and verification grow with the number of events.\n")
    print("| projection | 1,000,000,000 |\n|---|---|")
    for heading, name, form in COLUMNS:
        if name in ("rate", "newest", "deep", "tenant", "tenant, deep") and before.get(name) and after.get(name):
            print(f"| {heading} | {form.format(after[name] * (after[name] / before[name]) ** steps)} |")
    each = after.get("segment_bytes") or after["hot_bytes"]
    print(f"| the log, TB | {each * 1e9 / 1e12:.2f} |\n| verify_chain() in one process, hours | {after['verify_ns'] / 3600:.1f} |")


def arguments():
    parser = argparse.ArgumentParser(prog="bench/segments.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=lambda sizes: [int(size.replace("_", "")) for size in sizes.split(",")],
                        default=[100_000, 1_000_000, 4_000_000], help="numbers of events, ascending")
    parser.add_argument("--fraction", type=int, default=10, help="memory for one part in so many of the log")
    parser.add_argument("--hot", type=int, default=100_000, help="events that stay hot")
    parser.add_argument("--seal", type=int, default=100_000, help="events of a new segment")
    parser.add_argument("--segment", type=int, default=1_000_000, help="events of a merged segment")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement of inserts")
    parser.add_argument("--pages", type=int, default=200, help="calls for each kind of page")
    parser.add_argument("--clients", type=int, default=2, help="sessions that record at the same time")
    parser.add_argument("--rows", type=int, default=500, help="rows of each statement that fills the log")
    parser.add_argument("--images", type=pathlib.Path, default=ROOT / "docs/images", help="where the plots go")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--no-install", dest="install", action="store_false", help="take what is installed in the private tree")
    parser.add_argument("--keep", action="store_true", help="leave the cluster where it is")
    return parser.parse_args()


if __name__ == "__main__":
    main()
