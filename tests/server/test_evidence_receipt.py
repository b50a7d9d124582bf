"""receipt(): verified by the second implementation and by immutable-verify's format, under a policy from outside."""

import json
import uuid

import psycopg
import pytest

import helpers_tree_model as e
import helpers_log as h
from helpers_access import import_key, token
from helpers_tree_model import LOG, W1, W2, Model, policy, tlog, value
from test_evidence_proof import DATA_CORRUPTED, INVALID, NOT_READY, as_role, events

VALID = e.evidence.VALID


def check(text, trusted=None):
    return e.evidence.check_receipt(text.encode(), trusted or policy(W1))


def line_of(text):
    return json.loads(text.split("\n")[1])


def paths(text):
    """What a receipt discloses, in its order: (path, value)."""
    return [(path, shown) for _, path, shown in line_of(text)["disclosures"]]


@pytest.fixture
def log(db):
    h.build_log(db)
    model = Model(db.conn).append().store()
    model.sign()
    model.cosign()
    return model


def of(db, actor):
    return db.conn.execute("SELECT id, tenant_id FROM immutable.events WHERE actor_id = %s", [actor]).fetchone()


def test_every_event(db, log):
    for id_, tenant, lane, seq, hash_ in events(db.conn):
        if (tenant, lane, seq) == ("", 0, 3):
            continue  # the witness was added after the checkpoint
        text = value(db.conn, "receipt", id_, tenant)
        summary = check(text)
        assert summary["verdict"] == VALID
        assert (summary["event_id"], summary["tenant_id"], summary["lane"], summary["seq"]) == (str(id_), tenant, lane, seq)
        assert (summary["event_hash"], summary["index"]) == (hash_.hex(), log.index(tenant, lane, seq))
        assert summary["not_disclosed"] == 0
        assert text.endswith("=\n") and text.startswith("immutable-receipt/v1\n{\"document\":{")


def test_it_is_a_line_of_an_export_and_a_proof(db, log):
    id_, tenant = of(db, "user-a1")
    _, line, proof = value(db.conn, "receipt", id_, tenant).split("\n", 2)
    exported = [row for row, in db.conn.execute("SELECT immutable.export_events()")]
    assert line in exported
    assert proof == value(db.conn, "inclusion_proof", id_, tenant)
    assert proof.endswith(log.note() + proof[-len(log.cosigned()):])


def test_selective_disclosure(db, log):
    id_, tenant = of(db, "user-a1")
    assert db.conn.execute("SELECT jsonb_array_length(targets) FROM immutable.events WHERE id = %s", [id_]).fetchone() == (2,)
    everything = paths(value(db.conn, "receipt", id_, tenant))
    assert len(everything) == 10 + 2 + 2
    for chosen in ([], ["actor_id"], ["targets.1", "metadata.amount", "actor_id"], ["metadata.reason"] * 3,
                   [path for path, _ in everything]):
        text = value(db.conn, "receipt", id_, tenant, chosen)
        assert paths(text) == [(path, shown) for path, shown in everything if path in chosen]
        summary = check(text)
        assert (summary["verdict"], summary["not_disclosed"]) == (VALID, len(everything) - len(set(chosen)))
        # Nothing of the others is in the file. A text is looked for with its quotes: a hash in base64 has none.
        for path, shown in everything:
            written = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
            assert (written in text) == (path in chosen) or shown == 12


def test_paths_that_have_no_value(db, log):
    id_, tenant = of(db, "user-a2")  # without targets
    for path, why in (("targets.0", "has no value there"), ("metadata.nothing", "has no value there"), ("metadata.", "has no value there"),
                      ("metadata", "which is no path"), ("recorded_by", "which is no path"), ("Actor_id", "which is no path"),
                      ("", "which is no path"), ("targets.00", "which is no path"), ("targets.-1", "which is no path")):
        with pytest.raises(INVALID, match=why) as refused:
            value(db.conn, "receipt", id_, tenant, ["actor_id", path])
        assert f'"{path}"' in refused.value.diag.message_primary
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        value(db.conn, "receipt", id_, tenant, ["actor_id", None])


def test_a_receipt_outlives_erasure(db, log):
    id_, tenant = of(db, "user-a1")
    before = value(db.conn, "receipt", id_, tenant)
    db.conn.execute("SELECT immutable.erase(%s, %s, '{actor_name,metadata.reason,targets.0}', 'request')", [id_, tenant])
    assert check(before)["verdict"] == VALID
    after = value(db.conn, "receipt", id_, tenant)
    assert check(after)["verdict"] == VALID and check(after)["not_disclosed"] == 3
    assert line_of(after)["document"] == line_of(before)["document"]
    assert paths(after) == [pair for pair in paths(before) if pair[0] not in ("actor_name", "metadata.reason", "targets.0")]
    assert value(db.conn, "receipt", id_, tenant, ["actor_id", "targets.1"])
    for path, why in (("actor_name", "and that value was erased"), ("targets.0", "and that value was erased"),
                      ("metadata.reason", "has no value there")):
        with pytest.raises(INVALID, match=why):
            value(db.conn, "receipt", id_, tenant, [path])


def test_changed_receipts_are_not_valid(db, log):
    """What a forger would try, against both implementations."""
    text = value(db.conn, "receipt", *of(db, "user-a1"), ["actor_id", "metadata.amount"])
    other = value(db.conn, "receipt", *of(db, "user-g1"))
    assert check(text)["verdict"] == VALID
    head, line, proof = text.split("\n", 2)
    changed = [text.replace('"user-a1"', '"user-a9"'), text.replace('"amount",12', '"amount",13'), text.replace(",12]", ",13]"),
               text.replace("document.shared", "document.denied"), "\n".join([head, line, other.split("\n", 2)[2]]),
               "\n".join([head, other.split("\n")[1], proof]), text.replace("\nindex ", "\nindex 1")]
    for forged in changed:
        if forged == text:
            continue
        try:
            assert check(forged)["verdict"] != VALID
        except tlog.FormatError:
            pass
    assert sum(forged != text for forged in changed) >= 6
    with_other_log = tlog.SignerKey(e.ORIGIN, bytes(32))
    assert check(text, policy(W1, log=with_other_log))["verdict"] != VALID
    assert check(text, policy(W2))["verdict"] != VALID


# Waiting

def test_before_anything(db):
    h.add_event(db.conn, "t", "1")
    with pytest.raises(NOT_READY, match="the log has no checkpoint yet"):
        value(db.conn, "receipt", *of(db, "user-1"))


def test_without_a_cosignature(db):
    h.build_log(db)
    log = Model(db.conn).append().store()
    log.sign()
    with pytest.raises(NOT_READY, match="no cosigned checkpoint covers event") as refused:
        value(db.conn, "receipt", *of(db, "user-a1"))
    diag = refused.value.diag
    for words in ("The event was recorded", "The newest checkpoint was signed", "and covers the event", "None is cosigned"):
        assert words in diag.message_detail
    for call in ("CALL immutable.checkpoint()", "immutable.witness_request()", "immutable.add_cosignature()", "immutable-cosign"):
        assert call in diag.message_hint


def test_an_event_that_came_later(db, log):
    h.add_event(db.conn, "globex", "late")
    with pytest.raises(NOT_READY, match="no cosigned checkpoint covers event") as refused:
        value(db.conn, "receipt", *of(db, "user-late"))
    assert "does not cover the event" in refused.value.diag.message_detail
    assert "covers 16 events and was cosigned at 20" in refused.value.diag.message_detail
    log.append().store().sign()
    with pytest.raises(NOT_READY, match="no cosigned checkpoint covers event"):
        value(db.conn, "receipt", *of(db, "user-late"))
    assert check(value(db.conn, "receipt", *of(db, "user-a1")))["size"] == 16
    log.cosign(W2)
    assert check(value(db.conn, "receipt", *of(db, "user-late")), policy(W2))["verdict"] == VALID
    assert check(value(db.conn, "receipt", *of(db, "user-a1")), policy(W2))["verdict"] == VALID


# Tampering

@pytest.mark.parametrize("damage, message", [
    ("UPDATE immutable.tree_cosignatures SET line = ''", "the cosignature by \"witness.example/w1\" .* is not valid"),
    ("UPDATE immutable.tree_cosignatures SET line = replace(line, 'w1', 'w2')", "is not valid"),
    (f"UPDATE immutable.tree_cosignatures SET vkey = '{W2.verifier}'", "is not valid"),
    ("UPDATE immutable.tree_cosignatures SET size = 15", "cosigned, and is missing"),
    ("DELETE FROM immutable.tree_notes", "was cosigned, and is missing"),
    ("UPDATE immutable.events SET action = 'x'", "does not match its hash"),
])
def test_damaged_rows(db, log, damage, message):
    with h.behind_triggers(db.conn):
        db.conn.execute(damage)
    with pytest.raises(DATA_CORRUPTED, match=message):
        value(db.conn, "receipt", *of(db, "user-a1"))


def test_an_event_that_took_the_place_of_another(db, log):
    """The row is one that verifies, and even fits its lane; only the tree knows the one that was there."""
    place = ("globex", 0, 4)
    now = h.forge(h.Log(db.conn)[place], action="nothing.happened")
    h.update(db.conn, place, action="nothing.happened", event_hash=h.bytea(h.plain(now["event_hash"])))
    assert {found.type for found in h.verify_chain(db.conn)["breaks"]} == {"checkpoint_mismatch"}
    with pytest.raises(DATA_CORRUPTED, match="the leaf at index .* is not that of event"):
        value(db.conn, "receipt", now["id"], "globex")


# Roles

def test_an_auditor(db, log):
    auditor = as_role(db, "immutable_auditor")
    assert check(value(auditor, "receipt", *of(db, "user-a1")))["verdict"] == VALID


def test_a_viewer_to_whom_it_is_granted(db, log):
    import_key(db.conn)
    viewer = as_role(db, "immutable_viewer")
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token(tenant_id="globex", actor_id="user-g1")])
    mine, of_others, of_rivals = of(db, "user-g1"), of(db, "user-g2"), of(db, "user-a1")
    for function, arguments in (("receipt", mine), ("inclusion_proof", mine), ("consistency_proof", [1])):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            value(viewer, function, *arguments)
    db.conn.execute("GRANT EXECUTE ON FUNCTION immutable.receipt(uuid, text, text[]) TO immutable_viewer")
    assert check(value(viewer, "receipt", *mine))["verdict"] == VALID
    assert check(value(viewer, "receipt", *mine, []))["verdict"] == VALID
    errors = set()
    for id_, tenant in (of_others, of_rivals, (uuid.uuid4(), "globex"), (uuid.uuid4(), "acme")):
        for given in ([tenant], [tenant, ["actor_id"]], [tenant, ["nonsense"]], []):
            with pytest.raises(psycopg.errors.NoDataFound) as refused:
                value(viewer, "receipt", id_, *given)
            diag = refused.value.diag
            errors.add((diag.message_primary.replace(str(id_), "ID"), diag.message_detail, diag.message_hint))
    assert len(errors) == 1
    viewer.execute("RESET immutable.viewer_token")
    with pytest.raises(psycopg.errors.NoDataFound):
        value(viewer, "receipt", *mine)


# Size

def sparse_tree(conn, size, index, event):
    """A tree of that many leaves, all of which are the same event's. Only the tiles are stored that a proof of the event
    reads. It is cosigned."""
    tenant, lane, seq, hash_ = event
    full = [tlog.leaf_hash(hash_)]
    for _ in range(64):
        full.append(tlog.node_hash(full[-1], full[-1]))
    root = None
    for level in range(64):
        if size >> level & 1:
            root = full[level] if root is None else tlog.node_hash(full[level], root)
    text = tlog.Checkpoint(e.ORIGIN, size, root).text()
    with h.behind_triggers(conn), conn.cursor() as cursor:
        cursor.execute("INSERT INTO immutable.log_keys (vkey, created_at, signs_since, overlap_days) VALUES (%s, now(), now(), 0)", [str(LOG.verifier)])
        cursor.execute("INSERT INTO immutable.tree (origin, size, root, log_id, begun_at) "
                       "SELECT %s, %s, %s, log_id, now() FROM immutable.log", [e.ORIGIN, size, root])
        cursor.execute("INSERT INTO immutable.tree_runs VALUES (%s, %s, %s, %s, 1)", [index, tenant, lane, seq])
        cursor.execute("INSERT INTO immutable.tree_notes VALUES (%s, %s, %s, now(), %s)",
                       [e.ORIGIN, size, root, text + "\n" + LOG.sign(text)])
        for level, tiles, width in tlog.tile_widths(size):
            if level == 0 and width:
                cursor.execute("INSERT INTO immutable.tree_chunks VALUES (%s, %s)", [tiles * 256, full[0] * width])
            # The path of the event, and what the unfinished tile above consists of.
            numbers = {index >> 8 * level + 8} | set(range(tiles // 256 * 256, tiles))
            cursor.executemany("INSERT INTO immutable.tree_tiles (level, number, root, hashes) VALUES (%s, %s, %s, %s)",
                               [(level, n, full[8 * level + 8], full[8 * level] * 256) for n in numbers if n < tiles])
    conn.execute("SELECT immutable.add_witness(%s)", [str(W1.verifier)])
    conn.execute("SELECT immutable.add_cosignature(%s, %s)", [size, W1.sign(text, 1_800_000_000)])


@pytest.mark.parametrize("size, index, hashes, most", [(10_000_000, 5_000_000, 24, 4096), (80_000_000, 50_000_000, 27, None)])
def test_size(db, size, index, hashes, most):
    h.add_event(db.conn, "acme", "1", metadata={"reason": "ticket 4711"})
    (id_, *event), = events(db.conn)
    sparse_tree(db.conn, size, index, event)
    text = value(db.conn, "receipt", id_)
    assert check(text)["verdict"] == VALID and check(text)["index"] == index
    assert (len(tlog.read_proof(text.split("\n", 2)[2].encode()).hashes), len(paths(text))) == (hashes, 11)
    print(f"a receipt in a log of {size:,} events: {len(text.encode()):,} bytes")
    assert most is None or len(text.encode()) <= most
