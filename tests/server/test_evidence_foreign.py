"""Software of others agrees: it reads our notes, proofs and tiles, and refuses what must be refused. First on the
vectors, where each of its verdicts is compared with ours."""

import hashlib
import json

import aics_tlog
import pytest

import helpers_witness as w
from helpers_foreign import AicsWitness, Go, aics_tlog as run_aics_tlog, openssl_verifies
from helpers_witness import made, tlog

VECTORS = json.loads((w.ROOT / "tests/vectors/tlog.json").read_text("ascii"))


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    program = Go(tmp_path_factory.mktemp("go"))
    yield program
    program.close()


@pytest.fixture
def aics_witness(tmp_path):
    witness = AicsWitness(tmp_path, w.ORIGIN, w.LOG_VKEYS)
    yield witness
    witness.stop()


def vectors(*kinds):
    found = [vector for vector in VECTORS if vector["kind"] in kinds]
    assert len(found) > 30
    return found


def files_of(tree, size):
    return tlog.tiles(tree, size)


# ---------------------------------------------------------------------------------------------------------------------
# Go: golang.org/x/mod/sumdb


def test_go_reads_the_worked_example(go):
    assert go.opens(made.NOTE.encode(), [made.LOG_VKEY, made.WITNESS_VKEY]) == [made.ORIGIN, "witness.example/w1"]
    assert go.ask("sign", skey=made.LOG_SKEY, text=made.TEXT)["text"] == made.TEXT + "\n" + made.LOG_LINE
    assert [go.ask("leaf", entry=entry)["hash"] for entry in made.EXAMPLE] == made.LEAVES


# Go is more lenient here: it skips a second line of one key, and knows no times. Its base64 takes bits behind the end.
GO_OPENS = {"bad signature: two lines of one key", "bad signature: two cosignatures of one witness",
            "bad signature: a bad line behind a good one of the same key", "bad signature: a cosignature at time 0",
            "bad signature: a cosignature at time 2^63"}


def test_go_opens_the_same_notes(go):
    lenient = set()
    for vector in vectors("open"):
        names = go.opens(vector["input"].encode(), vector["keys"])
        if "error" in vector and names is not None:
            lenient.add(vector["name"])
        if "error" not in vector:
            assert names == [each["key_name"] for each in vector["verified"]], vector["name"]
    assert lenient == GO_OPENS


def test_go_refuses_the_same_malformed_notes(go):
    """A note that is well-formed and signed by nobody known is refused with another word than a malformed one."""
    for vector in vectors("note"):
        error = go.ask("open", note=made.data(vector), keys=[])["error"]
        malformed = "base64 with bits behind the end" not in vector.get("error", "") and "error" in vector
        assert (error == "malformed note") == malformed, (vector["name"], error)


def test_go_judges_the_same_proofs(go):
    """But those from a tree of nothing, which it does not know, and those above 2^62, where it looks for a power of two
    without end."""
    for vector in [vector for vector in vectors("inclusion") if vector["size"] <= 2 ** 62]:
        holds = go.holds("inclusion", **{name: vector[name] for name in ("leaf", "index", "size", "root", "proof")})
        assert holds == ("error" not in vector), vector["name"]
    for vector in vectors("consistency"):
        if vector["old"] > 0:
            holds = go.holds("consistency", **{name: vector[name] for name in ("old", "old_root", "size", "root", "proof")})
            assert holds == ("error" not in vector), vector["name"]


@pytest.mark.parametrize("size", [1, 5, 255, 256, 257, 600])
def test_go_proves_from_our_tiles(go, size):
    tree = w.TREE
    for index in {0, size // 2, size - 1}:
        for old in {1, size // 2 or 1, size}:
            answer = go.ask("prove", tiles={path: made.tlog.encode(data) for path, data in files_of(tree, size).items()},
                            size=size, root=tree.root(size).hex(), index=index, old=old)
            assert answer["ok"], answer
            assert answer["hash"] == tree.levels[0][index].hex()
            assert answer.get("proof", []) == made.hexes(tree.inclusion(index, size))
            assert answer.get("names", []) == made.hexes(tree.consistency(old, size))


def test_go_refuses_a_changed_tile(go):
    """In a tree of 512: in one whose right edge has more subtrees than tiles, version 0.7.0 leaves full tiles unchecked."""
    files = files_of(w.TREE, 512)
    for path, index in ("tile/0/000", 0), ("tile/0/001", 256), ("tile/1/000.p/2", 0):
        changed = {**files, path: bytes([files[path][0] ^ 1]) + files[path][1:]}
        answer = go.ask("prove", tiles={name: made.tlog.encode(data) for name, data in changed.items()}, size=512,
                        root=w.TREE.root(512).hex(), index=index, old=0)
        assert not answer["ok"] and "inconsistent tile" in answer["error"], (path, answer)


# ---------------------------------------------------------------------------------------------------------------------
# PyPI: aics-tlog


def test_aics_reads_the_worked_example(tmp_path):
    """Its command line: the checkpoint under a quorum, and the event from tiles on a disk."""
    for path, content in tlog.tiles(made.tree_of({"entries": made.EXAMPLE}), 5).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    bundle = tmp_path / tlog.tile_path("entries", 0, 5)
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(tlog.entry_bundle(map(bytes.fromhex, made.EXAMPLE)))
    (tmp_path / "checkpoint").write_bytes(made.NOTE.encode())
    (tmp_path / "leaf").write_bytes(bytes.fromhex(made.EXAMPLE[1]))
    keys = ["--log-key", made.LOG_VKEY, "--witness-key", made.WITNESS_VKEY]
    checkpoint = ["verify-checkpoint", "--note", tmp_path / "checkpoint", *keys]
    assert run_aics_tlog(*checkpoint, "--quorum", 1)[0] == 0
    assert run_aics_tlog(*checkpoint, "--quorum", 2)[0] != 0
    inclusion = ["verify-inclusion", "--leaf", tmp_path / "leaf", "--tiles", tmp_path, "--quorum", 1, *keys]
    assert run_aics_tlog(*inclusion, "--index", 1)[0] == 0
    assert run_aics_tlog(*inclusion, "--index", 2)[0] != 0


def aics_confirms(note, policy):
    """Whether it accepts a note under a policy without groups of groups."""
    quorum = 0 if policy.quorum is None else policy.groups.get(policy.quorum, (1, [policy.quorum]))[0]
    names = [] if policy.quorum is None else policy.groups.get(policy.quorum, (1, [policy.quorum]))[1]
    try:
        note = aics_tlog.parse_note(note)
        return any(aics_tlog.verify_checkpoint(
            note, aics_tlog.parse_vkey(str(log)), [aics_tlog.parse_vkey(str(policy.witnesses[name])) for name in names],
            quorum, expected_origin=log.name).ok for log in policy.logs)
    except ValueError:
        return False


# It is more lenient here, where nothing is at stake: what it reads in this way, it confirms only if the signatures hold.
AICS_CONFIRMS = {"not a checkpoint: the size 2^63"}
AICS_READS = {
    "bad vkey: capitals in the key id", "bad vkey: a type that nobody knows", "bad note: 101 lines", "bad note: a key id alone",
    "bad note: the last line feed cut off", "bad checkpoint: the size 2^63", "bad checkpoint: the size 2^64",
    "bad checkpoint: a tab in an extension line"}


def test_aics_confirms_the_same_checkpoints():
    different = set()
    for vector in [vector for vector in VECTORS if vector["kind"] == "confirm"]:
        policy = tlog.read_policy(made.data(vector, "policy"))
        ours = vector.get("verdict") in ("VALID", *(["consistent, not anchored"] if policy.quorum is None else []))
        if aics_confirms(made.data(vector), policy) != ours:
            different.add(vector["name"])
    assert different == AICS_CONFIRMS


def test_aics_reads_the_same_keys_and_notes():
    different = set()
    for kind, read in (("vkey", lambda vector: aics_tlog.parse_vkey(vector["input"])),
                       ("note", lambda vector: aics_tlog.parse_note(made.data(vector))),
                       ("checkpoint", lambda vector: aics_tlog.parse_checkpoint(vector["input"]))):
        for vector in [vector for vector in VECTORS if vector["kind"] == kind]:
            try:
                read(vector)
                refused = False
            except ValueError:
                refused = True
            if refused != ("error" in vector):
                different.add(vector["name"])
    assert different == AICS_READS


def test_aics_judges_the_same_proofs():
    for vector in vectors("inclusion"):
        holds = aics_tlog.verify_inclusion(bytes.fromhex(vector["leaf"]), vector["index"], vector["size"],
                                           list(map(bytes.fromhex, vector["proof"])), bytes.fromhex(vector["root"]))
        assert holds == ("error" not in vector), vector["name"]
    for vector in vectors("consistency"):
        holds = aics_tlog.verify_consistency(
            vector["old"], vector["size"], bytes.fromhex(vector["old_root"]), bytes.fromhex(vector["root"]),
            list(map(bytes.fromhex, vector["proof"])))
        assert holds == ("error" not in vector), vector["name"]


@pytest.mark.parametrize("size", [1, 5, 255, 256, 257, 600])
def test_aics_audits_our_tiles(size):
    entries = [made.numbered_entry(n) for n in range(size)]
    files = aics_tlog.MemoryTileReader(tlog.tiles(w.TREE, size))
    report = aics_tlog.audit_tiles(files, size, w.TREE.root(size), entries=False)
    assert report is not None
    theirs = aics_tlog.tiles.materialise_tiles(entries)
    ours = tlog.tiles(w.TREE, size)
    assert {path: data for path, data in theirs.items() if "entries" not in path} == ours
    assert aics_tlog.inclusion_proof_from_tiles(files, size // 2, size) == w.TREE.inclusion(size // 2, size)
    assert aics_tlog.consistency_proof_from_tiles(files, size // 2 or 1, size) == w.TREE.consistency(size // 2 or 1, size)


# ---------------------------------------------------------------------------------------------------------------------
# OpenSSL, and a witness of others


def test_openssl_verifies_the_signature_lines(tmp_path):
    note = tlog.read_note(made.NOTE.encode())
    log, witness = note.signatures
    text = note.text.encode()
    cosigned = tlog.cosigned_message(note.text, made.TIME)
    public, other = made.LOG.verifier.public, made.W1.verifier.public
    assert openssl_verifies(tmp_path, public, text, log.blob)
    assert openssl_verifies(tmp_path, other, cosigned, witness.blob[8:])
    assert not openssl_verifies(tmp_path, public, text.replace(b"5", b"4", 1), log.blob)
    assert not openssl_verifies(tmp_path, other, text, log.blob)
    assert hashlib.sha256(text).hexdigest() == "0257667391a8a17f65e9c071349084a1c1558e073a3c59773ada179acd96e7c8"


def test_a_foreign_witness_answers_as_the_table_says(aics_witness):
    w.check_witness(aics_witness)


def test_our_witness_answers_as_the_table_says(tmp_path):
    witness = w.OurWitness(tmp_path, w.LOG_VKEYS)
    try:
        w.check_witness(witness)
    finally:
        witness.stop()
