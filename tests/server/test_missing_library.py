"""A server whose library is missing, as after an upgrade that failed midway: what stops, and how to go on."""

import pathlib
import re

import psycopg
import pytest

OPERATIONS = pathlib.Path(__file__).resolve().parents[2] / "docs/operations.md"


def block(word):
    """The one SQL block of docs/operations.md with that word in it."""
    found, = [text for text in re.findall(r"^```sql\n(.*?)^```", OPERATIONS.read_text(), re.M | re.S) if word in text]
    return found


@pytest.fixture
def away(db):
    """A function that takes the library away for new sessions, or brings it back. (Every function names it for itself.)"""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'a')")

    def move(is_away):
        names = ("$libdir/immutable", "$libdir/immutable_is_gone")
        changed = db.conn.execute("UPDATE pg_proc SET probin = %s WHERE probin = %s",
                                  names[::-1] if is_away else names).rowcount
        assert changed > 20

    return move


def test_other_ddl_works_again_after_one_command(db, away):
    away(True)
    conn = db.connect()
    with pytest.raises(psycopg.errors.UndefinedFile) as raised:
        conn.execute("CREATE TABLE unrelated (a int)")
    assert "could not access file" in str(raised.value)
    conn.execute(block("DISABLE"))
    conn.execute("CREATE TABLE unrelated (a int)")
    conn.execute("ALTER TABLE unrelated ADD b int")
    conn.execute("CREATE INDEX ON unrelated (b)")
    conn.execute("CREATE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    conn.execute("DROP TABLE unrelated")
    # Nothing is recorded or changed meanwhile.
    for statement in ("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'b')",
                      "UPDATE immutable.events SET action = 'c'", "DELETE FROM immutable.events"):
        with pytest.raises(psycopg.errors.UndefinedFile):
            conn.execute(statement)
    away(False)
    conn = db.connect()
    found, problems = conn.execute("SELECT guard_enabled, problems FROM immutable.status()").fetchone()
    assert not found and len([problem for problem in problems if "the guard's event trigger" in problem]) == 3
    conn.execute(block("ENABLE ALWAYS"))
    assert conn.execute("SELECT guard_enabled FROM immutable.status()").fetchone() == (True,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("ALTER TABLE immutable.events DISABLE TRIGGER ALL")
    assert conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (True, 1)


def test_work_without_ddl_continues_by_itself(db, away):
    db.conn.execute("CREATE TABLE unrelated (a int)")
    away(True)
    conn = db.connect()
    conn.execute("INSERT INTO unrelated VALUES (1)")
    conn.execute("GRANT SELECT ON unrelated TO PUBLIC")
    conn.execute("TRUNCATE unrelated")
    assert conn.execute("SELECT action FROM immutable.events").fetchall() == [("a",)]
    for statement in ("DROP TABLE unrelated", "DROP EXTENSION immutable"):
        with pytest.raises(psycopg.errors.UndefinedFile):
            conn.execute(statement)
    away(False)
