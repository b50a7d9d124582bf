"""docs/row-changes.md: its SQL runs as a reader would type it, from before CREATE EXTENSION on, and prints what the page
shows. What came over from other audit tables is what was in them, and its times are those of long ago."""

import hashlib
import hmac
import re

import psycopg
import pytest
from helpers_servers import wait_for, write_file
from psycopg import sql
from psycopg.types.json import Jsonb
from test_readme import blocks, check_shown, output, python, run

PAGE = "docs/row-changes.md"
ROLES = ["sarah", "marco", "web", "auditor", "officer"]
# A table of the shape that supa_audit has, with what such a table holds: whole rows, before and after.
RECORD_VERSION = """
    CREATE SCHEMA audit;
    CREATE TABLE audit.record_version (
      id bigint PRIMARY KEY, record_id uuid, old_record_id uuid, op text NOT NULL, ts timestamptz NOT NULL,
      table_oid oid NOT NULL, table_schema name NOT NULL, table_name name NOT NULL, record jsonb, old_record jsonb)"""
OPEN = {"id": 5, "org_id": "org_7rT2xBc", "amount": 120.5, "status": "open", "iban": "DE02", "seen_at": None}
VERSIONS = [
    ("INSERT", OPEN, None),
    ("UPDATE", {**OPEN, "status": "paid"}, OPEN),
    # Nothing that is recorded has changed: supa_audit kept it, and the import leaves it out.
    ("UPDATE", {**OPEN, "status": "paid", "seen_at": "2024-02-03T00:00:00+00:00"}, {**OPEN, "status": "paid"}),
    ("DELETE", None, {**OPEN, "status": "paid"}),
    ("TRUNCATE", None, None),
]


def fill(conn):
    conn.execute(RECORD_VERSION)
    for number, (op, new, old) in enumerate(VERSIONS, 1):
        conn.execute("INSERT INTO audit.record_version VALUES (%s, %s, %s, %s, timestamptz '2024-02-01' + %s * interval '1 day', "
                     "'pg_class'::regclass, 'public', 'invoices', %s, %s)",
                     [number, new and "11111111-0000-0000-0000-000000000005", old and "11111111-0000-0000-0000-000000000005", op, number,
                      new and Jsonb(new), old and Jsonb(old)])


@pytest.fixture
def empty(server):
    """A database without the extension; the roles of the page go with it."""
    name = "test_capture_guide"
    with server.connect() as admin:
        for statement in ("DROP DATABASE IF EXISTS {}", "CREATE DATABASE {} TEMPLATE template0"):
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(f"DROP ROLE IF EXISTS {', '.join(ROLES)}")


def imported(conn, source):
    return conn.execute(
        "SELECT metadata #>> '{imported,id}', action, actor_id, resource_id, metadata - 'imported', occurred_at::date::text "
        "FROM immutable.events WHERE metadata #>> '{imported,from}' = %s ORDER BY occurred_at", [source]).fetchall()


def test_every_block_of_the_page_runs_and_prints_what_it_shows(server, empty):
    with server.connect(empty) as conn:
        fill(conn)
    found = blocks(PAGE)
    assert sum(block.shown is not None for block in found) > 15
    check_shown(run(server, empty, found))
    # What the page shows no output of.
    assert '"type": "invoices"' in output(found, "jsonb_pretty(immutable.get_event")
    assert "7d9e1c52-0000-4000-8000-2f8f5d1c0e9a" in output(found, "request.jwt.claims")
    history = output(found, "-- What happened to an invoice")
    assert re.search(r"invoice\.updated +\| sarah", history) and re.search(r"invoice\.updated +\| 17", history)
    assert re.search(r"\| open +\| paid", history)
    assert re.search(r"metadata\.customer_id +\| beside +\| +1", output(found, "dry_run => true"))

    with server.connect(empty) as conn:
        conn.execute("SET timezone = 'UTC'")
        assert imported(conn, "audit.record_version") == [
            ("1", "invoice.created", "unknown", "5",
             {key: {"new": value} for key, value in OPEN.items() if key not in ("iban", "seen_at")}, "2024-02-02"),
            ("2", "invoice.updated", "unknown", "5", {"status": {"new": "paid", "old": "open"}}, "2024-02-03"),
            ("4", "invoice.deleted", "unknown", "5",
             {key: {"old": value} for key, value in {**OPEN, "status": "paid"}.items() if key not in ("iban", "seen_at")}, "2024-02-05"),
            ("5", "invoice.truncated", "unknown", None, {}, "2024-02-06")]
        assert [row[:2] for row in imported(conn, "invoices_history")] == [
            ("1", "invoice.created"), ("2", "invoice.updated"), ("3", "invoice.deleted")]
        # It was recorded now, whatever it says of then.
        assert conn.execute("SELECT bool_and(created_at > now() - interval '1 hour') FROM immutable.events").fetchone() == (True,)
        # The card number, the name and the address are gone; the bank account never was there.
        everything, = conn.execute("SELECT string_agg(e::text, '') FROM immutable.events e").fetchone()
        assert not re.search(r"4111 1111|Ada|DE02120300000000202051", everything)
        # To run an import again adds nothing.
        before = conn.execute("SELECT count(*) FROM immutable.events").fetchone()
    run(server, empty, [block for block in found if "'record_version-'" in block.text or "'invoices_history-'" in block.text])
    with server.connect(empty) as conn:
        assert conn.execute("SELECT count(*) FROM immutable.events").fetchone() == before
        assert conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)
        assert conn.execute("SELECT array_agg(problem) FROM immutable.tracked_tables WHERE problem IS NOT NULL").fetchone() == (None,)


def test_whoever_has_the_key_recognises_a_masked_value(cluster, tmp_path):
    """The function of the page finds the value in an event, and with another table or value it does not."""
    made = cluster()
    key = "00112233445566778899aabbccddeeff" * 2
    file = made.data.parent / "mask_key"
    write_file(file, key + "\n")
    file.chmod(0o600)
    with made.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute(f"ALTER SYSTEM SET immutable.mask_key_file = '{file}'")
        conn.execute("SELECT pg_reload_conf()")
        wait_for(conn, f"SELECT current_setting('immutable.mask_key_file') = '{file}'")
        conn.execute("CREATE TABLE accounts (id integer PRIMARY KEY, iban text)")
        conn.execute("SELECT immutable.track_table('accounts', resource_type => 'account', mask => '{iban}')")
        conn.execute("INSERT INTO accounts VALUES (1, 'DE02')")
        conn.execute("UPDATE accounts SET iban = 'DE03'")
        found = [value for value, in conn.execute(
            "SELECT metadata -> 'iban' FROM immutable.events WHERE resource_type = 'account' ORDER BY created_at")]
    copy = tmp_path / "key"
    copy.write_text(key + "\n")
    mask = python(PAGE)["mask"]
    first, second = mask(copy, "account", "iban", "DE02"), mask(copy, "account", "iban", "DE03")
    assert first == hmac.new(bytes.fromhex(key), b"account\0iban\0DE02", hashlib.sha256).hexdigest()
    assert found == [{"changed": True, "new_hmac": first}, {"changed": True, "old_hmac": first, "new_hmac": second}]
    assert mask(copy, "customer", "iban", "DE02") != first


@pytest.fixture
def accounts(db):
    """A tracked table with a tenant for each row."""
    db.conn.execute("CREATE TABLE accounts (id integer PRIMARY KEY, org text, balance integer)")
    db.conn.execute("INSERT INTO accounts SELECT n, 'a', 0 FROM generate_series(1, 1000) n")
    db.conn.execute("ANALYZE accounts")
    db.conn.execute("SELECT immutable.track_table('accounts', resource_type => 'account', tenant_column => 'org')")
    return db


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_recording_adds_no_conflict_between_transactions(accounts, level):
    """Each has its snapshot before the others commit, and appends behind what they have recorded."""
    conns = [accounts.connect(autocommit=False) for _ in range(4)]
    for conn in conns:
        conn.isolation_level = level
    for round in range(1, 4):
        for number, conn in enumerate(conns):
            conn.execute("UPDATE accounts SET balance = %s WHERE id = %s", [round, number * 200 + 1])
        for conn in conns:
            conn.commit()
    count = "SELECT count(*), bool_and(tenant_id = 'a') FROM immutable.events WHERE action = 'account.updated'"
    assert accounts.conn.execute(count).fetchone() == (12, True)
    assert accounts.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


def test_a_bound_login_cannot_commit_a_row_of_another_tenant(accounts):
    role = accounts.create_role()
    accounts.conn.execute(f"GRANT SELECT, INSERT, UPDATE ON accounts TO {role}")
    accounts.conn.execute("SELECT immutable.grant_tenant(%s, 'a', 'write')", [role])
    conn = accounts.connect(role, autocommit=False)
    conn.execute("UPDATE accounts SET balance = 1 WHERE id = 1")
    conn.commit()
    conn.execute("INSERT INTO accounts VALUES (2001, 'b', 0)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.commit()
    conn.rollback()
    assert conn.execute("SELECT count(*) FROM accounts WHERE org = 'b'").fetchone() == (0,)
    assert accounts.conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'b'").fetchone() == (0,)
