"""Transactions that record for very many tenants: an import of an existing table, a nightly job over all of them."""

import concurrent.futures
import contextlib
import time

import psycopg
import pytest
from psycopg import errors

IMPORTS = range(32704, 32768)
MANY = ("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) "
        "SELECT 'tenant ' || n, 'u1', 'a', k FROM generate_series(%s::int, %s::int) n, unnest(%s::text[]) k")
OWN_LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(12) as executor:
        yield executor


@pytest.fixture
def app(db):
    """app(setting=value) connects as a writer without other rights. The log has begun."""
    role = db.create_role("IN ROLE immutable_writer")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('', 'u1', 'first')")
    made = []

    def connect(autocommit=True, **settings):
        for name, value in settings.items():
            db.conn.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
        conn = db.connect(role, autocommit)
        conn.execute("SET statement_timeout = '120s'")
        conn.execute("SET search_path = pg_catalog")
        if not autocommit:
            conn.commit()
        for name in settings:
            db.conn.execute(f"ALTER ROLE {role} RESET {name}")
        made.append(conn)
        return conn

    yield connect
    for conn in made:
        with contextlib.suppress(Exception):
            conn.cancel()


def many(conn, first, last, *keys):
    conn.execute(MANY, [first, last, list(keys or ("k",))])


def insert(conn, tenant, action="a"):
    return conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'u1', %s) "
                        "RETURNING lane, seq", [tenant, action]).fetchone()


def lanes(db, tenant):
    return db.conn.execute("SELECT lane, count(*) FROM immutable.events WHERE tenant_id = %s GROUP BY lane "
                           "ORDER BY lane", [tenant]).fetchall()


def is_valid(db):
    return db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone()[0]


def waits(db, conn):
    end = time.monotonic() + 20
    while db.conn.execute("SELECT pg_blocking_pids(%s) = '{}'", [conn.info.backend_pid]).fetchone()[0]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_fifty_thousand_tenants_in_one_statement(db, app):
    """With PostgreSQL's own max_locks_per_transaction, as the application."""
    assert db.conn.execute("SHOW max_locks_per_transaction").fetchone() == ("64",)
    conn = app(autocommit=False)
    many(conn, 1, 50_000)
    assert conn.execute(OWN_LOCKS).fetchone()[0] < 300
    conn.commit()
    assert lanes(db, "tenant 1") == [(0, 1)]
    assert lanes(db, "tenant 50000") == [(IMPORTS[0], 1)]
    # The next import continues where it ended; a writer for one tenant uses the tenant's own lane.
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                 "SELECT 'tenant ' || n, 'u1', 'again' FROM generate_series(49000, 50000) n, generate_series(1, 2)")
    conn.commit()
    assert lanes(db, "tenant 50000") == [(IMPORTS[0], 3)]
    assert insert(conn, "tenant 50000") == (0, 1)
    conn.commit()
    assert db.conn.execute("SELECT immutable.changes('tenant 50000') -> 'position'").fetchone()[0].keys() >= {"0", "32704"}
    result = db.conn.execute("SELECT valid, events_checked, chains_checked FROM immutable.verify_chain(heads => "
                             "(SELECT jsonb_agg(h) FROM immutable.heads() h))").fetchone()
    assert result[:2] == (True, 1 + 50_000 + 2002 + 1)
    problems, = db.conn.execute("SELECT problems FROM immutable.status()").fetchone()
    assert [problem for problem in problems if "fsync" not in problem] == []


def test_copy_of_fifty_thousand_tenants(db, app):
    app()
    with db.conn.cursor() as cursor, cursor.copy(
            "COPY immutable.events (tenant_id, actor_id, action, occurred_at) FROM STDIN") as copy:
        for number in range(50_000):
            copy.write_row((f"tenant {number}", "u1", "a", "2020-02-29T12:00:00Z"))
    assert db.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (True, 50_001)


def test_importers_and_writers_do_not_wait_for_each_other(db, app):
    importers = [app(autocommit=False) for _ in range(3)]
    for number, conn in enumerate(importers):
        many(conn, 1, 1000, f"import {number}")
    writer = app()
    writer.execute("SET lock_timeout = '1s'")
    for tenant in ("tenant 1", "tenant 500", "tenant 1000", "another"):
        insert(writer, tenant)
    importers[1].rollback()
    many(importers[0], 900, 2000, "more")
    many(importers[2], 2000, 900, "none")
    importers[2].commit()
    importers[0].commit()
    assert db.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (
        True, 1 + 2 * 1000 + 4 + 1101)


def test_many_importers_leave_room_in_the_lock_table(db, app):
    importers = [app(autocommit=False) for _ in range(20)]
    for number, conn in enumerate(importers):
        many(conn, 1, 1500, f"import {number}")
    assert db.conn.execute("SELECT count(*) < 6400 FROM pg_locks").fetchone() == (True,)
    for conn in importers:
        conn.commit()
    assert is_valid(db)


def test_imports_and_writers_at_once(db, app, pool):
    def work(conn, number):
        for turn in range(4):
            if number % 2:
                many(conn, 1, 400, f"{number} {turn}")
            else:
                for tenant in range(1, 400, 3):
                    insert(conn, f"tenant {tenant}")
        return True

    assert all(pool.map(work, [app() for _ in range(8)], range(8)))
    assert is_valid(db)


def test_savepoints_release_locks_taken_since(db, app):
    conn = app(autocommit=False, **{"immutable.max_chains_per_transaction": "3"})
    for _ in range(3):
        with conn.transaction(force_rollback=True):
            for tenant in "abcdef":
                insert(conn, tenant)
            assert insert(conn, "f") == (IMPORTS[0], 2)
    assert insert(conn, "f") == (0, 1)
    with conn.transaction(force_rollback=True):
        for tenant in "abc":
            insert(conn, tenant)
    # The lock on the lane of imports is taken before a savepoint, and kept.
    for tenant in "abc":
        insert(conn, tenant)
    with conn.transaction(force_rollback=True):
        for tenant in "acg":
            insert(conn, tenant)
    assert insert(conn, "g") == (IMPORTS[0], 1)
    conn.commit()
    assert {tenant: lanes(db, tenant) for tenant in "abcfg"} == {
        "a": [(0, 1)], "b": [(0, 1)], "c": [(IMPORTS[0], 1)], "f": [(0, 1)], "g": [(IMPORTS[0], 1)]}
    assert is_valid(db)


def test_a_prepared_import(db, app):
    conn = app(autocommit=False)
    many(conn, 1, 1000)
    conn.execute("PREPARE TRANSACTION 'import'")
    conn.commit()
    other = app()
    other.execute("SET lock_timeout = '1s'")
    many(other, 1, 1000, "other")
    assert insert(other, "tenant 1000") == (0, 1)
    conn.autocommit = True
    conn.execute("COMMIT PREPARED 'import'")
    assert lanes(db, "tenant 1000") == [(0, 1), (IMPORTS[0], 1), (IMPORTS[1], 1)]
    assert is_valid(db)


def test_an_import_is_resumed(db, app):
    conn = app()
    db.conn.execute("CREATE TABLE old_audit AS SELECT n AS id, 'org ' || n % 700 AS org, "
                    "timestamptz '2019-01-01' + n * interval '1 hour' AS at FROM generate_series(1, 3000) n")
    db.conn.execute("GRANT SELECT ON old_audit TO PUBLIC")
    again = ("INSERT INTO immutable.events (tenant_id, actor_id, action, occurred_at, idempotency_key) "
             "SELECT org, 'u1', 'document.read', at, 'old-' || id FROM public.old_audit WHERE id <= %s ORDER BY at, id "
             "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING")
    assert conn.execute(again, [1000]).rowcount == 1000
    assert conn.execute(again, [3000]).rowcount == 2000
    assert conn.execute(again, [3000]).rowcount == 0
    # The order is kept in each tenant.
    assert db.conn.execute(
        "SELECT count(*) FROM (SELECT occurred_at, lag(occurred_at) OVER (PARTITION BY tenant_id ORDER BY created_at) "
        "AS before FROM immutable.events WHERE tenant_id <> '') e WHERE before > occurred_at").fetchone() == (0,)
    assert is_valid(db)


def test_a_batch_for_many_tenants(db, app):
    conn = app(**{"immutable.max_chains_per_transaction": "2"})
    batch = psycopg.types.json.Jsonb([{"tenant_id": f"t{n}", "actor_id": "u1", "action": "a"} for n in range(50)])
    conn.execute("SELECT immutable.track_batch(%s)", [batch])
    assert lanes(db, "t49") == [(IMPORTS[0], 1)]
    assert is_valid(db)


def test_erasing_in_more_lanes_than_are_locked_one_by_one(db, app, pool):
    """One lock stands for all of them: writers wait, and none waits for ever."""
    holders = [db.connect(autocommit=False) for _ in range(5)]
    for conn in holders:
        insert(conn, "t", "seen")
    for conn in holders:
        conn.commit()
    db.conn.execute("SET immutable.max_chains_per_transaction = 2")
    writer = app(autocommit=False)
    insert(writer, "t")
    eraser = db.connect(autocommit=False)
    eraser.execute("SET immutable.max_chains_per_transaction = 2")
    erase = "SELECT count(*) FROM immutable.erase_subject('t', 'u1', 'request')"
    task = pool.submit(lambda: eraser.execute(erase).fetchone()[0])
    waits(db, eraser)
    writer.commit()
    assert task.result(20) == 6
    late = app()
    after = pool.submit(insert, late, "t")
    waits(db, late)
    eraser.commit()
    after.result(20)
    assert is_valid(db)
    # Also for an event in a lane of imports.
    many(db.conn, 1, 10)
    assert lanes(db, "tenant 10") == [(IMPORTS[0], 1)]
    assert db.conn.execute("SELECT path FROM immutable.erase_subject('tenant 10', 'u1', 'request') "
                           "WHERE path = 'actor_id'").fetchall() == [("actor_id",)]
    assert is_valid(db)


def test_one_strict_chain_a_tenant_locks_the_log(db, app, pool):
    strict = {"immutable.lanes": "1"}
    conn, writer = app(autocommit=False, **strict), app(**strict)
    many(conn, 1, 5000)
    assert conn.execute(OWN_LOCKS).fetchone()[0] < 300
    task = pool.submit(insert, writer, "tenant 5000")
    waits(db, writer)
    many(conn, 4999, 5001, "again")
    conn.commit()
    assert task.result(20) == (0, 3)
    assert db.conn.execute("SELECT max(lane) FROM immutable.events").fetchone() == (0,)
    assert is_valid(db)


def test_two_strict_imports_at_once_end(db, app, pool):
    """Each holds a lock that the other needs: PostgreSQL ends one of them, which can be run again."""
    def run(conn, number):
        for attempt in range(20):
            try:
                many(conn, 1, 1000, f"{number}")
                return attempt
            except errors.DeadlockDetected:
                continue

    conns = [app(**{"immutable.lanes": "1"}) for _ in range(2)]
    assert None not in pool.map(run, conns, range(2))
    assert db.conn.execute("SELECT valid, events_checked, chains_checked FROM immutable.verify_chain()").fetchone() == (
        True, 2001, 1001)


def test_a_transaction_of_many_tenants_sees_its_own_events_alone(db, app):
    """Also beside a row that another server has given the ID of this transaction, as a shard that was moved may have."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('rival', 'u1', 'secret')")
    conn = app(autocommit=False)
    many(conn, 1, 5000)
    xact, count = conn.execute("SELECT max(xact::text), count(*) FROM immutable.events").fetchone()
    assert count == 5000
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        assert db.conn.execute("UPDATE immutable.events SET xact = %s::xid8 WHERE tenant_id = 'rival'", [xact]).rowcount == 1
    assert conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (5000,)
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'rival'").fetchone() == (0,)
    conn.rollback()
