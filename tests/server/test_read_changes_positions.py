"""Positions of changes() in a log that lost its latest events: no consumer continues from a lost event as if nothing had
happened, and a consumer that lost nothing continues."""

import json

import psycopg
import pytest

from helpers_servers import Copy, record, wait_for, write_file
from test_write_restore import dump, restore, target  # noqa: F401

CHANGES = "SELECT immutable.changes(%s, %s::text::jsonb, %s)"


def changes(conn, tenant, after=None, limit=1000):
    answer, = conn.execute(CHANGES, [tenant, json.dumps(after) if after is not None else None, limit]).fetchone()
    return [event["action"] for event in answer["data"]], answer["position"]


def refused(conn, tenant, after):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the log was set back") as raised:
        changes(conn, tenant, after)
    diag = raised.value.diag
    assert "after => NULL" in diag.message_hint
    return diag.message_detail


def old_form(position):
    """As 0.2.0 gave it: without hashes."""
    if "xact" in position:
        return {name: value for name, value in position.items() if name != "hash"}
    return {lane: int(read.split(":")[0]) for lane, read in position.items()}


def settle(conn):
    """Waits until the feed of all tenants gives what has committed: autovacuum may have a transaction ID."""
    wait_for(conn, "SELECT pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot())")


def positions(conn):
    settle(conn)
    return {tenant: changes(conn, tenant, limit=10_000)[1] for tenant in ("t", None)}


def test_a_position_names_events_by_hash_and_stays_small(db):
    record(db.conn, "one")
    hashes = [event_hash for event_hash, in db.conn.execute("SELECT left(encode(event_hash, 'hex'), 16) FROM immutable.events")]
    settle(db.conn)
    assert changes(db.conn, "t")[1] == {"0": f"1:{hashes[0]}"}
    place = changes(db.conn, None)[1]
    assert set(place) == {"xact", "id", "tenant_id", "hash"} and place["hash"] == hashes[0]
    # Passed as it is, or as a version before gave it, and answered with the hash once something was read.
    for tenant in ("t", None):
        position = positions(db.conn)[tenant]
        assert changes(db.conn, tenant, position) == ([], position)
        assert changes(db.conn, tenant, old_form(position)) == ([], old_form(position))
    record(db.conn, "two")
    settle(db.conn)
    for tenant in ("t", None):
        actions, position = changes(db.conn, tenant, old_form({"0": f"1:{hashes[0]}"} if tenant else place))
        assert actions == ["two"] and position == positions(db.conn)[tenant] != old_form(position)


@pytest.mark.parametrize("after", ['{"0": "1"}', '{"0": "1:"}', '{"0": ":0123456789abcdef"}', '{"0": "1:0123456789ABCDEF"}',
                                   '{"0": "01:0123456789abcdef"}', '{"0": "1:0123456789abcdef0"}', '{"0": "1:0123456789abcdeg"}',
                                   '{"0": "-1:0123456789abcdef"}', '{"0": "1:2:0123456789abcde"}', '{"0": ["1", "2"]}'])
def test_a_malformed_mark_is_not_a_position(db, after):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after is not a position"):
        db.conn.execute("SELECT immutable.changes('t', %s::text::jsonb)", [after])


def test_an_event_that_was_replaced_or_removed(db):
    for action in ("one", "two", "three"):
        record(db.conn, action)
    here = positions(db.conn)
    mark = here["t"]["0"].split(":")[1]
    for after in ({"0": f"4:{mark}"}, {"0": 4}, {"0": f"2:{mark}"}, {"0": "3:0123456789abcdef"}, {"1": f"1:{mark}"}, {"1": 1},
                  {"0": here["t"]["0"], "1": 1}):
        refused(db.conn, "t", after)
        refused(db.conn, "empty", after)
    assert changes(db.conn, "t", {"0": 0})[0] == ["one", "two", "three"]
    for change in ({"xact": "3"}, {"hash": "0123456789abcdef"}, {"tenant_id": "other"},
                   {"id": "00000000-0000-4000-8000-000000000f01"}):
        refused(db.conn, None, {**here[None], **change})


def test_a_position_reveals_nothing_that_its_reader_may_not_see(db):
    """The answer to a position with another tenant's event is the same whether the event exists or not."""
    feed, person = db.create_role("IN ROLE immutable_viewer"), db.create_role("IN ROLE immutable_viewer")
    db.conn.execute("SELECT immutable.grant_tenant(%s, 't')", [feed])
    record(db.conn, "mine")
    record(db.conn, "theirs", tenant="rival")
    everything = positions(db.conn)
    rival = changes(db.conn, "rival")[1]
    conn = db.connect(feed)
    said = {refused(conn, "rival", after) for after in (rival, {"0": 1}, {"0": "1:0123456789abcdef"})}
    assert len(said) == 1
    assert everything[None]["tenant_id"] != "t"
    refused(conn, None, everything[None])
    assert changes(conn, "t", everything["t"]) == ([], everything["t"])
    # With a token for one actor: its position names only events that it was given.
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'zoe', 'zoe.1'), ('t', 'u1', 'other')")
    token, = db.conn.execute("SELECT immutable.create_viewer_token('t', 'zoe') ->> 'token'").fetchone()
    own = db.connect(person)
    own.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    actions, position = changes(own, "t")
    assert actions == ["zoe.1"] and changes(own, "t", position) == ([], position)
    refused(own, "t", {"0": 3})


def test_a_poll_reads_one_event_per_lane(db):
    """Whatever the length of the log."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't', 'a', 'x' FROM generate_series(1, 3000)")
    db.conn.execute("ANALYZE immutable.events")
    scans = "SELECT sum(pg_stat_get_xact_numscans(indexrelid)), sum(pg_stat_get_xact_tuples_returned(indexrelid)) " \
        "FROM pg_index WHERE indrelid = 'immutable.events'::regclass"
    # What this session did before counts too, until PostgreSQL takes its numbers in: a second or more.
    whole = "SELECT pg_stat_get_xact_numscans('immutable.events'::regclass)"
    for tenant, position in positions(db.conn).items():
        with db.conn.transaction():
            before, read_whole = db.conn.execute(scans).fetchone(), db.conn.execute(whole).fetchone()
            assert changes(db.conn, tenant, position) == ([], position)
            after = db.conn.execute(scans).fetchone()
            assert after[0] - before[0] <= 5 and after[1] - before[1] <= 6, tenant
            assert db.conn.execute(whole).fetchone() == read_whole


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("new", [2, 5])
def test_a_failover(cluster, lost, new):
    """A standby that got the first five events of eight, or all of them, is promoted and gets `new` ones."""
    primary = cluster(wal_level="replica")
    writer = primary.connect()
    writer.execute("CREATE EXTENSION immutable")
    copy = Copy(primary)
    try:
        copy.begin()
        for n in range(1, 6):
            record(writer, f"old.{n}")
        standby = copy.connect()
        early = positions(writer)

        def catch_up():
            lsn, = writer.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
            wait_for(standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
        catch_up()
        if lost:
            standby.execute("SELECT pg_wal_replay_pause()")
            wait_for(standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
        for n in range(6, 9):
            record(writer, f"old.{n}")
        late = positions(writer)
        if lost:
            # While it lags that is not an error: the missing events may still arrive.
            for tenant in ("t", None):
                assert changes(standby, tenant, late[tenant]) == ([], late[tenant])
                assert changes(standby, tenant, early[tenant])[0] == []
            copy.stop()
            (copy.data / "standby.signal").unlink()
            # What it has received and not replayed is lost as well: as if it had not been sent.
            write_file(copy.data / "recovery.signal")
            copy.begin(restore_command="false", recovery_target="immediate", recovery_target_action="promote",
                       primary_conninfo="")
            standby = copy.connect()
        else:
            catch_up()
            writer.close()
            primary.stop("immediate")
            standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        have = standby.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 't'").fetchone()[0]
        if lost:
            assert have < 8
            for tenant in ("t", None):
                refused(standby, tenant, late[tenant])
        for n in range(new):
            record(standby, f"new.{n}")
        settle(standby)
        expected = [f"new.{n}" for n in range(new)]
        for tenant in ("t", None):
            if lost:
                refused(standby, tenant, late[tenant])
                refused(standby, tenant, old_form(late[tenant]) if new == 2 or not tenant else late[tenant])
            else:
                actions, _ = changes(standby, tenant, late[tenant])
                assert actions == (expected if tenant else sorted(expected + ["immutable.restored"]))
        if not lost:
            assert changes(standby, "t", early["t"])[0] == ["old.6", "old.7", "old.8", *expected]
        standby.close()
    finally:
        copy.destroy()


def test_a_restored_dump(db, server, target, tmp_path):  # noqa: F811
    """The position of one tenant stays valid if nothing was lost; that of all tenants never does, since transactions have new numbers."""
    for n in range(3):
        record(db.conn, f"old.{n}")
    dumped = positions(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c")
    for n in range(3, 6):
        record(db.conn, f"old.{n}")
    late = positions(db.conn)
    restore(server, "pg_restore", "-e", "-d", target, path)
    with server.connect(target) as restored:
        assert changes(restored, "t", dumped["t"]) == ([], dumped["t"])
        refused(restored, "t", late["t"])
        for n in range(5):
            record(restored, f"new.{n}")
        settle(restored)
        assert changes(restored, "t", dumped["t"])[0] == [f"new.{n}" for n in range(5)]
        refused(restored, "t", late["t"])
        for position in (dumped[None], late[None], old_form(dumped[None])):
            refused(restored, None, position)


def test_an_older_base_backup(cluster):
    """Put back and started without any archive: the log goes on from the backup."""
    primary = cluster(wal_level="replica")
    conn = primary.connect()
    conn.execute("CREATE EXTENSION immutable")
    record(conn, "kept")
    kept = positions(conn)
    copy = Copy(primary)
    try:
        for n in range(3):
            record(conn, f"lost.{n}")
        late = positions(conn)
        conn.close()
        (copy.data / "standby.signal").unlink()
        copy.begin()
        with copy.connect() as restored:
            for tenant in ("t", None):
                refused(restored, tenant, late[tenant])
            record(restored, "goes on")
            settle(restored)
            assert changes(restored, "t", kept["t"])[0] == ["goes on"]
            assert "goes on" in changes(restored, None, kept[None])[0]
            for n in range(5):
                record(restored, f"more.{n}")
            for tenant in ("t", None):
                refused(restored, tenant, late[tenant])
    finally:
        copy.destroy()


def test_status_reports_how_long_the_feed_of_all_tenants_is_held_back(db, server):
    """Any transaction with a number holds it back, in another database too."""
    held = "SELECT changes_held_for FROM immutable.status()"
    with server.connect(autocommit=False) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id(), pg_sleep(0.3)")
        record(db.conn, "waits")
        assert changes(db.conn, None)[0] == []
        age, = db.conn.execute(held).fetchone()
        assert 0.3 <= age.total_seconds() < 60
        elsewhere.rollback()
    settle(db.conn)
    assert changes(db.conn, None)[0] == ["waits"]
    assert db.conn.execute(f"SELECT coalesce(({held}) < interval '0.3 s', true)").fetchone() == (True,)
