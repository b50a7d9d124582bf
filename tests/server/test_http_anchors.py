"""Anchors, and the tree as transparency logs publish theirs: byte for byte what the second implementation makes of the events."""

import hashlib
import re
import time

import helpers_keys as keys
import helpers_log as h
import helpers_tree as t
import pytest
from helpers_witness import tlog

ANCHORS = "/api/v1/anchors"
HEX = re.compile("[0-9a-f]{64}")


def record(conn, count, tenant="a"):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, 'u', 'a.b' FROM generate_series(1, %s)", (tenant, count))


@pytest.fixture
def public(db, program, tmp_path):
    """A server with a public key."""
    file = tmp_path / "public-key"
    file.write_text(keys.create(db.conn, ["verify"])["key"] + "\n")
    return program(public_key_file=file)


def test_checkpoints_are_anchors_and_a_cosigned_one_is_confirmed(db, http):
    key = http.key(["verify"])
    assert http.get(ANCHORS, key).json() == {"data": []}
    witness, notes = t.Key("w1", 4), []
    for count in (3, 300, 5):
        record(db.conn, count)
        notes.append(t.checkpoint(db.conn))
        if len(notes) < 3:
            t.store_cosignature(db.conn, notes[-1], witness, int(time.time()))
    anchors = http.get(ANCHORS, key).json()["data"]
    sizes = [t.size_of(note) for note in notes]
    assert [anchor["events_count"] for anchor in anchors] == sizes[::-1]
    assert [anchor["status"] for anchor in anchors] == ["pending", "confirmed", "confirmed"]
    assert [anchor["new_events"] for anchor in anchors] == [sizes[2] - sizes[1], sizes[1] - sizes[0], sizes[0]]
    newest, second, first = anchors
    leaves = t.Tree(db.conn).leaves
    for anchor in anchors:
        assert anchor["merkle_root"] == t.root(leaves[:anchor["events_count"]]).hex()
        assert anchor["chain"] == "none" and [anchor[name] for name in ("tx_hash", "block_number", "explorer_url")] == [None] * 3
        assert re.fullmatch("anc_[0-9a-f]{8}_[0-9]+", anchor["id"]) and anchor["checkpoint"].startswith(notes[0].split("\n")[0])
    assert first["previous_anchor_hash"] is None and first["period_start"] is None
    for anchor, before in ((second, first), (newest, second)):
        assert anchor["previous_anchor_hash"] == hashlib.sha256(before["merkle_root"].encode()).hexdigest()
        assert anchor["period_start"] == before["period_end"]
    assert second["cosigned_by"] == ["w1"] and newest["cosigned_by"] == []
    assert http.get(f"{ANCHORS}?limit=1", key).json()["data"] == [newest]

    hashes = [bytes.fromhex(h.Log(db.conn).hash(*place)) for place in t.Tree(db.conn).places()]
    for anchor in anchors:
        one = http.get(f"{ANCHORS}/{anchor['id']}", key).json()["data"]
        assert one == {**anchor, "first_event_hash": hashes[0].hex(), "last_event_hash": hashes[anchor["events_count"] - 1].hex()}
        verdict = http.get(f"{ANCHORS}/{anchor['id']}/verify", key).json()["data"]
        assert (verdict["valid"], verdict["chain_valid"], verdict["anchor_id"]) == (True, True, anchor["id"])
        assert verdict["expected"] == verdict["actual"] == verdict["merkle_root"] == anchor["merkle_root"]
    for no in ("x", "anc_", "anc_00000000_1", first["id"] + "0", first["id"].upper(), "%00", "%ff", "' OR true", "anc_%25"):
        for path in ("", "/verify"):
            assert http.get(f"{ANCHORS}/{no}{path}", key).status_code == 404, no


def test_an_anchor_that_the_tree_does_not_continue_is_not_valid(db, http):
    key, witness = http.key(["verify"]), t.Key("w1", 4)
    for _ in range(3):
        record(db.conn, 10)
        t.store_cosignature(db.conn, t.checkpoint(db.conn), witness, int(time.time()))
    newest, second, first = http.get(ANCHORS, key).json()["data"]

    def verdicts():
        return [tuple(http.get(f"{ANCHORS}/{anchor['id']}/verify", key).json()["data"][name] for name in ("valid", "chain_valid"))
                for anchor in (first, second, newest)]
    assert verdicts() == [(True, True)] * 3
    # Somebody puts another log in place of this one, whole and consistent in itself.
    tree = t.Tree(db.conn)
    tree.leaves[15] = t.leaf_hash(b"x" * 32)
    t.write(db.conn, tree)
    assert verdicts() == [(True, True), (False, False), (False, False)]
    answer = http.get(f"{ANCHORS}/{second['id']}/verify", key).json()["data"]
    assert answer["actual"] is None and answer["expected"] == second["merkle_root"]
    # Somebody damages a tile, or cuts the log off.
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.tree_chunks SET hashes = substr(hashes, 1, 31)")
    assert verdicts() == [(False, True), (False, False), (False, False)] or all(not valid for valid, _ in verdicts())
    tree.leaves = tree.leaves[:12]
    t.write(db.conn, tree)
    assert [valid for valid, _ in verdicts()] == [True, False, False]


def test_only_verify_opens_anchors_and_a_key_of_a_tenant_sees_no_others_event(db, http):
    record(db.conn, 5)
    t.checkpoint(db.conn)
    anchor, = http.get(ANCHORS, http.key(["verify"])).json()["data"]
    bound = http.key(["verify"], "a")
    one = http.get(f"{ANCHORS}/{anchor['id']}", bound).json()["data"]
    assert one["merkle_root"] == anchor["merkle_root"] and one["first_event_hash"] is None and one["last_event_hash"] is None
    assert http.get(f"{ANCHORS}/{anchor['id']}/verify", bound).json()["data"]["valid"] is True
    token = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "a"}).json()["token"]
    for path in (ANCHORS, f"{ANCHORS}/{anchor['id']}", f"{ANCHORS}/{anchor['id']}/verify"):
        assert http.get(path).status_code == 401
        assert http.get(path, token).status_code == 403
        for scope in set(keys.SCOPES) - {"verify"}:
            assert http.get(path, http.key([scope])).status_code == 403


def test_without_a_public_key_nothing_is_public(db, http):
    record(db.conn, 5)
    t.checkpoint(db.conn)
    key = http.key(keys.SCOPES)
    for path in ("/checkpoint", "/tile/0/000.p/5", "/tile/entries/000.p/5", "/api/v1/public/anchors/lookup?tx_hash=0x1", "/api/v1/public/anchors/anc_x/verify"):
        assert http.get(path).status_code == http.get(path, key).status_code == 404


def test_public_anchors(db, public):
    record(db.conn, 5)
    t.checkpoint(db.conn)
    anchor, = public.get(ANCHORS, public.key(["verify"])).json()["data"]
    verdict = public.get(f"/api/v1/public/anchors/{anchor['id']}/verify")
    assert verdict.json() == public.get(f"{ANCHORS}/{anchor['id']}/verify", public.key(["verify"])).json()
    assert public.get("/api/v1/public/anchors/lookup", params={"merkle_root": anchor["merkle_root"].upper()}).json() == {"data": anchor}
    for query in ({"tx_hash": "0xabc"}, {"merkle_root": "0" * 64}, {"merkle_root": "' OR true --"}, {"merkle_root": "%"}):
        assert public.get("/api/v1/public/anchors/lookup", params=query).status_code == 404
    for query in ("", "?tx_hash=", "?other=1", "?merkle_root=%00"):
        assert public.get(f"/api/v1/public/anchors/lookup{query}").status_code == 422
    assert public.get("/api/v1/public/anchors/x/verify").status_code == 404
    # What the public key opens is no more than that.
    assert public.get(ANCHORS).status_code == public.get("/api/v1/events").status_code == 401


def test_tiles_are_those_of_the_second_implementation(db, public):
    assert public.get("/checkpoint").status_code == public.get("/tile/0/000.p/1").status_code == 404
    sizes = []
    for tenant, count in (("a", 200), ("b", 60), ("", 270)):
        record(db.conn, count, tenant)
        sizes.append(t.size_of(t.checkpoint(db.conn)))
    witness = t.Key("w1", 4)
    t.store_cosignature(db.conn, t.checkpoint(db.conn), witness, int(time.time()))
    answer = public.get("/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8" and answer.headers["cache-control"] == "no-cache"
    vkey, = db.conn.execute("SELECT immutable.verifier_key()").fetchone()
    note = tlog.open_note(tlog.read_note(answer.content), [tlog.read_vkey(vkey), tlog.read_vkey(witness.vkey)])
    checkpoint = tlog.read_checkpoint(answer.text.split("\n\n")[0] + "\n")
    assert note and checkpoint.size == sizes[-1]

    log = h.Log(db.conn)
    hashes = [bytes.fromhex(log.hash(*place)) for place in t.Tree(db.conn).places()]
    tree = tlog.Tree([tlog.leaf_hash(hash_) for hash_ in hashes])
    assert tree.root() == checkpoint.root
    wanted = {}
    for size in sizes:
        wanted |= tlog.tiles(tree, size)
        for number in range(0, -(-size // 256)):
            entries = hashes[256 * number:min(size, 256 * (number + 1))]
            wanted[tlog.tile_path(0, number, len(entries)).replace("tile/0/", "tile/entries/")] = tlog.entry_bundle(entries)
    assert len(wanted) > 8 and any(path.startswith("tile/1/") for path in wanted)
    for path, data in wanted.items():
        answer = public.get(f"/{path}")
        assert answer.status_code == 200 and answer.content == data, path
        assert answer.headers["content-type"] == "application/octet-stream" and "immutable" in answer.headers["cache-control"]
    full = len(tree) // 256
    for path in (f"0/{full:03}", f"0/{full:03}.p/255", f"0/{full + 1:03}.p/1", "2/000.p/1", "0/0", "0/000.p/0", "0/000.p/256", "0/000.p/01", "00/000", "8/000", "64/000",
                 "-1/000", "entries/0", "entries/999", "0/x001", "0/000/", "", "0", "data/000", "0/%2e%2e", "%00", "0/000.p/%ff", "0/000?x=1".replace("?", "%3F"),
                 "0/x999/x999/x999/x999/x999/x999/999", "0/x9223/x372/x036/x854/x775/807"):
        answer = public.get(f"/tile/{path}")
        assert answer.status_code == 404 and answer.json()["error"] == "not_found", path
        assert "immutable" not in answer.headers.get("cache-control", "")


def test_a_public_key_that_is_changed_or_revoked_takes_effect_at_once(db, public, tmp_path):
    record(db.conn, 5)
    t.checkpoint(db.conn)
    assert public.get("/checkpoint").status_code == 200
    file = tmp_path / "public-key"
    made = keys.create(db.conn, ["verify"])
    file.write_text(made["key"])
    assert public.get("/checkpoint").status_code == 200
    db.conn.execute("SELECT immutable.revoke_api_key(%s)", (made["id"],))
    assert public.get("/checkpoint").status_code == 503
    file.write_text(keys.create(db.conn, ["read"])["key"])
    assert public.get("/checkpoint").status_code == 503
    file.unlink()
    answer = public.get("/checkpoint")
    assert answer.status_code == 503 and "imk_" not in answer.text and str(tmp_path) not in answer.text
