"""What the database gives to others: requests to witnesses, proofs, receipts, and the tree beside an export. Witnesses
answer, and the second implementation and the software of others verify."""

import json
import subprocess

import aics_tlog
import psycopg
import pytest

import helpers_log as h
import helpers_witness as w
from helpers_evidence import Evidence
from helpers_foreign import AicsWitness, Go, openssl_verifies
from helpers_random import Random
from helpers_witness import made, tlog
from test_format_agreement import insert

import immutable_evidence as second

SEED = 20261127


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    program = Go(tmp_path_factory.mktemp("go"))
    yield program
    program.close()


@pytest.fixture
def evidence(db):
    evidence = Evidence(db)
    rng = Random(SEED)
    insert(db.conn, [rng.event(number) for number in range(300)])
    h.add_event(db.conn, "acme", "x")
    evidence.checkpoint()
    return evidence


def witness_of(kind, folder, evidence):
    vkey = evidence.verifier_key()
    folder.mkdir()
    return AicsWitness(folder, vkey.split("+")[0], [vkey]) if kind == "aics" else w.OurWitness(folder, [vkey])


@pytest.fixture
def witnesses(evidence, tmp_path):
    """Both, and the database knows them."""
    both = {kind: witness_of(kind, tmp_path / kind, evidence) for kind in ("aics", "ours")}
    for witness in both.values():
        evidence.one("SELECT immutable.add_witness(%s)", witness.vkey)
    # To add a witness is an event, which the next checkpoint covers.
    evidence.checkpoint()
    yield both
    for witness in both.values():
        witness.stop()


def cosign(evidence, witness):
    """As a program beside the database does it: ask, read the size that the witness holds, and ask again."""
    status, _, answer = w.ask(witness.url, "add-checkpoint", evidence.witness_request(0))
    if status == 409:
        status, _, answer = w.ask(witness.url, "add-checkpoint", evidence.witness_request(int(answer)))
    assert status == 200, answer
    evidence.one("SELECT immutable.add_cosignature(%s, %s)", evidence.size(), answer.decode())


def policy_of(evidence, witnesses):
    lines = "".join(f"witness {name} {witness.vkey}\n" for name, witness in witnesses.items())
    return f"log {evidence.verifier_key()}\n{lines}group both all {' '.join(witnesses)}\nquorum both\n".encode()


def event(evidence, name="x"):
    """(id, tenant) of a named event"""
    return evidence.conn.execute("SELECT id, tenant_id FROM immutable.events WHERE resource_id = %s", [f"doc-{name}"]).fetchone()


# ---------------------------------------------------------------------------------------------------------------------
# Witnesses


def test_both_witnesses_cosign_while_the_log_grows(evidence, witnesses, go, tmp_path):
    policy = tlog.read_policy(policy_of(evidence, witnesses))
    for count in range(3):
        for witness in witnesses.values():
            cosign(evidence, witness)
        note = evidence.newest_note()
        confirmed = tlog.confirm(note, policy)
        assert confirmed.doubt is None and [name for name, _ in confirmed.cosigned] == ["aics", "ours"]
        keys = [witness.vkey for witness in witnesses.values()]
        assert sorted(go.opens(note, [evidence.verifier_key(), *keys])) == sorted(
            key.split("+")[0] for key in (evidence.verifier_key(), *keys))
        assert aics_tlog.verify_checkpoint(aics_tlog.parse_note(note), aics_tlog.parse_vkey(evidence.verifier_key()),
                                           [aics_tlog.parse_vkey(key) for key in keys], 2).ok
        text = tlog.read_note(note).text
        for key in map(tlog.read_vkey, keys):
            blob = next(line.blob for line in tlog.read_note(note).signatures if line.id == key.id)
            message = tlog.cosigned_message(text, int.from_bytes(blob[:8], "big"))
            assert openssl_verifies(tmp_path, key.public, message, blob[8:])
        for _ in range(count * 200 + 1):
            h.add_event(evidence.conn, "acme", f"{count}-{_}")
        evidence.checkpoint()


def test_a_request_is_the_body_that_a_witness_reads(evidence, witnesses):
    size = evidence.size()
    tree = tlog.Tree(evidence.leaves_of_rows())
    for old in (0, 1, 2, 255, 256, 257, size - 1, size):
        request = tlog.read_request(evidence.witness_request(old))
        checkpoint = tlog.read_checkpoint(tlog.read_note(request.note).text)
        assert (request.old, checkpoint.size, checkpoint.root) == (old, size, tree.root())
        assert request.hashes == tree.consistency(old, size)


def test_a_cosignature_of_anything_else_is_refused(evidence, witnesses):
    text = tlog.read_note(evidence.newest_note()).text
    stranger = tlog.SignerKey("witness.example/stranger", bytes(32), tlog.COSIGNATURE)
    _, _, answer = w.ask(witnesses["ours"].url, "add-checkpoint", evidence.witness_request(0))
    line = answer.decode()
    flipped = line.rstrip("\n")
    at = len(flipped) - 8
    flipped = flipped[:at] + ("A" if flipped[at] != "A" else "B") + flipped[at + 1:] + "\n"
    assert evidence.one("SELECT immutable.add_cosignature(%s, %s)", evidence.size(), stranger.sign(text, made.TIME)) == 0
    for lines in (flipped, "x\n", ""):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            evidence.one("SELECT immutable.add_cosignature(%s, %s)", evidence.size(), lines)
    evidence.one("SELECT immutable.add_cosignature(%s, %s)", evidence.size(), line)


# ---------------------------------------------------------------------------------------------------------------------
# Proofs


def test_all_agree_on_inclusion(evidence, go):
    tree = tlog.Tree(evidence.leaves_of_rows())
    rows = evidence.conn.execute("SELECT id, tenant_id, event_hash FROM immutable.events").fetchall()
    leaves = {leaf: index for index, leaf in enumerate(tree.levels[0])}
    covered = [row for row in rows if tlog.leaf_hash(row[2]) in leaves]
    assert len(covered) == len(tree)
    for id_, tenant, hash_ in covered[::7]:
        leaf = tlog.leaf_hash(hash_)
        proof = tlog.read_proof(evidence.one("SELECT immutable.inclusion_proof(%s, %s)", id_, tenant).encode())
        checkpoint = tlog.read_checkpoint(tlog.read_note(proof.note).text)
        assert (proof.index, proof.hashes, proof.extra) == (leaves[leaf], tree.inclusion(leaves[leaf], len(tree)), None)
        tlog.check_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
        assert go.holds("inclusion", leaf=leaf.hex(), index=proof.index, size=checkpoint.size, root=checkpoint.root.hex(),
                        proof=made.hexes(proof.hashes))
        assert aics_tlog.verify_leaf_inclusion(hash_, proof.index, checkpoint.size, proof.hashes, checkpoint.root)


def test_all_agree_on_consistency(evidence, go):
    size = evidence.size()
    tree = tlog.Tree(evidence.leaves_of_rows())
    for old in sorted({1, 2, 3, 127, 128, 255, 256, 257, size - 1, size}):
        text = evidence.one("SELECT immutable.consistency_proof(%s, %s)", old, size)
        hashes = [tlog.hash_of(line, "proof") for line in text.splitlines()]
        assert hashes == tree.consistency(old, size)
        assert go.holds("consistency", old=old, old_root=tree.root(old).hex(), size=size, root=tree.root().hex(),
                        proof=made.hexes(hashes))
        assert aics_tlog.verify_consistency(old, size, tree.root(old), tree.root(), hashes)


def receipt_status(folder, text, policy):
    """The exit status of our program, which must be the second implementation's verdict."""
    (folder / "event.receipt").write_bytes(text.encode())
    (folder / "policy").write_bytes(policy)
    done = subprocess.run([w.VERIFY, "receipt", folder / "event.receipt", "--policy", folder / "policy"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        status = second.STATUS[second.check_receipt(text.encode(), tlog.read_policy(policy))["verdict"]]
    except tlog.FormatError:
        status = 2
    assert done.returncode == status, (done.stdout, done.stderr)
    return status


def test_a_receipt_holds_and_a_changed_one_does_not(evidence, witnesses, tmp_path):
    for witness in witnesses.values():
        cosign(evidence, witness)
    policy = policy_of(evidence, witnesses)
    id_, tenant = event(evidence)
    whole = evidence.one("SELECT immutable.receipt(%s, %s)", id_, tenant)
    some = evidence.one("SELECT immutable.receipt(%s, %s, '{actor_id,metadata.amount}')", id_, tenant)
    none = evidence.one("SELECT immutable.receipt(%s, %s, '{}')", id_, tenant)
    for text, disclosed in ((whole, 12), (some, 2), (none, 0)):
        summary = second.check_receipt(text.encode(), tlog.read_policy(policy))
        assert (summary["verdict"], summary["event_id"], len(summary["disclosed"])) == ("VALID", str(id_), disclosed)
        assert receipt_status(tmp_path, text, policy) == 0
    assert "user-x" not in none and "ticket x" not in some
    log_alone = f"log {evidence.verifier_key()}\nquorum none\n".encode()
    assert receipt_status(tmp_path, whole, log_alone) == 3
    h.add_event(evidence.conn, "acme", "y")
    evidence.checkpoint()
    for witness in witnesses.values():
        cosign(evidence, witness)
    theirs = evidence.one("SELECT immutable.receipt(%s, %s)", *event(evidence, "y"))
    line, proof = whole.split("\n", 2)[1:]
    for changed in (whole.replace('"user-x"]', '"user-y"]'), whole.replace("document.shared", "document.edited"),
                    whole.replace(line, theirs.split("\n", 2)[1]), whole.replace(proof, theirs.split("\n", 2)[2]),
                    whole.replace("\nindex ", "\nindex 1")):
        assert changed != whole and receipt_status(tmp_path, changed, policy) == 1
    assert len(whole.encode()) <= 4096 + 200  # with two witnesses


# ---------------------------------------------------------------------------------------------------------------------
# The tree beside an export


class Files:
    """What an auditor gets, judged by both implementations."""

    def __init__(self, evidence, folder, policy):
        self.folder, self.policy = folder, policy
        self.export = [line for line, in evidence.conn.execute("SELECT immutable.export_events()")]
        self.tree = [line for line, in evidence.conn.execute("SELECT immutable.export_tree()")]
        self.note = evidence.newest_note()

    def verdict(self):
        for name, content in (("export", "\n".join(self.export) + "\n"), ("tree", "\n".join(self.tree) + "\n"),
                              ("note", self.note.decode()), ("policy", self.policy.decode())):
            (self.folder / name).write_bytes(content.encode())
        done = subprocess.run([w.VERIFY, self.folder / "export", "--tree", self.folder / "tree", "--checkpoint",
                               self.folder / "note", "--policy", self.folder / "policy"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(self.folder / "export", "rb") as export, open(self.folder / "tree", "rb") as tree:
            summary = second.check_export([("export", export)], second.read_tree("tree", tree), self.note,
                                          tlog.read_policy(self.policy))
        assert done.returncode == second.STATUS[summary["verdict"]], (done.stdout, summary)
        return summary


def test_an_export_beside_its_tree(evidence, witnesses, tmp_path):
    for witness in witnesses.values():
        cosign(evidence, witness)
    policy = policy_of(evidence, witnesses)
    files = Files(evidence, tmp_path, policy)
    summary = files.verdict()
    assert (summary["verdict"], summary["events_covered"], summary["events_not_covered"]) == ("VALID", evidence.size(), 0)
    assert sum(json.loads(line).get("covered", 0) for line in files.tree) == evidence.size()

    for number in range(5):
        h.add_event(evidence.conn, "late", f"late-{number}")
    late = Files(evidence, tmp_path, policy)
    summary = late.verdict()
    assert (summary["verdict"], summary["events_covered"], summary["events_not_covered"]) == ("VALID", evidence.size(), 5)

    # The end of a lane is cut off by a superuser, with all that the database knows of it.
    row = h.Log(evidence.conn).rows
    last = max((each for each in row if each["tenant_id"] == "acme" and each["lane"] == "0"), key=lambda each: int(each["seq"]))
    evidence.unguarded(lambda conn: h.delete(conn, ("acme", 0, int(last["seq"]))))
    cut = Files(evidence, tmp_path, policy)
    cut.tree, cut.note = files.tree, files.note
    found = cut.verdict()["breaks"]
    assert [(each["type"], each["tenant_id"], each["lane"], each["seq"]) for each in found] == [
        ("missing_event", "acme", 0, int(last["seq"]))]
