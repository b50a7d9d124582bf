"""A dump restored over an existing database, as a staging system is refreshed: pg_restore --clean."""

import json

import pytest

from helpers_log import heads, verify_breaks
from helpers_servers import EVENTS, is_valid, record, rows, seams
from test_write_restore import restore

ONE = {"PGOPTIONS": "-c immutable.restore=on"}
BOTH = {"PGOPTIONS": "-c immutable.allow_ddl=on -c immutable.restore=on"}
CLEAN = ("--clean", "--if-exists")


@pytest.fixture
def dumped(db, tmp_path):
    """A dumped database with events and orders; one more of each was added since."""
    db.conn.execute("CREATE TABLE orders AS SELECT 1 AS n")
    for number in range(5):
        record(db.conn, f"before {number}")
    db.path = tmp_path / "dump"
    db.server.run("pg_dump", "-Fc", "-d", db.name, "-f", str(db.path))
    db.events = rows(db.conn, EVENTS)
    record(db.conn, "since")
    db.conn.execute("INSERT INTO orders VALUES (2)")
    return db


def is_untouched(db):
    return is_valid(db.conn) and len(rows(db.conn, EVENTS)) == 6 and rows(db.conn, "SELECT count(*) FROM orders") == [(2,)]


@pytest.mark.parametrize("options", [{}, ONE])
def test_without_the_settings_nothing_changes(dumped, server, options):
    done = restore(server, "pg_restore", *CLEAN, "--single-transaction", "-d", dumped.name, dumped.path,
                   options=options, check=False)
    assert done.returncode == 1
    assert "extension immutable cannot be dropped: it has recorded events" in done.stderr
    # The next test follows the hint.
    assert BOTH["PGOPTIONS"] in done.stderr and "--single-transaction" in done.stderr
    assert is_untouched(dumped)


@pytest.mark.parametrize("how", [["--single-transaction"], ["-e"], ["-j", "4"]])
def test_with_both_settings_the_log_is_restored_and_records_it(dumped, server, how):
    saved = heads(dumped.conn)
    restore(server, "pg_restore", *CLEAN, *how, "-d", dumped.name, dumped.path, options=BOTH)
    with server.connect(dumped.name) as conn:
        assert rows(conn, EVENTS) == dumped.events
        assert rows(conn, "SELECT n FROM orders") == [(1,)]
        assert seams(conn) == []
        record(conn, "after")
        assert len(seams(conn)) == 1
        assert is_valid(conn)
        found = verify_breaks(conn, heads=saved)
        assert [each.type for each in found] == ["missing_event"], json.dumps(found)
        assert rows(conn, "SELECT guard_enabled, triggers_enabled FROM immutable.status()") == [(True, True)]
        conn.close()


def test_a_plain_dump_with_its_own_drops(dumped, server, tmp_path):
    plain = tmp_path / "plain.sql"
    server.run("pg_restore", *CLEAN, "-f", str(plain), str(dumped.path))
    psql = ("-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", dumped.name, "-f", plain)
    assert restore(server, "psql", *psql, options={}, check=False).returncode == 3
    assert is_untouched(dumped)
    restore(server, "psql", *psql, options=BOTH)
    with server.connect(dumped.name) as conn:
        assert rows(conn, EVENTS) == dumped.events
        conn.close()


def test_disable_triggers_is_refused_whatever_is_set(dumped, server):
    """It would leave a log without event_targets. The hint says what to leave out."""
    for options, state in ((ONE, "--disable-triggers"), (BOTH, "RESET immutable.restore")):
        done = restore(server, "pg_restore", "--data-only", "--disable-triggers", "-e", "-d", dumped.name, dumped.path,
                       options=options, check=False)
        assert done.returncode == 1 and state in done.stderr
        assert is_untouched(dumped)
