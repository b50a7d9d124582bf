"""The log on many machines. Citus itself is not installed here, but the tables are made as it makes shards, and what runs on a
node sees only those."""

import json
import os
import subprocess
import uuid

import psycopg
import pytest
from helpers_citus import as_public, make_shards

INSERT = "INSERT INTO {} (tenant_id, actor_id, action, targets, metadata) VALUES (%s, %s, %s, %s, %s) RETURNING id, lane, seq, log_id"
TARGETS = json.dumps([{"type": "doc", "id": "d1", "name": "Plan"}, {"type": "team"}])
FIELDS = ["valid", "events_checked", "chains_checked", "tenants_checked", "complete"]


@pytest.fixture
def shards(db):
    """Two shards of events on one node, each with its targets; the node knows the log's identity."""
    db.conn.execute("SELECT immutable.share_identity('11111111-2222-4333-8444-555555555555')")
    return make_shards(db.conn, 102008, 102040), make_shards(db.conn, 102009, 102041)


def record(conn, events, tenant="acme", actor="u1", action="shared", targets=TARGETS, metadata='{"k": 1.10}'):
    return conn.execute(INSERT.format(events), [tenant, actor, action, targets, metadata]).fetchone()


def verify(conn, events):
    return conn.execute(f"SELECT {', '.join(FIELDS)}, breaks FROM immutable.verify_shard(%s)", [events]).fetchone()


def breaks(conn, events):
    return sorted({each["type"] for each in verify(conn, events)[-1]})


def test_two_shards_of_one_node_have_chains_and_targets_of_their_own(db, shards):
    (events, targets), (others, other_targets) = shards
    writer = db.create_role("IN ROLE immutable_writer")
    with db.connect(writer) as conn:
        for n in range(5):
            assert record(conn, events)[1:3] == (0, n + 1)
            assert record(conn, others, "beta")[1:3] == (0, n + 1)
        record(conn, events, "second")
    identity = {row[0] for row in db.conn.execute(f"SELECT log_id FROM {events} WHERE seq = 1 UNION SELECT log_id FROM {others} WHERE seq = 1")}
    assert identity == {uuid.UUID("11111111-2222-4333-8444-555555555555")}
    assert db.conn.execute(f"SELECT (SELECT count(*) FROM {targets}), (SELECT count(*) FROM {other_targets}), "
                           "(SELECT count(*) FROM immutable.event_targets)").fetchone() == (12, 10, 0)
    assert verify(db.conn, events) == (True, 6, 2, 2, True, [])
    assert verify(db.conn, others) == (True, 5, 1, 1, True, [])
    assert db.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (None, 0)
    # One transaction over both, as a node has it for co-located tenants; what is undone leaves no gap.
    with db.conn.transaction(force_rollback=True):
        record(db.conn, events), record(db.conn, others, "beta")
    with db.conn.transaction():
        record(db.conn, events), record(db.conn, others, "beta")
    assert verify(db.conn, events)[:2] == (True, 7) and verify(db.conn, others)[:2] == (True, 6)


def test_concurrent_writers_take_lanes_of_the_shard(db, shards):
    (events, _), (others, _) = shards
    first, second, third = (db.connect(autocommit=False) for _ in range(3))
    assert record(first, events)[1:3] == (0, 1)
    assert record(second, events)[1:3] == (1, 1)
    # The same tenant in another shard (a table that is not distributed with it) is another chain.
    assert record(third, others)[1:3] == (0, 1)
    for conn in (second, first, third):
        conn.commit()
    assert verify(db.conn, events)[:3] == (True, 2, 2)


@pytest.mark.parametrize("tampering, found", [
    ("UPDATE {events} SET action = 'changed' WHERE seq = 2", ["hash_mismatch"]),
    ("UPDATE {events} SET tenant_id = 'beta' WHERE seq = 3", ["hash_mismatch", "missing_event", "target_mismatch"]),
    ("DELETE FROM {targets} WHERE event_id = (SELECT id FROM {events} WHERE seq = 2); DELETE FROM {events} WHERE seq = 2", ["missing_event"]),
    ("DELETE FROM {targets} WHERE position = 1", ["target_mismatch"]),
    ("UPDATE {targets} SET target_id = 'other' WHERE position = 0", ["target_mismatch"]),
    ("INSERT INTO {targets} SELECT tenant_id, id, 7, 't', NULL, NULL, NULL, created_at FROM {events} LIMIT 1", ["target_mismatch"]),
    ("UPDATE {events} SET log_id = gen_random_uuid() WHERE seq = 1", ["chain_break", "hash_mismatch"]),
    # A child table of the shard, which would add rows to every reader's.
    ("CREATE TABLE immutable.child () INHERITS ({events}); INSERT INTO immutable.child SELECT * FROM {events} WHERE seq = 1", None),
])
def test_tampering_with_a_shard_is_found_there(db, shards, tampering, found):
    (events, targets), (others, _) = shards
    for _ in range(4):
        record(db.conn, events)
    record(db.conn, others, "beta")
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        db.conn.execute(tampering.format(events=events, targets=targets))
    assert verify(db.conn, others)[0]
    assert not verify(db.conn, events)[0]
    assert found is None or breaks(db.conn, events) == found


def test_row_security_holds_on_a_shard(db, shards):
    (events, targets), _ = shards
    for tenant, actor in (("acme", "u1"), ("acme", "u2"), ("beta", "u1")):
        record(db.conn, events, tenant, actor)
    auditor, viewer, nobody, writer = (db.create_role(role) for role in (
        "IN ROLE immutable_auditor", "", "", "IN ROLE immutable_writer"))
    db.conn.execute(f"SELECT immutable.grant_tenant('{viewer}', 'acme'), immutable.grant_tenant('{writer}', 'acme', 'write')")
    count = f"SELECT (SELECT count(*) FROM {events}), (SELECT count(*) FROM {targets})"
    assert db.connect(auditor).execute(count).fetchone() == (3, 6)
    assert verify(db.connect(auditor), events)[:2] == (True, 3)
    assert db.connect(viewer).execute(count).fetchone() == (2, 4)
    # With a token: one actor's alone. Its key is this node's.
    token = db.conn.execute("SELECT immutable.create_viewer_token('acme', 'u2') ->> 'token'").fetchone()[0]
    with db.connect(db.create_role("IN ROLE immutable_viewer")) as conn:
        assert conn.execute(count).fetchone() == (0, 0)
        conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
        assert conn.execute(f"SELECT array_agg(actor_id) FROM {events}").fetchone()[0] == ["u2"]
    with db.connect(writer) as conn:
        assert record(conn, events)[2] == 3
        for refused in (lambda: record(conn, events, "beta"), lambda: conn.execute(f"DELETE FROM {events}"), lambda: verify(conn, events)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                refused()
        with pytest.raises(psycopg.errors.GeneratedAlways):
            conn.execute(f"INSERT INTO {events} (actor_id, action, seq) VALUES ('a', 'b', 1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect(nobody).execute(count)


def test_policies_without_a_subquery_show_a_viewer_the_same_rows(db, shards):
    """The policies that distribute() makes see what the ordinary ones see."""
    (events, targets), _ = shards
    for tenant, actor in (("acme", "u1"), ("acme", "u2"), ("beta", "u1")):
        record(db.conn, events, tenant, actor)
    using = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'viewer_select' AND polrelid = %s::regclass"
    with db.conn.transaction(force_rollback=True):
        db.conn.execute("SELECT immutable.prepare_tables()")
        policies = [db.conn.execute(using, [table]).fetchone()[0] for table in ("immutable.events", "immutable.event_targets")]
    assert not any("SELECT" in policy for policy in policies)
    for shard, policy in zip((events, targets), policies):
        db.conn.execute(f"ALTER POLICY viewer_select ON {shard} USING ({policy})")
    viewer = db.create_role()
    db.conn.execute(f"SELECT immutable.grant_tenant('{viewer}', 'acme')")
    with db.connect(viewer) as conn:
        assert conn.execute(f"SELECT (SELECT count(*) FROM {events}), (SELECT count(*) FROM {targets})").fetchone() == (2, 4)
        assert conn.execute(f"SELECT count(*) FROM {events} WHERE tenant_id = 'beta'").fetchone()[0] == 0
        conn.execute("SET enable_seqscan = off")
        plan = json.dumps(conn.execute(f"EXPLAIN (FORMAT JSON) SELECT * FROM {events} ORDER BY created_at DESC, id DESC LIMIT 25").fetchone()[0])
        assert "Index Cond" in plan and '"Sort"' not in plan


def test_a_distributed_log_reads_the_sessions_settings_where_the_client_is(db):
    """As defaults, since the trigger on another node has another session."""
    settings = ["tenant_id", "actor_id", "actor_name", "actor_type", "session_id", "ip_address", "user_agent"]
    defaults = "SELECT attname FROM pg_attribute a JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum) WHERE attrelid = 'immutable.events'::regclass AND pg_get_expr(adbin, adrelid) LIKE '%current_setting%' ORDER BY attnum"
    assert db.conn.execute(defaults).fetchall() == [("tenant_id",)]
    for setting in settings:
        db.conn.execute(f"SET immutable.{setting} = '127.0.0.1'")
    columns = ", ".join(settings)
    said = [("127.0.0.1",) * len(settings)] * 2
    with db.conn.transaction(force_rollback=True):
        db.conn.execute("INSERT INTO immutable.events (action) VALUES ('x')")
        db.conn.execute("SELECT immutable.prepare_tables()")
        assert db.conn.execute(defaults).fetchall() == [(setting,) for setting in settings]
        db.conn.execute("INSERT INTO immutable.events (action) VALUES ('x')")
        found = db.conn.execute(f"SELECT {columns.replace('ip_address', 'host(ip_address)')} FROM immutable.events")
        assert found.fetchall() == said


def test_functions_called_by_their_public_names_work_on_the_shard(db, shards):
    """As in a function that a node runs for one of its tenants: reading, erasing, exporting, verifying. (Not heads(), whose
    body has the table and not its name.)"""
    (events, targets), (others, _) = shards
    record(db.conn, others, "beta")
    event = record(db.conn, events, metadata='{"secret": "s", "k": 1.10}')[0]
    for n in range(3):
        record(db.conn, events, actor="subject", metadata='{"who": "subject"}')
    eraser = db.create_role("IN ROLE immutable_eraser")
    as_public(db.conn, events, targets)
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0] == 4
    with db.connect(eraser) as conn:
        erased = conn.execute("SELECT path FROM immutable.erase(%s, 'acme', '{metadata.secret,targets.0}', 'ticket 1')", [event]).fetchall()
        assert sorted(erased) == [("metadata.secret",), ("targets.0",)]
        assert len(conn.execute("SELECT FROM immutable.erase_subject('acme', 'subject', 'ticket 2')").fetchall()) >= 6
    reader = db.connect()
    assert reader.execute("SELECT valid, events_checked, events_erased FROM immutable.verify_chain()").fetchone() == (True, 6, 4)
    assert reader.execute("SELECT count(*) FROM immutable.find_events(tenant_id => 'acme', action => 'immutable.event_erased')").fetchone()[0] == 2
    assert reader.execute("SELECT immutable.get_events(tenant_id => 'acme') #>> '{pagination,total}'").fetchone()[0] == "6"
    assert reader.execute("SELECT jsonb_array_length(immutable.changes('acme') -> 'data')").fetchone()[0] == 6
    lines = [line for line, in reader.execute("SELECT immutable.export_events()").fetchall()]
    done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
    assert done.returncode == 3 and "consistent, not anchored" in done.stdout, done.stdout + done.stderr
    as_public(db.conn, events, targets)
    # All of it happened on that shard, and on no other.
    assert verify(db.conn, events)[:2] == (True, 6) and verify(db.conn, others)[:2] == (True, 1)
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0] == 0


def test_a_shard_does_not_begin_a_log(db):
    """If each node created its own identity, there would be as many logs as nodes."""
    (events, _) = make_shards(db.conn, 102008, 102040)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        record(db.conn, events)
    assert "distribute()" in refused.value.diag.message_hint
    ours = uuid.uuid4()
    assert db.conn.execute("SELECT immutable.share_identity(%s)", [ours]).fetchone()[0] == ours
    assert db.conn.execute("SELECT immutable.share_identity()").fetchone()[0] == ours
    assert record(db.conn, events)[3] == ours
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=str(ours)):
        db.conn.execute("SELECT immutable.share_identity(%s)", [uuid.uuid4()])
    for role in ("immutable_writer", "immutable_auditor", "immutable_viewer", "immutable_eraser"):
        with db.connect(db.create_role(f"IN ROLE {role}")) as conn:
            for call in ("immutable.share_identity()", "immutable.distribute()", "immutable.prepare_tables()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(f"SELECT {call}")


def test_verify_shard_accepts_only_tables_of_events(db, shards):
    (events, targets), _ = shards
    assert verify(db.conn, "immutable.events")[0]
    for table, error in (("immutable.log", psycopg.errors.ObjectNotInPrerequisiteState), (targets, psycopg.errors.ObjectNotInPrerequisiteState),
                         ("immutable.activity", psycopg.errors.UndefinedTable), (None, psycopg.errors.UndefinedTable)):
        with pytest.raises(error):
            verify(db.conn, table)
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.conn.execute("SELECT * FROM immutable.verify_shard(4242424)")
    db.conn.execute(f"ALTER TABLE {events} RENAME TO \"it's\"")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="apostrophe"):
        verify(db.conn, 'immutable."it\'s"')
    # An error leaves no trace: the calls use the log's own tables again.
    assert db.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (None, 0)


def test_distribute_needs_citus(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="needs the extension citus") as refused:
        db.conn.execute("SELECT immutable.distribute()")
    assert "citus_add_node" in refused.value.diag.message_hint
    assert db.conn.execute("SELECT * FROM immutable.shard_changes()").fetchall() == []
    assert db.conn.execute("SELECT * FROM immutable.local_shards()").fetchall() == []
    assert db.conn.execute("SELECT immutable.mend_shards()").fetchone() == (0,)
