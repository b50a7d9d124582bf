"""status() on every node of a distributed log, and nodes() for all of them."""

import psycopg
import pytest
from nodes import COORDINATOR, WORKERS

@pytest.fixture(scope="module")
def filled(shared):
    for n in range(16):
        shared.last = shared.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b') RETURNING id", [f"t{n}"]).fetchone()[0]
    shared.auditor = shared.create_role(groups=["immutable_auditor"])
    return shared


def sound(row):
    """The row without what is wrong with the servers of all tests."""
    return {**row, "problems": [problem for problem in row["problems"] if not problem.startswith("fsync is off")]}


def status(conn):
    return sound(conn.cursor(row_factory=psycopg.rows.dict_row).execute("SELECT * FROM immutable.status()").fetchone())


def all_nodes(conn):
    found = conn.cursor(row_factory=psycopg.rows.dict_row).execute("SELECT * FROM immutable.nodes()").fetchall()
    return {row["node"]: sound(row) for row in found}


def name(log, node):
    return "{}:{}".format(*log.address(node))


def test_each_node_says_what_is_on_it(filled):
    shards = list(filled.shards().values())
    chains = {}
    for node in (COORDINATOR, *WORKERS):
        found = status(filled.connect(filled.auditor, node))
        assert found["problems"] == [] and found["triggers_enabled"] and found["row_security_enabled"] and found["guard_enabled"]
        assert (found["node"], found["shards"]) == (name(filled, node), shards.count(node))
        assert found["log_id"] == filled.conn.execute("SELECT log_id FROM immutable.log").fetchone()[0]
        chains[node] = found["chains"]
        if node in WORKERS:
            assert found["total_bytes"] > 1_000_000
    assert sum(chains.values()) == 16 and chains[COORDINATOR] == 0
    newest = [status(filled.connect(node=node))["last_event_id"] for node in WORKERS]
    assert filled.last in newest


def test_all_nodes_in_one_query(filled, entry):
    found = all_nodes(filled.connect(filled.auditor, entry))
    assert set(found) == {name(filled, node) for node in (COORDINATOR, *WORKERS)}
    assert [address for address, row in found.items() if row["is_here"]] == [name(filled, entry)]
    assert all(row["answers"] and row["problems"] == [] for row in found.values())
    assert len({(row["version"], row["log_id"]) for row in found.values()}) == 1
    assert sum(row["shards"] for row in found.values()) == 8
    for group in ("immutable_viewer", "immutable_writer"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            filled.connect(filled.create_role(groups=[group]), entry).execute("SELECT * FROM immutable.nodes()")
    monitored = all_nodes(filled.connect(filled.create_role(groups=["pg_monitor"]), entry))
    said = ("answers", "version", "log_id", "shards", "problems", "last_event_at")
    assert {address: [row[field] for field in said] for address, row in monitored.items()} == {
        address: [row[field] for field in said] for address, row in found.items()}


def test_the_protections_of_the_shards_are_looked_at(filled):
    shard, node = filled.shard_of("t1")
    table = shard.split(".")[1]
    changes = [
        (f"ALTER TABLE {shard} DISABLE TRIGGER \"~immutable_chain_{table.split('_')[1]}\"", f"ALTER TABLE {shard} ENABLE TRIGGER \"~immutable_chain_{table.split('_')[1]}\"", "triggers_enabled"),
        (f"ALTER TABLE {shard} DISABLE ROW LEVEL SECURITY", f"ALTER TABLE {shard} ENABLE ROW LEVEL SECURITY", "row_security_enabled"),
    ]
    for change, undo, field in changes:
        with filled.on_node(node) as conn:
            conn.execute(f"SET immutable.allow_ddl = on; {change}")
            found = status(filled.connect(filled.auditor, node))
            conn.execute(undo)
        assert found[field] is False and any(table in problem for problem in found["problems"]), found["problems"]
        assert status(filled.connect(filled.auditor, node))["problems"] == []


def test_a_node_without_the_identity_and_one_that_is_down(log):
    log.add(3)
    with log.on_node(3) as conn:
        if conn.execute("SELECT count(*) FROM immutable.log").fetchone()[0] == 0:
            assert any("distribute()" in problem for problem in status(conn)["problems"])
    with log.on_node(2) as conn:
        conn.execute("SET session_replication_role = replica; UPDATE immutable.log SET log_id = gen_random_uuid()")
    log.nodes[3].stop()
    try:
        found = all_nodes(log.connect())
        assert found[name(log, 3)]["answers"] is False and "does not answer" in found[name(log, 3)]["problems"][0]
        assert "another log" in found[name(log, 2)]["problems"][0]
        assert found[name(log, 1)]["problems"] == []
    finally:
        log.nodes[3].start()


def test_a_log_that_is_not_distributed_has_no_nodes(nodes):
    with nodes[0].connect() as conn:
        conn.execute("CREATE DATABASE plain_status")
    try:
        with nodes[0].connect("plain_status") as conn:
            conn.execute("CREATE EXTENSION immutable")
            assert conn.execute("SELECT node, shards FROM immutable.status()").fetchone() == (None, None)
            assert conn.execute("SELECT * FROM immutable.nodes()").fetchall() == []
    finally:
        with nodes[0].connect() as conn:
            conn.execute("DROP DATABASE plain_status")
