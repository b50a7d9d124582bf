"""Verification of a distributed log: the whole of it in one call, by an auditor, from every node."""

import contextlib
import json
import os
import subprocess

import psycopg
import pytest
from conftest_of_servers import module
from nodes import COORDINATOR

INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata) VALUES (%s, %s, %s, %s, %s) RETURNING id, lane, seq"
TARGETS = json.dumps([{"type": "doc", "id": "d1", "name": "Plan"}, {"type": "team", "id": "t1"}])
TENANTS = [f"t{n}" for n in range(24)]
EACH = 3
COLUMNS = ["valid", "events_checked", "chains_checked", "tenants_checked", "complete", "events_total", "heads_checked", "anchored"]
ALL = (True, len(TENANTS) * EACH, len(TENANTS), len(TENANTS), True, len(TENANTS) * EACH, 0, False)


def record(conn, tenant, actor="u1", action="shared"):
    return conn.execute(INSERT, [tenant, actor, action, TARGETS, '{"k": 1.10, "secret": "s"}']).fetchone()


@pytest.fixture(scope="module")
def filled(shared):
    """The log, with three events of each tenant, and an auditor."""
    for tenant in TENANTS:
        for n in range(EACH):
            record(shared.conn, tenant, f"u{n}")
    shared.auditor = shared.create_role(groups=["immutable_auditor"])
    return shared


def verify(conn, arguments="", values=()):
    return conn.execute(f"SELECT {', '.join(COLUMNS)} FROM immutable.verify_chain({arguments})", values).fetchone()


def breaks(conn, arguments="", values=()):
    """valid, and the breaks as (type, tenant_id, lane, seq, detail)."""
    valid, found = conn.execute(f"SELECT valid, breaks FROM immutable.verify_chain({arguments})", values).fetchone()
    return valid, [(b["type"], b["tenant_id"], b["lane"], b["seq"], b["detail"]) for b in found]


def kinds(conn, arguments="", values=()):
    valid, found = breaks(conn, arguments, values)
    assert valid is False
    return sorted({kind for kind, *_ in found})


def heads(conn, tenant=None):
    return conn.execute("SELECT coalesce(jsonb_agg(h), '[]') FROM immutable.heads(%s) h", [tenant]).fetchone()[0]


@contextlib.contextmanager
def forged(log, *tenants):
    """Gives a function that runs a statement as a superuser on the shard of a tenant, and its tables. At the end the shards of
    the tenants are as they were."""
    shards = {tenant: (*log.shard_of(tenant), log.shard_of(tenant, "event_targets")[0]) for tenant in tenants}
    with contextlib.ExitStack() as stack:
        connections = {}
        for tenant, (events, node, targets) in shards.items():
            conn = connections[tenant] = stack.enter_context(log.on_node(node))
            conn.execute("SET session_replication_role = replica")
            conn.execute(f"CREATE TEMP TABLE old_events AS SELECT * FROM {events}; CREATE TEMP TABLE old_targets AS SELECT * FROM {targets}")

        def run(tenant, statement, values=()):
            events, _, targets = shards[tenant]
            return connections[tenant].execute(statement.replace("EVENTS", events).replace("TARGETS", targets), values)
        try:
            yield run
        finally:
            for tenant in tenants:
                run(tenant, "DELETE FROM TARGETS; DELETE FROM EVENTS; INSERT INTO EVENTS SELECT * FROM old_events; INSERT INTO TARGETS SELECT * FROM old_targets")
    assert verify(log.connect(log.auditor))[0], "the forgery was not undone"


def test_all_shards_are_verified_in_one_call(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    assert verify(conn) == ALL
    assert conn.execute("SELECT log_id FROM immutable.verify_chain()").fetchone() == filled.conn.execute("SELECT log_id FROM immutable.log").fetchone()
    assert conn.execute("SELECT * FROM immutable.verify_breaks()").fetchall() == []
    found = conn.execute("SELECT immutable.verify() -> 'data'").fetchone()[0]
    assert (found["valid"], found["events_checked"], found["complete"], found["breaks"]) == (True, ALL[1], True, [])
    # In a transaction block and in a function too, and without targets.
    with conn.transaction():
        assert verify(conn) == ALL
    assert verify(conn, "targets => false")[:5] == (*ALL[:4], False)


def test_the_columns_are_those_of_one_machine(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    assert conn.execute("SELECT * FROM immutable.verify_chain()").fetchone()[11:] == (False, None, None, None, None)


def test_a_range_a_tenant_and_a_number_of_events(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    assert verify(conn, "tenant_id => 't7'") == (True, EACH, 1, 1, True, EACH, 0, False)
    assert verify(conn, "tenant_id => 'nobody'")[:2] == (None, 0)
    assert verify(conn, "from_date => 'yesterday', to_date => 'tomorrow'")[:6] == (*ALL[:4], False, ALL[5])
    assert verify(conn, "from_date => 'tomorrow'") == (None, 0, 0, 0, False, ALL[5], 0, False)
    assert verify(conn, "to_date => 'infinity'")[1] == ALL[1]
    assert verify(conn, "max_events => 1000") == ALL
    # In the order of tenant, lane and seq over all shards: t0, t1, t10, t11 …
    for most in (1, 4, 10, 71):
        assert verify(conn, "max_events => %s", [most])[:6] == (True, most, -(-most // EACH), -(-most // EACH), False, ALL[5])
    assert conn.execute('SELECT immutable.verify("limit" => 5) #> \'{data,events_checked}\'').fetchone()[0] == 5
    data = conn.execute("SELECT immutable.verify(max_seconds => 0) -> 'data'").fetchone()[0]
    assert (data["events_checked"], data["complete"]) == (0, False)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        verify(conn, "max_events => 0")


def test_the_callers_own_events_are_seen_of_one_tenant(filled, entry):
    conn = filled.connect(node=entry)
    with conn.transaction(force_rollback=True):
        record(conn, "t3")
        assert verify(conn, "tenant_id => 't3'")[1] == EACH + 1
        assert [h["seq"] for h in heads(conn, "t3")] == [EACH + 1]
        # The other shards are read through other connections, which see what is committed.
        assert verify(conn)[1] == ALL[1]


def test_heads_of_the_callers_own_events_are_no_breaks(filled, entry):
    conn = filled.connect(node=entry)
    for argument in ("heads", "since"):
        with conn.transaction(force_rollback=True):
            record(conn, "t3")
            found = json.dumps(heads(conn))
            with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="has recorded events") as refused, conn.transaction():
                verify(conn, f"{argument} => %s", [found])
            assert "End the transaction" in refused.value.diag.message_hint
            assert verify(conn, f"tenant_id => 't3', {argument} => %s", [found])[0] is True
        # An event that was rolled back is missing indeed.
        assert verify(conn, f"{argument} => %s", [found])[0] is False


def test_heads(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    found = heads(conn)
    assert [(h["tenant_id"], h["lane"], h["seq"]) for h in found] == [(tenant, 0, EACH) for tenant in sorted(TENANTS)]
    assert heads(conn, "t5") == [h for h in found if h["tenant_id"] == "t5"]
    assert heads(conn, "nobody") == []
    assert verify(conn, "heads => %s", [json.dumps(found)])[6:] == (len(TENANTS), True)
    assert verify(conn, "tenant_id => 't5', heads => %s", [json.dumps(found)])[6:] == (1, True)
    found[4]["event_hash"] = "\\x" + "00" * 32
    assert breaks(conn, "heads => %s", [json.dumps(found)]) == (
        False, [("missing_event", found[4]["tenant_id"], 0, EACH, "another event is in the place of a saved head")])
    gone = [{"tenant_id": "never", "lane": 3, "seq": 9, "event_hash": "00" * 32}]
    assert breaks(conn, "heads => %s", [json.dumps(gone)]) == (False, [("missing_event", "never", 3, 9, "the event of a saved head is gone")])
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        verify(conn, "heads => '{}'")


def test_since(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    seen = heads(conn)
    assert verify(conn, "since => %s", [json.dumps(seen)]) == (True, len(TENANTS), len(TENANTS), len(TENANTS), False, ALL[5], len(TENANTS), True)
    # What no mark covers is verified from its beginning.
    assert verify(conn, "since => '[]'")[:6] == (*ALL[:4], False, ALL[5])
    assert verify(conn, "tenant_id => 't1', since => %s", [json.dumps(seen)])[:3] == (True, 1, 1)


TAMPERING = [
    ("UPDATE EVENTS SET action = 'changed' WHERE tenant_id = 't4' AND seq = 2", ["hash_mismatch"]),
    ("UPDATE EVENTS SET event_hash = sha256('x') WHERE tenant_id = 't4' AND seq = 2", ["chain_break", "hash_mismatch"]),
    ("DELETE FROM TARGETS WHERE event_id = (SELECT id FROM EVENTS WHERE tenant_id = 't4' AND seq = 2); "
     "DELETE FROM EVENTS WHERE tenant_id = 't4' AND seq = 2", ["missing_event"]),
    ("UPDATE TARGETS SET target_id = 'other' WHERE tenant_id = 't4' AND position = 1", ["target_mismatch"]),
    ("UPDATE EVENTS SET metadata = metadata - 'secret' WHERE tenant_id = 't4' AND seq = 1", ["hash_mismatch"]),
    ("UPDATE EVENTS SET log_id = gen_random_uuid() WHERE tenant_id = 't4' AND seq = 1", ["chain_break", "hash_mismatch"]),
]


@pytest.mark.parametrize("statement, found", TAMPERING)
def test_tampering_with_a_shard_is_found(filled, statement, found):
    with forged(filled, "t4") as run:
        run("t4", statement)
        for node in (COORDINATOR, 1, 2):
            conn = filled.connect(filled.auditor, node)
            assert kinds(conn) == kinds(conn, "tenant_id => 't4'") == found
            assert sorted({kind for kind, in conn.execute("SELECT type FROM immutable.verify_breaks()")}) == found
            data = conn.execute("SELECT immutable.verify() -> 'data'").fetchone()[0]
            assert data["valid"] is False and sorted({b["type"] for b in data["breaks"]}) == found
            assert {tenant for _, tenant, *_ in breaks(conn)[1]} == {"t4"}
            assert verify(conn, "tenant_id => 't5'")[0] is True


def test_an_end_that_was_cut_off_is_found_by_saved_heads(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    saved = json.dumps(heads(conn))
    with forged(filled, "t4", "t9") as run:
        run("t4", "DELETE FROM TARGETS WHERE event_id = (SELECT id FROM EVENTS WHERE tenant_id = 't4' AND seq = 3); DELETE FROM EVENTS WHERE tenant_id = 't4' AND seq = 3")
        run("t9", "DELETE FROM TARGETS WHERE tenant_id = 't9'; DELETE FROM EVENTS WHERE tenant_id = 't9'")
        assert verify(conn)[0] is True
        gone = [("missing_event", tenant, 0, EACH, "the event of a saved head is gone") for tenant in ("t4", "t9")]
        assert breaks(conn, "heads => %s", [saved]) == (False, gone)
        assert breaks(conn, "tenant_id => 't9', heads => %s", [saved]) == (False, gone[1:])
        found = breaks(conn, "since => %s", [saved])
        assert found[0] is False and {tenant for _, tenant, *_ in found[1]} == {"t4", "t9"}


def other_shard(log, tenant):
    """A tenant of another shard."""
    return next(other for other in TENANTS if log.shard_of(other)[0] != log.shard_of(tenant)[0])


def test_a_tenant_in_a_foreign_shard_is_found(filled, entry):
    """Moved there as a whole, or written there by a writer who has the right to insert."""
    conn = filled.connect(filled.auditor, entry)
    saved = json.dumps(heads(conn))
    other = other_shard(filled, "t4")
    (home, node), (elsewhere, _) = filled.shard_of("t4"), filled.shard_of(other)
    with forged(filled, "t4", other) as run:
        columns = [name for name, in filled.conn.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'immutable.events'::regclass AND attnum > 0")]
        rows = run("t4", "SELECT " + ", ".join(f"{c}::text" for c in columns) + " FROM EVENTS WHERE tenant_id = 't4'").fetchall()
        for row in rows:
            run(other, f"INSERT INTO EVENTS ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(row))})", row)
        targets = run("t4", "SELECT tenant_id, event_id::text, position::text, target_type, target_id, target_name, target_metadata::text, created_at::text FROM TARGETS WHERE tenant_id = 't4'").fetchall()
        for row in targets:
            run(other, "INSERT INTO TARGETS VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", row)
        run("t4", "DELETE FROM TARGETS WHERE tenant_id = 't4'; DELETE FROM EVENTS WHERE tenant_id = 't4'")
        valid, found = breaks(conn)
        assert valid is False and [(kind, tenant, lane) for kind, tenant, lane, *_ in found] == [("chain_break", "t4", 0)]
        assert elsewhere in found[0][4]
        # At its own shard it is gone, as saved heads show.
        assert breaks(conn, "tenant_id => 't4', heads => %s", [saved])[1][0][:2] == ("missing_event", "t4")
        assert kinds(conn, "heads => %s", [saved]) == ["chain_break", "missing_event"]
        # Also where the lanes are walked in order.
        assert ("chain_break", "t4", 0) in [each[:3] for each in breaks(conn, "max_events => 71")[1]]


def test_shards_that_a_node_has_forgotten(log):
    """A row of pg_dist_shard that is gone on one node, and on all nodes; a table of a shard that is gone."""
    for tenant in TENANTS[:8]:
        record(log.conn, tenant)
    auditor = log.create_role(groups=["immutable_auditor"])
    connections = [log.connect(auditor, node) for node in (COORDINATOR, 1, 2)]
    shard, _ = log.shard_of("t4")
    number = int(shard.rsplit("_", 1)[1])
    remove = "DELETE FROM pg_dist_placement WHERE shardid = %s; DELETE FROM pg_dist_shard WHERE shardid = %s".replace("%s", str(number))
    with log.on_node(1) as conn:
        conn.execute(remove)
    for conn in connections[::2]:
        valid, found = breaks(conn)
        assert valid is False and {kind for kind, *_ in found} == {"missing_event"}
        assert any(shard in each[4] and log.nodes[1].host in each[4] for each in found), found
    for node in (COORDINATOR, 2):
        with log.on_node(node) as conn:
            conn.execute(remove)
    for conn in connections:
        valid, found = breaks(conn)
        assert valid is False and any("hash" in each[4] and each[0] == "missing_event" for each in found), found
    # Without a shard there is no answer about its tenants; the others' are as they were.
    for conn in connections:
        with pytest.raises(psycopg.Error):
            assert verify(conn, "tenant_id => 't4'")[0] is not True
            raise psycopg.Error
        assert verify(conn, "tenant_id => %s", [other_shard_of(log, shard)])[0] is True


def other_shard_of(log, shard):
    for tenant in TENANTS[:8]:
        number, = log.conn.execute("SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'immutable.events'::regclass AND "
                                   "worker_hash(%s::text) BETWEEN shardminvalue::int AND shardmaxvalue::int", [tenant]).fetchone() or (None,)
        if number and not shard.endswith(str(number)):
            return tenant


def test_another_identity_and_version_are_named(log):
    record(log.conn, "t1"), record(log.conn, "t2")
    conn = log.connect(log.create_role(groups=["immutable_auditor"]))
    assert verify(conn)[0] is True
    with log.on_node(2) as node:
        node.execute("SET session_replication_role = replica; UPDATE immutable.log SET log_id = gen_random_uuid()")
    valid, found = breaks(conn)
    assert valid is False and any(kind == "chain_break" and log.nodes[2].host in detail for kind, _, _, _, detail in found), found
    with log.on_node(1) as node:
        node.execute("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'immutable'")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="0.0.9") as refused:
        verify(conn)
    assert log.nodes[1].host in str(refused.value) and "ALTER EXTENSION" in refused.value.diag.message_hint


def test_a_node_that_does_not_answer_is_named(log):
    for tenant in TENANTS[:8]:
        record(log.conn, tenant)
    conn = log.connect(log.create_role(groups=["immutable_auditor"]))
    here, there = log.tenants_on(1)[0], log.tenants_on(2)[0]
    log.nodes[2].stop()
    try:
        for call in ("verify_chain()", "verify_breaks()", "verify()"):
            with pytest.raises(psycopg.errors.ConnectionFailure) as refused:
                conn.execute(f"SELECT * FROM immutable.{call}")
            assert log.nodes[2].host in str(refused.value) and "tenant_id" in refused.value.diag.message_hint
        assert verify(conn, "tenant_id => %s", [here])[0] is not False
        with pytest.raises(psycopg.Error):
            verify(conn, "tenant_id => %s", [there])
        # Nor does distribute() say that the node has to be made anew.
        with pytest.raises(psycopg.errors.ConnectionFailure, match="does not answer") as refused:
            log.conn.execute("SELECT immutable.distribute()")
        assert "Start the node" in refused.value.diag.message_hint
    finally:
        log.nodes[2].start()
    assert verify(log.connect(node=2))[0] is True


def test_a_shard_that_moved_is_verified_where_it_is(log):
    for tenant in TENANTS[:8]:
        record(log.conn, tenant)
    shard, node = log.shard_of("t4")
    to = 3 - node
    log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'block_writes')",
                     [int(shard.rsplit("_", 1)[1]), *log.address(node), *log.address(to)])
    record(log.conn, "t4")
    for entry in (COORDINATOR, 1, 2):
        assert verify(log.connect(node=entry))[:2] == (True, 9)
    log.add(3)  # a node that has no shard and does not know the identity yet
    assert verify(log.connect())[:2] == (True, 9)


def test_damaged_bytes_are_breaks(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    with forged(filled, "t4") as run:
        guard = "; ".join(f"ALTER EVENT TRIGGER immutable_ddl_{name} {{}}" for name in ("start", "end", "drop"))
        run("t4", guard.format(*["DISABLE"] * 3))
        run("t4", "SET citus.enable_manual_changes_to_shards = on")
        apply = f'"~immutable_apply_{filled.shard_of("t4")[0].rsplit("_")[-1]}"'
        run("t4", f"ALTER TABLE EVENTS DISABLE TRIGGER {apply}")
        run("t4", "UPDATE EVENTS SET metadata = 'null', salt = '\\x00', targets = '\"x\"' WHERE tenant_id = 't4' AND seq = 1")
        run("t4", "UPDATE EVENTS SET event_hash = '\\x00', created_at = 'infinity' WHERE tenant_id = 't4' AND seq = 2")
        found = kinds(conn)
        run("t4", f"ALTER TABLE EVENTS ENABLE REPLICA TRIGGER {apply}")
        run("t4", guard.format(*["ENABLE ALWAYS"] * 3))
        assert "hash_mismatch" in found and "chain_break" in found


def test_what_needs_the_whole_log_on_one_node_is_refused(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    for call in ("verify_chain(progress => true)", "recorded_late()", "recorded_late('x')"):
        with pytest.raises(psycopg.errors.FeatureNotSupported) as refused:
            conn.execute(f"SELECT * FROM immutable.{call}")
        assert refused.value.diag.message_hint
    note = "example.org/log\n1\n" + "A" * 43 + "=\n\n\u2014 example.org/log " + "A" * 96 + "\n"
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        conn.execute("SELECT * FROM immutable.verify_chain(checkpoint => %s)", [note])


def test_many_breaks_are_counted_and_listed_in_order(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    with forged(filled, "t4", other_shard(filled, "t4")) as run:
        for tenant in ("t4", other_shard(filled, "t4")):
            run(tenant, "UPDATE EVENTS SET action = 'changed'")
        found, listed = conn.execute("SELECT breaks_found, breaks FROM immutable.verify_chain()").fetchone()
        places = [(b["tenant_id"], b["lane"], b["seq"]) for b in listed]
        assert found == len(places) >= 2 * EACH and places == sorted(places)
        few = conn.execute("SELECT breaks_found, breaks FROM immutable.verify_chain(max_breaks => 4)").fetchone()
        assert few == (found, listed[:4])
        assert conn.execute("SELECT tenant_id, lane, seq FROM immutable.verify_breaks()").fetchall() == places
        assert len(conn.execute("SELECT FROM immutable.verify_breaks(max_breaks => 2)").fetchall()) == 2


def test_only_an_auditor_may(filled, entry):
    """A viewer, a writer and an eraser may call none of it, also not the parts that run at the shards."""
    calls = ["verify_chain()", "verify_breaks()", "verify()", "heads()", "verify_chain(tenant_id => 't1')", "heads('t1')",
             "verify_shards('{}')", "shard_verify(0, 't1', '{}')", "shard_heads(0, 't1', NULL)"]
    for group in ("immutable_viewer", "immutable_writer", "immutable_eraser"):
        conn = filled.connect(filled.create_role(groups=[group]), entry)
        for call in calls:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT * FROM immutable.{call}")


def test_the_parts_at_the_shards_take_nothing_else(filled):
    """An auditor may call them, with the auditor's own rights and row security."""
    for node in (COORDINATOR, 1):
        conn = filled.connect(filled.auditor, node)
        for call in ("verify_shards('{}')", "verify_shards('[]')", "verify_shards(NULL)", "verify_shards('{\"pieces\": [{\"shard\": \"x\"}]}')",
                     "verify_shards('{\"pieces\": [1]}')", "shard_verify(0, NULL, '{}')", "shard_verify(0, 't1', NULL)",
                     "verify_shards('{\"pieces\": [{\"shard\": 1}]}')", "shard_heads(0, NULL, NULL)"):
            with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState,
                                psycopg.errors.NullValueNotAllowed)):
                conn.execute(f"SELECT * FROM immutable.{call}")
    assert verify(filled.connect(filled.auditor)) == ALL


def test_night_after_night(filled, entry, tmp_path):
    """immutable-nightly, as an auditor's machine runs it against one of the nodes."""
    server, heads = filled.nodes[entry], tmp_path / "heads.json"

    def run(*arguments):
        done = subprocess.run([module.ROOT / "scripts/immutable-nightly", *arguments, "-d", server.dsn(filled.name, filled.auditor), heads],
                              text=True, env={**os.environ, "PATH": f"{server.bin}:{os.environ['PATH']}"}, capture_output=True)
        return done.returncode, done.stdout + done.stderr
    assert run("--first")[0] == 0, run("--first")
    assert len(json.loads(heads.read_text())) == len(TENANTS)
    for arguments in ((), ("--quick",)):
        status, said = run(*arguments)
        assert status == 0 and f"{len(TENANTS)} saved heads, 0 breaks" in said, said
    with forged(filled, "t4") as forge:
        forge("t4", "UPDATE EVENTS SET action = 'changed' WHERE tenant_id = 't4' AND seq = 3")
        for arguments in ((), ("--quick",)):
            status, said = run(*arguments)
            assert status == 1 and "hash_mismatch" in said, said
