"""Standbys and logical copies: they hold what was recorded, nothing is recorded on them, and when they take over, the
log continues and records it."""

import json
import time

import psycopg
import pytest

from helpers_servers import TARGETS, Copy, is_valid, record, rows, seams, wait_for

SAME = "SELECT id, tenant_id, lane, seq, event_hash, salt, erased::text, metadata::text, targets::text, actor_id, log_id " \
    "FROM immutable.events ORDER BY tenant_id, lane, seq"


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def fill(conn):
    for n in range(5):
        record(conn, f"a.{n}", actor_name="Zoë", metadata='{"n": 1.00}', targets='[{"type": "b", "id": "2"}, {"type": "a"}]')
    event, = conn.execute("SELECT id FROM immutable.events WHERE tenant_id = 't' AND seq = 2").fetchone()
    conn.execute("SELECT immutable.erase(%s, 't', '{actor_name,targets.1}', 'asked to')", [event])


def caught_up(primary, standby):
    lsn, = primary.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    wait_for(standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")


def test_a_standby_reads_and_verifies_and_goes_on_when_promoted(cluster):
    primary = cluster(wal_level="replica")
    writer = primary.connect()
    writer.execute("CREATE EXTENSION immutable")
    writer.execute("CREATE ROLE feed LOGIN; GRANT immutable_viewer TO feed")
    record(writer, "before")
    copy = Copy(primary)
    try:
        copy.begin()
        fill(writer)
        token, = writer.execute("SELECT immutable.create_viewer_token('t') ->> 'token'").fetchone()
        standby = copy.connect()
        caught_up(writer, standby)
        assert rows(standby, SAME) == rows(writer, SAME)
        assert is_valid(standby)
        heads, = standby.execute("SELECT jsonb_agg(h) FROM immutable.heads() h").fetchone()
        assert standby.execute("SELECT valid FROM immutable.verify_chain(since => %s)",
                               [psycopg.types.json.Jsonb(heads)]).fetchone() == (True,)
        assert standby.execute("SELECT immutable.get_events(tenant_id => 't') #> '{pagination,total}'").fetchone() == (7,)
        assert standby.execute("SELECT count(*) FROM immutable.find_events(target_type => 'a')").fetchone() == (5,)
        lines = [json.loads(line) for line, in standby.execute("SELECT immutable.export_events()")]
        assert len(lines) == 7 + 2  # with the header and the end
        position = standby.execute("SELECT immutable.changes('t')").fetchone()[0]["position"]
        assert len(standby.execute("SELECT immutable.changes()").fetchone()[0]["data"]) == 7
        with copy.connect(user="feed") as viewer:
            viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
            assert viewer.execute("SELECT count(*) FROM immutable.events").fetchone() == (7,)
        for statement in ("INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a')",
                          "SELECT immutable.track('u', 'a')", "SELECT immutable.record_restore('r')",
                          "SELECT immutable.erase_subject('t', 'u1', 'r')"):
            refused(standby, "25006", statement)

        writer.close()
        primary.stop("immediate")
        standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        # A session from before the promotion is as good as a new one.
        assert record(standby, "after") == (0, 8)
        seam, = seams(standby)
        assert seam["to"]["timeline"] == seam["from"]["timeline"] + 1
        after = standby.execute("SELECT immutable.changes('t', %s)", [psycopg.types.json.Jsonb(position)]).fetchone()[0]
        assert [event["action"] for event in after["data"]] == ["after"]
        record(standby)
        assert len(seams(standby)) == 1
        assert is_valid(standby)
    finally:
        copy.destroy()


@pytest.fixture
def pair(cluster):
    """A publisher with events, and a subscriber that has copied them."""
    publisher, subscriber = cluster(wal_level="logical"), cluster()
    there, here = publisher.connect(), subscriber.connect()
    there.execute("CREATE EXTENSION immutable")
    fill(there)
    there.execute("CREATE PUBLICATION audit FOR TABLE immutable.log, immutable.events, immutable.event_targets "
                  "WITH (publish = 'insert, update')")
    here.execute("CREATE EXTENSION immutable")
    here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{publisher.dsn()}' PUBLICATION audit")
    wait_for(here, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    there.server, here.server = publisher, subscriber
    yield there, here
    there.close()
    here.close()


def wait_for_copy(there, here):
    lsn, = there.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    record(there, "mark", tenant="marks")  # so that something comes after
    wait_for(there, f"SELECT confirmed_flush_lsn > '{lsn}' FROM pg_replication_slots WHERE slot_name = 'audit'")
    wait_for(here, "SELECT count(*) = %d FROM immutable.events WHERE tenant_id = 'marks'" % there.execute(
        "SELECT count(*) FROM immutable.events WHERE tenant_id = 'marks'").fetchone())


def test_a_subscriber_has_the_publishers_hashes_and_verifies_them(pair):
    there, here = pair
    record(there, "live", targets='[{"type": "c", "metadata": {"k": 1.10}}]')
    event, = there.execute("SELECT id FROM immutable.events WHERE tenant_id = 't' AND seq = 3").fetchone()
    there.execute("SELECT immutable.erase(%s, 't', '{actor_name,metadata.n,targets.0}', 'asked to')", [event])
    wait_for_copy(there, here)
    assert rows(here, SAME) == rows(there, SAME)
    assert rows(here, TARGETS) == rows(there, TARGETS)
    assert rows(here, "SELECT * FROM immutable.log") == rows(there, "SELECT * FROM immutable.log")
    assert is_valid(here)
    # xact is the subscriber's, so that its feed over all tenants neither waits for nor passes over the publisher's.
    seen = here.execute("SELECT immutable.changes(\"limit\" => 1000)").fetchone()[0]["data"]
    assert len(seen) == len(rows(here))
    assert seams(here) == []


def test_nothing_is_recorded_on_a_subscriber_until_it_is_promoted(pair):
    there, here = pair
    wait_for_copy(there, here)
    early = here.server.connect()
    for conn in (here, early):
        diag = refused(conn, "25006", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
        assert "DROP SUBSCRIPTION" in diag.message_hint
        refused(conn, "25006", "SELECT immutable.track('u', 'a', tenant_id => 'other')")
        refused(conn, "25006", "SELECT immutable.record_restore('r')")
        refused(conn, "25006", "SELECT immutable.erase_subject('t', 'u1', 'r')")
    here.execute("SET immutable.restore = on")
    here.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM immutable.events LIMIT 1")
    refused(here, "25006", "INSERT INTO immutable.events SELECT * FROM kept")
    here.execute("RESET immutable.restore")
    # A disabled subscription may go on.
    here.execute("ALTER SUBSCRIPTION audit DISABLE")
    refused(here, "25006", "SELECT immutable.track('u', 'a')")

    here.execute("DROP SUBSCRIPTION audit")
    last, = here.execute("SELECT max(seq) FROM immutable.events WHERE tenant_id = 't' AND lane = 0").fetchone()
    assert record(early, "promoted") == (0, last + 1)
    seam, = seams(here)
    assert seam["from"] is None
    assert is_valid(here)
    early.close()


def test_row_changes_are_refused_on_a_subscriber(pair):
    """Also those of a table that was tracked before the log became a copy: no change goes unrecorded."""
    there, here = pair
    here.execute("CREATE TABLE invoice (id int PRIMARY KEY)")
    refused(here, "25006", "SELECT immutable.track_table('invoice')")
    here.execute("DROP SUBSCRIPTION audit")
    here.execute("SELECT immutable.track_table('invoice')")
    here.execute("INSERT INTO invoice VALUES (1)")
    here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{there.server.dsn()}' PUBLICATION audit WITH (copy_data = false)")
    diag = refused(here, "25006", "INSERT INTO invoice VALUES (2)")
    assert "DROP SUBSCRIPTION" in diag.message_hint
    assert rows(here, "SELECT id FROM invoice") == [(1,)]
    here.execute("DROP SUBSCRIPTION audit")
    here.execute("INSERT INTO invoice VALUES (3)")
    assert rows(here, "SELECT resource_id FROM immutable.events WHERE action = 'invoice.created' ORDER BY seq") == [("1",), ("3",)]
    assert is_valid(here)


def stops(here, text):
    """The subscription's worker fails, and its log says why."""
    def said():
        return text in here.server.log.read_text()
    deadline = time.monotonic() + 30
    while not said():
        assert time.monotonic() < deadline, here.server.log.read_text()[-2000:]
        time.sleep(0.1)


def test_a_change_at_the_publisher_does_not_reach_the_copy(pair):
    there, here = pair
    wait_for_copy(there, here)
    kept = rows(here, SAME)
    there.execute("SET session_replication_role = replica")
    # Not published.
    there.execute("DELETE FROM immutable.event_targets; DELETE FROM immutable.events WHERE tenant_id = 't' AND seq = 1")
    there.execute("RESET session_replication_role")
    wait_for_copy(there, here)
    assert [row for row in rows(here, SAME) if row[1] == "t"] == [row for row in kept if row[1] == "t"]
    there.execute("SET session_replication_role = replica")
    # Published, and no erasure: the subscription stops there.
    there.execute("UPDATE immutable.events SET action = 'forged' WHERE tenant_id = 't' AND seq = 4")
    stops(here, "events is append-only: UPDATE is refused")
    assert here.execute("SELECT action FROM immutable.events WHERE tenant_id = 't' AND seq = 4").fetchone() == ("a.3",)
    assert is_valid(here)


def test_a_published_deletion_stops_the_copy(pair):
    there, here = pair
    wait_for_copy(there, here)
    there.execute("ALTER PUBLICATION audit SET (publish = 'insert, update, delete, truncate')")
    there.execute("SET session_replication_role = replica")
    there.execute("DELETE FROM immutable.events WHERE tenant_id = 't' AND seq = 1")
    stops(here, "events is append-only: a replicated DELETE is refused")
    assert is_valid(here)


@pytest.fixture
def whole(cluster):
    """Two servers whose roles have other numbers, and a publication of all tables of a log that has not begun."""
    publisher, subscriber = cluster(wal_level="logical"), cluster()
    there, here = publisher.connect(), subscriber.connect()
    here.execute("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN")
    there.execute("CREATE ROLE bob LOGIN; CREATE ROLE only_there LOGIN; CREATE TABLE app (id int PRIMARY KEY)")
    here.execute("CREATE TABLE app (id int PRIMARY KEY)")
    for conn in (there, here):
        conn.execute("CREATE EXTENSION immutable")
    there.execute("CREATE PUBLICATION audit FOR ALL TABLES")
    there.server, here.server = publisher, subscriber
    here.subscribe = lambda: here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{publisher.dsn()}' PUBLICATION audit")
    yield there, here
    there.close()
    here.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_whole_database_is_replicated(whole, begun):
    there, here = whole
    place = rows(here, "SELECT system_identifier, timeline FROM immutable.cluster")
    if begun:
        fill(there)
        there.execute("SELECT immutable.revoke_viewer_tokens('t')")
    here.subscribe()
    # All of them, also those that are empty at the publisher.
    wait_for(here, "SELECT count(*) > 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    assert rows(here, "SELECT system_identifier, timeline FROM immutable.cluster") == ([] if begun else place)
    record(there, "live", targets='[{"type": "c"}]')
    there.execute("SELECT immutable.create_viewer_token('t'); SELECT immutable.rotate_viewer_key()")
    for _ in range(2):
        there.execute("SELECT immutable.revoke_viewer_tokens('t'), immutable.revoke_viewer_token('a-token')")
        there.execute("SELECT immutable.erase_subject('t', 'u1', 'asked to')")
    wait_for_copy(there, here)
    for query in (SAME, TARGETS, "SELECT * FROM immutable.log", "SELECT * FROM immutable.revocations ORDER BY id",
                  "SELECT key_id, accept_until FROM immutable.viewer_keys ORDER BY 1"):
        assert rows(here, query) == rows(there, query), query
    assert is_valid(here)
    assert "ERROR" not in here.server.log.read_text()
    # DDL on the copy with allow_ddl still works, and is noted in the server's log.
    here.execute("SET immutable.allow_ddl = on")
    here.execute("ALTER TABLE immutable.events ALTER metadata SET STATISTICS 300")
    here.execute("RESET immutable.allow_ddl")
    assert "DDL by role" in here.server.log.read_text()
    refused(here, "25006", "SELECT immutable.track('u', 'a')")
    here.execute("DROP SUBSCRIPTION audit")
    record(here, "promoted")
    seam, = seams(here)
    assert seam["from"] is None and is_valid(here)


def test_a_copied_log_without_events_shows_its_promotion(whole):
    """Only the identity of the publisher's log was copied, or not even that."""
    there, here = whole
    here.subscribe()
    wait_for(here, "SELECT count(*) > 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    here.execute("ALTER SUBSCRIPTION audit DISABLE")
    here.execute("DROP SUBSCRIPTION audit")
    record(here)
    assert seams(here) == [] and is_valid(here)


def test_a_copied_grant_belongs_to_the_role_of_that_name(whole):
    there, here = whole
    here.subscribe()
    wait_for(here, "SELECT count(*) > 5 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    # The OID of bob there is another role's here.
    bob, = there.execute("SELECT oid FROM pg_roles WHERE rolname = 'bob'").fetchone()
    taken, = here.execute("SELECT rolname FROM pg_roles WHERE oid = %s", [bob]).fetchone() or (None,)
    assert taken == "alice"
    there.execute("SELECT immutable.grant_tenant('bob', 't'), immutable.grant_tenant('bob', 't', 'write'), "
                  "immutable.grant_tenant('only_there', 't', 'write')")
    there.execute("SELECT immutable.grant_tenant('bob', 'u', 'write')")  # an update
    record(there, "in t")
    wait_for_copy(there, here)
    assert rows(here, "SELECT role, mode, tenant_id, role_oid = coalesce(to_regrole(role::text)::oid, 0) "
                "FROM immutable.tenant_grants ORDER BY 1, 2") == [
        ("bob", "read", "t", True), ("bob", "write", "u", True), ("only_there", "write", "t", True)]
    here.execute("GRANT immutable_viewer TO bob")
    with here.server.connect(user="bob") as reader:
        assert reader.execute("SELECT count(*) FROM immutable.events").fetchone() == (1,)
    here.execute("DROP SUBSCRIPTION audit")
    here.execute("GRANT immutable_writer TO alice, bob")
    with here.server.connect(user="alice") as free:
        record(free, tenant="t")
    with here.server.connect(user="bob") as bound:
        record(bound, tenant="u")
        refused(bound, "42501", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
    # Revoking alice's grant leaves bob bound.
    here.execute("SELECT immutable.grant_tenant('alice', 'v', 'write'), immutable.revoke_tenant('alice', 'write')")
    with here.server.connect(user="bob") as bound:
        refused(bound, "42501", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
