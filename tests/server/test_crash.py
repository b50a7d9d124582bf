"""Crashes, and statements that end at the worst moment: the log is whole after each, nothing acknowledged is lost,
and nothing is there twice."""

import concurrent.futures
import os
import signal
import threading
import time

import psycopg
import pytest

from helpers_servers import as_server, is_valid, record, rows, wait_for

WRITERS = 16
ROUNDS = 10  # for each setting
INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, targets) " \
    "VALUES ('t' || %s, 'u', 'a', %s, '[{\"type\": \"x\", \"id\": \"1\"}]')"


class Writer(threading.Thread):
    """Records events until the server is gone, and notes which were acknowledged."""

    def __init__(self, server, number, synchronous_commit):
        super().__init__(daemon=True)
        self.conn = server.connect(options=f"-c synchronous_commit={synchronous_commit}")
        self.number, self.acknowledged, self.tried = number, [], []

    def run(self):
        try:
            for n in range(1_000_000):
                key = f"{self.number}.{self.conn.info.backend_pid}.{n}"
                self.tried.append(key)
                # Three tenants, so that writers meet in lanes and take others.
                self.conn.execute(INSERT, [self.number % 3, key])
                self.acknowledged.append(key)
        except psycopg.OperationalError:
            pass


@pytest.mark.parametrize("synchronous_commit", ["on", "off"])
def test_after_a_kill_under_load_the_log_is_whole_and_has_every_acknowledged_event(cluster, synchronous_commit):
    server = cluster(checkpoint_timeout="30s", max_wal_size="64MB")
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
    acknowledged, tried = [], []
    for _ in range(ROUNDS):
        writers = [Writer(server, number, synchronous_commit) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        while sum(len(writer.acknowledged) for writer in writers) < 300:
            time.sleep(0.005)
        server.kill9()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive()
            acknowledged += writer.acknowledged
            tried += writer.tried
        server.start()
        with server.connect() as conn:
            assert is_valid(conn)
            stored = [key for key, in conn.execute("SELECT idempotency_key FROM immutable.events")]
            assert len(stored) == len(set(stored))
            assert set(stored) <= set(tried)
            if synchronous_commit == "on":
                assert not set(acknowledged) - set(stored)
            # What was acknowledged without a flush may be lost, but only once.
            acknowledged = stored
            # A crash does not count as a restore.
            assert rows(conn, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.restored'") == [(0,)]
            for tenant in ("t0", "t1", "t2"):
                key = f"{tenant} after {len(tried)}"
                record(conn, tenant=tenant, idempotency_key=key)
                tried.append(key)
                acknowledged.append(key)


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def goes_on(conn, before, tenant="t"):
    """The failed events are not there, and the lane continues where it was."""
    assert rows(conn, "SELECT count(*) FROM immutable.events") == [(before,)]
    assert is_valid(conn)
    last, = conn.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = %s AND lane = 0", [tenant]).fetchone()
    assert record(conn, tenant=tenant) == (0, (last or 0) + 1)


MANY = "INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) " \
    "SELECT 't', 'u', 'a', jsonb_build_object('n', n, 'text', repeat(md5(n::text), 50)) FROM generate_series(1, 1000000) n"


def test_out_of_disk(cluster):
    """A file that cannot grow any more, as when the disk is full."""
    server = cluster()
    conn = server.connect()
    conn.execute("CREATE EXTENSION immutable")
    record(conn)
    # The limit is for this backend alone; WAL segments, of 16 MB, stay possible.
    as_server("prlimit", "--pid", conn.info.backend_pid, f"--fsize={17 << 20}")
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(MANY)
    assert "could not extend file" in str(raised.value) or "could not write" in str(raised.value)
    other = server.connect()
    goes_on(other, 1)
    other.execute("VACUUM immutable.events")
    goes_on(conn, 2)
    conn.close()
    other.close()


def test_statement_timeout_and_temp_file_limit(db):
    record(db.conn)
    db.conn.execute("SET statement_timeout = '200ms'")
    refused(db.conn, "57014", MANY)
    db.conn.execute("RESET statement_timeout")
    goes_on(db.conn, 1)
    db.conn.execute("SET temp_file_limit = '1MB'; SET work_mem = '64kB'")
    refused(db.conn, "53400", MANY.replace("(1, 1000000) n", "(1, 100000) n ORDER BY md5(n::text)"))
    db.conn.execute("RESET ALL")
    goes_on(db.conn, 2)


def test_lock_timeout_while_waiting_for_a_lane(db):
    record(db.conn)
    holder, waiter = db.connect(autocommit=False), db.connect()
    holder.execute("SET immutable.lanes = 1")
    waiter.execute("SET immutable.lanes = 1; SET lock_timeout = '100ms'")
    record(holder)
    refused(waiter, "55P03", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
    holder.rollback()
    goes_on(waiter, 1)


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_backend_stopped_inside_the_trigger(db, how):
    record(db.conn)
    holder, waiter = db.connect(autocommit=False), db.connect()
    holder.execute("SET immutable.lanes = 1")
    waiter.execute("SET immutable.lanes = 1")
    record(holder)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(record, waiter)
        pid = waiter.info.backend_pid
        wait_for(db.conn, f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}")
        db.conn.execute(f"SELECT {how}({pid})")
        with pytest.raises(psycopg.Error) as raised:
            waiting.result(20)
        assert raised.value.sqlstate == {"pg_cancel_backend": "57014", "pg_terminate_backend": "57P01"}[how]
    holder.rollback()
    goes_on(db.conn, 1)


def test_a_backend_killed_inside_the_trigger(cluster):
    """The server ends all others then, and recovers."""
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        record(conn)
    holder, waiter = server.connect(autocommit=False), server.connect()
    holder.execute("SET immutable.lanes = 1")
    waiter.execute("SET immutable.lanes = 1")
    record(holder)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(record, waiter)
        pid = waiter.info.backend_pid
        with server.connect() as conn:
            wait_for(conn, f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            waiting.result(20)
    # Once the others are ended, no connection is accepted until the recovery is over.
    deadline = time.monotonic() + 60
    with pytest.raises(psycopg.OperationalError):
        while time.monotonic() < deadline:
            holder.execute("SELECT 1")
            time.sleep(0.05)
    while True:
        try:
            conn = server.connect()
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with conn:
        goes_on(conn, 1)


def test_a_cancelled_copy_leaves_nothing(db):
    record(db.conn)
    conn = db.connect()
    with pytest.raises(psycopg.Error) as raised:
        with conn.cursor().copy("COPY immutable.events (tenant_id, actor_id, action) FROM STDIN") as copy:
            for n in range(20_000):
                copy.write(f"t{n % 7}\tu\ta\n")
                if n == 10_000:
                    # Some of it has come in by now.
                    wait_for(db.conn, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'object' "
                                      "AND classid = 'immutable.events'::regclass")
                    conn.cancel()
    assert raised.value.sqlstate == "57014"
    goes_on(db.conn, 1)
    with pytest.raises(psycopg.Error) as raised:
        with conn.cursor().copy("COPY immutable.events (tenant_id, actor_id, action) FROM STDIN") as copy:
            copy.write("t\tu\ta\nt\t\\N\ta\n")
    assert raised.value.sqlstate == "23502"
    goes_on(db.conn, 2)
