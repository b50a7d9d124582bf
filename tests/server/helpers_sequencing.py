"""What checkpoint() has made of a log, computed again from its rows by the second implementation."""

import pathlib
import sys

import psycopg
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import immutable_tlog as tlog  # noqa: E402

CALL = "CALL immutable.checkpoint()"
HELD = "checkpoint was not signed"
CLEAR = "SELECT pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot())"


def checkpoint(conn):
    """The note of the log."""
    return conn.execute(CALL).fetchone()[0]


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def parse(note):
    return tlog.read_checkpoint(tlog.read_note(note.encode()).text)


def tree_of(conn):
    """The tree that the events have in the order of tree_runs. Every committed event is in it once, each lane with all of
    its events from the first on, and the stored head and tiles are this tree's."""
    runs = conn.execute("SELECT first_index, tenant_id, lane, first_seq, count FROM immutable.tree_runs ORDER BY 1").fetchall()
    hashes = {(tenant, lane, seq): event_hash for tenant, lane, seq, event_hash in conn.execute(
        "SELECT tenant_id, lane, seq, event_hash FROM immutable.events")}
    tree, lanes = tlog.Tree(), {}
    for first_index, tenant, lane, first_seq, count in runs:
        assert first_index == len(tree) and count > 0
        assert first_seq == lanes.get((tenant, lane), 0) + 1
        lanes[tenant, lane] = first_seq + count - 1
        for seq in range(first_seq, first_seq + count):
            tree.append(tlog.leaf_hash(hashes.pop((tenant, lane, seq))))
    size, root = conn.execute("SELECT size, root FROM immutable.tree").fetchone()
    assert (size, root) == (len(tree), tree.root())
    check_tiles(conn, tree)
    tree.missing = sorted(hashes)
    return tree


def check_tiles(conn, tree):
    expected = {}
    for level, full, _ in tlog.tile_widths(len(tree)):
        for number in range(full):
            first = number * tlog.TILE
            expected[level, number] = (tree.levels[8 * level + 8][number], b"".join(tree.levels[8 * level][first:first + tlog.TILE]))
    stored = {(level, number): (root, hashes) for level, number, root, hashes in conn.execute(
        "SELECT level, number, root, hashes FROM immutable.tree_tiles")}
    assert stored == expected
    at = len(tree) // tlog.TILE * tlog.TILE
    for first, hashes in conn.execute("SELECT first_index, hashes FROM immutable.tree_chunks ORDER BY 1"):
        assert first == at and hashes == b"".join(tree.levels[0][at:at + len(hashes) // 32])
        at += len(hashes) // 32
    assert at == len(tree)


def keys(conn):
    return [tlog.read_vkey(vkey) for vkey, in conn.execute("SELECT vkey FROM immutable.log_keys")]


def check(conn, notes=()):
    """Nothing is missing in the tree or pending, and every note is signed by the log and one of a tree that this one extends.
    Two notes of one size are the same. Returns the tree."""
    tree = tree_of(conn)
    assert tree.missing == []
    assert conn.execute("SELECT * FROM immutable.tree_pending").fetchall() == []
    stored = [note for note, in conn.execute("SELECT note FROM immutable.tree_notes")]
    check_notes(tree, [*stored, *notes], keys(conn))
    return tree


def check_notes(tree, notes, known):
    by_size = {}
    for note in set(notes):
        signed = tlog.read_note(note.encode())
        assert tlog.open_note(signed, [key for key in known if key.name == signed.text.split("\n")[0]])
        place = tlog.read_checkpoint(signed.text)
        assert 0 < place.size <= len(tree) and place.root == tree.root(place.size), "a fork"
        assert by_size.setdefault((place.origin, place.size), place.root) == place.root, "two notes of one size"
    return by_size


def log_key(name, first=0):
    """A key that a program outside of the database signs with."""
    return tlog.SignerKey(name, bytes((first + n) % 256 for n in range(32)))


def signed(key, text):
    return f"{text}\n{key.sign(text)}"


