"""Sealing against crashes: wherever the server ends, each event is there once, and the next call goes on."""

import random
import threading
import time

import psycopg
from helpers_segments import Sealing, check_whole, places, prepare_alone
from helpers_servers import is_valid

ROUNDS = 12
INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, targets) " \
    "SELECT 't' || n %% 3, 'u', 'a', %s || n, '[{\"type\": \"x\", \"id\": \"1\"}]' FROM generate_series(1, 20) n"
SETTINGS = "-c immutable.hot_events=50 -c immutable.seal_events=200 -c immutable.segment_events=700 -c lock_timeout=2s"


class Worker(threading.Thread):
    """Does something again and again until the server is gone."""

    def __init__(self, server, work):
        super().__init__(daemon=True)
        self.conn, self.work, self.done = server.connect(options=SETTINGS), work, []

    def run(self):
        try:
            for n in range(1_000_000):
                try:
                    self.done.append(self.work(self.conn, n))
                except psycopg.errors.LockNotAvailable:
                    pass
        except psycopg.OperationalError:
            pass


def record(conn, n):
    key = f"{conn.info.backend_pid}.{time.time_ns()}.{n}."
    conn.execute(INSERT, [key])
    return key


def seal(conn, n):
    conn.execute("CALL immutable.seal()" if n % 3 else "CALL immutable.run_maintenance()")


def erase(conn, n):
    """Erases the resource of some event, wherever it is."""
    conn.execute("SELECT immutable.erase(id, tenant_id, ARRAY['idempotency_key'], 'test') FROM immutable.events "
                 "WHERE idempotency_key IS NOT NULL AND tableoid = 'immutable.events'::regclass ORDER BY random() LIMIT 1")
    time.sleep(0.01)


def test_kill_at_any_moment(cluster):
    """Writers, two that seal and one that erases; the server is killed at a random moment, again and again."""
    server = cluster(checkpoint_timeout="30s", max_wal_size="64MB")
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute("SELECT immutable.track('u', 'begun')")
        conn.execute("CALL immutable.checkpoint()")
    chance, acknowledged = random.Random(18), 0
    for number in range(ROUNDS):
        workers = [Worker(server, work) for work in (record, record, seal, seal, erase)]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(0.1, 0.6))
        server.kill9()
        for worker in workers:
            worker.join(30)
            assert not worker.is_alive()
        acknowledged += 20 * sum(len(worker.done) for worker in workers[:2])
        server.start()
        with server.connect() as conn:
            assert conn.execute("SELECT count(*) >= %s FROM immutable.events WHERE action = 'a'", [acknowledged]).fetchone()[0]
            check_whole(conn)
    with server.connect(options=SETTINGS) as conn:
        conn.execute("CALL immutable.seal()")
        conn.execute("CALL immutable.run_maintenance()")
        check_whole(conn)
        assert is_valid(conn)
        assert conn.execute("SELECT count(*) FROM immutable.segments WHERE state = 'sealed'").fetchone()[0] > 0


def test_kill_while_it_copies(cluster):
    """After the tables are made, and again after the events are copied: everything is where it was, and the next call
    begins the segment anew."""
    server = cluster()

    def connect(autocommit=True):
        return server.connect(autocommit=autocommit)

    with connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute(INSERT, ["k"])
    prepare_alone(connect)
    server.kill9()
    server.start()
    with connect() as conn:
        assert conn.execute("SELECT state FROM immutable.segments").fetchall() == [("prepared",)]
    sealing = Sealing(connect, lambda: None)
    server.kill9()
    sealing.join(30)
    assert not sealing.is_alive() and sealing.did is None
    server.start()
    with connect() as conn:
        assert places(conn) == {"events": 20}
        assert conn.execute("CALL immutable.seal('infinity')").fetchone()[0]["events"] == 17
        assert sum(places(conn).values()) == 20 and places(conn)["events"] == 3
        check_whole(conn)


OWN = "SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid'"


def test_a_transaction_after_a_crash_is_not_taken_for_one_before_it(cluster):
    """Virtual transactions are counted anew after a crash. Sealing waits for none that has the number of a noted one."""
    server = cluster(autovacuum="off")
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute(INSERT, ["k"])
    prepare_alone(lambda autocommit=True: server.connect(autocommit=autocommit), before=50)
    with server.connect() as conn:
        (noted,), = conn.execute("SELECT waits_for FROM immutable.segments").fetchone()
    noted = noted.split()[0]
    server.kill9()
    server.start()
    sessions = [server.connect() for _ in range(10)]
    is_of_slot = lambda session: session.execute(OWN).fetchone()[0].split("/")[0] == noted.split("/")[0]
    session = next(filter(is_of_slot, sessions))
    for _ in range(100):
        session.execute("BEGIN")
        if session.execute(OWN).fetchone()[0] == noted:
            break
        session.execute("COMMIT")
    assert session.execute(OWN).fetchone()[0] == noted
    session.execute("SELECT FROM immutable.events LIMIT 1")
    with server.connect() as conn:
        conn.execute("SET lock_timeout = '1s'")
        assert conn.execute("CALL immutable.seal('infinity')").fetchone()[0]["events"] == 17
        check_whole(conn)
    for session in sessions:
        session.close()
