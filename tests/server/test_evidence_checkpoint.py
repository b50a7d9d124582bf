"""checkpoint(): whatever writers do, every committed event comes into the tree once, in the order of its lane, and all notes
that were ever returned are of trees that extend each other."""

import concurrent.futures
import itertools
import random
import threading
import time

import psycopg
import pytest

from helpers_log import behind_triggers
from helpers_sequencing import CALL, CLEAR, check, checkpoint, parse, refused, tree_of
from helpers_servers import record, rows, wait_for

SECONDS = 8
TENANTS = ["", "one", "two", "o'x\\y", "drei €"]
LEVELS = [psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
RETRY = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


class Writer:
    """Transactions of every kind, of which many are rolled back, and some are prepared and end later."""

    numbers = itertools.count(1)

    def __init__(self, db, number):
        self.db, self.number = db, number
        self.random = random.Random(number)
        self.committed = self.rolled_back = self.prepared = 0

    def run(self, stop):
        with self.db.server.connect(self.db.name, autocommit=False) as conn:
            conn.isolation_level = LEVELS[self.number % len(LEVELS)]
            while not stop.is_set():
                try:
                    self.transaction(conn)
                except RETRY:
                    conn.rollback()
                    self.rolled_back += 1

    def transaction(self, conn):
        conn.execute("SET LOCAL statement_timeout = '60s'")
        for _ in range(self.random.choice([1, 1, 1, 2, 20])):
            self.event(conn, self.random.choice(TENANTS))
            if self.random.random() < 0.2:
                conn.execute("SAVEPOINT s")
                self.event(conn, self.random.choice(TENANTS))
                conn.execute(self.random.choice(["ROLLBACK TO s", "RELEASE s"]))
        if self.random.random() < 0.1:
            self.copy(conn)
        if self.random.random() < 0.1:
            # A tenant of its own.
            self.event(conn, f"tenant {self.number} {next(self.numbers)}")
        time.sleep(self.random.choice([0, 0, 0.001, 0.01, 0.05, 0.3]))
        if self.random.random() < 0.15:
            self.prepare(conn)
        elif self.random.random() < 0.15:
            conn.rollback()
            self.rolled_back += 1
        else:
            conn.commit()
            self.committed += 1

    def event(self, conn, tenant):
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, %s, 'x')", [tenant, f"u{self.number}"])

    def copy(self, conn):
        with conn.cursor().copy("COPY immutable.events (tenant_id, actor_id, action) FROM STDIN") as copy:
            for n in range(300):
                copy.write(f"{TENANTS[n % 3]}\tu{self.number}\tcopied\n")

    def prepare(self, conn):
        name = f"p{self.number}.{next(self.numbers)}"
        conn.execute(f"PREPARE TRANSACTION '{name}'")
        conn.rollback()
        time.sleep(self.random.choice([0, 0.05, 0.5]))
        conn.autocommit = True
        conn.execute(f"{self.random.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{name}'")
        conn.autocommit = False
        self.prepared += 1


def call_all_the_time(db, number, stop):
    notes = []
    with db.server.connect(db.name) as conn:
        while not stop.is_set():
            notes.append(checkpoint(conn))
            time.sleep(0.05 * number)
    return notes


def hold_a_transaction_id(db, stop):
    """A session that holds an xid for long, and commits an event at the end of it."""
    with db.server.connect(db.name, autocommit=False) as conn:
        while not stop.is_set():
            conn.execute("SELECT pg_current_xact_id()")
            stop.wait(2.5)
            record(conn, "late", tenant="late")
            conn.commit()


def test_sequencing_beside_writers_of_every_kind(db):
    record(db.conn)
    stop, stopped = threading.Event(), threading.Event()
    writers = [Writer(db, number) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(16) as executor:
        calling = [executor.submit(call_all_the_time, db, number, stopped) for number in range(3)]
        writing = [executor.submit(writer.run, stop) for writer in writers]
        writing.append(executor.submit(hold_a_transaction_id, db, stop))
        time.sleep(SECONDS)
        stop.set()
        for each in writing:
            each.result()
        stopped.set()
        notes = [note for each in calling for note in each.result()]
    notes.append(checkpoint(db.conn))
    check(db.conn, notes)
    assert all(sum(getattr(writer, what) for writer in writers) > 5 for what in ("committed", "rolled_back", "prepared"))
    assert len(set(notes)) > 20
    # What each session was given only grows.
    for each in calling:
        sizes = [parse(note).size for note in each.result()]
        assert sizes == sorted(sizes)
    # All lanes compared, nothing more is found.
    with behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.tree_position SET compared_at = now() - interval '2 days'")
    assert checkpoint(db.conn) == notes[-1]


def many_events(conn, count, tenants=1):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                 "SELECT 't' || n %% %s, 'u', 'a' FROM generate_series(1, %s) n", [tenants, count])


@pytest.mark.parametrize("tenants", [1, 150])
def test_sessions_that_share_a_long_first_checkpoint(db, tenants):
    """Each commits in between, and the others go on from there."""
    many_events(db.conn, 50_000, tenants)
    with concurrent.futures.ThreadPoolExecutor() as executor:
        calling = [executor.submit(checkpoint, db.connect()) for _ in range(3)]
        notes = [each.result() for each in calling]
    assert len(check(db.conn, notes)) == 50_001
    assert len(set(notes)) == 1


def test_the_feed_over_all_tenants_moves_on_beside_a_long_checkpoint(db):
    """No transaction of it keeps its ID for long."""
    many_events(db.conn, 150_000, 300)
    reader, writer, done = db.connect(), db.connect(), threading.Event()
    ends = []
    with concurrent.futures.ThreadPoolExecutor() as executor:
        calling = executor.submit(checkpoint, db.connect())
        calling.add_done_callback(lambda _: done.set())
        while not done.is_set():
            record(writer, tenant="new")
            ends += rows(reader, "SELECT pg_snapshot_xmin(pg_current_snapshot())")
        note = calling.result()
    # The feed's end moves while it runs, which takes several transactions.
    assert len(set(ends)) > 2
    assert rows(db.conn, "SELECT count(DISTINCT xmin::text) > 2 FROM immutable.tree_runs WHERE tenant_id <> 'new'") == [(True,)]
    assert rows(db.conn, "SELECT count(*) FROM immutable.tree_notes") == [(1,)]
    check(db.conn, [note, checkpoint(db.conn)])


def writes_nothing(conn, note):
    """A call that returns this note. Other sessions of the server may write in between, but not in each of ten."""
    place = "SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())"
    for _ in range(10):
        before = rows(conn, place)
        assert checkpoint(conn) == note
        if rows(conn, place) == before:
            return True
    return False


def test_nothing_new_is_no_write(db):
    record(db.conn)
    note = checkpoint(db.conn)
    assert writes_nothing(db.conn, note)
    # What is in other tables is nothing new.
    db.conn.execute("CREATE TABLE t (x int)")
    assert writes_nothing(db.conn, note)
    record(db.conn)
    with pytest.raises(AssertionError):
        writes_nothing(db.conn, note)


def test_pending_lanes_alone_are_no_write(db):
    for tenant in ("a", "b", "c"):
        record(db.conn, tenant=tenant)
    checkpoint(db.conn)
    for tenant in ("c", "a"):
        record(db.conn, tenant=tenant)
    with behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET previous_event_hash = sha256('x') WHERE seq = 2 AND tenant_id IN ('a', 'c')")
    first = checkpoint(db.conn)
    noted = rows(db.conn, "SELECT *, xmin FROM immutable.tree_pending ORDER BY 1")
    assert [row[:3] for row in noted] == [("a", 0, 2), ("c", 0, 2)]
    assert writes_nothing(db.conn, first)
    # Another lane goes on, and what was noted stays as it is.
    record(db.conn, tenant="b")
    assert parse(checkpoint(db.conn)).size == parse(first).size + 1
    assert rows(db.conn, "SELECT *, xmin FROM immutable.tree_pending ORDER BY 1") == noted
    assert len(tree_of(db.conn).missing) == 2


def test_where_it_is_refused(db):
    record(db.conn)
    conn = db.connect()
    conn.execute("BEGIN")
    diag = refused(conn, "25001", CALL)
    assert "outside BEGIN" in diag.message_hint
    conn.execute("ROLLBACK")
    for statement in (f"SELECT 1; {CALL}", f"{CALL}; SELECT 1", f"BEGIN; {CALL}; COMMIT"):
        refused(conn, "25001", statement)
        conn.rollback()
    conn.execute("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ DECLARE note text; BEGIN CALL immutable.checkpoint(note); END $$")
    conn.execute("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ DECLARE note text; BEGIN CALL immutable.checkpoint(note); END $$")
    refused(conn, "25001", "SELECT f()")
    with conn.transaction():
        with pytest.raises(psycopg.errors.ActiveSqlTransaction), conn.transaction():
            conn.execute("CALL p()")
    for level in ("repeatable read", "serializable"):
        conn.execute(f"SET default_transaction_isolation = '{level}'")
        diag = refused(conn, "25001", CALL)
        assert "READ COMMITTED" in diag.message_primary and "read committed" in diag.message_hint
    conn.execute("RESET default_transaction_isolation")
    conn.execute("SET default_transaction_read_only = on")
    refused(conn, "25006", CALL)
    conn.execute("RESET default_transaction_read_only")
    assert rows(db.conn, "SELECT count(*) FROM immutable.tree") == [(0,)]
    # Where a procedure may end transactions, it works: at the top, in a procedure and in a DO.
    first = checkpoint(conn)
    conn.execute("CALL p()")
    conn.execute("SET search_path = public")
    conn.execute("CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1")
    conn.execute("DO $$ DECLARE note text; BEGIN CALL immutable.checkpoint(note); PERFORM mine(); "
                 "CALL immutable.checkpoint(note); PERFORM mine(); END $$")
    diag = refused(conn, "25001", "DO $$ DECLARE note text; BEGIN CALL immutable.checkpoint(note); EXCEPTION WHEN division_by_zero THEN NULL; END $$")
    assert conn.execute("SHOW search_path").fetchone() == ("public",)
    assert conn.execute("SHOW synchronous_commit").fetchone() == ("on",)
    assert checkpoint(conn) == first
    check(conn, [first])


def test_it_does_not_commit_what_a_pipeline_has_done(db):
    record(db.conn)
    conn = db.connect()
    with pytest.raises(psycopg.errors.ActiveSqlTransaction), conn.pipeline():
        record_in_pipeline = conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'piped')")
        conn.execute(CALL)
    assert record_in_pipeline is not None
    assert rows(db.conn, "SELECT count(*) FROM immutable.events") == [(1,)]
    assert rows(db.conn, "SELECT count(*) FROM immutable.tree") == [(0,)]


def test_a_log_without_events_has_nothing_to_sign(db):
    diag = refused(db.conn, "55000", CALL)
    assert "no events" in diag.message_primary and diag.message_hint
    for function in ("tree_head()", "verifier_key()", "rotate_log_key()", "begin_incarnation('r')", "add_checkpoint('x')"):
        assert "CALL immutable.checkpoint()" in refused(db.conn, "55000", f"SELECT immutable.{function}").message_hint
    assert rows(db.conn, "SELECT count(*) FROM immutable.events") == [(0,)]


def test_the_settings_of_the_session_are_not_in_the_logs_own_events(db):
    record(db.conn)
    conn = db.connect()
    for name in ("tenant_id", "actor_id", "session_id"):
        conn.execute(f"SET immutable.{name} = 'mine'")
    conn.execute("SET immutable.origin_prefix = 'audit.example.com'")
    note = checkpoint(conn)
    origin = parse(note).origin
    assert origin == "audit.example.com/" + str(rows(conn, "SELECT log_id FROM immutable.log")[0][0])
    (tenant, actor, session, metadata), = rows(
        conn, "SELECT tenant_id, actor_id, session_id, metadata FROM immutable.events WHERE action = 'immutable.tree_begun'")
    vkey, = conn.execute("SELECT immutable.verifier_key()").fetchone()
    assert (tenant, actor, session) == ("", "postgres", None)
    assert metadata == {"origin": origin, "vkey": vkey, "verified": {"valid": True, "events_checked": 1, "breaks_found": 0}}
    # It is fixed from then on.
    conn.execute("SET immutable.origin_prefix = 'other'")
    record(conn)
    assert parse(checkpoint(conn)).origin == origin
    check(conn, [note])


@pytest.mark.parametrize("prefix", ["", "a/", "a b", "a+b", "a\u2003b", "a\x01b", "x" * 230])
def test_prefixes_that_make_no_name(db, prefix):
    record(db.conn)
    db.conn.execute("SELECT set_config('immutable.origin_prefix', %s, false)", [prefix])
    diag = refused(db.conn, "22023", CALL)
    assert diag.message_primary.startswith("immutable.origin_prefix")
    assert rows(db.conn, "SELECT count(*) FROM immutable.tree") == [(0,)]
    db.conn.execute("RESET immutable.origin_prefix")
    check(db.conn, [checkpoint(db.conn)])


def test_a_maintainers_search_path_is_not_the_owners(db):
    """Operators of the caller's are not called with the owner's rights."""
    maintainer = db.create_role("IN ROLE immutable_maintainer")
    record(db.conn)
    db.conn.execute(f"CREATE SCHEMA evil AUTHORIZATION {maintainer}")
    conn = db.connect(maintainer)
    conn.execute("CREATE TABLE evil.called (by_whom text)")
    for kind in ("text", "bigint", "smallint", "timestamptz", "xid8"):
        conn.execute(f"CREATE FUNCTION evil.eq(a {kind}, b {kind}) RETURNS boolean LANGUAGE plpgsql AS "
                     "$$ BEGIN INSERT INTO evil.called VALUES (current_user); RETURN a OPERATOR(pg_catalog.=) b; END $$")
        for operator in ("=", "<", ">=", "<="):
            conn.execute(f"CREATE OPERATOR evil.{operator} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.eq)")
    conn.execute("SET search_path = evil, pg_catalog")
    for n in range(3):
        checkpoint(conn)
        record(db.conn, tenant=f"t{n}")
    conn.execute("SELECT immutable.tree_head(), immutable.verifier_key()")
    conn.execute("RESET search_path")
    assert rows(conn, "SELECT * FROM evil.called") == []
    check(db.conn, [checkpoint(conn)])
    db.conn.execute("DROP SCHEMA evil CASCADE")


PAGE = 8192
PLACE = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


def write_to_the_end_of_a_page(conn):
    """PostgreSQL then gives the end of WAL as a place behind the next page's header."""
    def write(size):
        conn.execute("SELECT pg_logical_emit_message(false, '', repeat('x', %s))", [size])
        return rows(conn, PLACE)[0][0]
    for _ in range(50):
        before = write(1000)
        at = write(1000)
        if at // PAGE != before // PAGE or PAGE - at % PAGE < 1000:
            continue
        if write(1000 + PAGE - at % PAGE - (at - before)) % PAGE in (24, 40):
            return
    raise AssertionError("WAL did not end with a page")


def test_it_signs_where_wal_ends_with_a_page(db):
    conn = db.connect()
    for n in range(10):
        record(conn)
        conn.execute("SET immutable.sign_checkpoints = off")
        checkpoint(conn)
        size, = conn.execute("SELECT size FROM immutable.tree").fetchone()
        conn.execute("SET immutable.sign_checkpoints = on")
        write_to_the_end_of_a_page(conn)
        assert parse(checkpoint(conn)).size == size
    check(conn)


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend", "statement_timeout"])
def test_stopped_in_any_stage(db, how):
    """Whatever was signed stays true, and the next call goes on."""
    many_events(db.conn, 30_000, 40)
    notes, randomly = [], random.Random(how)
    begun = time.monotonic()
    notes.append(checkpoint(db.conn))
    usual = time.monotonic() - begun
    for n in range(15):
        many_events(db.conn, randomly.choice([1, 500, 30_000]), 7)
        conn = db.connect()
        with concurrent.futures.ThreadPoolExecutor() as executor:
            if how == "statement_timeout":
                conn.execute("SELECT set_config('statement_timeout', %s, false)", [str(randomly.randint(1, int(usual * 1000) + 2))])
            calling = executor.submit(checkpoint, conn)
            if how != "statement_timeout":
                time.sleep(randomly.random() * usual)
                db.conn.execute(f"SELECT {how}(%s)", [conn.info.backend_pid])
            try:
                notes.append(calling.result())
            except (psycopg.errors.QueryCanceled, psycopg.OperationalError):
                pass
        if n % 5 == 0:
            notes.append(checkpoint(db.conn))
            check(db.conn, notes)
    notes.append(checkpoint(db.conn))
    check(db.conn, notes)


def test_ddl_and_vacuum_beside_it(db):
    """They wait for each other for the time of a step, and nothing is lost."""
    many_events(db.conn, 20_000, 20)
    stop = threading.Event()

    def change():
        with db.server.connect(db.name) as conn:
            conn.execute("SET immutable.allow_ddl = on")
            for number in itertools.count():
                if stop.is_set():
                    return number
                conn.execute("VACUUM FULL immutable.tree_runs")
                conn.execute("CLUSTER immutable.events USING events_xact")
                conn.execute("VACUUM FULL immutable.tree")
                conn.execute("ALTER TABLE immutable.events ALTER ip_city SET STATISTICS 10")
                conn.execute("VACUUM immutable.tree_chunks")
                conn.execute("REINDEX TABLE immutable.tree_notes")
    with concurrent.futures.ThreadPoolExecutor() as executor:
        changing = executor.submit(change)
        calling = executor.submit(call_all_the_time, db, 0, stop)
        writer = db.connect()
        for n in range(60):
            many_events(writer, 50, 3)
        stop.set()
        assert changing.result() > 0
        notes = calling.result()
    check(db.conn, [*notes, checkpoint(db.conn)])
    assert rows(db.conn, CLEAR)
