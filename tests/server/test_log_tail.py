"""The tail of a lane in a transaction that records several events: it is looked for where the last row was put."""

import psycopg
import pytest


def record(conn, *names, tenant="t", conflict=""):
    rows = ", ".join(f"('{tenant}', 'u', '{name}', " + (f"'{name}')" if conflict else "NULL)") for name in names)
    conn.execute(f"INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES {rows} {conflict}")


@pytest.fixture
def conn(db):
    with db.connect(autocommit=True) as conn:
        conn.execute("SET immutable.lanes = 1")
        yield conn


def is_chained(conn, tenant="t"):
    """Every lane goes from 1 on without a gap, and all hashes fit."""
    valid, = conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone()
    return valid and [seq for seq, in conn.execute(
        "SELECT seq FROM immutable.events WHERE tenant_id = %s ORDER BY lane, seq", [tenant])]


def test_rows_that_are_left_out(conn):
    """ON CONFLICT leaves out rows that the trigger has already linked; the next row follows the last one that is there."""
    record(conn, "a", conflict="ON CONFLICT (tenant_id, idempotency_key) DO NOTHING")
    record(conn, "b", "a", "c", "c", "a", "d", conflict="ON CONFLICT (tenant_id, idempotency_key) DO NOTHING")
    assert is_chained(conn) == [1, 2, 3, 4]


def test_several_tenants_in_turn(conn):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                 "SELECT 't' || n % 3, 'u', 'a' FROM generate_series(1, 30) n")
    assert is_chained(conn, "t1") == list(range(1, 11))


def test_savepoints(conn):
    """What a savepoint took back is no tail, though its row still lies where the last one was put."""
    with conn.transaction():
        record(conn, "a", "b")
        with pytest.raises(ZeroDivisionError), conn.transaction():
            record(conn, "lost", "lost too")
            raise ZeroDivisionError
        record(conn, "c", "d")
        with conn.transaction():
            record(conn, "e")
        record(conn, "f")
    assert is_chained(conn) == [1, 2, 3, 4, 5, 6]


def test_after_a_transaction_that_failed(conn):
    with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
        record(conn, "a", "b")
        conn.execute("SELECT 1 / 0")
    record(conn, "c", "d")
    assert is_chained(conn) == [1, 2]


def test_erased_in_between(conn):
    """An erasure writes the row anew, in the place of the last one."""
    with conn.transaction():
        record(conn, "a", "b")
        conn.execute("SELECT immutable.erase((SELECT id FROM immutable.events WHERE action = 'b'), 't', ARRAY['actor_id'], 'r')")
        record(conn, "c", "d")
    assert is_chained(conn) == [1, 2, 3, 4, 5]
