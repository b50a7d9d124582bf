"""Events in segments, as those meet them who write: erasures, repeated keys, dumps, standbys and logical copies."""

import psycopg
import pytest

from helpers_servers import EVENTS, TARGETS, Copy, is_valid, record, rows, seams, wait_for
from test_guard_segments import refused, seal
from test_write_restore import restore, target  # noqa: F401
from test_write_replica import SAME, caught_up, wait_for_copy

TWO = '[{"type": "a", "id": "u9", "name": "Ann"}, {"type": "b"}]'
PLACES = "SELECT e.action, e.tableoid::regclass::text FROM immutable.events e WHERE e.tenant_id = 't' ORDER BY e.seq"


def fill(conn, count=4, tenant="t"):
    for n in range(count):
        record(conn, f"a.{n}", tenant, actor_name="Ann", targets=TWO, metadata='{"k": 1.00}', resource_id="u9")


def id_of(conn, action):
    return rows(conn, f"SELECT id FROM immutable.events WHERE action = '{action}' AND tenant_id = 't'")[0][0]


def test_erasing_reaches_segments(db):
    fill(db.conn)
    seal(db.conn)
    assert [table.startswith("immutable.events_") for _, table in rows(db.conn, PLACES)] == [True, True, True, False]
    eraser = db.connect(db.create_role("IN ROLE immutable_eraser"))
    eraser.execute("SELECT immutable.erase(%s, 't', '{actor_name,metadata.k,targets.0}', 'asked to')", [id_of(db.conn, "a.0")])
    assert rows(db.conn, "SELECT actor_name, metadata, targets -> 0, salt, target_id, target_name FROM immutable.events e JOIN "
                "immutable.event_targets t ON t.event_id = e.id AND position = 0 WHERE action = 'a.0'") == [
        (None, {}, {"type": "a"}, None, None, None)]
    assert is_valid(db.conn)
    preview = rows(eraser, "SELECT * FROM immutable.erase_subject('t', 'u9', 'asked to', dry_run => true)")
    done = rows(eraser, "SELECT * FROM immutable.erase_subject('t', 'u9', 'asked to')")
    # resource_id of four events, and the target of all but one
    assert preview == done and len(done) == 4 + 3
    assert rows(db.conn, "SELECT count(*) FROM immutable.events WHERE tenant_id = 't' AND resource_id = 'u9'") == [(0,)]
    assert rows(db.conn, "SELECT count(*) FROM immutable.event_targets WHERE target_id = 'u9'") == [(0,)]
    assert is_valid(db.conn)
    refused(eraser, "P0002", "SELECT immutable.erase('00000000-0000-4000-8000-000000000000', 't', '{actor_name}', 'r')")
    # The rest of what is erased stays erased when it moves.
    seal(db.conn)
    assert is_valid(db.conn)


def test_an_older_snapshot_gets_an_error_and_no_wrong_answer(db):
    fill(db.conn)
    with db.connect(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")  # takes the snapshot, and no lock that sealing waits for
        seal(db.conn)
        assert rows(old, "SELECT count(*) FROM immutable.events") == [(4,)]
        refused(old, "40001", "SELECT immutable.erase_subject('t', 'u9', 'asked to')")
    assert rows(db.conn, "SELECT count(*) FROM immutable.events WHERE resource_id = 'u9'") == [(4,)]


def test_nothing_is_erased_from_a_table_that_is_not_the_logs(db):
    """A superuser has attached it. Nothing would check what happens to its rows."""
    fill(db.conn, 2)
    db.conn.execute("SET immutable.allow_ddl = on; CREATE TABLE stray () INHERITS (immutable.events); RESET immutable.allow_ddl;"
                    "INSERT INTO stray SELECT * FROM ONLY immutable.events WHERE action = 'a.0'")
    db.conn.execute("DELETE FROM stray; INSERT INTO stray SELECT (jsonb_populate_record(e, '{\"seq\": 99}')).* "
                    "FROM ONLY immutable.events e WHERE action = 'a.1'")
    db.conn.execute("UPDATE stray SET id = '00000000-0000-4000-8000-0000000000a1'")
    refused(db.conn, "P0002", "SELECT immutable.erase('00000000-0000-4000-8000-0000000000a1', 't', '{actor_name}', 'r')")
    assert len(rows(db.conn, "SELECT * FROM immutable.erase_subject('t', 'u9', 'r')")) == 4
    assert rows(db.conn, "SELECT resource_id, erased FROM stray") == [("u9", None)]


def test_a_key_is_unique_in_the_hot_table(db):
    """docs/limits.md: a call that repeats a key of a sealed event records it anew."""
    call = "SELECT immutable.track('u', %s, tenant_id => 't', idempotency_key => 'k', on_conflict => 'answer') ->> 'status'"
    assert db.conn.execute(call, ["a"]).fetchone() == ("recorded",)
    assert db.conn.execute(call, ["a"]).fetchone() == ("duplicate",)
    record(db.conn, "tail")
    seal(db.conn)
    assert db.conn.execute(call, ["b"]).fetchone() == ("recorded",)
    # The newer event is the one that a call repeats from then on.
    assert db.conn.execute(call, ["b"]).fetchone() == ("duplicate",)
    assert db.conn.execute(call, ["a"]).fetchone() == ("conflict",)
    assert is_valid(db.conn)


FORMS = {"custom": ["-F", "c"], "parallel": ["-F", "d", "-j", "2"], "inserts": ["--rows-per-insert=2"],
         "data": ["-F", "c", "--data-only", "-n", "immutable", "-e", "immutable"]}


@pytest.mark.parametrize("form", FORMS)
def test_a_dump_has_the_events_of_segments(db, server, target, tmp_path, form):  # noqa: F811
    fill(db.conn)
    seal(db.conn)
    fill(db.conn, 2)
    db.conn.execute("SELECT immutable.erase(%s, 't', '{actor_name,targets.0}', 'asked to')", [id_of(db.conn, "a.3")])
    path = tmp_path / "dump"
    restore(server, "pg_dump", *FORMS[form], "-d", db.name, "-f", path, options={})
    if form == "data":
        with server.connect(target) as restored:
            restored.execute("CREATE EXTENSION immutable")
    if form == "inserts":
        restore(server, "psql", "-1", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", path)
    else:
        restore(server, "pg_restore", "-e", *(["-j", "2"] if form == "parallel" else []),
                *(["--data-only"] if form == "data" else []), "-d", target, path)
    with server.connect(target) as restored:
        assert rows(restored, EVENTS) == rows(db.conn, EVENTS)
        assert rows(restored, TARGETS) == rows(db.conn, TARGETS)
        assert rows(restored, "SELECT count(*) FROM immutable.segments") == [(0,)]
        assert is_valid(restored)
        if form == "custom":
            seal(restored)
            record(restored, "after")
            assert len(seams(restored)) == 1 and is_valid(restored)
            assert rows(restored, "SELECT sum(events) > 0 FROM immutable.segments") == [(True,)]


def test_a_standby_has_segments_and_goes_on_sealing_when_promoted(cluster):
    primary = cluster(wal_level="replica")
    writer = primary.connect()
    writer.execute("CREATE EXTENSION immutable")
    fill(writer)
    copy = Copy(primary)
    try:
        copy.begin()
        standby = copy.connect()
        seal(writer)
        caught_up(writer, standby)
        assert rows(standby, EVENTS) == rows(writer, EVENTS) and is_valid(standby)
        assert rows(standby, PLACES) == rows(writer, PLACES)
        refused(standby, "25006", "CALL immutable.seal()")
        preview = "SELECT count(*) FROM immutable.erase_subject('t', 'u9', 'r', dry_run => true)"
        assert rows(standby, preview) == rows(writer, preview)
        writer.close()
        primary.stop("immediate")
        standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        fill(standby, 2)
        seal(standby)
        standby.execute("SELECT immutable.erase_subject('t', 'u9', 'asked to')")
        assert is_valid(standby) and len(seams(standby)) == 1
    finally:
        copy.destroy()


@pytest.fixture
def pair(cluster, tmp_path):
    """A publisher that has segments, and a subscriber that began with a dump of it, as the guide says."""
    publisher, subscriber = cluster(wal_level="logical"), cluster()
    there, here = publisher.connect(), subscriber.connect()
    there.execute("CREATE EXTENSION immutable")
    fill(there)
    seal(there)
    there.execute("CREATE PUBLICATION audit FOR TABLE ONLY immutable.log, ONLY immutable.events, ONLY immutable.event_targets "
                  "WITH (publish = 'insert, update')")
    with psycopg.connect(publisher.dsn() + " replication=database", autocommit=True) as maker:
        snapshot = maker.execute("CREATE_REPLICATION_SLOT audit LOGICAL pgoutput").fetchone()[2]
        fill(there, 1)  # after the snapshot
        restore(publisher, "pg_dump", f"--snapshot={snapshot}", "-n", "immutable", "-e", "immutable", "-d", "postgres",
                "-f", tmp_path / "dump", options={})
    restore(subscriber, "psql", "-1", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", tmp_path / "dump")
    here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{publisher.dsn()}' PUBLICATION audit "
                 "WITH (create_slot = false, slot_name = 'audit', copy_data = false)")
    there.server, here.server = publisher, subscriber
    yield there, here
    there.close()
    here.close()


def test_an_erasure_reaches_a_copy_wherever_the_event_is(pair):
    """The publisher's UPDATE reaches a row of the hot table alone; the record of the erasure does the rest."""
    there, here = pair
    record(there, "b.0", targets=TWO)
    record(there, "b.1", targets=TWO)
    wait_for_copy(there, here)
    assert rows(here, SAME) == rows(there, SAME)
    # a.0 is in a segment of the publisher, b.0 in its hot table
    for action in ("a.0", "b.0"):
        there.execute("SELECT immutable.erase(%s, 't', '{targets.0}', 'asked to')", [rows(
            there, f"SELECT id FROM immutable.events WHERE action = '{action}' ORDER BY seq")[0][0]])
    wait_for_copy(there, here)
    assert rows(here, SAME) == rows(there, SAME) and rows(here, TARGETS) == rows(there, TARGETS)
    # What moves at the publisher does not move here, nor does it stop anything.
    seal(there)
    there.execute("SELECT immutable.erase_subject('t', 'u9', 'asked to')")
    wait_for_copy(there, here)
    assert rows(here, SAME) == rows(there, SAME) and rows(here, TARGETS) == rows(there, TARGETS)
    assert is_valid(here) and is_valid(there)
    assert "ERROR" not in here.server.log.read_text()


def test_a_copy_with_segments_of_its_own_follows(pair):
    there, here = pair
    fill(there, 2)
    wait_for_copy(there, here)
    seal(here)
    assert rows(here, "SELECT sum(events) > 0 FROM immutable.segments") == [(True,)]
    there.execute("SELECT immutable.erase_subject('t', 'u9', 'asked to')")
    fill(there, 1)
    wait_for_copy(there, here)
    assert rows(here, SAME) == rows(there, SAME) and rows(here, TARGETS) == rows(there, TARGETS)
    assert is_valid(here)
    assert "ERROR:  events" not in here.server.log.read_text()
    refused(here, "25006", "UPDATE immutable.events SET erased = '[\"actor_name\"]'")
