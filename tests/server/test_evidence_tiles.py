"""tile() and entries(): the tree piece by piece, byte for byte what the second implementation makes of the events."""

import psycopg
import pytest

import helpers_keys as keys
import helpers_log as h
import helpers_tree as t


def record(conn, tenant, count):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, 'u', 'a.b' FROM generate_series(1, %s)", (tenant, count))


def tile(conn, level, number, width=256):
    return conn.execute("SELECT immutable.tile(%s, %s, %s)", (level, number, width)).fetchone()[0]


def entries(conn, number, width=256):
    return conn.execute("SELECT immutable.entries(%s, %s)", (number, width)).fetchone()[0]


def bundle(hashes):
    return b"".join(len(hash_).to_bytes(2, "big") + hash_ for hash_ in hashes)


def model(conn):
    """The leaves of the tree from the tables, and the events' hashes in the same order."""
    tree, log = t.check_tree(conn), h.Log(conn)
    return tree.leaves, [bytes.fromhex(log.hash(*place)) for place in tree.places()]


def test_tiles_and_entries_are_those_of_the_events(db):
    conn = db.conn
    for tenant, count in [("a", 300), ("b", 5), ("a", 300), ("", 41)]:
        record(conn, tenant, count)
        t.checkpoint(conn)
    leaves, hashes = model(conn)
    size = len(leaves)
    assert size // 256 == 2
    for number in (0, 1, 2):
        there = leaves[256 * number:256 * (number + 1)]
        for width in {1, 2, 100, len(there)} - {n for n in (100,) if n > len(there)}:
            assert tile(conn, 0, number, width) == b"".join(there[:width])
            assert entries(conn, number, width) == bundle(hashes[256 * number:][:width])
    roots = [t.root(leaves[:256]), t.root(leaves[256:512])]
    assert tile(conn, 1, 0, 2) == b"".join(roots)
    assert tile(conn, 1, 0, 1) == roots[0]
    # What was published stays: a tile of a smaller tree is the beginning of that of the larger one.
    before = tile(conn, 0, 2, size - 512), entries(conn, 2, size - 512)
    record(conn, "b", 300)
    t.checkpoint(conn)
    assert (tile(conn, 0, 2, size - 512), entries(conn, 2, size - 512)) == before
    assert conn.execute("SELECT immutable.tile(0, 2)").fetchone()[0] == b"".join(t.Tree(conn).leaves[512:768])


def test_what_is_no_tile_is_refused(db):
    conn = db.conn
    record(conn, "a", 300)
    assert keys.state(conn, "SELECT immutable.tile(0, 0)") == "55000"
    t.checkpoint(conn)
    size = t.Tree(conn).size
    for arguments, sqlstate in {
        (0, 1, size - 256): None, (0, 1, size - 255): "P0002", (0, 1, 256): "P0002", (0, 2, 1): "P0002", (1, 0, 1): None, (1, 0, 2): "P0002",
        (7, 0, 1): "P0002", (0, 2**63 - 1, 1): "P0002", (0, 0, 0): "22023", (0, 0, 257): "22023", (0, 0, -1): "22023", (0, -1, 1): "22023",
        (-1, 0, 1): "22023", (8, 0, 1): "22023", (None, 0, 1): "22004", (0, None, 1): "22004", (0, 0, None): "22004",
    }.items():
        assert keys.state(conn, "SELECT immutable.tile(%s, %s, %s)", arguments) == sqlstate, arguments
        if arguments[0] == 0:
            assert keys.state(conn, "SELECT immutable.entries(%s, %s)", arguments[1:]) == sqlstate, arguments


def test_only_a_proof_of_all_tenants_with_verify_opens_them(db):
    tenants = keys.Tenants(db)
    t.checkpoint(db.conn)
    token = db.conn.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()[0]
    for statement in ("SELECT immutable.tile(0, 0, 1)", "SELECT immutable.entries(0, 1)"):
        for scope in keys.SCOPES:
            state = keys.state(tenants.server(tenants.key(scope)["proof"]), statement)
            assert state == (None if scope == "verify" else "42501"), scope
        assert keys.state(tenants.server(tenants.key("verify", tenant_id="mine")["proof"]), statement) == "42501"
        assert keys.state(tenants.server(token), statement) == "42501"
        assert keys.state(tenants.server(), statement) == "28000"
        auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
        assert keys.state(auditor, statement) is None
        for role in ("immutable_viewer", "immutable_writer", "immutable_maintainer"):
            assert keys.state(db.connect(db.create_role(f"IN ROLE {role}")), statement) == "42501", role


def test_damage_is_found_and_nothing_false_is_given_out(db):
    conn = db.conn
    record(conn, "a", 20)
    t.checkpoint(conn)
    with h.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET event_hash = sha256('x') WHERE tenant_id = 'a' AND seq = 3")
    assert keys.state(conn, "SELECT immutable.entries(0, 20)") == "XX001"
    assert keys.state(conn, "SELECT immutable.tile(0, 0, 20)") is None
    with h.behind_triggers(conn):
        conn.execute("UPDATE immutable.tree_chunks SET hashes = substr(hashes, 1, 33)")
    for function in ("tile(0, 0, 20)", "entries(0, 20)"):
        with pytest.raises(psycopg.errors.DataCorrupted):
            conn.execute(f"SELECT immutable.{function}")
