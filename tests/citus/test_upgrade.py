"""ALTER EXTENSION immutable UPDATE of a log that an earlier version has distributed, with events in it."""

import json

import psycopg
import pytest
from nodes import COORDINATOR, WORKERS, Distributed
from test_distribute import parts, parts_of_shards

OLD = "0.3.0"
TABLES = ("events", "event_targets", "placement")


def fill(log):
    """Puts events into the shards as the earlier version's library has written them: it wrote the same bytes. The new library
    writes nothing before distribute(), because no node has the grants."""
    server = log.nodes[COORDINATOR]
    identity, = log.conn.execute("SELECT log_id FROM immutable.log").fetchone()
    with server.connect() as admin:
        admin.execute("CREATE DATABASE source_of_events")
    try:
        with server.connect("source_of_events") as source:
            source.execute("CREATE EXTENSION immutable")
            source.execute("SELECT immutable.share_identity(%s)", [identity])
            for n in range(60):
                source.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (%s, 'a', 'b', %s)",
                               [f"t{n % 12}", '[{"type": "doc", "id": "1"}]'])
            with log.conn.transaction():
                log.conn.execute("SET LOCAL citus.propagate_set_commands = 'local'")
                log.conn.execute("SET LOCAL session_replication_role = replica")
                for table in ("events", "event_targets"):
                    with source.cursor().copy(f"COPY immutable.{table} TO STDOUT") as rows, \
                            log.conn.cursor().copy(f"COPY immutable.{table} FROM STDIN") as copy:
                        for row in rows:
                            copy.write(row)
    finally:
        with server.connect() as admin:
            admin.execute("DROP DATABASE source_of_events WITH (FORCE)")


@pytest.fixture(scope="module")
def old(nodes):
    """A log of the earlier version, distributed by it, with events."""
    log = Distributed(nodes, distribute=False, version=OLD)
    log.conn.execute("SELECT immutable.distribute()")
    fill(log)
    yield log
    log.close()


def events(conn):
    return conn.execute("SELECT * FROM immutable.events WHERE tenant_id <> '' ORDER BY tenant_id, lane, seq").fetchall(), \
        conn.execute("SELECT * FROM immutable.event_targets ORDER BY tenant_id, event_id, position").fetchall()


def versions(log):
    found = []
    for node in (COORDINATOR, *WORKERS):
        with log.on_node(node) as conn:
            found.append(conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'immutable'").fetchone()[0])
    return found


def shells(log, table):
    found = []
    for node in (COORDINATOR, *WORKERS):
        with log.on_node(node) as conn:
            found.append(parts(conn, f"immutable.{table}"))
    return found


def test_a_distributed_log_is_updated(old, shared):
    before = events(old.conn)
    assert set(versions(old)) == {OLD}
    old.conn.execute("ALTER EXTENSION immutable UPDATE")
    # Citus has passed it on, and nothing of the shards is changed yet.
    assert set(versions(old)) == set(versions(shared)) and len(set(versions(old))) == 1
    with old.on_node(1) as conn:
        assert conn.execute("SELECT count(*) FROM immutable.shard_changes()").fetchone()[0] > 0
    assert events(old.conn) == before
    old.conn.execute("SELECT immutable.distribute()")
    assert events(old.conn) == before


def test_it_is_then_as_a_new_one(old, shared):
    for table in TABLES:
        assert parts_of_shards(old, table) == parts_of_shards(shared, table)
        assert shells(old, table) == shells(shared, table)
    for node in (COORDINATOR, *WORKERS):
        with old.on_node(node) as conn:
            assert conn.execute("SELECT * FROM immutable.shard_changes()").fetchall() == []
            assert conn.execute("SELECT objid::regprocedure FROM pg_dist_object WHERE distribution_argument_index IS NOT NULL").fetchall() == []


def test_it_goes_on_and_verifies(old, entry):
    conn = old.connect(node=entry)
    writer = old.connect(old.create_role(groups=["immutable_writer"]), entry)
    for n in range(12):
        before = conn.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = %s AND lane = 0", [f"t{n}"]).fetchone()[0]
        writer.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [f"t{n}"])
        assert conn.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = %s AND lane = 0", [f"t{n}"]).fetchone()[0] == before + 1
    verdicts = old.conn.execute(
        "SELECT success, result FROM run_command_on_shards('immutable.events', $$SELECT to_jsonb(v) FROM immutable.verify_shard('%s') v$$)").fetchall()
    assert len(verdicts) == 8 and all(success and json.loads(result)["breaks_found"] == 0 for success, result in verdicts)


def test_before_distribute_the_server_says_what_is_missing(nodes):
    log = Distributed(nodes, distribute=False, version=OLD)
    try:
        log.conn.execute("SELECT immutable.distribute()")
        fill(log)
        record = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t1', 'a', 'b')"
        for update in ("SELECT 1", "ALTER EXTENSION immutable UPDATE"):
            log.conn.execute(update)
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
                log.conn.execute(record)
            assert "distribute()" in refused.value.diag.message_hint
        with log.on_node(1) as conn:
            assert conn.execute("SELECT count(*) FROM immutable.shard_changes()").fetchone()[0] > 0
        log.conn.execute("SELECT immutable.distribute()")
        log.conn.execute(record)
    finally:
        log.close()
