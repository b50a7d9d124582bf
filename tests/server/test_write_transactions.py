"""How events behave in transactions, where it takes more than the isolation tests can do: connections that are ended,
waits that are given up, thousands of savepoints, DDL beside prepared statements."""

import concurrent.futures
import hashlib
import threading
import time

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'u1', %s) RETURNING lane, seq"
LANE_LOCKS = """
    SELECT pid, objid, objsubid, mode, granted FROM pg_locks
    WHERE locktype = 'object' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = 'immutable.events'::regclass ORDER BY objid, objsubid, granted DESC"""


def insert(conn, action="a", tenant="t"):
    """Records an event; gives its lane and seq."""
    return conn.execute(INSERT, [tenant, action]).fetchone()


def events(db, tenant="t"):
    """The tenant's events in order, as lane, seq, action; the whole log has to be sound."""
    valid, breaks = db.conn.execute("SELECT valid, breaks FROM immutable.verify_chain()").fetchone()
    assert valid, breaks
    return db.conn.execute(
        "SELECT lane, seq, action FROM immutable.events WHERE tenant_id = %s ORDER BY lane, seq", [tenant]).fetchall()


def one_lane(*actions):
    return [(0, seq, action) for seq, action in enumerate(actions, 1)]


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def waits(db, conn):
    """Waits until the connection's backend waits for a lock."""
    wait_until(lambda: db.conn.execute(
        "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [conn.info.backend_pid]).fetchone()[0])


@pytest.fixture
def db(db):
    """The log has begun: a session that records the very first event makes others wait until the identity is certain. Nothing
    here may wait for ever."""
    db.conn.execute(f"ALTER DATABASE {db.name} SET statement_timeout = '30s'")
    insert(db.conn, tenant="somebody")
    return db


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(24) as executor:
        yield executor


# Several connections

def test_a_second_connection_of_one_task_does_not_hang(db):
    first, second = db.connect(autocommit=False), db.connect()
    assert insert(first, "outer") == (0, 1)
    assert insert(second, "inner") == (1, 1)
    answer, = second.execute("SELECT immutable.track('u1', 'tracked', tenant_id => 't')").fetchone()
    assert answer["status"] == "recorded"
    assert insert(first, "outer") == (0, 2)
    first.commit()
    assert events(db) == [(0, 1, "outer"), (0, 2, "outer"), (1, 1, "inner"), (1, 2, "tracked")]


def test_a_tenants_first_event_makes_nobody_wait(db):
    first, second = db.connect(autocommit=False), db.connect()
    insert(first)
    assert insert(second) == (1, 1)
    assert insert(second, tenant="new") == (0, 1)
    first.rollback()
    assert events(db) == [(1, 1, "a")]


def test_when_every_lane_is_taken_the_next_writer_waits(db, pool):
    connections = [db.connect(autocommit=False) for _ in range(33)]
    for conn in connections:
        conn.execute("SET immutable.lanes = 32")
        conn.commit()
    *holders, late = connections
    assert [insert(holder, f"h{n}") for n, holder in enumerate(holders)] == [(lane, 1) for lane in range(32)]
    late.autocommit = True
    waiting = pool.submit(insert, late, "late")
    waits(db, late)
    # It waits for whichever is free first.
    holders[17].commit()
    assert waiting.result(20) == (17, 2)
    for number, holder in enumerate(holders):
        holder.rollback() if number % 2 else holder.commit()
    found = events(db)
    assert [action for _, _, action in found].count("late") == 1


def test_the_lane_lock_is_shown_in_pg_locks(db):
    conn = db.connect(autocommit=False)
    insert(conn)
    insert(conn)
    insert(conn, tenant="other")

    def number(tenant):
        return int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:4], "big")

    assert db.conn.execute(LANE_LOCKS).fetchall() == [
        (conn.info.backend_pid, objid, 0, "ExclusiveLock", True) for objid in sorted([number("t"), number("other")])]
    # Advisory locks belong to the applications.
    assert db.conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    conn.commit()
    assert db.conn.execute(LANE_LOCKS).fetchall() == []


def test_a_tenant_of_another_database_has_other_locks(db, server):
    name = f"{db.name}_other"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        with server.connect(name) as other, db.connect(autocommit=False) as conn:
            other.execute("CREATE EXTENSION immutable")
            assert insert(conn) == (0, 1)
            assert insert(other) == (0, 1)
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert events(db) == one_lane("a")


def test_tenants_with_the_same_number_share_only_their_locks(db):
    """The lock's tag has room for four bytes of the tenant's hash."""
    one, two = "tenant-39588", "tenant-67738"
    hashes = [hashlib.sha256(tenant.encode()).digest() for tenant in (one, two)]
    assert hashes[0][:4] == hashes[1][:4]
    insert(db.conn, tenant=one)
    insert(db.conn, tenant=two)
    conn, other = db.connect(autocommit=False), db.connect()
    assert insert(conn, "b", one) == (0, 2)
    assert insert(conn, "b", two) == (0, 2)
    assert insert(other, "c", two) == (1, 1)
    conn.rollback()
    assert insert(other, "d", two) == (0, 2)
    assert events(db, one) == one_lane("a")
    assert events(db, two) == one_lane("a", "d") + [(1, 1, "c")]


# Batches that fail

BATCH = """SELECT immutable.track_batch('[
    {"tenant_id": "t", "actor_id": "u1", "action": "one"}, {"tenant_id": "x", "actor_id": "u1", "action": "two"}]')"""


def test_a_batch_that_fails_leaves_the_session_as_any_statement_does(db):
    """What ends the batch also ends the subtransaction in which the event was to be recorded: outside a transaction
    nothing is open afterwards, inside it a savepoint is enough to go on."""
    conn = db.connect()
    holder = strict(db, autocommit=False)
    insert(holder, "holder", "x")
    conn.execute("SET immutable.lanes = 1")
    conn.execute("SET lock_timeout = '10ms'")
    for _ in range(2):
        with pytest.raises(errors.LockNotAvailable):
            conn.execute(BATCH)
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with conn.transaction():
        insert(conn, "before")
        for _ in range(2):
            with pytest.raises(errors.LockNotAvailable), conn.transaction():
                conn.execute(BATCH)
        insert(conn, "after")
    holder.rollback()
    conn.execute(BATCH)
    assert events(db) == one_lane("before", "after", "one")


def test_a_batch_that_deadlocks_leaves_the_session_as_any_statement_does(db, pool):
    holder, conn = strict(db, autocommit=False), strict(db)
    holder.execute("SET deadlock_timeout = '100s'")
    conn.execute("SET deadlock_timeout = '10ms'")
    insert(holder, "holder", "x")
    # The holder's wait for the batch's first lane begins while the batch waits for the holder's.
    conn.execute("BEGIN")
    insert(conn, "before")
    waiting = pool.submit(insert, holder, "holder")
    waits(db, holder)
    with pytest.raises(errors.DeadlockDetected):
        conn.execute(BATCH)
    conn.execute("ROLLBACK")
    assert waiting.result(20) == (0, 1)
    holder.rollback()
    conn.execute(BATCH)
    assert events(db) == one_lane("one")


# Many chains: test_log_lane_many_tenants.py has what happens beyond those that are locked one by one.

def test_a_backend_that_writes_to_more_lanes_than_it_remembers(db):
    statement = ("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                 "SELECT 'tenant ' || n, 'u1', 'a' FROM generate_series(%s::int, %s::int) n")
    conn, other = db.connect(), db.connect()
    conn.execute("SET immutable.max_chains_per_transaction = 1000")
    for start in (1, 1001, 2001, 3001, 4001):
        conn.execute(statement, [start, start + 999])
    other.execute(statement, [4001, 4010])
    for start in (4001, 3001, 1):
        conn.execute(statement, [start, start + 999])
    assert db.conn.execute("SELECT valid, events_checked, chains_checked FROM immutable.verify_chain()").fetchone() == (
        True, 8011, 5001)


# Savepoints, many

def test_thousands_of_savepoints(db):
    insert(db.conn, "first")
    conn, other = db.connect(autocommit=False), db.connect()
    kept = ["first"]
    for number in range(3000):
        conn.execute("SAVEPOINT s")
        insert(conn, str(number))
        if number % 3 == 0:
            conn.execute("ROLLBACK TO s")
        else:
            kept.append(str(number))
        if number % 2 == 0:
            conn.execute("RELEASE s")
        if number % 1000 == 0:
            # The first event is undone, and its lane with it; after the second the lane is held.
            lane, _ = insert(other, f"other {number}")
            assert lane == (0 if number == 0 else 1)
            if number == 0:
                kept.append("other 0")
    conn.commit()
    assert events(db) == one_lane(*kept) + [(1, 1, "other 1000"), (1, 2, "other 2000")]


def test_deeply_nested_savepoints(db):
    conn = db.connect(autocommit=False)
    for number in range(500):
        conn.execute(f"SAVEPOINT s{number}")
        insert(conn, str(number))
    conn.execute("ROLLBACK TO s400")
    insert(conn, "after 400")
    conn.execute("RELEASE s300")
    insert(conn, "after 300")
    conn.execute("ROLLBACK TO s200")
    insert(conn, "after 200")
    assert insert(db.connect(), "other")[0] == 1
    conn.execute("ROLLBACK TO s0")
    assert insert(db.connect(), "other") == (0, 1)
    insert(conn, "end")
    conn.commit()
    assert events(db) == one_lane("other", "end") + [(1, 1, "other")]


def test_exception_blocks_that_swallow_what_the_trigger_raises(db):
    """Each turn of the loop is refused for another reason, by the trigger or after it, beside one that is taken."""
    db.conn.execute("""
        CREATE FUNCTION attempts(turns int) RETURNS text[] LANGUAGE plpgsql AS $$
        DECLARE
          states text[] := '{}';
        BEGIN
          FOR turn IN 1..turns LOOP
            BEGIN
              INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'undone ' || turn);
              CASE turn % 6
                WHEN 0 THEN
                  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', NULL, 'no actor');
                WHEN 1 THEN
                  INSERT INTO immutable.events (tenant_id, actor_id, action, seq) VALUES ('t', 'u1', 'own seq', 7);
                WHEN 2 THEN
                  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'immutable.forged');
                WHEN 3 THEN
                  INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key)
                  VALUES ('t', 'u1', 'one', 'k'), ('t', 'u1', 'two', 'k');
                WHEN 4 THEN
                  UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 't';
                ELSE
                  RAISE EXCEPTION 'the application''s own';
              END CASE;
            EXCEPTION WHEN OTHERS THEN
              states := states || SQLSTATE::text;
            END;
            INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'kept ' || turn);
          END LOOP;
          RETURN states;
        END
        $$""")
    conn = db.connect()
    states, = conn.execute("SELECT attempts(300)").fetchone()
    assert states == ["428C9", "42501", "23505", "42501", "P0001", "23502"] * 50
    assert events(db) == one_lane(*(f"kept {turn}" for turn in range(1, 301)))


def test_a_procedure_that_commits_and_rolls_back_in_its_loop(db):
    db.conn.execute("""
        CREATE PROCEDURE record_in_steps() LANGUAGE plpgsql AS $$
        BEGIN
          FOR turn IN 1..30 LOOP
            INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'turn ' || turn);
            IF turn % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
          END LOOP;
        END
        $$""")
    db.connect().execute("CALL record_in_steps()")
    assert events(db) == one_lane(*(f"turn {turn}" for turn in range(1, 31) if turn % 3))
    assert db.conn.execute(LANE_LOCKS).fetchall() == []


# A wait that ends without getting the lane

def strict(db, **options):
    conn = db.connect(**options)
    conn.execute("SET immutable.lanes = 1")
    if not options.get("autocommit", True):
        conn.commit()
    return conn


@pytest.mark.parametrize("setting, error", [
    ("statement_timeout", errors.QueryCanceled), ("lock_timeout", errors.LockNotAvailable)])
def test_giving_up_the_wait_leaves_no_gap(db, setting, error):
    holder, late = strict(db, autocommit=False), strict(db, autocommit=False)
    insert(holder, "holder")
    insert(late, tenant="other", action="before")
    late.execute(f"SET LOCAL {setting} = '100ms'")
    for _ in range(3):
        with pytest.raises(error), late.transaction():
            insert(late, "late")
    holder.commit()
    late.execute(f"SET LOCAL {setting} = 0")
    assert insert(late, "late") == (0, 2)
    late.commit()
    assert events(db) == one_lane("holder", "late")
    assert events(db, "other") == one_lane("before")


def test_cancelling_the_wait_leaves_no_gap(db, pool):
    holder, late = strict(db, autocommit=False), strict(db)
    insert(holder, "holder")
    waiting = pool.submit(insert, late, "late")
    waits(db, late)
    db.conn.execute("SELECT pg_cancel_backend(%s)", [late.info.backend_pid])
    with pytest.raises(errors.QueryCanceled):
        waiting.result(20)
    holder.rollback()
    assert insert(late, "late again") == (0, 1)
    assert events(db) == one_lane("late again")


def terminate(db, conn):
    db.conn.execute("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
    wait_until(lambda: not db.conn.execute(
        "SELECT FROM pg_stat_activity WHERE pid = %s", [conn.info.backend_pid]).fetchall())


def test_a_terminated_backend_leaves_no_gap(db, pool):
    holder, waiter, last = strict(db, autocommit=False), strict(db), strict(db)
    insert(db.conn, "first")
    for action in ("lost", "lost too"):
        insert(holder, action)
    ended = pool.submit(insert, waiter, "ended while waiting")
    waits(db, waiter)
    waiting = pool.submit(insert, last, "last")
    waits(db, last)
    terminate(db, waiter)
    with pytest.raises(psycopg.OperationalError):
        ended.result(20)
    assert not waiting.done()
    terminate(db, holder)
    assert waiting.result(20) == (0, 2)
    assert events(db) == one_lane("first", "last")


def test_a_backend_terminated_in_the_middle_of_a_statement_leaves_no_gap(db, pool):
    conn = db.connect()
    running = pool.submit(
        conn.execute, "INSERT INTO immutable.events (tenant_id, actor_id, action) "
                      "SELECT 't', 'u1', 'many' FROM generate_series(1, 10000000)")
    wait_until(lambda: db.conn.execute(LANE_LOCKS).fetchall())
    time.sleep(0.2)
    terminate(db, conn)
    with pytest.raises(psycopg.OperationalError):
        running.result(20)
    assert insert(db.conn, "after") == (0, 1)
    assert events(db) == one_lane("after")


def test_closing_the_connection_leaves_no_gap(db):
    conn = db.connect(autocommit=False)
    insert(conn, "lost")
    conn.close()
    wait_until(lambda: not db.conn.execute(LANE_LOCKS).fetchall())
    assert insert(db.conn, "after") == (0, 1)
    assert events(db) == one_lane("after")


def test_a_prepared_transaction_keeps_its_lane_without_a_connection(db):
    conn = db.connect(autocommit=False)
    insert(conn, "prepared")
    insert(conn, "prepared", tenant="other")
    gid = f"{db.name} prepared"
    conn.execute(f"PREPARE TRANSACTION '{gid}'")
    conn.close()
    assert [lock[2:] for lock in db.conn.execute(LANE_LOCKS)] == [(0, "ExclusiveLock", True)] * 2
    impatient = strict(db)
    impatient.execute("SET lock_timeout = '50ms'")
    try:
        assert insert(db.conn, "beside") == (1, 1)
        with pytest.raises(errors.LockNotAvailable):
            insert(impatient, "impatient")
    finally:
        db.conn.execute(f"COMMIT PREPARED '{gid}'")
    assert insert(impatient, "after") == (0, 2)
    assert events(db) == one_lane("prepared", "after") + [(1, 1, "beside")]
    assert events(db, "other") == one_lane("prepared")


def test_a_crash_leaves_no_gap_and_a_prepared_transaction_its_lane(cluster):
    server = cluster()
    with server.connect() as admin:
        admin.execute("CREATE EXTENSION immutable")
        insert(admin, "first")
    prepared, lost = server.connect(autocommit=False), server.connect(autocommit=False)
    assert insert(prepared, "prepared") == (0, 2)
    assert insert(lost, "lost") == (1, 1)
    prepared.execute("PREPARE TRANSACTION 'crash'")
    server.kill9()
    server.start()
    with server.connect() as conn:
        assert insert(conn, "beside") == (1, 1)
        conn.execute("COMMIT PREPARED 'crash'")
        assert insert(conn, "after") == (0, 3)
        assert conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)
        assert conn.execute("SELECT lane, seq, action FROM immutable.events ORDER BY lane, seq").fetchall() == (
            one_lane("first", "prepared", "after") + [(1, 1, "beside")])


# Statements of all kinds

def copy(conn, rows, columns="tenant_id, actor_id, action, idempotency_key"):
    with conn.cursor() as cursor, cursor.copy(f"COPY immutable.events ({columns}) FROM STDIN") as target:
        for row in rows:
            target.write_row(row)


def test_copy_that_fails_midway_stores_nothing(db):
    insert(db.conn, "first")
    good = [("t", "u1", f"copied {n}", None) for n in range(2000)]
    with pytest.raises(errors.NotNullViolation):
        copy(db.conn, [*good, ("t", None, "no actor", None), *good])
    with pytest.raises(errors.UniqueViolation):
        copy(db.conn, [("t", "u1", "one", "k"), *good, ("t", "u1", "two", "k")])
    with pytest.raises(ZeroDivisionError):
        copy(db.conn, (row if n < 1000 else 1 // 0 for n, row in enumerate(good)))
    assert events(db) == one_lane("first")
    copy(db.conn, good)
    assert events(db) == one_lane("first", *(f"copied {n}" for n in range(2000)))


def test_one_transaction_writes_for_many_tenants(db):
    conn, other = db.connect(autocommit=False), db.connect()
    tenants = [f"t{n % 7}" for n in range(70)]
    insert(other, "before", "t3")
    for tenant in tenants:
        insert(conn, tenant=tenant)
    copy(conn, [(tenant, "u1", "c", None) for tenant in tenants])
    conn.execute(
        "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT unnest(%s::text[]), 'u1', 'm'", [tenants])
    assert insert(other, "beside", "t3") == (1, 1)
    with conn.transaction(force_rollback=True):
        for tenant in tenants:
            insert(conn, tenant=tenant)
    conn.commit()
    for tenant in sorted(set(tenants)):
        expected = one_lane(*["before"] * (tenant == "t3"), *["a"] * 10, *["c"] * 10, *["m"] * 10)
        assert events(db, tenant) == expected + [(1, 1, "beside")] * (tenant == "t3")


def test_every_kind_of_statement_that_inserts(db):
    conn = db.connect()
    conn.execute("CREATE VIEW shown AS SELECT tenant_id, actor_id, action FROM immutable.events")
    conn.execute("CREATE TABLE source (tenant text, action text)")
    conn.execute("INSERT INTO source SELECT 't', 'merged ' || n FROM generate_series(1, 2) n")
    conn.execute("INSERT INTO shown VALUES ('t', 'u1', 'view 1'), ('t', 'u1', 'view 2')")
    conn.execute("""MERGE INTO immutable.events e USING source s ON e.tenant_id = s.tenant AND e.action = s.action
        WHEN NOT MATCHED THEN INSERT (tenant_id, actor_id, action) VALUES (s.tenant, 'u1', s.action)""")
    conn.execute("""WITH one AS (INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'cte')
        RETURNING seq)
        INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't', 'u1', 'after ' || seq FROM one""")
    # Its source grows while it is read: the statement sees what was there before.
    conn.execute("""INSERT INTO immutable.events (tenant_id, actor_id, action)
        SELECT 't', 'u1', 'again ' || seq FROM immutable.events WHERE tenant_id = 't' ORDER BY seq""")
    # An event within an event: the inner one is recorded first.
    conn.execute("""INSERT INTO immutable.events (tenant_id, actor_id, action)
        SELECT 't', 'u1', immutable.track('u1', 'inner', tenant_id => 't') ->> 'status' FROM generate_series(1, 2)""")
    assert events(db) == one_lane(
        "view 1", "view 2", "merged 1", "merged 2", "cte", "after 5", *(f"again {n}" for n in range(1, 7)),
        "inner", "recorded", "inner", "recorded")


def test_an_applications_triggers_record_at_commit_too(db):
    conn = db.connect(autocommit=False)
    conn.execute("""
        CREATE TABLE document (id int);
        CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM immutable.track('u1', TG_ARGV[0] || ' ' || NEW.id, tenant_id => 't');
          RETURN NEW;
        END $$;
        CREATE TRIGGER before BEFORE INSERT ON document FOR EACH ROW EXECUTE FUNCTION audited('before');
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON document DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION audited('late')""")
    conn.commit()
    conn.execute("INSERT INTO document VALUES (1), (2)")
    with conn.transaction(force_rollback=True):
        conn.execute("INSERT INTO document VALUES (3)")
    insert(conn, "between")
    assert insert(db.connect(), "beside") == (1, 1)
    conn.commit()
    assert events(db) == one_lane("before 1", "before 2", "between", "late 1", "late 2") + [(1, 1, "beside")]


def test_a_trigger_of_the_application_on_events_may_record_too(db):
    """It runs before the chain's: what it records comes before the event it runs for."""
    conn = db.connect()
    conn.execute("""
        CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NEW.action = 'login' THEN
            PERFORM immutable.track('u1', 'session opened', tenant_id => NEW.tenant_id);
          END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER also BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION also()""")
    for action in ("login", "read", "login"):
        insert(conn, action)
    assert events(db) == one_lane("session opened", "login", "read", "session opened", "login")


def test_a_pipeline_that_fails_midway_stores_nothing(db):
    conn = db.connect()
    with pytest.raises(errors.NotNullViolation), conn.pipeline():
        for action in ("one", "two", None, "three"):
            conn.execute(INSERT, ["t", action])
    assert events(db) == []
    with conn.pipeline():
        for action in ("one", "two", "three"):
            conn.execute(INSERT, ["t", action])
    assert events(db) == one_lane("one", "two", "three")


def test_cursors_that_record_as_they_are_read(db):
    conn, other = db.connect(autocommit=False), db.connect()
    recording = "SELECT immutable.track('u1', 'row ' || n, tenant_id => 't') ->> 'status' FROM generate_series(1, 4) n"
    with psycopg.ServerCursor(conn, "held", withhold=True) as held:
        held.execute(recording)
        assert held.fetchone() == ("recorded",)
        insert(conn, "between")
        # The commit reads the rest, from the start.
        conn.commit()
        assert insert(other, "after") == (0, 7)
        assert held.fetchall() == [("recorded",)] * 3
    conn.commit()
    assert events(db) == one_lane("row 1", "between", "row 1", "row 2", "row 3", "row 4", "after")


def test_a_failed_fetch_does_not_give_the_lane_away(db):
    """A failing FETCH takes its portal down with the savepoint, but not the lane of what was recorded before it."""
    insert(db.conn, "first")
    conn, other = db.connect(autocommit=False), db.connect()
    conn.execute("""DECLARE c CURSOR FOR SELECT immutable.track(
        'u1', CASE n WHEN 3 THEN '' ELSE 'row ' || n END, tenant_id => 't') FROM generate_series(1, 4) n""")
    conn.execute("FETCH 2 FROM c")
    with pytest.raises(errors.InvalidParameterValue), conn.transaction():
        conn.execute("FETCH c")
    assert [lock[2] for lock in db.conn.execute(LANE_LOCKS)] == [0]
    assert insert(other, "beside") == (1, 1)
    assert insert(conn, "last") == (0, 4)
    conn.commit()
    assert events(db) == one_lane("first", "row 1", "row 2", "last") + [(1, 1, "beside")]


# DDL beside prepared statements

WITH_TARGET = """INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
    VALUES ('t', 'u1', %s, '[{"type": "doc", "id": "d1"}]') RETURNING lane, seq"""
DDL = [
    "ALTER TABLE immutable.events ADD COLUMN note text",
    "ALTER TABLE immutable.events ADD COLUMN shard int NOT NULL DEFAULT 7",
    "ALTER TABLE immutable.events ADD COLUMN shout text GENERATED ALWAYS AS (upper(action)) STORED",
    "ALTER TABLE immutable.events DROP COLUMN note",
    "CREATE INDEX by_note ON immutable.events (action, tenant_id)",
    "CREATE UNIQUE INDEX by_seq ON immutable.events (tenant_id, lane, seq) INCLUDE (event_hash)",
    "CREATE INDEX CONCURRENTLY by_actor ON immutable.events (actor_id) WHERE tenant_id <> ''",
    "DROP INDEX immutable.by_note",
    "DROP INDEX CONCURRENTLY immutable.by_actor",
    "REINDEX TABLE immutable.events",
    "REINDEX INDEX CONCURRENTLY immutable.events_tenant_id_lane_seq_key",
    "REINDEX TABLE CONCURRENTLY immutable.events",
    "VACUUM FULL immutable.events",
    "VACUUM (FREEZE, ANALYZE) immutable.events",
    "CLUSTER immutable.events USING events_tenant",
    "ALTER TABLE immutable.events SET (fillfactor = 90)",
    "DROP INDEX immutable.by_seq",
    "CREATE INDEX on_targets ON immutable.event_targets (target_name) WHERE target_type = 'doc'",
    "CREATE INDEX on_targets_text ON immutable.event_targets (lower(target_id))",
    "REINDEX TABLE CONCURRENTLY immutable.event_targets",
    "DROP INDEX immutable.on_targets, immutable.on_targets_text",
    "VACUUM FULL immutable.event_targets",
    "ALTER TABLE immutable.event_targets ADD COLUMN note text",
    "ALTER TABLE immutable.event_targets DROP COLUMN note",
    "VACUUM FULL immutable.log",
]


def test_prepared_statements_survive_ddl(db):
    conn = db.connect(prepare_threshold=0)
    actions = []

    def record():
        actions.append(f"{len(actions)}")
        assert conn.execute(WITH_TARGET, [actions[-1]], prepare=True).fetchone() == (0, len(actions))
        actions.append(f"{len(actions)}")
        conn.execute("SELECT immutable.track('u1', %s, tenant_id => 't')", [actions[-1]], prepare=True)

    record()
    db.unguard()
    for statement in DDL:
        db.conn.execute(statement)
        record()
    assert events(db) == one_lane(*actions)
    targets, = db.conn.execute("SELECT count(*) FROM immutable.event_targets").fetchone()
    assert targets == len(actions) / 2


def test_ddl_beside_open_transactions_that_hold_lanes(db):
    """DDL that takes no lock that conflicts with a writer's, or that waits for the writer's end."""
    conn, other = db.connect(autocommit=False), db.connect()
    insert(db.conn, "first")
    insert(conn, "held")
    for statement in ("VACUUM immutable.events", "ANALYZE immutable.events"):
        db.conn.execute(statement)
        assert insert(conn, "held")[0] == 0
        assert insert(other, "beside")[0] == 1
    conn.commit()
    assert events(db) == one_lane("first", "held", "held", "held") + [(1, 1, "beside"), (1, 2, "beside")]


def test_a_column_added_to_event_targets_gets_its_default(db):
    for definition in ("NOT NULL DEFAULT 5", "GENERATED ALWAYS AS (position + 5) STORED"):
        db.unguard()
        db.conn.execute(f"ALTER TABLE immutable.event_targets ADD COLUMN extra int {definition}")
        db.conn.execute(WITH_TARGET, ["a"])
        assert db.conn.execute("SELECT DISTINCT extra FROM immutable.event_targets").fetchall() == [(5,)]
        db.unguard()
        db.conn.execute("ALTER TABLE immutable.event_targets DROP COLUMN extra")


def test_ddl_while_others_insert(db, pool):
    insert(db.conn, "first")
    stop = threading.Event()

    def writer(number):
        written = 0
        with db.server.connect(db.name, prepare_threshold=0) as conn:
            while not stop.is_set():
                with conn.transaction():
                    for _ in range(3):
                        written += 1
                        conn.execute(WITH_TARGET, [f"{number}.{written}"])
                    with conn.transaction(force_rollback=True):
                        conn.execute(WITH_TARGET, ["undone"])
        return [f"{number}.{n}" for n in range(1, written + 1)]

    writers = [pool.submit(writer, number) for number in range(4)]
    db.unguard()
    try:
        for statement in DDL:
            db.conn.execute(statement)
            db.conn.execute("REINDEX INDEX CONCURRENTLY immutable.events_tenant_id_lane_seq_key")
            for each in writers:
                if each.done():
                    each.result()
    finally:
        stop.set()
    expected = sorted(["first", *(action for each in writers for action in each.result(60))])
    found = events(db)
    assert sorted(action for _, _, action in found) == expected
    for lane in {lane for lane, _, _ in found}:
        seqs = [seq for at, seq, _ in found if at == lane]
        assert seqs == list(range(1, len(seqs) + 1))


def test_the_same_key_at_the_same_time_during_a_reindex(db):
    """ON CONFLICT looks at the valid index alone; the one that is being made refuses what another session has just committed."""
    conn = db.conn
    db.unguard()
    conn.execute("CREATE UNIQUE INDEX remnant ON immutable.events (tenant_id, idempotency_key)")
    conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'immutable.remnant'::regclass")
    barrier = threading.Barrier(3)

    def track(connection):
        answers = []
        for number in range(400):
            barrier.wait(30)
            answers.append(connection.execute(
                "SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => 't', idempotency_key => %s) ->> 'id'",
                [f"key {number}"]).fetchone()[0])
        return answers
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        first, *others = [each.result() for each in [executor.submit(track, db.connect()) for _ in range(3)]]
    assert all(other == first for other in others) and len(set(first)) == 400
