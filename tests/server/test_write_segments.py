"""Events in segments, as those meet them who write: erasures, repeated keys, dumps, standbys and logical copies."""

import psycopg
import pytest

from conftest import Cluster
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


TRACK = "SELECT immutable.track('u', %s, tenant_id => 't', idempotency_key => %s, on_conflict => 'answer') ->> 'status'"
INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) "
SAME_ID = "INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES (%s, %s, 'u', 'again') "
SKIPS = ("", " (tenant_id, idempotency_key)")


@pytest.fixture
def writer(db):
    """A log with a segment that has the keys k and k2, and a writer in another session."""
    record(db.conn, "first", idempotency_key="k")
    record(db.conn, "second", idempotency_key="k2")
    record(db.conn, "tail")
    seal(db.conn)
    db.conn.execute("CREATE FUNCTION record_once(key text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN "
                    f"{INSERT} VALUES ('t', 'u', 'again', key) ON CONFLICT DO NOTHING; GET DIAGNOSTICS n = ROW_COUNT; RETURN n; END $$")
    before = rows(db.conn, "SELECT count(*) FROM immutable.events WHERE action = 'again'")
    yield db.connect(db.create_role("IN ROLE immutable_writer"))
    assert rows(db.conn, "SELECT count(*) FROM immutable.events WHERE action = 'again'") == before
    assert rows(db.conn, "SELECT 1 FROM immutable.events WHERE idempotency_key IS NOT NULL GROUP BY tenant_id, idempotency_key "
                "HAVING count(*) > 1") == []
    assert rows(db.conn, "SELECT 1 FROM immutable.events GROUP BY tenant_id, id HAVING count(*) > 1") == []
    assert is_valid(db.conn)


def test_a_key_is_unique_in_the_whole_log(db, writer):
    assert writer.execute(TRACK, ["first", "k"]).fetchone() == ("conflict",)  # another actor
    assert writer.execute("SELECT immutable.track('u1', 'first', tenant_id => 't', idempotency_key => 'k') ->> 'status'").fetchone() == ("duplicate",)
    assert "idempotency_key was already used" in refused(
        writer, "23505", "SELECT immutable.track('u', 'b', tenant_id => 't', idempotency_key => 'k')").message_primary
    batch = ('[{"actor_id": "u1", "action": "first", "tenant_id": "t", "idempotency_key": "k"}, '
             '{"actor_id": "u1", "action": "new", "tenant_id": "t", "idempotency_key": "k3"}, '
             '{"actor_id": "u2", "action": "second", "tenant_id": "t", "idempotency_key": "k2"}]')
    answers, = writer.execute("SELECT immutable.track_batch(%s::jsonb)", [batch]).fetchone()
    assert [answer["status"] for answer in answers["events"]] == ["duplicate", "recorded", "conflict"]
    assert writer.execute(TRACK, ["new", "k3"]).fetchone() == ("conflict",)
    # other tenants have keys of their own
    assert writer.execute(TRACK.replace("'t'", "'o'"), ["b", "k"]).fetchone() == ("recorded",)
    diag = refused(writer, "23505", INSERT + "VALUES ('t', 'u', 'again', 'k')")
    assert diag.message_primary == "idempotency_key was already used for an event of this tenant" and diag.column_name is None
    for skip in SKIPS:
        statement = INSERT + f"VALUES ('t', 'u', 'again', 'k') ON CONFLICT{skip} DO NOTHING"
        assert writer.execute(statement).rowcount == 0
        assert writer.execute(f"WITH i AS ({statement} RETURNING 1) SELECT count(*) FROM i").fetchone() == (0,)
    assert writer.execute("SELECT public.record_once('k')").fetchone() == (0,)
    # what the statement does not leave out is refused, also where another statement around it would
    refused(writer, "23505", INSERT + "VALUES ('t', 'u', 'again', 'k') ON CONFLICT (id, tenant_id) DO NOTHING")
    db.conn.execute("CREATE FUNCTION insert_plainly() RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
                    f"{INSERT} VALUES ('t', 'u', 'again', 'k'); RETURN 'new'; END $$")
    refused(writer, "23505", INSERT + "VALUES ('t', 'u', public.insert_plainly(), 'k4') ON CONFLICT DO NOTHING")
    # the documented import, run again after its events were sealed
    again = INSERT + "SELECT 't', 'u', 'import', 'i-' || n FROM generate_series(1, 5) n ON CONFLICT (tenant_id, idempotency_key) DO NOTHING"
    assert [writer.execute(again).rowcount, writer.execute(again).rowcount] == [5, 0]
    seal(db.conn)
    assert writer.execute(again.replace("(1, 5)", "(1, 7)")).rowcount == 2


def test_a_snapshot_that_does_not_show_the_event_gets_an_error(db, writer):
    with db.connect(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        writer.execute(INSERT + "VALUES ('t', 'u', 'late', 'late'), ('t', 'u', 'late', NULL)")
        seal(db.conn)
        for state, statement in (("23505", INSERT + "VALUES ('t', 'u', 'again', 'late')"), ("40001", TRACK % ("'late'", "'late'"))):
            with pytest.raises(psycopg.Error) as raised, old.transaction():
                old.execute(statement)
            assert raised.value.sqlstate == state


def test_an_id_is_unique_in_the_whole_log(db, writer):
    first = id_of(db.conn, "first")
    diag = refused(writer, "23505", SAME_ID, [first, "t"])
    assert diag.message_primary == f"id {first} was already used for an event of this tenant"
    assert writer.execute(SAME_ID + "ON CONFLICT DO NOTHING", [first, "t"]).rowcount == 0
    assert writer.execute(SAME_ID + "ON CONFLICT (id, tenant_id) DO NOTHING", [first, "t"]).rowcount == 0
    refused(writer, "23505", SAME_ID + "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING", [first, "t"])
    assert db.conn.execute(SAME_ID.replace("again", "mine"), [first, "o"]).rowcount == 1
    with pytest.raises(psycopg.errors.UniqueViolation), db.conn.cursor() as cursor:
        with cursor.copy("COPY immutable.events (id, tenant_id, actor_id, action) FROM STDIN") as copy:
            copy.write_row([first, "t", "u", "again"])
    # An id that the log has made counts as new only for the statement that it was made for.
    with db.connect(autocommit=False) as leaking:
        leaked, = leaking.execute("SELECT immutable.new_id()").fetchone()
        writer.execute(SAME_ID.replace("again", "leaked"), [leaked, "t"])
        record(db.conn, "tail")
        seal(db.conn)
        assert len(rows(db.conn, f"SELECT FROM ONLY immutable.events WHERE id = '{leaked}'")) == 0
        refused(leaking, "23505", SAME_ID, [leaked, "t"])
    # after a merge as well
    db.conn.execute("SET immutable.segment_events = 1000000")
    for n in range(8):
        record(db.conn, f"m.{n}")
        seal(db.conn)
    assert rows(db.conn, "SELECT count(*) FROM immutable.segments WHERE replaces <> '{}'") == [(1,)]
    refused(writer, "23505", SAME_ID, [first, "t"])
    assert writer.execute(INSERT + "VALUES ('t', 'u', 'again', 'k') ON CONFLICT DO NOTHING").rowcount == 0
    # a restore into the log that is there
    db.conn.execute("SET immutable.restore = on")
    refused(db.conn, "23505", f"INSERT INTO immutable.events SELECT * FROM immutable.events WHERE id = '{first}' AND tenant_id = 't'")
    db.conn.execute("RESET immutable.restore")


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


@pytest.fixture(scope="module")
def pair(server, tmp_path_factory):
    """A publisher that has segments, and a subscriber that began with a dump of it, as the guide says."""
    publisher, subscriber = Cluster(server.major, wal_level="logical"), Cluster(server.major)
    dump = tmp_path_factory.mktemp("pair") / "dump"
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
                "-f", dump, options={})
    restore(subscriber, "psql", "-1", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", dump)
    here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{publisher.dsn()}' PUBLICATION audit "
                 "WITH (create_slot = false, slot_name = 'audit', copy_data = false)")
    there.server, here.server = publisher, subscriber
    yield there, here
    there.close()
    here.close()
    publisher.destroy()
    subscriber.destroy()


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


def test_a_standby_has_segments_and_goes_on_sealing_when_promoted(pair):
    """It comes last, because it stops the server."""
    writer, _ = pair
    primary = writer.server
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
