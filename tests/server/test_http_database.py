"""The database is slow, full, away, or in the way: each answer says so, and the program goes on by itself."""

import concurrent.futures
import contextlib
import socket
import threading
import time

import conftest
import helpers_http
import pytest

EVENT = {"actor_id": "u", "action": "a.b"}


def recorded(db, action="a.b"):
    return db.conn.execute("SELECT count(*) FROM immutable.events WHERE action = %s", [action]).fetchone()[0]


def is_unavailable(answer):
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"] == "unavailable" and answer.json()["message"].endswith(".")
    assert int(answer.headers["retry-after"]) >= 1
    return True


def trigger(db, body):
    """Does something before each event is recorded; `n` is how many were tried before, also in transactions that failed."""
    db.conn.execute("CREATE SEQUENCE tried")
    db.conn.execute("GRANT USAGE ON SEQUENCE tried TO PUBLIC")
    db.conn.execute(f"CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE n bigint := nextval(''public.tried''); BEGIN {body}; RETURN NEW; END'")
    db.conn.execute("CREATE TRIGGER act BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION act()")


class Wire:
    """Stands between the program and the server, and counts how often the program waits for an answer."""

    def __init__(self, server):
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.turns = 0
        self.is_cut = False
        self.sockets = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{self.server.host}/.s.PGSQL.{self.server.port}")
                self.sockets += [client, server]
                last = []
                threading.Thread(target=self._pass_on, args=(client, server, "ask", last), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, "answer", last), daemon=True).start()

    def _pass_on(self, source, to, what, last):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if what == "ask" and last != ["ask"]:
                    self.turns += 1
                last[:] = [what]
                if self.is_cut and what == "answer":
                    break
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def wire(server):
    made = Wire(server)
    yield made
    made.close()


def test_a_call_is_one_round_trip(db, wire, program):
    login = db.create_role("IN ROLE immutable_server")
    http = program(login=login, database=f"host=127.0.0.1 port={wire.port} user={login} dbname={db.name} sslmode=disable", connections=1)
    key = http.key()
    for path, send in [("/api/v1/events", lambda: http.post("/api/v1/events", key, EVENT)),
                       ("/api/v1/events/batch", lambda: http.post("/api/v1/events/batch", key, {"events": [EVENT]})),
                       ("/api/v1/events", lambda: http.get("/api/v1/events", key))]:
        send()
        before = wire.turns
        assert send().status_code in (200, 202)
        assert wire.turns - before == 1, path
    # A connection that ends in the middle of an answer is not lent again. Nobody knows then whether the event is there.
    wire.is_cut = True
    is_unavailable(http.post("/api/v1/events", key, EVENT))
    wire.is_cut = False
    assert http.post("/api/v1/events", key, EVENT).status_code == 202


def test_a_write_that_waits_is_cancelled_and_leaves_nothing(db, program):
    http = program(connections=2)
    key = http.key()
    assert http.post("/api/v1/events", key, EVENT).status_code == 202
    with db.connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE immutable.events")
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            # The third waits for a connection.
            answers = list(threads.map(lambda _: http.post("/api/v1/events", key, EVENT), range(3)))
        assert all(is_unavailable(answer) for answer in answers)
        # Clients give up after five seconds; this is the bound of the contract, not a figure.
        assert time.monotonic() - began < 5
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state <> 'idle'"
        assert db.conn.execute(waiting, [http.login]).fetchone() == (0,)
    assert recorded(db) == 1
    assert http.post("/api/v1/events", key, EVENT).status_code == 202


def test_a_client_that_leaves_does_not_leave_a_transaction_open(db, program):
    http = program(connections=1)
    key = http.key()
    host, port = http.flags["listen"].split(":")
    body = b'{"actor_id":"u","action":"left"}'
    with db.connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE immutable.events")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (key.encode(), len(body), body))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
            while db.conn.execute(waits, [http.login]).fetchone() == (0,):
                time.sleep(0.01)
    assert http.post("/api/v1/events", key, EVENT).status_code == 202
    assert recorded(db, "left") == 1
    assert db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state <> 'idle'", [http.login]).fetchone() == (0,)


def test_what_is_in_the_way_is_tried_again(db, program):
    """Serialization failures, and statements that a pooler or an upgrade has made the server forget."""
    http = program(connections=1)
    key = http.key()
    trigger(db, "IF n % 2 = 1 THEN RAISE EXCEPTION ''in the way'' USING ERRCODE = CASE WHEN n % 4 = 1 THEN ''40001'' ELSE ''40P01'' END; END IF")
    assert [http.post("/api/v1/events", key, EVENT).status_code for _ in range(3)] == [202] * 3
    assert http.post("/api/v1/events/batch", key, {"events": [EVENT]}).status_code == 202
    assert recorded(db) == 4
    db.conn.execute("CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DEALLOCATE ALL; RETURN NEW; END'")
    assert [http.post("/api/v1/events", key, EVENT).status_code for _ in range(3)] == [202] * 3
    assert recorded(db) == 7
    db.conn.execute("CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''always'' USING ERRCODE = ''40001''; END'")
    assert is_unavailable(http.post("/api/v1/events", key, EVENT))


def test_a_server_in_need_is_503(db, http):
    key = http.key()
    trigger(db, "NULL")
    replace = "CREATE OR REPLACE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {} RETURN NEW; END'"
    for sqlstate in ["53100", "53200", "58030", "57014", "57P01", "55P03", "55000"]:
        db.conn.execute(replace.format(f"RAISE EXCEPTION ''no space left'' USING ERRCODE = ''{sqlstate}'';"))
        assert is_unavailable(http.post("/api/v1/events", key, EVENT))
        assert is_unavailable(http.post("/api/v1/events/batch", key, {"events": [EVENT]}))
        db.conn.execute(replace.format(""))
        assert http.post("/api/v1/events", key, EVENT).status_code == 202


def test_too_few_connections_are_shared_and_none_is_503(db, program):
    login = db.create_role("IN ROLE immutable_server CONNECTION LIMIT 1")
    http = program(login=login, connections=8)
    key = http.key()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: http.post("/api/v1/events", key, EVENT).status_code, range(16)))
    assert statuses == [202] * 16
    db.conn.execute(f"ALTER ROLE {login} NOLOGIN")
    db.conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login])
    assert is_unavailable(http.post("/api/v1/events", key, EVENT))
    assert is_unavailable(http.get("/readyz")) and http.get("/healthz").status_code == 200
    db.conn.execute(f"ALTER ROLE {login} LOGIN")
    assert http.post("/api/v1/events", key, EVENT).status_code == 202


def test_connections_that_the_server_ends_are_replaced(db, program):
    http = program(connections=4)
    key = http.key()
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
    for _ in range(5):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert set(threads.map(lambda _: http.post("/api/v1/events", key, EVENT).status_code, range(4))) == {202}
        db.conn.execute(ended, [http.login])
        while db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [http.login]).fetchone() != (0,):
            time.sleep(0.01)


def test_without_the_extension_the_program_is_not_ready(server, tmp_path):
    db = conftest.Database(server)
    try:
        key = None
        http = helpers_http.Program(db, tmp_path)
        key = http.key()
        assert http.get("/readyz").json()["takes_events"] is True
        db.unguard()
        db.conn.execute("DROP EXTENSION immutable CASCADE")
        assert is_unavailable(http.get("/readyz"))
        assert is_unavailable(http.post("/api/v1/events", key, EVENT))
        db.conn.execute("CREATE EXTENSION immutable")
        assert http.get("/readyz").status_code == 200
        assert http.post("/api/v1/events", http.key(), EVENT).status_code == 202
        http.stop(9)
    finally:
        db.close()


def test_a_server_that_restarts_is_found_again(cluster, tmp_path):
    away = cluster()
    db = conftest.Database(away)
    http = helpers_http.Program(db, tmp_path)
    try:
        key = http.key()
        assert http.post("/api/v1/events", key, EVENT).status_code == 202
        for stop in (away.stop, away.kill9):
            stop()
            assert is_unavailable(http.post("/api/v1/events", key, EVENT)) and is_unavailable(http.get("/readyz"))
            away.start()
            assert http.post("/api/v1/events", key, EVENT).status_code == 202
        with db.connect() as conn:
            assert conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'a.b'").fetchone() == (3,)
    finally:
        http.stop(9)
