"""The tree over events that are in segments, in the hot table, in both, and pruned. What the functions give out is compared
with what they gave before the events moved, and with the second implementation."""

import concurrent.futures
import itertools
import json
import time

import pytest

import helpers_log as h
import helpers_tree as t
from helpers_evidence_segments import prune, put
from helpers_segments import places, seal
from helpers_sequencing import check, checkpoint, refused, tree_of
from helpers_tree_model import W1, evidence, tlog

TENANTS = ("t", "u")


def record(conn, count=1, tenant="t"):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) "
                 "SELECT %s, 'u' || n, 'a.b', '{\"k\": 1}' FROM generate_series(1, %s) n", (tenant, count))


def value(conn, statement, *values):
    return conn.execute(statement, values).fetchone()[0]


def cosign(conn, note):
    """A witness has the newest checkpoint."""
    conn.execute("SELECT immutable.add_witness(%s) WHERE NOT EXISTS (SELECT FROM immutable.witnesses)", [str(W1.verifier)])
    text = note.split("\n\n")[0] + "\n"
    conn.execute("SELECT immutable.add_cosignature(%s, %s)", (t.size_of(note), W1.sign(text, int(time.time()))))
    return note


def policy(conn):
    key = value(conn, "SELECT immutable.verifier_key()")
    return tlog.read_policy(f"log {key}\nwitness w {W1.verifier}\nquorum w\n".encode())


def check_receipt(conn, text):
    summary = evidence.check_receipt(text.encode(), policy(conn))
    assert summary["verdict"] == evidence.VALID
    return summary


def lines(conn):
    """The events' lines in an export, by id."""
    found = [line.rstrip("\n") for line, in conn.execute("SELECT immutable.export_events()") if line.startswith('{"document":')]
    return {json.loads(line)["document"]["id"]: line for line in found}


@pytest.fixture
def log(db):
    """Three tenants, a tree of some hundred events, cosigned."""
    conn = db.conn
    for tenant, count in (("t", 150), ("u", 5), ("t", 150), ("", 3)):
        record(conn, count, tenant)
        checkpoint(conn)
    cosign(conn, checkpoint(conn))
    return conn


def given_out(conn, ids):
    """Everything that is given out of a tree that does not grow."""
    size = value(conn, "SELECT size FROM immutable.tree")
    out = {"tree": conn.execute("SELECT immutable.export_tree()").fetchall()}
    for id_, tenant in ids[::7]:
        out["proof", id_] = value(conn, "SELECT immutable.inclusion_proof(%s, %s)", id_, tenant)
        out["proof without a tenant", id_] = value(conn, "SELECT immutable.inclusion_proof(%s)", id_)
        out["receipt", id_] = value(conn, "SELECT immutable.receipt(%s, %s)", id_, tenant)
    for number in range(size // 256 + 1):
        width = min(256, size - 256 * number)
        out["tile", number] = value(conn, "SELECT immutable.tile(0, %s, %s)", number, width)
        out["entries", number] = value(conn, "SELECT immutable.entries(%s, %s)", number, width)
    for old in (1, 150, 256, size - 1):
        out["consistency", old] = value(conn, "SELECT immutable.consistency_proof(%s)", old)
    page = [id_ for id_, tenant in ids if tenant == "t"][::4]
    out["page"] = value(conn, "SELECT immutable.page_evidence(%s, 't')", page)
    out["page of all"] = value(conn, "SELECT immutable.page_evidence(%s)", [id_ for id_, _ in ids][::4])
    assert len(out["page"]["events"]) == len(page)
    return out


def covered(conn):
    return conn.execute("SELECT e.id, e.tenant_id FROM immutable.events e WHERE EXISTS (SELECT FROM immutable.tree_runs r "
                        "WHERE r.tenant_id = e.tenant_id AND r.lane = e.lane AND e.seq < r.first_seq + r.count) "
                        "AND e.action = 'a.b' ORDER BY e.tenant_id, e.lane, e.seq").fetchall()


def test_what_is_given_out_stays_when_events_move(log):
    ids = covered(log)
    before = given_out(log, ids)
    put(log, 1, "tenant_id = 't' AND seq <= 200")
    assert given_out(log, ids) == before
    put(log, 2, "true")
    assert value(log, "SELECT count(*) FROM ONLY immutable.events") == 3
    assert given_out(log, ids) == before
    tree_of(log)
    # What is damaged there is not proved, and a tile is made again from there.
    assert value(log, "SELECT immutable.rebuild_tiles()") == 0
    with h.behind_triggers(log):
        log.execute("UPDATE immutable.tree_tiles SET hashes = substr(hashes, 33) || substr(hashes, 1, 32) WHERE level = 0 AND number = 0")
    assert value(log, "SELECT immutable.rebuild_tiles()") == 1
    assert value(log, "SELECT immutable.tile(0, 0)") == before["tile", 0]
    id_, tenant = ids[7]
    with h.behind_triggers(log):
        log.execute("UPDATE immutable.events_1 SET action = 'a.c' WHERE id = %s", [id_])
    refused(log, "XX001", "SELECT immutable.receipt(%s, %s)", (id_, tenant))
    with h.behind_triggers(log):
        log.execute("UPDATE immutable.events_1 SET event_hash = sha256('x') WHERE id = %s", [id_])
    refused(log, "XX001", "SELECT immutable.entries(0)")


ORDERS = {
    "all but the tails": ["true"],
    "a part": ["seq <= 20"],
    "every second event": ["seq % 2 = 0"],
    "two segments": ["seq < 7", "seq % 3 = 0"],
    "one tenant": ["tenant_id = 'u'"],
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_checkpoint_finds_what_moved_before_it(db, order):
    """The first one of a log, and the next of one that has a tree."""
    conn, number = db.conn, itertools.count(1)
    for count in (40, 31):
        for tenant in TENANTS:
            record(conn, count, tenant)
        for where in ORDERS[order]:
            put(conn, next(number), where)
        notes = [checkpoint(conn)]
        check(conn, notes)
    # Nothing is new now.
    assert checkpoint(conn) == notes[-1]


def test_an_event_that_is_missing_from_a_segment_waits(db):
    conn = db.conn
    record(conn, 30)
    checkpoint(conn)
    record(conn, 30)
    record(conn, 5, "u")
    put(conn, 1, "true")
    conn.execute("CREATE TABLE kept AS SELECT * FROM immutable.events_1 WHERE tenant_id = 't' AND seq = 41")
    with h.behind_triggers(conn):
        conn.execute("DELETE FROM immutable.events_1 WHERE tenant_id = 't' AND seq = 41")
    checkpoint(conn)
    pending = conn.execute("SELECT tenant_id, lane, seq, why FROM immutable.tree_pending").fetchall()
    assert pending == [("t", 0, 41, "the event with seq 41 is missing")]
    with h.behind_triggers(conn):
        conn.execute("INSERT INTO immutable.events_1 SELECT * FROM kept")
    checkpoint(conn)
    check(conn)


@pytest.mark.parametrize("has_tree", [False, True])
def test_a_lane_that_has_lost_its_end(db, has_tree):
    """Somebody has removed what the hot table has of it. The rest is in the tree, or is missed there by its number."""
    conn = db.conn
    record(conn, 30)
    record(conn, 5, "u")
    if has_tree:
        checkpoint(conn)
    put(conn, 1, "true")
    with h.behind_triggers(conn):
        conn.execute("DELETE FROM ONLY immutable.events WHERE tenant_id = 't'")
        conn.execute("UPDATE immutable.tree_position SET compared_at = now() - interval '25 hours'")
    for _ in range(2):
        checkpoint(conn)
        pending = conn.execute("SELECT tenant_id, lane, seq, why FROM immutable.tree_pending").fetchall()
        assert pending == ([("t", 0, 30, "the events that the tree has are no longer there")] if has_tree else [])
    assert value(conn, "SELECT sum(count) FROM immutable.tree_runs WHERE tenant_id = 't'") == (30 if has_tree else 29)


def test_a_stray_table_is_none_of_the_log(db):
    """Rows of a table that somebody has hung below the log enter neither the tree nor keep others from it."""
    conn = db.conn
    record(conn, 30)
    put(conn, 1, "seq <= 20")
    with h.behind_triggers(conn):
        conn.execute("CREATE TABLE public.stray () INHERITS (immutable.events)")
        conn.execute("INSERT INTO public.stray SELECT * FROM immutable.events_1 WHERE seq BETWEEN 3 AND 5")
    checkpoint(conn)
    assert conn.execute("SELECT * FROM immutable.tree_pending").fetchall() == []
    with h.behind_triggers(conn):
        conn.execute("DROP TABLE public.stray")
    check(conn)


def test_checkpoints_while_events_are_sealed(db):
    """Each event enters the tree once, wherever it is by then."""
    notes, writing = [], True

    def write(tenant):
        with db.server.connect(db.name) as conn:
            for _ in range(30):
                record(conn, 7, tenant)

    def sign():
        with db.server.connect(db.name) as conn:
            while writing:
                notes.append(checkpoint(conn))

    record(db.conn)
    with concurrent.futures.ThreadPoolExecutor() as executor:
        signing, writers = executor.submit(sign), [executor.submit(write, tenant) for tenant in TENANTS]
        try:
            for _ in range(4):
                seal(db)
            for writer in writers:
                writer.result()
        finally:
            writing = False
        signing.result()
    seal(db)
    assert sum(count for table, count in places(db.conn).items() if table != "events") > 300
    notes.append(checkpoint(db.conn))
    check(db.conn, notes)
    assert h.verify_chain(db.conn, checkpoint=notes[-1])["valid"]


# ---------------------------------------------------------------------------------------------------------------------
# Pruned events

def test_what_is_given_out_of_a_pruned_log(log):
    ids = dict(covered(log))
    before, exported = given_out(log, list(ids.items())), lines(log)
    pruned = [id_ for id_, in log.execute("SELECT id FROM immutable.events WHERE tenant_id = 't' AND seq <= 120 ORDER BY seq")]
    receipts = {id_: value(log, "SELECT immutable.receipt(%s, 't')", id_) for id_ in pruned[::20]}
    put(log, 1, "tenant_id = 't' AND seq <= 200")
    prune(log, "t", 120)
    assert not log.execute("SELECT FROM immutable.events WHERE id = ANY (%s)", [pruned]).fetchall()
    # The tree as such stays.
    assert log.execute("SELECT immutable.export_tree()").fetchall() == before["tree"]
    for what, old in before.items():
        if what[0] == "consistency":
            assert value(log, "SELECT immutable.consistency_proof(%s)", what[1]) == old
        if what[0] == "tile":
            assert value(log, "SELECT immutable.tile(0, %s, %s)", what[1], len(old) // 32) == old
        if what[0] == "proof" and what[1] not in pruned:
            assert value(log, "SELECT immutable.inclusion_proof(%s, %s)", what[1], ids[what[1]]) == old
    # A bundle is given whole or not at all.
    assert "120 of the 256 entries of bundle 0 are of events that were pruned" in refused(log, "P0002", "SELECT immutable.entries(0)").message_primary
    last = max(number for what, number in (key for key in before if key[0] == "entries"))
    assert value(log, "SELECT immutable.entries(%s, %s)", last, len(before["entries", last]) // 34) == before["entries", last]
    # Nothing is proved of an event without its row; whoever may see that it was pruned is told.
    for function in ("receipt", "inclusion_proof"):
        said = refused(log, "P0002", f"SELECT immutable.{function}(%s, 't')", [pruned[3]])
        assert "were pruned" in said.message_detail and "receipt_of_line" in said.message_hint
    said = refused(log, "P0002", "SELECT immutable.receipt(%s, 'u')", [pruned[3]])
    assert said.message_detail is None
    # With its line, a receipt is made as before, and of a later checkpoint.
    for id_, text in receipts.items():
        assert value(log, "SELECT immutable.receipt_of_line(%s)", exported[str(id_)]) == text
        assert value(log, "SELECT immutable.receipt_of_line(%s)", text.split("\n")[1]) == text
        check_receipt(log, text)
    cosign(log, checkpoint(log))
    id_ = pruned[0]
    summary = check_receipt(log, value(log, "SELECT immutable.receipt_of_line(%s)", exported[str(id_)] + "\n"))
    assert (summary["event_id"], summary["seq"]) == (str(id_), 1)
    line = exported[str(id_)]
    for wrong in (line.replace("u1", "u2", 1), line.replace('"seq":1', '"seq":2', 1), "", "{}", line + "x"):
        assert refused(log, "22023", "SELECT immutable.receipt_of_line(%s)", [wrong]).column_name is None


def test_tiles_are_made_again_of_what_is_left(log):
    put(log, 1, "tenant_id = 't' AND seq <= 200")
    prune(log, "t", 120)
    root = value(log, "SELECT immutable.tree_head()")
    assert value(log, "SELECT immutable.rebuild_tiles()") == 0
    tile = value(log, "SELECT hashes FROM immutable.tree_tiles WHERE level = 0 AND number = 0")

    def store(hashes):
        with h.behind_triggers(log):
            log.execute("UPDATE immutable.tree_tiles SET hashes = %s WHERE level = 0 AND number = 0", [hashes])

    # A leaf of an event that is there is made again.
    store(tile[:200 * 32] + bytes(32) + tile[201 * 32:])
    assert value(log, "SELECT immutable.rebuild_tiles()") == 1
    assert value(log, "SELECT hashes FROM immutable.tree_tiles WHERE level = 0 AND number = 0") == tile
    # That of a pruned one is not: nothing is changed.
    for damaged in (tile[:32] + bytes(32) + tile[64:], tile[32:], b""):
        store(damaged)
        said = refused(log, "XX001", "SELECT immutable.rebuild_tiles()")
        assert "cannot be made again" in said.message_hint
        assert value(log, "SELECT hashes FROM immutable.tree_tiles WHERE level = 0 AND number = 0") == damaged
    store(tile)
    assert value(log, "SELECT immutable.rebuild_tiles()") == 0
    # An event that is gone without a record is no pruned one.
    with h.behind_triggers(log):
        log.execute("DELETE FROM immutable.events WHERE tenant_id = 't' AND seq = 121")
    assert "is missing" in refused(log, "XX001", "SELECT immutable.rebuild_tiles()").message_primary
    refused(log, "XX001", "SELECT immutable.entries(0)")
    assert value(log, "SELECT immutable.tree_head()") == root


def test_the_tree_goes_on_after_pruning(log):
    size = t.size_of(checkpoint(log))
    put(log, 1, "tenant_id = 't' AND seq <= 250")
    prune(log, "t", 200)
    record(log, 10)
    note = checkpoint(log)
    assert t.size_of(note) >= size + 11
    with h.behind_triggers(log):
        log.execute("UPDATE immutable.tree_position SET compared_at = now() - interval '25 hours'")
    record(log)
    assert t.size_of(checkpoint(log)) == t.size_of(note) + 1
    assert log.execute("SELECT * FROM immutable.tree_pending").fetchall() == []


def test_a_tree_that_is_begun_anew_begins_where_lanes_do(log):
    """Somebody has restored the events and not the tree."""
    put(log, 1, "tenant_id = 't' AND seq <= 250")
    prune(log, "t", 200)
    with h.behind_triggers(log):
        for table in ("tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes", "tree_cosignatures", "tree_position", "log_secrets",
                      "log_keys"):
            log.execute(f"DELETE FROM immutable.{table}")
    checkpoint(log)
    assert log.execute("SELECT * FROM immutable.tree_pending").fetchall() == []
    runs = log.execute("SELECT min(first_seq), max(first_seq + count) - 1 FROM immutable.tree_runs WHERE tenant_id = 't'").fetchone()
    assert runs == (201, value(log, "SELECT max(seq) FROM immutable.events WHERE tenant_id = 't'"))
    assert value(log, "SELECT size FROM immutable.tree") == value(log, "SELECT count(*) FROM immutable.events")
