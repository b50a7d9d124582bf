"""Dumps: of a plain log and of a distributed one, into a distributed database and into a plain one."""

import json
import subprocess
import uuid

import psycopg
import pytest
from nodes import COORDINATOR, Distributed

# What precedes and follows the dump: the settings have to reach the nodes, which only those of a transaction do.
BEFORE = "BEGIN;\nSET LOCAL citus.propagate_set_commands = 'local';\nSET LOCAL immutable.restore = on;\n"
AFTER = "COMMIT;\n"
TENANTS = [f"t{n}" for n in range(12)]
COLUMNS = "id, tenant_id, actor_id, actor_name, action, resource_id, targets, metadata, created_at, lane, seq, previous_event_hash, event_hash, " \
    "salt, erased, recorded_by, log_id"


def fill(conn):
    """Events of several tenants, with targets, one with an erased value, and a grant."""
    for n, tenant in enumerate(TENANTS * 3):
        conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata, idempotency_key) VALUES (%s, %s, 'doc.read', %s, %s, %s)",
            [tenant, f"actor{n % 4}", '[{"type": "doc", "id": "1"}, {"type": "user", "id": "u", "name": "Ann"}]', json.dumps({"n": n, "mail": "a@b"}), f"k{n}"])
    for tenant in TENANTS[:4]:
        (event,), *_ = conn.execute("SELECT id FROM immutable.events WHERE tenant_id = %s ORDER BY seq LIMIT 1", [tenant]).fetchall()
        conn.execute("SELECT immutable.erase(%s::uuid, %s::text, ARRAY['actor_id', 'metadata.mail', 'targets.1'], 'ticket')", [event, tenant])


def rows(conn, table="events", columns=COLUMNS):
    order = "tenant_id, lane, seq" if table == "events" else "tenant_id, event_id, position"
    return conn.execute(f"SELECT {columns} FROM immutable.{table} ORDER BY {order}").fetchall()


def content(conn):
    """The events but those that the log records of itself without a tenant, and all their targets."""
    return [row for row in rows(conn) if row[1] != ""], rows(conn, "event_targets", "*")


def dump(server, database, *options):
    return server.run("pg_dump", "--data-only", "-n", "immutable", "-e", "immutable", "-d", database, *options).stdout


def restore(server, database, sql, check=True):
    return server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, input=BEFORE + sql + AFTER, check=check)


def verdicts(log):
    """What verify_shard() says of each shard."""
    return [json.loads(result) for success, result in log.conn.execute(
        "SELECT success, result FROM run_command_on_shards('immutable.events', $$SELECT to_jsonb(v) FROM immutable.verify_shard('%s') v$$)")]


def identity(conn):
    return conn.execute("SELECT log_id FROM immutable.log").fetchone()[0]


@pytest.fixture(scope="module")
def plain(nodes):
    """A log that is not distributed."""
    log = Distributed.__new__(Distributed)
    log.nodes, log.name, log.connections = nodes, "plain_log", []
    with nodes[COORDINATOR].connect() as admin:
        admin.execute("CREATE DATABASE plain_log")
    conn = nodes[COORDINATOR].connect("plain_log")
    conn.execute("CREATE EXTENSION immutable")
    conn.execute("CREATE ROLE plain_log_reader LOGIN")
    fill(conn)
    conn.execute("SELECT immutable.grant_tenant('plain_log_reader', 't1')")
    yield conn
    conn.close()
    with nodes[COORDINATOR].connect() as admin:
        admin.execute("DROP DATABASE plain_log WITH (FORCE)")
        admin.execute("DROP ROLE plain_log_reader")


@pytest.fixture(scope="module")
def restored(nodes, plain):
    """The plain log, restored into a distributed database."""
    log = Distributed(nodes, distribute=False)
    log.conn.execute("SELECT immutable.distribute(%s)", [identity(plain)])
    restore(nodes[COORDINATOR], log.name, dump(nodes[COORDINATOR], "plain_log"))
    log.conn.execute("SELECT immutable.distribute()")
    yield log
    log.close()


def test_a_plain_log_is_restored_into_a_distributed_database(plain, restored):
    assert content(restored.conn) == content(plain)
    assert identity(restored.conn) == identity(plain)
    assert all(verdict["valid"] is not False and verdict["breaks_found"] == 0 for verdict in verdicts(restored))
    seams = restored.conn.execute(
        "SELECT actor_id, metadata ->> 'from' FROM immutable.events WHERE tenant_id = '' AND action = 'immutable.restored'").fetchall()
    assert seams == [("immutable", None)]


def test_the_log_goes_on_after_it(plain, restored, entry):
    conn = restored.connect(node=entry)
    for tenant in TENANTS[:4]:
        before = conn.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = %s AND lane = 0", [tenant]).fetchone()[0]
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
        assert conn.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = %s AND lane = 0", [tenant]).fetchone()[0] == before + 1
    restored.conn.execute("SELECT immutable.distribute()")
    assert restored.conn.execute(
        "SELECT count(*) FROM immutable.events WHERE tenant_id = '' AND action = 'immutable.restored'").fetchone() == (1,)
    assert all(verdict["breaks_found"] == 0 for verdict in verdicts(restored))


def test_a_dump_of_a_distributed_log_goes_into_a_plain_and_into_a_distributed_database(nodes, restored):
    server = nodes[COORDINATOR]
    written = dump(server, restored.name)
    with server.connect() as admin:
        admin.execute("CREATE DATABASE of_cluster")
    try:
        with server.connect("of_cluster") as conn:
            conn.execute("CREATE EXTENSION immutable")
            server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "of_cluster", input=f"SET immutable.restore = on;\n{written}")
            assert content(conn) == content(restored.conn)
            conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t1', 'a', 'b')")
            assert conn.execute("SELECT valid, breaks_found FROM immutable.verify_chain()").fetchone() == (True, 0)
    finally:
        with server.connect() as admin:
            admin.execute("DROP DATABASE of_cluster WITH (FORCE)")
    other = Distributed(nodes, distribute=False)
    try:
        other.conn.execute("SELECT immutable.distribute(%s)", [identity(restored.conn)])
        restore(server, other.name, written)
        assert content(other.conn) == content(restored.conn)
        did, = other.conn.execute("CALL immutable.run_maintenance()").fetchone()
        assert "error" not in json.dumps(did)
        assert other.conn.execute("SELECT action FROM immutable.events WHERE tenant_id = '' ORDER BY seq DESC LIMIT 1").fetchall() == [("immutable.restored",)]
        assert all(verdict["breaks_found"] == 0 for verdict in verdicts(other))
    finally:
        other.close()


def test_a_custom_dump_by_pg_restore(nodes, plain, tmp_path):
    server = nodes[COORDINATOR]
    server.run("pg_dump", "-F", "c", "-f", str(tmp_path / "log.dump"), "-n", "immutable", "-e", "immutable", "plain_log")
    written = server.run("pg_restore", "--data-only", "-f", "-", str(tmp_path / "log.dump")).stdout
    other = Distributed(nodes, distribute=False)
    try:
        other.conn.execute("SELECT immutable.distribute(%s)", [identity(plain)])
        restore(server, other.name, written)
        assert content(other.conn) == content(plain)
    finally:
        other.close()


def test_another_log_is_refused(nodes, restored, plain):
    server = nodes[COORDINATOR]
    before = rows(restored.conn)
    other = Distributed(nodes, distribute=False)
    try:
        other.conn.execute("SELECT immutable.distribute(%s)", [uuid.UUID("11111111-2222-4333-8444-555555555555")])
        written = dump(server, "plain_log")
        refused = restore(server, other.name, written, check=False)
        assert refused.returncode != 0 and str(identity(plain)) in refused.stderr and "cannot be restored into log 11111111" in refused.stderr
        assert rows(other.conn) == []
        with pytest.raises(psycopg.errors.DataCorrupted) as refused, other.conn.transaction():
            other.conn.execute("SET LOCAL immutable.restore = on")
            other.conn.execute("INSERT INTO immutable.log (log_id, created_at) VALUES (%s, now())", [identity(plain)])
        assert f"immutable.distribute('{identity(plain)}')" in refused.value.diag.message_hint
        assert refused.value.diag.message_primary.startswith("the dump is of log")
    finally:
        other.close()
    assert rows(restored.conn) == before


def test_a_restore_without_the_settings_is_refused(nodes, plain):
    """Events of a dump are never taken for new ones."""
    server = nodes[COORDINATOR]
    other = Distributed(nodes, distribute=False)
    try:
        other.conn.execute("SELECT immutable.distribute(%s)", [identity(plain)])
        written = dump(server, "plain_log")
        for before in ("BEGIN;", "BEGIN; SET immutable.restore = on;", "BEGIN; SET LOCAL immutable.restore = on;"):
            done = server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", other.name, input=f"{before}\n{written}\nCOMMIT;", check=False)
            assert done.returncode != 0, before
            assert rows(other.conn) == []
    finally:
        other.close()
