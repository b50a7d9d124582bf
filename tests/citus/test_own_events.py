"""Events that a distributed log records about itself: at the shard of their tenant, from every node, in the transaction of
what they are about."""

import json
import threading
import time
import uuid

import psycopg
import pytest
from nodes import COORDINATOR, WORKERS

RECORD = "SELECT immutable.record_restore(%s)"
IN_BLOCKS = {
    "statement": RECORD,
    "do": "DO $$ BEGIN PERFORM immutable.record_restore({}); END $$",
    "function": "SELECT pg_temp.f({})",
    "prepared": "EXECUTE restored({})",
}


def own_events(log, reason, tenant=""):
    """What is recorded with this reason, on whichever node."""
    return log.conn.execute(
        "SELECT action, actor_id, actor_type, recorded_by, tenant_id FROM immutable.events "
        "WHERE tenant_id = %s AND metadata ->> 'reason' = %s ORDER BY lane, seq", [tenant, reason]).fetchall()


def shards_are_valid(log):
    found = log.conn.execute(
        "SELECT s.result FROM run_command_on_shards('immutable.events', "
        "$$SELECT to_jsonb(v) FROM immutable.verify_shard('%s') v$$) s").fetchall()
    verdicts = [json.loads(result) for result, in found]
    return len(verdicts) == 8 and all(verdict["valid"] is not False and not verdict["breaks"] for verdict in verdicts)


@pytest.fixture(scope="module")
def away(shared):
    """The node of the shard of tenant '', and a worker that does not have it."""
    _, here = shared.shard_of("")
    return here, next(worker for worker in WORKERS if worker != here)


@pytest.fixture(scope="module")
def restorer(shared):
    return shared.create_role(groups=["immutable_restorer"])


@pytest.mark.parametrize("how", IN_BLOCKS)
@pytest.mark.parametrize("node", ["coordinator", "shard's own", "another worker"])
def test_they_are_recorded_from_every_node_in_every_way(shared, restorer, away, node, how):
    at = {"coordinator": COORDINATOR, "shard's own": away[0], "another worker": away[1]}[node]
    conn = shared.connect(restorer, at)
    conn.execute("SET citus.enable_ddl_propagation = off")
    conn.execute("CREATE FUNCTION pg_temp.f(r text) RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN RETURN immutable.record_restore(r); END $$")
    conn.execute("PREPARE restored (text) AS SELECT immutable.record_restore(reason => $1)")
    for block in [False, True]:
        reason = str(uuid.uuid4())
        statement = IN_BLOCKS[how].replace("%s", "{}").format(f"'{reason}'")
        if block:
            with conn.transaction():
                conn.execute(statement)
        else:
            conn.execute(statement)
        assert own_events(shared, reason) == [("immutable.restored", restorer, "role", restorer, "")]


def test_it_returns_the_id_and_names_who_called_through_which_login(shared, restorer, entry):
    """The actor is the role outside of functions, recorded_by the login; neither is the owner, as whom the shard is written."""
    gateway = shared.create_role(groups=[restorer])
    conn = shared.connect(gateway, entry)
    conn.execute(f"SET ROLE {restorer}")
    (found,), = conn.execute(RECORD, [gateway]).fetchall()
    assert own_events(shared, gateway) == [("immutable.restored", restorer, "role", gateway, "")]
    assert shared.conn.execute("SELECT count(*) FROM immutable.events WHERE id = %s AND tenant_id = ''", [found]).fetchone() == (1,)


def test_settings_of_the_session_are_not_used(shared, restorer, entry):
    conn = shared.connect(restorer, entry)
    conn.execute("SET citus.propagate_set_commands = 'local'")
    with conn.transaction():
        conn.execute("SET LOCAL immutable.tenant_id = 'other'")
        conn.execute("SET LOCAL immutable.actor_id = 'other'")
        conn.execute("SET LOCAL immutable.session_id = 's'")
        conn.execute(RECORD, [f"settings of {entry}"])
    assert own_events(shared, f"settings of {entry}") == [("immutable.restored", restorer, "role", restorer, "")]


def test_what_is_rolled_back_leaves_no_event(shared, restorer, entry):
    conn = shared.connect(restorer, entry)
    with conn.transaction(force_rollback=True):
        conn.execute(RECORD, ["undone"])
    with conn.transaction():
        conn.execute(RECORD, [f"kept {entry}"])
        with conn.transaction(force_rollback=True):
            conn.execute(RECORD, ["undone"])
        conn.execute(RECORD, [f"kept {entry}"])
    assert not own_events(shared, "undone")
    assert len(own_events(shared, f"kept {entry}")) == 2
    assert shards_are_valid(shared)


def recover(log):
    """Ends the transactions that a node had prepared when it died. The first statements meet connections of before."""
    while True:
        try:
            log.conn = log.connect()
            log.conn.execute("SELECT recover_prepared_transactions()")
            return
        except psycopg.Error:
            time.sleep(0.05)


# PostgreSQL refuses this at commit, where Citus has committed or prepared its part already: the nearest thing to a node
# that dies between the two.
FAILS_AT_COMMIT = """
    CREATE TEMP TABLE parent (i int PRIMARY KEY) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE child (i int REFERENCES parent)"""


def test_the_event_is_not_committed_where_its_own_transaction_is_not(shared, restorer, entry):
    conn = shared.connect(restorer, entry)
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        with conn.transaction():
            conn.execute(FAILS_AT_COMMIT)
            conn.execute(RECORD, ["fails at commit"])
    assert not own_events(shared, "fails at commit")


def test_a_worker_that_dies_leaves_the_decision_and_its_record_or_neither(log):
    """A role of its own decides again and again, while the worker that records it dies and comes back."""
    _, node = log.shard_of("")
    decider = log.create_role("SUPERUSER")
    log.conn.execute("CREATE TABLE decisions (reason text)")
    stop = threading.Event()

    def decide():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                with psycopg.connect(log.nodes[COORDINATOR].dsn(log.name, decider)) as conn:
                    for n in range(20):
                        conn.execute("INSERT INTO decisions VALUES (%s)", [f"{number}.{n}"])
                        conn.execute(RECORD, [f"{number}.{n}"])
                        conn.commit()
            except psycopg.Error:
                time.sleep(0.01)

    def decided():
        return log.conn.execute("SELECT count(*) FROM decisions").fetchone()[0]

    thread = threading.Thread(target=decide)
    thread.start()
    try:
        for _ in range(2):
            before = decided()
            while decided() < before + 20:
                time.sleep(0.01)
            log.nodes[node].kill9()
            log.nodes[node].start()
    finally:
        stop.set()
        thread.join()
    recover(log)
    (decisions,), = log.conn.execute("SELECT array_agg(reason ORDER BY reason) FROM decisions").fetchall()
    (recorded,), = log.conn.execute("SELECT array_agg(metadata ->> 'reason' ORDER BY metadata ->> 'reason') FROM immutable.events "
                                    "WHERE tenant_id = ''").fetchall()
    assert decisions == recorded
    assert shards_are_valid(log)


def test_a_transaction_that_wrote_to_the_shard_with_another_role_is_refused_with_advice(shared, restorer, entry, away):
    """Unless the shard is on the client's own node, where both roles share a connection."""
    conn = shared.connect(shared.create_role(groups=[restorer, "immutable_writer"]), entry, autocommit=False)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('', 'a', 'b')")
    if entry == away[0]:
        conn.execute(RECORD, ["after a write"])
        conn.rollback()
        return
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(RECORD, ["after a write"])
    assert refused.value.sqlstate == "25001"
    assert refused.value.diag.message_primary == "this transaction has written to the shard with another role than the log's owner"
    assert refused.value.diag.message_hint == "End the transaction first, and call the function in another one."
    conn.rollback()
    conn.execute(RECORD, ["in another transaction"])
    conn.commit()
    assert own_events(shared, "in another transaction")


@pytest.mark.parametrize("owner", [True, False])
def test_they_are_recorded_from_event_triggers(shared, owner):
    """By the log's owner and by another superuser, who writes to the shard as the owner, and to the nodes as itself."""
    role = "postgres" if owner else shared.create_role("SUPERUSER")
    conn = shared.connect(role)
    conn.execute("SET immutable.allow_ddl = on")
    with conn.transaction():
        conn.execute("CREATE OR REPLACE FUNCTION immutable.new_id() RETURNS uuid LANGUAGE c VOLATILE AS 'immutable', 'immutable_new_id'")
        conn.execute(f"CREATE ROLE {role}_made")  # Citus refuses this after a statement that it ran in parallel
        conn.execute(f"DROP ROLE {role}_made")
    found = shared.conn.execute("SELECT actor_id, recorded_by, metadata FROM immutable.events WHERE tenant_id = '' AND "
                                "action = 'immutable.ddl' AND actor_id = %s", [role]).fetchall()
    assert found == [(role, role, {"command": "CREATE FUNCTION", "object": "function immutable.new_id()"})]


@pytest.mark.parametrize("group", [None, "immutable_viewer", "immutable_writer", "immutable_auditor", "immutable_eraser", "immutable_restorer"])
def test_nobody_but_the_owner_calls_the_functions_of_the_shards(shared, group, entry):
    role = shared.create_role(groups=[group] if group else ["immutable_viewer"])
    if group is None:
        shared.conn.execute(f"REVOKE immutable_viewer FROM {role}")
        shared.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
    conn = shared.connect(role, entry)
    functions = shared.conn.execute(
        "SELECT p.oid::regprocedure::text, p.pronargs FROM pg_proc p WHERE p.pronamespace = 'immutable'::regnamespace "
        "AND p.proname = ANY (%s)", [["shard_record_own"]]).fetchall()
    assert functions
    for name, count in functions:
        nulls = ", ".join(["NULL"] * count)
        name = name.split("(")[0]
        for statement in [f"SELECT {name}({nulls})",
                          f"SELECT a FROM (SELECT count(*) AS here FROM immutable.placement WHERE tenant_id = 't1') p, "
                          f"LATERAL {name}(p.here, 't1'{', NULL' * (count - 2)}) a"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


@pytest.mark.parametrize("missing", range(1, 10))
def test_null_in_the_functions_of_the_shards_harms_nothing(shared, missing, entry):
    """A superuser may call them."""
    conn = shared.connect(node=entry)
    given = ["0", "''", "'immutable.restored'", "NULL", "NULL", "'[]'", "'{}'", "'a'", "'role'", "'r'"]
    given[missing] = "NULL"
    conn.execute("SET client_min_messages = error")
    try:
        conn.execute(f"SELECT immutable.shard_record_own({', '.join(given)})")
    except psycopg.Error as refused:
        assert refused.sqlstate in ("22004", "55000")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_seam_is_no_concern_of_a_shard(log):
    """A shard has no row of immutable.cluster, and needs none; a restore is recorded where somebody says it."""
    tenants = [""] + log.tenants_on(1) + log.tenants_on(2)
    for tenant in tenants:
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    assert log.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (3,)
    for node in (COORDINATOR, *WORKERS):
        log.connect(node=node).execute(RECORD, [f"node {node}"])
    found = log.conn.execute("SELECT metadata FROM immutable.events WHERE action = 'immutable.restored' ORDER BY lane, seq").fetchall()
    assert [metadata["reason"] for metadata, in found] == ["node 0", "node 1", "node 2"]
    assert all(metadata["last_event_at"] for metadata, in found)
    assert shards_are_valid(log)
