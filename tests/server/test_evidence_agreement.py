"""What the database stores of the tree and signs, read by the second implementation and by software of others: they agree
on every leaf, tile, root and signature."""

import json

import aics_tlog
import pytest

import helpers_log as h
from helpers_evidence import Evidence
from helpers_foreign import Go, openssl_verifies
from helpers_witness import made, tlog
from test_format_agreement import insert
from helpers_random import Random

SEED = 20261126


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    program = Go(tmp_path_factory.mktemp("go"))
    yield program
    program.close()


@pytest.fixture
def evidence(db):
    return Evidence(db)


def grow(evidence, rng, count):
    """Random events of several tenants, some recorded in the lanes of transactions that wait for one another."""
    numbers = iter(range(evidence.recorded, evidence.recorded + count))
    evidence.recorded += count
    insert(evidence.conn, [rng.event(number) for number in numbers])


def check_signed(evidence, note, go, folder):
    """One checkpoint, by all."""
    vkey = evidence.verifier_key()
    policy = tlog.read_policy(f"log {vkey}\nquorum none\n".encode())
    confirmed = tlog.confirm(note.encode(), policy)
    assert confirmed.checkpoint.origin == confirmed.log.name and confirmed.checkpoint.extensions == ()
    assert go.opens(note.encode(), [vkey]) == [confirmed.log.name]
    assert aics_tlog.verify_checkpoint(aics_tlog.parse_note(note), aics_tlog.parse_vkey(vkey)).ok
    parsed = tlog.read_note(note.encode())
    line = next(each for each in parsed.signatures if each.id == confirmed.log.id)
    assert openssl_verifies(folder, confirmed.log.public, parsed.text.encode(), line.blob)
    assert not openssl_verifies(folder, confirmed.log.public, parsed.text.encode() + b"\n", line.blob)
    return confirmed.checkpoint


def test_every_size_of_a_growing_log(evidence, go, tmp_path):
    """Across the borders of tiles: what is signed is the tree over the rows, and what is stored are its tiles."""
    rng = Random(SEED)
    before = None
    for count in (1, 4, 130, 110, 12, 300):
        grow(evidence, rng, count)
        note = evidence.checkpoint()
        checkpoint = check_signed(evidence, note, go, tmp_path)
        leaves = evidence.leaves_of_rows()
        tree = tlog.Tree(leaves)
        assert (checkpoint.size, checkpoint.root) == (len(tree), tree.root())
        assert evidence.stored_tiles(checkpoint.size) == tlog.tiles(tree, checkpoint.size)
        assert evidence.checkpoint() == note
        if before:
            proof = tree.consistency(before.size, checkpoint.size)
            tlog.check_consistency(before.size, checkpoint.size, proof, before.root, checkpoint.root)
            assert go.holds("consistency", old=before.size, old_root=before.root.hex(), size=checkpoint.size,
                            root=checkpoint.root.hex(), proof=made.hexes(proof))
        before = checkpoint
    # Events of the log's own, such as immutable.tree_begun, are in it too.
    assert before.size > evidence.recorded and before.size > 2 * tlog.TILE


def test_others_prove_from_what_the_database_stores(evidence, go):
    rng = Random(SEED + 1)
    grow(evidence, rng, 600)
    checkpoint = tlog.read_checkpoint(tlog.read_note(evidence.checkpoint().encode()).text)
    size, root = checkpoint.size, checkpoint.root
    tiles, tree = evidence.stored_tiles(size), tlog.Tree(evidence.leaves_of_rows())
    encoded = {path: tlog.encode(data) for path, data in tiles.items()}
    reader = aics_tlog.MemoryTileReader(tiles)
    aics_tlog.audit_tiles(reader, size, root, entries=False)
    for index in [0, 255, 256, size - 1, *(rng.randrange(size) for _ in range(20))]:
        old = rng.randint(1, size)
        answer = go.ask("prove", tiles=encoded, size=size, root=root.hex(), index=index, old=old)
        assert answer["ok"], answer
        assert answer["hash"] == tree.levels[0][index].hex()
        assert answer["proof"] == made.hexes(tree.inclusion(index, size))
        assert answer.get("names", []) == made.hexes(tree.consistency(old, size))
        assert aics_tlog.inclusion_proof_from_tiles(reader, index, size) == tree.inclusion(index, size)


def test_the_entry_is_the_hash_and_nothing_else(evidence):
    """Erasing a value changes no leaf."""
    h.add_event(evidence.conn, "acme", "x")
    evidence.checkpoint()
    before = evidence.leaves_of_rows()
    evidence.conn.execute("SELECT immutable.erase(id, 'acme', '{actor_name,metadata.reason}', 'request 12') "
                          "FROM immutable.events WHERE tenant_id = 'acme' AND actor_name IS NOT NULL")
    evidence.checkpoint()
    after = evidence.leaves_of_rows()
    assert after[:len(before)] == before and len(after) > len(before)
    assert json.dumps(made.hexes(after)) == json.dumps(made.hexes(evidence.stored_leaves()))
