"""Makes tests/vectors/tlog.json, for make_vectors.py. tests/vectors/README.md describes it.

What a person can know is written here by hand: the worked example, and which inputs must fail with which reason. The
modules compute the rest, and making the vectors fails where the two disagree.
"""

import hashlib

import immutable_evidence as evidence
import immutable_format as fmt
import immutable_tlog as tlog
import make_vectors as make

# ---------------------------------------------------------------------------------------------------------------------
# What each kind of vector expects, computed from its input. The tests of the modules use it too.


def data(vector, member="input"):
    """An input is text, or bytes in hex where it is no text."""
    return bytes.fromhex(vector[member + "_hex"]) if member + "_hex" in vector else vector[member].encode("utf-8")


def hexes(hashes):
    return [hash_.hex() for hash_ in hashes]


def numbered_entry(number):
    return hashlib.sha256(b"event %d" % number).digest()


TREES = {}


def tree_of(vector):
    if "entries" in vector:
        return tlog.Tree(tlog.leaf_hash(bytes.fromhex(entry)) for entry in vector["entries"])
    if "numbered" not in TREES or len(TREES["numbered"]) < vector["numbered"]:
        TREES["numbered"] = tlog.Tree(tlog.leaf_hash(numbered_entry(n)) for n in range(vector["numbered"]))
    return TREES["numbered"]


def of_tree(vector):
    tree, size = tree_of(vector), vector["numbered"] if "numbered" in vector else len(vector["entries"])
    frontier = tlog.Frontier()
    for leaf in tree.levels[0][:size]:
        frontier.append(leaf)
    assert frontier.root() == tree.root(size)
    return {"root": tree.root(size).hex(), **({"leaves": hexes(tree.levels[0])} if "entries" in vector else {})}


def of_inclusion(vector):
    if "numbered" in vector:
        tree = tree_of(vector)
        vector = {**vector, "leaf": tree.levels[0][vector["index"]].hex(), "root": tree.root(vector["size"]).hex(),
                  "proof": hexes(tree.inclusion(vector["index"], vector["size"]))}
    tlog.check_inclusion(bytes.fromhex(vector["leaf"]), vector["index"], vector["size"],
                         [bytes.fromhex(hash_) for hash_ in vector["proof"]], bytes.fromhex(vector["root"]))
    return {member: vector[member] for member in ("leaf", "proof", "root")}


def of_consistency(vector):
    if "numbered" in vector:
        tree = tree_of(vector)
        vector = {**vector, "old_root": tree.root(vector["old"]).hex(), "root": tree.root(vector["size"]).hex(),
                  "proof": hexes(tree.consistency(vector["old"], vector["size"]))}
    tlog.check_consistency(vector["old"], vector["size"], [bytes.fromhex(hash_) for hash_ in vector["proof"]],
                           bytes.fromhex(vector["old_root"]), bytes.fromhex(vector["root"]))
    return {member: vector[member] for member in ("old_root", "proof", "root")}


def of_tiles(vector):
    tree = tree_of(vector)
    files = tlog.tiles(tree, vector["size"])
    if "entries" in vector:
        entries = [bytes.fromhex(entry) for entry in vector["entries"]]
        files[tlog.tile_path("entries", 0, len(entries))] = tlog.entry_bundle(entries)
    return {"files": {path: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                      for path, content in files.items()}}


def of_vkey(vector):
    key = tlog.read_vkey(vector["input"])
    assert str(key) == vector["input"]
    return {"key_name": key.name, "key_id": key.id.hex(), "type": key.type, "public_key": key.public.hex()}


def signer(vector):
    return tlog.SignerKey(vector["key_name"], bytes.fromhex(vector["seed"]), vector["type"])


def of_note(vector):
    note = tlog.read_note(data(vector))
    return {"text": note.text, "signatures": [
        {"key_name": each.name, "key_id": each.id.hex(), "signature": each.blob.hex()} for each in note.signatures]}


def of_open(vector):
    verified = tlog.open_note(tlog.read_note(data(vector)), [tlog.read_vkey(key) for key in vector["keys"]])
    return {"verified": [{"key_name": each.key.name, "time": each.time} for each in verified]}


def of_checkpoint(vector):
    checkpoint = tlog.read_checkpoint(data(vector).decode())
    assert checkpoint.text() == vector["input"]
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(),
            "extensions": list(checkpoint.extensions)}


def of_proof(vector):
    proof = tlog.read_proof(data(vector))
    assert proof.text() == data(vector)
    return {"index": proof.index, "hashes": hexes(proof.hashes), "extra": proof.extra and proof.extra.hex(),
            "note": proof.note.decode()}


def of_request(vector):
    request = tlog.read_request(data(vector))
    assert request.text() == data(vector)
    return {"old": request.old, "hashes": hexes(request.hashes), "note": request.note.decode()}


def of_policy(vector):
    policy = tlog.read_policy(data(vector))
    return {"logs": [str(key) for key in policy.logs], "quorum": policy.quorum,
            "witnesses": {name: str(key) for name, key in policy.witnesses.items()},
            "met": [policy.met(set(names)) for names in vector.get("cosigned", [])]}


def of_confirm(vector):
    return evidence.check_checkpoint(data(vector), tlog.read_policy(data(vector, "policy")))


def of_receipt(vector):
    return evidence.check_receipt(data(vector), tlog.read_policy(data(vector, "policy")))


class Refused(Exception):
    """The number of the line."""


def read_tree(lines):
    tree, number = evidence.TreeExport(), 0
    try:
        for number, line in enumerate(lines, 1):
            tree.line(line.encode("utf-8"))
        number += 1
        tree.finish()
    except fmt.ExportError:
        raise Refused(number) from None
    return tree


def of_tree_export(vector):
    tree = read_tree(vector["lines"])
    return {"log_id": tree.log_id, "origin": tree.origin, "size": tree.size, "root": tree.frontier.root().hex(),
            "covered": [[tenant, lane, seq] for (tenant, lane), seq in tree.covered.items()]}


def of_anchored(vector):
    lines = [line.encode("utf-8") + b"\n" for line in vector["export"]]
    summary = evidence.check_export([("export", lines)], read_tree(vector["tree"]), vector["checkpoint"].encode(),
                                    tlog.read_policy(vector["policy"].encode()), vector.get("heads", ()))
    return {member: summary[member] for member in (
        "verdict", "reason", "events_checked", "events_covered", "events_not_covered", "heads_checked", "cosigned_by",
        "cosigned_at", "breaks") if member in summary}


KINDS = {
    "tree": of_tree, "inclusion": of_inclusion, "consistency": of_consistency, "tiles": of_tiles,
    "tile_widths": lambda vector: {"widths": [list(each) for each in tlog.tile_widths(vector["size"])]},
    "tile_path": lambda vector: {"path": tlog.tile_path(vector["level"], vector["number"], vector["width"])},
    "monitoring_path": lambda vector: {"path": tlog.monitoring_path(vector["origin"])},
    "vkey": of_vkey, "signer": lambda vector: {"vkey": str(signer(vector).verifier), "skey": signer(vector).skey()},
    "sign": lambda vector: {"line": signer(vector).sign(vector["text"], vector.get("time"))},
    "note": of_note, "open": of_open, "checkpoint": of_checkpoint, "proof": of_proof, "request": of_request,
    "policy": of_policy, "confirm": of_confirm, "receipt": of_receipt, "tree_export": of_tree_export,
    "anchored": of_anchored,
}


def outcome(vector):
    """What the vector expects, as members of it."""
    try:
        return KINDS[vector["kind"]](vector)
    except Refused as refused:
        return {"refused": refused.args[0]}
    except (tlog.FormatError, tlog.NotValid, fmt.InputError) as error:
        return {"error": str(error)}


# ---------------------------------------------------------------------------------------------------------------------
# The worked example

ORIGIN = "immutable.example/" + make.LOG_ID
EXAMPLE = ["465a20543cfc984506cd1188ad29263482f6b2db175750dc77c2d37ccd6df17c",
           "fb378474af5953bec611fcb2602c5b61271c1f233b60c0adba76d5d6f47a50c4",
           "7f1ee17eb6d4b1815c8c0580dfb7ca0d3d5c3cde523da817ef7d3b1e96f6d5b8",
           "6c5cd6775eb412207f7f71f11f09047f1475b2b7526063195b777a230fe4c2a6",
           "2d245d477b973c0895afc098b46762967f728e5aec8555d81ceaf1996d4c33e0"]
LEAVES = ["9f857e24a716a1ad5aae0a0c0ceda2dda269dc4a793eb1d358927d8b4d3d6e1c",
          "390145b17c0eb81ab29689daccd7c7973096d862d1fc20f13c6a50a867547057",
          "844a329ebe8751c7fefa6a46cac076e69401ad5b04f8ddd016d23e4a2d8e10e7",
          "a58e5cfdb8779545e435555e821052621a96c1c68a5b9bba82a0d04e0cbb302b",
          "5a303f540cf9422b15446a945c7c78d27242002e9974b99f6cc3934ba71a64e6"]
ROOTS = ["9f857e24a716a1ad5aae0a0c0ceda2dda269dc4a793eb1d358927d8b4d3d6e1c",
         "18d45a763e00f02316a655c67f34ca81604e4512fe551ec658dfdfd22ad4f671",
         "de356ee7a89581091ac8abb42186b34e7ca9663781204e4b0533fa7ef9ca88b7",
         "e1a4dcbbc51d7f0c700e28cb3270c2b709eb2fff5128276c893bb37b5a3a3996",
         "d6562bfa1ae6f21dc2a2db5f4bc278858475db127b305569a955f853032d3e57"]
LOG_VKEY = ORIGIN + "+76930b31+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
LOG_SKEY = f"PRIVATE+KEY+{ORIGIN}+76930b31+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
WITNESS_VKEY = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
TEXT = f"{ORIGIN}\n5\n1lYr+hrm8h3CottfS8J4hYR12xJ7MFVpqVX4UwMtPlc=\n"
LOG_LINE = (f"\u2014 {ORIGIN} dpMLMX67M2hr7fRqodvyFYIqf8BUJ0U05+YI5kzMNJSyXKmBrpBSB/RoFGRTjlIUvxHxTED25YfxLjdMOHteOVQg"
            "oAQ=\n")
WITNESS_LINE = ("\u2014 witness.example/w1 IDJKvgAAAABptsLyZURFPfU66i3OVgucmggLQ2tHxCuSZ8G1bZ20ybD350yhmVgyYHIl2O601EMPVzcL5qRJ4d"
                "8S95QUr7jWwfWUAA==\n")
NOTE = TEXT + "\n" + LOG_LINE + WITNESS_LINE
TIME = 1773585138
PROOF = """c2sp.org/tlog-proof@v1
index 1
n4V+JKcWoa1argoMDO2i3aJp3Ep5PrHTWJJ9i009bhw=
FCq5c6UXmIOGXZcmDlGyXzue9cydQ2t0kglSDtZzN6I=
WjA/VAz5QisVRGqUXHx40nJCAC6ZdLmfbMOTS6caZOY=

""" + NOTE
OLD_3 = """old 3
hEoynr6HUcf++mpGysB25pQBrVsE+N3QFtI+Si2OEOc=
pY5c/bh3lUXkNVVeghBSYhqWwcaKW5u6gqDQTgy7MCs=
GNRadj4A8CMWplXGfzTKgWBORRL+VR7GWN/f0irU9nE=
WjA/VAz5QisVRGqUXHx40nJCAC6ZdLmfbMOTS6caZOY=

""" + TEXT + "\n" + LOG_LINE
OLD_4 = "old 4\nWjA/VAz5QisVRGqUXHx40nJCAC6ZdLmfbMOTS6caZOY=\n\n" + TEXT + "\n" + LOG_LINE

LOG = tlog.SignerKey(ORIGIN, bytes(range(32)))
WITNESSES = [tlog.SignerKey(f"witness.example/w{n + 1}", bytes(range(32 + n, 64 + n)), tlog.COSIGNATURE) for n in range(4)]
W1, W2, W3, W4 = WITNESSES
OTHER_LOG = tlog.SignerKey("immutable.example/other", bytes(range(64, 96)))
LOG_LINES = f"log {LOG.verifier}\n"
WITNESS_LINES = "".join(f"witness w{n + 1} {key.verifier}\n" for n, key in enumerate(WITNESSES))
POLICY = f"log {LOG_VKEY}\nwitness w1 {WITNESS_VKEY}\nquorum w1\n"
NO_QUORUM = f"log {LOG_VKEY}\nquorum none\n"
TWO_OF_THREE = f"{LOG_LINES}{WITNESS_LINES}group three 2 w1 w2 w3\nquorum three\n"


def checked_constants():
    assert hashlib.sha256(TEXT.encode()).hexdigest() == "0257667391a8a17f65e9c071349084a1c1558e073a3c59773ada179acd96e7c8"
    assert hashlib.sha256(tlog.cosigned_message(TEXT, TIME)).hexdigest() == \
        "6c0a75c3a383f8e2755633c9b5b92c1914046e797e23c6b1685a3780a6acc886"
    assert (len(TEXT.encode()), len(tlog.cosigned_message(TEXT, TIME))) == (102, 133)
    assert [numbered_entry(n).hex() for n in range(1, 5)] == EXAMPLE[1:]
    assert make.hex_(make.plain()) == EXAMPLE[0]
    assert LOG.sign(TEXT) == LOG_LINE and W1.sign(TEXT, TIME) == WITNESS_LINE


def example_vectors():
    checked_constants()
    tree = tree_of({"entries": EXAMPLE})
    for size in range(1, 6):
        yield f"example: tree of {size}", dict(kind="tree", entries=EXAMPLE[:size]), \
            dict(root=ROOTS[size - 1], leaves=LEAVES[:size])
    yield "example: the empty tree", dict(kind="tree", entries=[]), \
        dict(root="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    yield "example: log key", dict(kind="signer", key_name=ORIGIN, seed=bytes(range(32)).hex(), type=1), \
        dict(vkey=LOG_VKEY, skey=LOG_SKEY)
    yield "example: witness key", dict(kind="signer", key_name="witness.example/w1", seed=bytes(range(32, 64)).hex(),
                                       type=4), dict(vkey=WITNESS_VKEY)
    yield "example: log vkey", dict(kind="vkey", input=LOG_VKEY), dict(
        key_name=ORIGIN, key_id="76930b31", type=1,
        public_key="03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
    yield "example: witness vkey", dict(kind="vkey", input=WITNESS_VKEY), dict(
        key_name="witness.example/w1", key_id="20324abe", type=4,
        public_key="29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7")
    yield "example: the log signs", dict(kind="sign", key_name=ORIGIN, seed=bytes(range(32)).hex(), type=1, text=TEXT), \
        dict(line=LOG_LINE)
    yield "example: the witness cosigns", dict(kind="sign", key_name="witness.example/w1", type=4, text=TEXT, time=TIME,
                                               seed=bytes(range(32, 64)).hex()), dict(line=WITNESS_LINE)
    yield "example: checkpoint", dict(kind="checkpoint", input=TEXT), dict(
        origin=ORIGIN, size=5, root=ROOTS[4], extensions=[])
    yield "example: note", dict(kind="note", input=NOTE), dict(text=TEXT)
    yield "example: note opened", dict(kind="open", input=NOTE, keys=[LOG_VKEY, WITNESS_VKEY]), dict(
        verified=[{"key_name": ORIGIN, "time": None}, {"key_name": "witness.example/w1", "time": TIME}])
    yield "example: proof file", dict(kind="proof", input=PROOF), dict(
        index=1, hashes=hexes(tree.inclusion(1, 5)), extra=None, note=NOTE)
    yield "example: inclusion of 1 in 5", dict(kind="inclusion", leaf=LEAVES[1], index=1, size=5, root=ROOTS[4],
                                               proof=hexes(tree.inclusion(1, 5))), {}
    yield "example: request from 3", dict(kind="request", input=OLD_3), dict(
        old=3, hashes=hexes(tree.consistency(3, 5)), note=TEXT + "\n" + LOG_LINE)
    yield "example: request from 4", dict(kind="request", input=OLD_4), dict(old=4, hashes=hexes(tree.consistency(4, 5)))
    for old in (3, 4):
        yield f"example: consistency of {old} and 5", dict(
            kind="consistency", old=old, size=5, old_root=ROOTS[old - 1], root=ROOTS[4],
            proof=hexes(tree.consistency(old, 5))), {}
    yield "example: tiles", dict(kind="tiles", entries=EXAMPLE, size=5), dict(files={
        "tile/0/000.p/5": {"bytes": 160, "sha256": "dec42e5cac55e197e3d6dea143dcc257e5351f7992b18c05fad13cbdedb3ce6f"},
        "tile/entries/000.p/5": {"bytes": 170,
                                 "sha256": "6c878aa3848ef1e4950e08840bde8ca48fa608d8b3826bec88c0fa9d45311fca"}})
    yield "example: monitoring path", dict(kind="monitoring_path", origin=ORIGIN), dict(
        path="17b5aab4fe20b02e8cb10207e836531dfc1722992bfefae029796b3dea9525bd/checkpoint")
    yield "example: policy", dict(kind="policy", input=POLICY, cosigned=[[], ["w1"]]), dict(
        logs=[LOG_VKEY], witnesses={"w1": WITNESS_VKEY}, quorum="w1", met=[False, True])
    yield "example: checkpoint confirmed", dict(kind="confirm", input=NOTE, policy=POLICY), dict(
        verdict="VALID", origin=ORIGIN, size=5, root=ROOTS[4], cosigned_by=["w1"], cosigned_at="2026-03-15T14:32:18Z")


# ---------------------------------------------------------------------------------------------------------------------
# Trees, proofs, tiles

LARGE = 65537
SIZES = [21, 31, 32, 33, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000, 4095, 65535, 65536, 65537]
TILED = [0, 1, 255, 256, 257, 511, 512, 513, 1000, 65535, 65536, 65537]


def tree_vectors():
    for size in [*range(21), *SIZES]:
        yield f"tree of {size} numbered entries", dict(kind="tree", numbered=size), {}
    for size in range(1, 21):
        for index in range(size):
            yield f"inclusion of {index} in {size}", dict(kind="inclusion", numbered=size, index=index, size=size), {}
    for size in SIZES:
        for index in sorted({0, 1, size // 2, size - 2, size - 1}):
            yield f"inclusion of {index} in {size}", dict(kind="inclusion", numbered=size, index=index, size=size), {}
    for size in range(21):
        for old in range(size + 1):
            yield f"consistency of {old} and {size}", dict(kind="consistency", numbered=size, old=old, size=size), {}
    for size in SIZES:
        for old in sorted({0, 1, 2, 3, size // 2, size - 1, size} | {n for n in (255, 256, 257, 65536) if n < size}):
            yield f"consistency of {old} and {size}", dict(kind="consistency", numbered=size, old=old, size=size), {}
    for size in TILED:
        yield f"tiles of {size}", dict(kind="tiles", numbered=size, size=size), {}
    for size, widths in [(0, []), (5, [[0, 0, 5]]), (256, [[0, 1, 0], [1, 0, 1]]), (257, [[0, 1, 1], [1, 0, 1]]),
                         (70000, [[0, 273, 112], [1, 1, 17], [2, 0, 1]]), (65536, [[0, 256, 0], [1, 1, 0], [2, 0, 1]])]:
        yield f"tile widths of {size}", dict(kind="tile_widths", size=size), dict(widths=widths)
    for level, number, width, path in [
            (0, 0, 256, "tile/0/000"), (0, 5, 256, "tile/0/005"), (1, 999, 1, "tile/1/999.p/1"),
            (0, 1000, 256, "tile/0/x001/000"), (0, 1234067, 256, "tile/0/x001/x234/067"),
            (2, 1234067, 255, "tile/2/x001/x234/067.p/255"), ("entries", 273, 112, "tile/entries/273.p/112")]:
        yield f"tile path {path}", dict(kind="tile_path", level=level, number=number, width=width), dict(path=path)


def bad_proof_vectors():
    tree = tree_of({"numbered": LARGE})

    def inclusion(name, error, at, of, **changed):
        vector = dict(kind="inclusion", leaf=tree.levels[0][at].hex(), index=at, size=of, root=tree.root(of).hex(),
                      proof=hexes(tree.inclusion(at, of)))
        return f"bad inclusion: {name}", {**vector, **changed}, dict(error=error)

    def consistency(name, error, since, of, **changed):
        vector = dict(kind="consistency", old=since, size=of, old_root=tree.root(since).hex(), root=tree.root(of).hex(),
                      proof=hexes(tree.consistency(since, of)))
        return f"bad consistency: {name}", {**vector, **changed}, dict(error=error)

    root, long, short, outside = ("the inclusion proof leads to another root", "the inclusion proof is too long",
                                  "the inclusion proof is too short", "the index is not in the tree")
    proof = hexes(tree.inclusion(5, 13))
    yield inclusion("a flipped bit in the proof", root, 5, 13, proof=[*proof[:1], flipped(proof[1]), *proof[2:]])
    yield inclusion("a flipped bit in the leaf", root, 5, 13, leaf=flipped(tree.levels[0][5].hex()))
    yield inclusion("a flipped bit in the root", root, 5, 13, root=flipped(tree.root(13).hex()))
    yield inclusion("another index", root, 5, 13, index=4)
    yield inclusion("another index with the same number of hashes", root, 5, 13, index=7)
    yield inclusion("the proof of another event", root, 5, 13, proof=hexes(tree.inclusion(6, 13)))
    yield inclusion("a smaller size", long, 5, 13, size=8)
    yield inclusion("the root of another size", root, 5, 13, root=tree.root(12).hex())
    yield inclusion("two hashes swapped", root, 5, 13, proof=[proof[1], proof[0], *proof[2:]])
    yield inclusion("a hash too few", short, 5, 13, proof=proof[:-1])
    yield inclusion("a hash too many", long, 5, 13, proof=[*proof, proof[0]])
    yield inclusion("no hashes", short, 5, 13, proof=[])
    yield inclusion("an index behind the end", outside, 12, 13, index=13)
    yield inclusion("an empty tree", outside, 0, 1, size=0, root=tlog.EMPTY_ROOT.hex())
    yield inclusion("a proof in a tree of one", long, 0, 1, proof=[proof[0]])
    yield inclusion("an inner node as leaf", short, 0, 4, leaf=tree.root(2).hex(), proof=hexes(tree.inclusion(0, 4)[1:]))
    yield inclusion("the largest size, and hashes too few", short, 0, 13, size=2 ** 63 - 1)
    yield inclusion("65,537 as 65,536", short, 65536, 65537, index=65535, size=65536)

    second, first = "the consistency proof leads to another root", "the consistency proof leads to another old root"
    long, short = "the consistency proof is too long", "the consistency proof is too short"
    proof = hexes(tree.consistency(6, 13))
    yield consistency("a flipped bit in the proof", first, 6, 13, proof=[flipped(proof[0]), *proof[1:]])
    yield consistency("a flipped bit in the last hash", second, 6, 13, proof=[*proof[:-1], flipped(proof[-1])])
    yield consistency("a flipped bit in the old root", first, 6, 13, old_root=flipped(tree.root(6).hex()))
    yield consistency("a flipped bit in the root", second, 6, 13, root=flipped(tree.root(13).hex()))
    yield consistency("another old size", short, 6, 13, old=5)
    yield consistency("the old root of another size", first, 6, 13, old_root=tree.root(5).hex())
    yield consistency("old and new swapped", "the old tree is larger", 6, 13, old=13, size=6)
    yield consistency("a hash too few", short, 6, 13, proof=proof[:-1])
    yield consistency("a hash too many", long, 6, 13, proof=[*proof, proof[0]])
    yield consistency("no hashes", short, 6, 13, proof=[])
    yield consistency("no hashes from a power of two", short, 8, 13, proof=[])
    yield consistency("hashes from nothing", long, 0, 13, proof=proof)
    yield consistency("hashes between equal sizes", long, 13, 13, proof=proof)
    yield consistency("two roots of one size", "two roots of one size", 13, 13, root=tree.root(12).hex())
    yield consistency("nothing with a root", "the root of an empty tree is another", 0, 13, old_root="00" * 32)
    yield consistency("an empty tree of zeros", "the root of an empty tree is another", 0, 0, old_root="00" * 32,
                      root="00" * 32)
    yield consistency("65,536 and 65,537 without the last hash", short, 65536, 65537, proof=[])


def flipped(hex_, bit=0):
    changed = bytearray.fromhex(hex_)
    changed[bit // 8] ^= 1 << bit % 8
    return changed.hex()


# ---------------------------------------------------------------------------------------------------------------------
# Keys, notes, checkpoints

# Accepts a signature of zeros and one under any text, if nobody looks.
EVERYBODYS_KEY = tlog.VerifierKey("everybody.example", 1, (1).to_bytes(32, "little"))


def key_vectors():
    rest = LOG_VKEY.split("+", 2)[2]
    name_with_plus = tlog.VerifierKey("a+b", 1, LOG.verifier.public)
    for name, key in [("with a plus in its base64", next(
            tlog.SignerKey("plus.example", bytes([n] * 32)).verifier for n in range(256)
            if "+" in str(tlog.SignerKey("plus.example", bytes([n] * 32)).verifier).split("+", 2)[2])),
            ("of a name beyond ASCII", tlog.SignerKey("l\u00f6g.example/\U0001f600", bytes(32)).verifier),
            ("of one letter", tlog.SignerKey("a", bytes(32)).verifier)]:
        yield f"vkey {name}", dict(kind="vkey", input=str(key)), dict(key_name=key.name)
    for name, text, error in [
            ("nothing", "", "a key is not of three parts"), ("no base64", ORIGIN + "+76930b31", "a key is not of three parts"),
            ("no name", "+76930b31+" + rest, "an empty key name"),
            ("a space in the name", str(tlog.VerifierKey("a b", 1, LOG.verifier.public)),
             "a space or control character in a key name"),
            ("a no-break space in the name", str(tlog.VerifierKey("a\u00a0b", 1, LOG.verifier.public)),
             "a space or control character in a key name"),
            ("a plus in the name", str(name_with_plus), "a key: not base64"),
            ("capitals in the key id", LOG_VKEY.replace("76930b31", "76930B31"), "a key id is not 8 digits"),
            ("a key id of 7 digits", LOG_VKEY.replace("76930b31", "76930b3"), "a key id is not 8 digits"),
            ("the key id of another key", LOG_VKEY.replace("76930b31", "20324abe"), "a key id is of another key"),
            ("another name", "x" + LOG_VKEY, "a key id is of another key"),
            ("another type", f"{ORIGIN}+76930b31+{tlog.encode(bytes([4]) + LOG.verifier.public)}", "a key id is of another key"),
            ("a type that nobody knows", str(tlog.VerifierKey("a", 0xff, LOG.verifier.public)), "a key of another type"),
            ("a key too short", str(tlog.VerifierKey("a", 1, LOG.verifier.public[:-1])), "a public key is not 32 bytes"),
            ("a key too long", str(tlog.VerifierKey("a", 1, LOG.verifier.public + b"\0")), "a public key is not 32 bytes"),
            ("a type alone", str(tlog.VerifierKey("a", 1, b"")), "a public key is not 32 bytes"),
            ("no key", "a+00000000+", "a key of another type"),
            ("bad base64", LOG_VKEY[:-1] + "!", "a key: not base64"),
            ("base64 without padding", WITNESS_VKEY[:-1], "a key: not base64"),
            ("base64 of URLs", LOG_VKEY.replace("/zzh", "_zzh"), "a key: not base64"),
            ("a newline behind", LOG_VKEY + "\n", "a key: not base64"),
            ("a key that everybody can sign for", str(EVERYBODYS_KEY), "a public key that everybody can sign for"),
            ("that key with its sign bit", str(tlog.VerifierKey("a", 1, bytes(31) + b"\x80")),
             "a public key that everybody can sign for"),
            ("a coordinate beyond the field", str(tlog.VerifierKey("a", 1, (2 ** 255 - 1).to_bytes(32, "little"))),
             "a public key that everybody can sign for")]:
        yield f"bad vkey: {name}", dict(kind="vkey", input=text), dict(error=error)


def note_vectors():
    many = "".join(f"\u2014 w{n} AAAAAAA=\n" for n in range(98))
    foreign = "\u2014 unknown.example AAAAAAA=\n"
    yield "note: text with an empty line", dict(kind="note", input="a\n\nb\n\n" + LOG_LINE), dict(text="a\n\nb\n")
    yield "note: a text of one empty line", dict(kind="note", input="\n\n" + LOG_LINE), dict(text="\n")
    yield "note: beyond ASCII", dict(kind="note", input="\u00e9\U0001f600\x7f\n\n\u2014 \u00e9 AAAAAAA=\n"), {}
    yield "note: 100 lines", dict(kind="note", input=TEXT + "\n" + LOG_LINE + many + foreign), {}
    yield "note: a line of 3 kB", dict(kind="note", input=f"{TEXT}\n\u2014 pq.example {tlog.encode(bytes(2432))}\n"), {}
    for name, text, error in [
            ("nothing", "", "no empty line before the signatures"),
            ("text alone", TEXT, "no empty line before the signatures"),
            ("signatures alone", LOG_LINE, "no empty line before the signatures"),
            ("no signature", TEXT + "\n", "no signature"),
            ("no empty line", TEXT + LOG_LINE, "no empty line before the signatures"),
            ("an empty line behind", NOTE + "\n", "no signature"),
            ("an empty line between the signatures", TEXT + "\n" + LOG_LINE + "\n" + WITNESS_LINE, None),
            ("the last line feed cut off", NOTE[:-1], "the last line is cut off"),
            ("CR LF", NOTE.replace("\n", "\r\n"), "a control character"),
            ("a carriage return", NOTE[:-1] + "\r\n", "a control character"),
            ("a tab", NOTE.replace(" ", "\t", 1), "a control character"),
            ("a zero byte", NOTE.replace("5", "5\0", 1), "a control character"),
            ("an escape", "\x1b" + NOTE, "a control character"),
            ("101 lines", TEXT + "\n" + LOG_LINE + many + foreign * 2, "more than 100 signatures"),
            ("a hyphen for the dash", NOTE.replace("\u2014", "-"), "not a signature line"),
            ("an en dash", NOTE.replace("\u2014", "\u2013"), "not a signature line"),
            ("no space behind the dash", NOTE.replace("\u2014 ", "\u2014"), "not a signature line"),
            ("a no-break space behind the dash", NOTE.replace("\u2014 ", "\u2014\u00a0"), "not a signature line"),
            ("two spaces behind the dash", NOTE.replace("\u2014 ", "\u2014  "), "an empty key name"),
            ("two spaces behind the name", NOTE.replace(" dpML", "  dpML"), "a signature: not base64"),
            ("a space behind the signature", NOTE[:-1] + " \n", "a signature: not base64"),
            ("a space in front of the dash", TEXT + "\n " + LOG_LINE, "not a signature line"),
            ("no signature behind the name", f"{TEXT}\n\u2014 {ORIGIN}\n", "a signature line without a signature"),
            ("an empty signature", f"{TEXT}\n\u2014 {ORIGIN} \n", "a signature is too short"),
            ("a key id alone", f"{TEXT}\n\u2014 {ORIGIN} dpMLMQ==\n", "a signature is too short"),
            ("a plus in the name", f"{TEXT}\n\u2014 a+b AAAAAAA=\n", "a plus in a key name"),
            ("an ideographic space in the name", f"{TEXT}\n\u2014 a\u3000b AAAAAAA=\n",
             "a space or control character in a key name"),
            ("a next line in the name", f"{TEXT}\n\u2014 a\u0085b AAAAAAA=\n", "a space or control character in a key name"),
            ("bad base64", NOTE.replace("dpML", "dp*L"), "a signature: not base64"),
            ("base64 of URLs", NOTE.replace("dpMLMX67M2hr7fRqodvyFYIqf8BUJ0U05+", "dpMLMX67M2hr7fRqodvyFYIqf8BUJ0U05-"),
             "a signature: not base64"),
            ("base64 without padding", NOTE.replace("oAQ=", "oAQ"), "a signature: not base64"),
            ("base64 with too much padding", NOTE.replace("oAQ=", "oAQ=="), "a signature: not base64"),
            ("base64 with bits behind the end", NOTE.replace("oAQ=", "oAR="), "a signature: base64 with bits behind the end")]:
        expected = {} if error is None else dict(error=error)
        yield f"{'bad note' if error else 'note'}: {name}", dict(kind="note", input=text), expected
    yield "bad note: not UTF-8", dict(kind="note", input_hex=(b"\xff" + NOTE.encode()).hex()), dict(error="not UTF-8")
    yield "bad note: half of a surrogate pair", dict(kind="note", input_hex=(b"\xed\xa0\x80" + NOTE.encode()).hex()), \
        dict(error="not UTF-8")
    yield "bad note: an overlong zero", dict(kind="note", input_hex=(b"\xc0\x80" + NOTE.encode()).hex()), \
        dict(error="not UTF-8")


def signed(text, *keys, time=TIME):
    return text + "\n" + "".join(key.sign(text, time) for key in keys)


def open_vectors():
    both = [LOG_VKEY, WITNESS_VKEY]
    stranger = tlog.SignerKey("stranger.example", bytes(range(96, 128)))
    namesake = tlog.SignerKey(ORIGIN, bytes(range(96, 128)))
    bad = "a signature does not verify"
    no_key, twice = "no signature of a known key", "two signatures of one key"
    colliding = f"\u2014 {ORIGIN} {tlog.encode(LOG.verifier.id + bytes(64))}\n"
    of_other_text = LOG.sign("another text\n")
    for name, note, keys, verified in [
            ("one known key of two lines", NOTE, [WITNESS_VKEY], ["witness.example/w1"]),
            ("a line of a stranger", signed(TEXT, stranger, LOG), both, [ORIGIN]),
            ("a line of another key of the same name", signed(TEXT, namesake, LOG), both, [ORIGIN]),
            ("two lines of a stranger", signed(TEXT, stranger, stranger, LOG), both, [ORIGIN]),
            ("two keys under one name", signed(TEXT, LOG, namesake), [LOG_VKEY, str(namesake.verifier)], [ORIGIN, ORIGIN]),
            ("the other order", TEXT + "\n" + WITNESS_LINE + LOG_LINE, both, ["witness.example/w1", ORIGIN]),
            ("a text that is no checkpoint", signed("Hello\n\nworld\n", LOG), both, [ORIGIN]),
            ("the last time there is", signed(TEXT, W1, time=2 ** 63 - 1), both, ["witness.example/w1"])]:
        yield f"open: {name}", dict(kind="open", input=note, keys=keys), \
            dict(verified=[{"key_name": each, "time": None if each == ORIGIN else
                            2 ** 63 - 1 if name.startswith("the last time") else TIME} for each in verified])
    for name, note, keys, error in [
            ("no known key", NOTE, [str(stranger.verifier)], no_key), ("no keys", NOTE, [], no_key),
            ("a flipped bit in the text", NOTE.replace("\n5\n", "\n4\n"), both, bad),
            ("a flipped bit in the signature", NOTE.replace("dpMLMX67", "dpMLMX66"), both, bad),
            ("a flipped bit in the cosignature", NOTE.replace("WwfWUAA==", "WwfWUBA=="), both, bad),
            ("a flipped bit in the time", NOTE.replace("AAAABptsLy", "AAAABptsLz"), both, bad),
            ("a flipped bit in the key id", NOTE.replace("dpMLMX67", "dpMLMH67"), [LOG_VKEY], no_key),
            ("another key of the same name and id", signed(TEXT, W1) + colliding, both, bad),
            ("a bad line of a known key with a good one", signed(TEXT, W1, LOG) .replace("dpMLMX67", "dpMLMX66"), both, bad),
            ("a bad line in front of a good one of the same key", TEXT + "\n" + colliding + LOG_LINE, both, bad),
            ("a bad line behind a good one of the same key", TEXT + "\n" + LOG_LINE + colliding, both, twice),
            ("two lines of one key", signed(TEXT, LOG, LOG), both, twice),
            ("two cosignatures of one witness", signed(TEXT, LOG, W1) + W1.sign(TEXT, TIME + 1), both, twice),
            ("the signature of another text", TEXT + "\n" + of_other_text, both, bad),
            ("a line feed more in the text", NOTE.replace("Plc=\n", "Plc=\n\n", 1), both, bad),
            ("a signature too short", f"{TEXT}\n\u2014 {ORIGIN} {tlog.encode(LOG.verifier.id + bytes(63))}\n", both, bad),
            ("a signature too long", TEXT + "\n" + f"\u2014 {ORIGIN} "
             + tlog.encode(tlog.decode(LOG_LINE.split()[2], "") + b"\0") + "\n", both, bad),
            ("a cosignature without its time", f"{TEXT}\n\u2014 witness.example/w1 "
             + tlog.encode(W1.verifier.id + tlog.decode(WITNESS_LINE.split()[2], "")[12:]) + "\n", both,
             "a cosignature without a time"),
            ("a cosignature at time 0", signed(TEXT, W1, time=0), both, "a cosignature without a time"),
            ("a cosignature at time 2^63", signed(TEXT, W1, time=2 ** 63), both, "a cosignature without a time"),
            ("the log's signature as a cosignature", TEXT + "\n\u2014 witness.example/w1 " + tlog.encode(
                W1.verifier.id + TIME.to_bytes(8, "big") + tlog.SignerKey("x", W1.seed)._key.sign(TEXT.encode())) + "\n",
             both, bad),
            ("a cosignature as the log's signature", TEXT + f"\n\u2014 {ORIGIN} " + tlog.encode(
                LOG.verifier.id + LOG._key.sign(tlog.cosigned_message(TEXT, TIME))) + "\n", both, bad),
            ("a scalar beyond the group's order", TEXT + f"\n\u2014 {ORIGIN} " + tlog.encode(malleable()) + "\n", both, bad),
            ("one key twice", NOTE, [LOG_VKEY, LOG_VKEY], "two keys of one name and id")]:
        yield f"bad signature: {name}", dict(kind="open", input=note, keys=keys), dict(error=error)


def malleable():
    """The log's signature with the group's order added to its scalar: the same to whoever does not look."""
    blob = tlog.decode(LOG_LINE.split()[2], "")
    order = 2 ** 252 + 27742317777372353535851937790883648493
    return blob[:36] + (int.from_bytes(blob[36:], "little") + order).to_bytes(32, "little")


def checkpoint_vectors():
    root = TEXT.split("\n")[2]
    yield "checkpoint: the empty log", dict(kind="checkpoint", input="a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"), \
        dict(size=0, root=tlog.EMPTY_ROOT.hex())
    yield "checkpoint: the largest size", dict(kind="checkpoint", input=f"a\n{2 ** 63 - 1}\n{root}\n"), dict(size=2 ** 63 - 1)
    yield "checkpoint: extension lines", dict(kind="checkpoint", input=f"a\n5\n{root}\nx y\n\u00e9\n"), dict(
        extensions=["x y", "\u00e9"])
    space = "a space or control character in a key name"
    for name, text, error in [
            ("nothing", "", "the checkpoint is cut off"), ("two lines", "a\n5\n", "a checkpoint has three lines"),
            ("no line feed at the end", TEXT[:-1], "the checkpoint is cut off"),
            ("no origin", f"\n5\n{root}\n", "an empty key name"), ("a space in the origin", f"a b\n5\n{root}\n", space),
            ("a plus in the origin", f"a+b\n5\n{root}\n", "a plus in a key name"),
            ("an empty line in front", "\n" + TEXT, "an empty key name"),
            ("an empty extension line", TEXT + "\n", "an empty extension line"),
            ("an empty extension line before another", TEXT + "\nx\n", "an empty extension line"),
            ("CR LF", TEXT.replace("\n", "\r\n"), "a control character"),
            ("a tab in an extension line", TEXT + "a\tb\n", "a control character"),
            ("a leading zero", f"a\n05\n{root}\n", "size: not a decimal number"),
            ("zero twice", f"a\n00\n{root}\n", "size: not a decimal number"),
            ("a sign", f"a\n+5\n{root}\n", "size: not a decimal number"),
            ("a minus sign", f"a\n-5\n{root}\n", "size: not a decimal number"),
            ("no size", f"a\n\n{root}\n", "size: not a decimal number"),
            ("a space in front of the size", f"a\n 5\n{root}\n", "size: not a decimal number"),
            ("a space behind the size", f"a\n5 \n{root}\n", "size: not a decimal number"),
            ("a size with a point", f"a\n5.0\n{root}\n", "size: not a decimal number"),
            ("a size in hex", f"a\n0x5\n{root}\n", "size: not a decimal number"),
            ("Arabic digits", f"a\n\u0665\n{root}\n", "size: not a decimal number"),
            ("the size 2^63", f"a\n{2 ** 63}\n{root}\n", "size: too large"),
            ("the size 2^64", f"a\n{2 ** 64}\n{root}\n", "size: too large"),
            ("a size of 5000 digits", f"a\n{'9' * 5000}\n{root}\n", "size: too large"),
            ("the root in hex", f"a\n5\n{ROOTS[4]}\n", "root: not 32 bytes"),
            ("a root of 31 bytes", f"a\n5\n{tlog.encode(bytes(31))}\n", "root: not 32 bytes"),
            ("no root", "a\n5\n\n", "root: not 32 bytes"),
            ("bad base64", f"a\n5\n{root[:-2]}*=\n", "root: not base64"),
            ("base64 without padding", f"a\n5\n{root[:-1]}\n", "root: not base64"),
            ("base64 with bits behind the end", f"a\n5\n{root[:-2]}d=\n", "root: base64 with bits behind the end"),
            ("a space behind the root", f"a\n5\n{root} \n", "root: not base64")]:
        yield f"bad checkpoint: {name}", dict(kind="checkpoint", input=text), dict(error=error)


# ---------------------------------------------------------------------------------------------------------------------
# Proof files and requests


def file_vectors():
    hashes = [hashlib.sha256(b"%d" % n).digest() for n in range(64)]
    yield "proof: extra data", dict(kind="proof", input=tlog.Proof(1, hashes[:3], NOTE.encode(), b"x").text().decode()), \
        dict(extra="78")
    yield "proof: no hashes", dict(kind="proof", input=tlog.Proof(0, [], NOTE.encode()).text().decode()), dict(hashes=[])
    yield "proof: 63 hashes", dict(kind="proof", input=tlog.Proof(2 ** 63 - 1, hashes[:63], NOTE.encode()).text().decode()), \
        dict(index=2 ** 63 - 1)
    yield "request: from nothing", dict(kind="request", input="old 0\n\n" + signed(TEXT, LOG)), dict(old=0, hashes=[])
    yield "request: 63 hashes, and a cosignature", dict(
        kind="request", input=tlog.Request(3, hashes[:63], NOTE.encode()).text().decode()), {}
    header, decimal = "not a proof of version 1", "index: not a decimal number"
    first = "n4V+JKcWoa1argoMDO2i3aJp3Ep5PrHTWJJ9i009bhw="
    a_hash = "a hash of the proof: not base64"
    for name, text, error in [
            ("nothing", "", "no empty line before the checkpoint"),
            ("another version", PROOF.replace("@v1", "@v2"), header), ("no header", PROOF.split("\n", 1)[1], header),
            ("a space behind the header", PROOF.replace("@v1", "@v1 "), header), ("an empty line in front", "\n" + PROOF, header),
            ("no index", PROOF.replace("index 1\n", ""), "no line index"),
            ("a leading zero", PROOF.replace("index 1", "index 01"), decimal),
            ("a minus sign", PROOF.replace("index 1", "index -1"), decimal),
            ("two spaces", PROOF.replace("index 1", "index  1"), decimal),
            ("a tab", PROOF.replace("index 1", "index\t1"), "no line index"),
            ("a space behind the index", PROOF.replace("index 1", "index 1 "), decimal),
            ("the index 2^63", PROOF.replace("index 1", f"index {2 ** 63}"), "index: too large"),
            ("extra behind index", PROOF.replace("index 1\n", "index 1\nextra eA==\n"), a_hash),
            ("extra twice", PROOF.replace("index", "extra eA==\nextra eA==\nindex"), "no line index"),
            ("extra that is not base64", PROOF.replace("index", "extra x\nindex"), "extra: not base64"),
            ("a hash of 31 bytes", PROOF.replace(first, tlog.encode(bytes(31))), "a hash of the proof: not 32 bytes"),
            ("a hash in hex", PROOF.replace(first, LEAVES[0]), "a hash of the proof: not 32 bytes"),
            ("bad base64", PROOF.replace(first, first[:-1]), a_hash),
            ("a space behind a hash", PROOF.replace(first, first + " "), a_hash),
            ("an empty line between hashes", PROOF.replace(first, first + "\n"), None),
            ("64 hashes", tlog.Proof(1, hashes, NOTE.encode()).text().decode(), "more than 63 hashes"),
            ("no checkpoint", PROOF[:PROOF.index("\n\n") + 2], "no empty line before the signatures"),
            ("a checkpoint without a signature", PROOF[:PROOF.rindex("\n\n") + 2], "no signature"),
            ("a note that is no checkpoint", PROOF.replace("\n5\n", "\nfive\n"), "size: not a decimal number"),
            ("CR LF", PROOF.replace("\n", "\r\n"), "no empty line before the checkpoint"),
            ("a byte order mark", "\ufeff" + PROOF, header)]:
        if error is None:  # what stands behind the first empty line is the checkpoint, and this is none
            error = "size: not a decimal number"
        yield f"bad proof: {name}", dict(kind="proof", input=text), dict(error=error)
    yield "bad proof: not UTF-8", dict(kind="proof", input_hex=PROOF.encode().replace(b"index", b"\xff", 1).hex()), \
        dict(error="not UTF-8")
    for name, text, error in [
            ("nothing", "", "no empty line before the checkpoint"), ("no old", OLD_3.replace("old 3\n", ""), "no line old"),
            ("a leading zero", OLD_3.replace("old 3", "old 03"), "old: not a decimal number"),
            ("two spaces", OLD_3.replace("old 3", "old  3"), "old: not a decimal number"),
            ("no number", OLD_3.replace("old 3", "old "), "old: not a decimal number"),
            ("the old size 2^63", OLD_3.replace("old 3", f"old {2 ** 63}"), "old: too large"),
            ("capitals", OLD_3.replace("old 3", "OLD 3"), "no line old"),
            ("64 hashes", tlog.Request(3, hashes, NOTE.encode()).text().decode(), "more than 63 hashes"),
            ("bad base64", OLD_3.replace("hEoynr6H", "hEoy*r6H"), a_hash),
            ("CR LF", OLD_3.replace("\n", "\r\n"), "no empty line before the checkpoint"),
            ("no signature", OLD_3[:OLD_3.rindex("\n\n") + 2], "no signature"),
            ("a size with a leading zero", OLD_3.replace("\n5\n", "\n05\n"), "size: not a decimal number")]:
        yield f"bad request: {name}", dict(kind="request", input=text), dict(error=error)


# ---------------------------------------------------------------------------------------------------------------------
# Policies, and checkpoints under them


def policy_vectors():
    w = [str(key.verifier) for key in WITNESSES]
    nested = (f"# two of three, and the fourth\n\n{LOG_LINES}{WITNESS_LINES}group three 2 w1 w2 w3\n"
              "group all_of_them all three w4\n  quorum   all_of_them  \n")
    yield "policy: none", dict(kind="policy", input=NO_QUORUM, cosigned=[[]]), dict(quorum=None, met=[True])
    yield "policy: no log", dict(kind="policy", input="quorum none\n"), dict(logs=[])
    yield "policy: two logs", dict(kind="policy", input=f"log {LOG_VKEY}\nlog {OTHER_LOG.verifier}\nquorum none\n"), \
        dict(logs=[LOG_VKEY, str(OTHER_LOG.verifier)])
    yield "policy: comments, white space, URLs", dict(
        kind="policy", input=f"#\n \t# x\n\t log\t{LOG_VKEY} https://log.example/ \n\n"
        f"witness w1  {w[0]}\thttps://w.example/\nquorum\tw1"), dict(quorum="w1", logs=[LOG_VKEY])
    yield "policy: two of three, and the fourth", dict(kind="policy", input=nested, cosigned=[
        [], ["w1", "w2"], ["w1", "w4"], ["w1", "w3", "w4"], ["w1", "w2", "w3", "w4"]]), dict(
            quorum="all_of_them", met=[False, False, False, True, True])
    yield "policy: any", dict(kind="policy", input=f"{WITNESS_LINES}group g any w1 w2\nquorum g\n",
                              cosigned=[["w3"], ["w2"]]), dict(met=[False, True])
    yield "policy: all of one", dict(kind="policy", input=f"{WITNESS_LINES}group g all w1\nquorum g\n",
                                     cosigned=[["w2"], ["w1"]]), dict(met=[False, True])
    yield "policy: names that are words of the format", dict(
        kind="policy", input=f"witness any {w[0]}\nwitness all {w[1]}\ngroup group 1 any all\nquorum group\n",
        cosigned=[["all"]]), dict(met=[True])
    yield "policy: names beyond ASCII", dict(kind="policy", input=f"witness w\u00e9\u00a0 {w[0]}\nquorum w\u00e9\u00a0\n"), \
        dict(quorum="w\u00e9\u00a0")
    many = "".join(f"witness n{n} {tlog.SignerKey('n%d' % n, bytes([n] * 32), 4).verifier}\n" for n in range(32))
    yield "policy: 32 witnesses", dict(kind="policy", cosigned=[[f"n{n}" for n in range(16)], [f"n{n}" for n in range(17)]],
                                       input=many + "group g 17 " + " ".join(f"n{n}" for n in range(32)) + "\nquorum g\n"), \
        dict(met=[False, True])
    two, twice, other = f"{LOG_LINES}{WITNESS_LINES}", "a name twice", tlog.SignerKey("other.example", W1.seed, 4)
    number = "the number of a group is not from 1 to its members"
    for name, text, error in [
            ("nothing", "", "not one quorum line"), ("no quorum", two, "not one quorum line"),
            ("two quorum lines", two + "quorum w1\nquorum w1\n", "not one quorum line"),
            ("an unknown line", two + "mirror x\nquorum w1\n", "an unknown line"),
            ("capitals", two + "Quorum w1\n", "an unknown line"),
            ("a comment behind a line", two + "quorum w1 # x\n", "a quorum line has one name"),
            ("a quorum that is not defined", two + "quorum w5\n", "the quorum is not defined before"),
            ("a quorum that is defined later", f"quorum w1\n{two}", "the quorum is not defined before"),
            ("a quorum of several", two + "quorum w1 w2\n", "a quorum line has one name"),
            ("a quorum without a name", two + "quorum\n", "a quorum line has one name"),
            ("a name twice", f"witness w1 {w[0]}\nwitness w1 {w[1]}\nquorum w1\n", twice),
            ("a witness and a group of one name", two + "group w1 any w2\nquorum w1\n", twice),
            ("a witness called none", f"witness none {w[0]}\nquorum none\n", "the name none is taken"),
            ("a group called none", two + "group none any w1\nquorum none\n", "the name none is taken"),
            ("a witness's key twice", f"witness a {w[0]}\nwitness b {w[0]}\nquorum a\n", "a key twice"),
            ("a witness's key twice under two names", f"witness a {w[0]}\nwitness b {other.verifier}\nquorum a\n",
             "a key twice"),
            ("a log's key twice", f"{LOG_LINES}{LOG_LINES}quorum none\n", "a key twice"),
            ("a log's key as a witness's", f"{LOG_LINES}witness a {tlog.SignerKey('a', LOG.seed, 4).verifier}\nquorum a\n",
             "a key twice"),
            ("an unknown member", two + "group g any w1 w9\nquorum g\n", "a member is not defined before"),
            ("a member that is defined later", two + "group g any h\ngroup h any w1\nquorum g\n",
             "a member is not defined before"),
            ("itself as a member", two + "group g any g\nquorum g\n", "a member is not defined before"),
            ("none as a member", two + "group g any none\nquorum g\n", "a member is not defined before"),
            ("a member twice", two + "group g 2 w1 w1\nquorum g\n", "a member twice"),
            ("a member of two groups", two + "group g any w1\ngroup h all g w1\nquorum h\n", "a member twice"),
            ("no members", two + "group g any\nquorum g\n", "a group line has a name, a number and members"),
            ("0 of", two + "group g 0 w1\nquorum g\n", number), ("more than there are", two + "group g 3 w1 w2\nquorum g\n", number),
            ("a leading zero", two + "group g 01 w1\nquorum g\n", "the number of a group: not a decimal number"),
            ("a minus sign", two + "group g -1 w1\nquorum g\n", "the number of a group: not a decimal number"),
            ("another word", two + "group g most w1\nquorum g\n", "the number of a group: not a decimal number"),
            ("a log without a key", "log\nquorum none\n", "a log line has a key and perhaps a URL"),
            ("a log with two URLs", f"log {LOG_VKEY} a b\nquorum none\n", "a log line has a key and perhaps a URL"),
            ("a witness without a key", "witness a\nquorum a\n", "a witness line has a name, a key and perhaps a URL"),
            ("a witness's key as a log's", f"log {w[0]}\nquorum none\n", "a key of the wrong type"),
            ("a log's key type for a witness", f"witness a {OTHER_LOG.verifier}\nquorum a\n", "a key of the wrong type"),
            ("a key id of another key", two.replace("+20324abe+", "+20324abf+") + "quorum w1\n", "a key id is of another key"),
            ("CR LF", POLICY.replace("\n", "\r\n"), "a control character"),
            ("a zero byte", POLICY + "#\0", "a control character"), ("DEL", POLICY + "#\x7f", "a control character"),
            ("a form feed", POLICY + "\f", "a control character"),
            ("a no-break space between", POLICY.replace("quorum ", "quorum\u00a0"), "an unknown line")]:
        yield f"bad policy: {name}", dict(kind="policy", input=text), dict(error=error)
    yield "bad policy: a key name that is not UTF-8", dict(
        kind="policy", input_hex=POLICY.encode().replace(b"witness.example", b"witness\xff").hex()), \
        dict(error="a key name that is not UTF-8")
    yield "policy: octets that are not UTF-8 in a comment", dict(
        kind="policy", input_hex=(POLICY.encode() + b"# \xff\n").hex()), dict(quorum="w1")


def confirm_vectors():
    one, two, three = (signed(TEXT, LOG, *WITNESSES[:n]) for n in (1, 2, 3))
    late = TEXT + "\n" + LOG.sign(TEXT) + W1.sign(TEXT, TIME + 60) + W2.sign(TEXT, TIME) + W3.sign(TEXT, TIME + 3600)
    other_origin = TEXT.replace(ORIGIN, OTHER_LOG.verifier.name)
    both_logs = f"log {OTHER_LOG.verifier}\n{TWO_OF_THREE}"
    no_log = "no signature of a log of the policy"
    bad, nobody = "a signature does not verify", "no signature of a known key"
    for name, note, policy, expected in [
            ("two of three", two, TWO_OF_THREE, ("VALID", ["w1", "w2"], "2026-03-15T14:32:18Z")),
            ("all of three", three, TWO_OF_THREE, ("VALID", ["w1", "w2", "w3"], "2026-03-15T14:32:18Z")),
            ("the time of the second of two", late, TWO_OF_THREE, ("VALID", ["w1", "w2", "w3"], "2026-03-15T14:33:18Z")),
            ("no quorum, no witness", one, NO_QUORUM, ("consistent, not anchored", [], None)),
            ("no quorum, but a witness", one, f"{LOG_LINES}{WITNESS_LINES}quorum none\n",
             ("consistent, not anchored", ["w1"], None)),
            ("one of three", one, TWO_OF_THREE, ("consistent, not anchored", ["w1"], None)),
            ("no cosignature", signed(TEXT, LOG), POLICY, ("consistent, not anchored", [], None)),
            ("the wrong witness", signed(TEXT, LOG, W2), POLICY, ("consistent, not anchored", [], None)),
            ("extension lines are cosigned", signed(TEXT + "x\n", LOG, W1), POLICY,
             ("VALID", ["w1"], "2026-03-15T14:32:18Z")),
            ("a year that no calendar has", signed(TEXT, LOG, W1, time=2 ** 63 - 1), POLICY,
             ("VALID", ["w1"], str(2 ** 63 - 1))),
            ("a second log in the policy", two, both_logs, ("VALID", ["w1", "w2"], "2026-03-15T14:32:18Z"))]:
        verdict, by, at = expected
        yield f"confirm: {name}", dict(kind="confirm", input=note, policy=policy), dict(
            verdict=verdict, cosigned_by=by, cosigned_at=at)
    for name, note, policy, reason in [
            ("no log's signature", signed(TEXT, W1), POLICY, no_log),
            ("the witness alone, no quorum", signed(TEXT, W1), f"{LOG_LINES}{WITNESS_LINES}quorum none\n", no_log),
            ("another log's checkpoint", signed(other_origin, OTHER_LOG, W1), POLICY, no_log),
            ("another log's checkpoint, signed by nobody known", signed(other_origin, OTHER_LOG), POLICY, nobody),
            ("another origin under the log's key", signed(other_origin, LOG, W1), POLICY, no_log),
            ("another log's signature under this origin", signed(TEXT, OTHER_LOG, W1), f"log {OTHER_LOG.verifier}\n" + POLICY,
             no_log),
            ("a policy without a log", NOTE, f"witness w1 {WITNESS_VKEY}\nquorum w1\n", no_log),
            ("a good cosignature and a bad one", two.replace(W2.sign(TEXT, TIME), W2.sign(TEXT + "x\n", TIME)), TWO_OF_THREE, bad),
            ("the cosignature of an older checkpoint", signed(TEXT, LOG) + W1.sign(TEXT.replace("\n5\n", "\n4\n"), TIME),
             POLICY, bad),
            ("a root changed", two.replace("1lYr", "1lYs"), TWO_OF_THREE, bad),
            ("a size changed", two.replace("\n5\n", "\n6\n"), TWO_OF_THREE, bad),
            ("two lines of the log", signed(TEXT, LOG, LOG, W1), POLICY, "two signatures of one key")]:
        yield f"not confirmed: {name}", dict(kind="confirm", input=note, policy=policy), dict(
            verdict="NOT VALID", reason=reason)
    for name, note, error in [
            ("no signature", TEXT + "\n", "no signature"), ("CR LF", NOTE.replace("\n", "\r\n"), "a control character"),
            ("the size 2^63", signed(TEXT.replace("\n5\n", f"\n{2 ** 63}\n"), LOG, W1), "size: too large"),
            ("a leading zero", signed(TEXT.replace("\n5\n", "\n05\n"), LOG, W1), "size: not a decimal number"),
            ("a text that is no checkpoint", signed("Hello\n", LOG, W1), "a checkpoint has three lines"),
            ("a proof file", PROOF, "an empty extension line")]:
        yield f"not a checkpoint: {name}", dict(kind="confirm", input=note, policy=POLICY), dict(error=error)


# ---------------------------------------------------------------------------------------------------------------------
# Receipts


class Sample:
    """A log: rows, the tree over their hashes in an order that mixes the lanes, and its newest checkpoint."""

    def __init__(self, rows, order=None, keys=(LOG, W1), origin=ORIGIN, time=TIME):
        self.rows = rows
        self.order = [rows[n] for n in order] if order else rows
        self.tree = tlog.Tree(tlog.leaf_hash(bytes.fromhex(make.hex_(row))) for row in self.order)
        self.keys, self.origin, self.time = keys, origin, time
        self.covered = {}
        for row in self.order:
            place = (row["tenant_id"], int(row["lane"]))
            self.covered[place] = max(int(row["seq"]), self.covered.get(place, 0))

    def checkpoint(self, size=None):
        size = len(self.tree) if size is None else size
        return signed(tlog.Checkpoint(self.origin, size, self.tree.root(size)).text(), *self.keys, time=self.time)

    def receipt(self, row, paths=None, size=None):
        index, size = self.order.index(row), len(self.tree) if size is None else size
        proof = tlog.Proof(index, self.tree.inclusion(index, size), self.checkpoint(size).encode())
        return evidence.receipt(disclosing(fmt.export_line(row), paths), proof).decode()

    def tree_lines(self, covered=None, leaves=None, **header):
        return list(evidence.tree_lines(self.tree.levels[0] if leaves is None else leaves,
                                        self.covered if covered is None else covered,
                                        header.get("origin", self.origin), header.get("log_id", make.LOG_ID)))


def disclosing(line, paths):
    """The line with these disclosures alone."""
    if paths is None:
        return line
    head, listed = line[:-1].split(',"disclosures":')
    kept = [each for each in fmt.parse(listed) if each[1] in paths]
    assert len(kept) == len(paths)
    return f'{head},"disclosures":{fmt.canonical(kept, None)}}}'


def sample():
    lane = make.lane(3)
    full = make.full(seq=make.numbered(4), lane=make.numbered(0), previous_event_hash=lane[2]["event_hash"])
    gone = fmt.erase(full, ["actor_name", "metadata.reason", "targets.1"])
    hashes = gone["erased"]["commitments"]
    record = make.plain(
        id=make.ID.format(0x900), seq=make.numbered(5), log_id=None, action="immutable.event_erased", actor_id="dpo",
        previous_event_hash=full["event_hash"], metadata={"reason": "request 12"},
        targets=[{"type": "immutable.event", "id": full["id"], "metadata": {"commitments": [
            hashes["actor_name"], *hashes["metadata"], hashes["targets"]["1"]]}}])
    other = make.lane(2, tenant="caf\u00e9 " + make.GRIN, first_id=0x201)
    second = make.lane(2, lane_number=1, first_id=0x101)
    rows = [*lane, gone, record, *second, *other]
    return Sample(rows, order=[0, 5, 1, 7, 2, 3, 8, 6, 4]), full


def receipt_vectors():
    log, full = sample()
    example = Sample([make.plain()])
    example.tree = tlog.Tree(map(bytes.fromhex, LEAVES))
    good = example.receipt(make.plain())
    assert good.endswith(NOTE)
    gone, record = log.rows[3], log.rows[4]
    full_log = Sample([*log.rows[:3], full])
    everything = full_log.receipt(full)
    some = ["actor_id", "metadata.amount", "metadata.nothing", "targets.2"]
    three = Sample(log.rows, keys=(LOG, W1, W2, W3))
    for name, text, policy, expected in [
            ("the example", good, POLICY, dict(event_id=make.ID.format(1), index=0, size=5, disclosed=["actor_id"],
                                               not_disclosed=0, event_hash=EXAMPLE[0], cosigned_by=["w1"],
                                               cosigned_at="2026-03-15T14:32:18Z")),
            ("every value disclosed", everything, POLICY, dict(not_disclosed=0)),
            ("some values disclosed", full_log.receipt(full, some), POLICY, dict(disclosed=some)),
            ("no value disclosed", full_log.receipt(full, []), POLICY, dict(disclosed=[], not_disclosed=18)),
            ("erased values", log.receipt(gone), POLICY, dict(not_disclosed=3)),
            ("erased values, and one undisclosed", log.receipt(gone, [
                path for path in fmt.commitments(gone) if path != "user_agent"]), POLICY, dict(not_disclosed=4)),
            ("an event of the log's own", log.receipt(record), POLICY, dict(not_disclosed=0)),
            ("an event of the log's own, no value disclosed", log.receipt(record, []), POLICY,
             dict(disclosed=[], not_disclosed=3)),
            ("a tenant beyond ASCII", log.receipt(log.rows[8]), POLICY, dict(tenant_id="caf\u00e9 " + make.GRIN)),
            ("an older checkpoint", log.receipt(log.rows[0], size=1), POLICY, dict(index=0, size=1)),
            ("two of three witnesses", three.receipt(log.rows[2]), TWO_OF_THREE, dict(cosigned_by=["w1", "w2", "w3"]))]:
        yield f"receipt: {name}", dict(kind="receipt", input=text, policy=policy), dict(verdict="VALID", **expected)
    for name, text, policy, by in [
            ("nobody outside", good, NO_QUORUM, []), ("too few witnesses", good, TWO_OF_THREE, ["w1"]),
            ("the cosignature left out", good.replace(WITNESS_LINE, ""), POLICY, []),
            ("a witness that the policy does not know", good.replace(WITNESS_LINE, W2.sign(TEXT, TIME)), POLICY, [])]:
        yield f"receipt: {name}", dict(kind="receipt", input=text, policy=policy), dict(
            verdict="consistent, not anchored", cosigned_by=by, cosigned_at=None)

    line = good.split("\n")[1]
    proof = good.split("\n", 2)[2]
    edited = line.replace("document.viewed", "document.edited")
    document = edited[12:edited.index(',"event_hash"')]
    rehashed = edited.replace(EXAMPLE[0], hashlib.sha256(document.encode()).hexdigest())
    sibling = tlog.encode(bytes.fromhex(LEAVES[1]))
    other_log = Sample([make.plain()], keys=(OTHER_LOG, W1), origin=OTHER_LOG.verifier.name)
    root, too_short = "the inclusion proof leads to another root", "the inclusion proof is too short"
    no_hash, not_of = "the document does not hash to event_hash", "the disclosures are not those of the document"
    first = everything.split("\n")[1]
    first = first[first.index('["', first.index('"disclosures"')):].split("],[")[0] + "]"
    swapped = tlog.Proof(0, tlog.Tree(map(bytes.fromhex, LEAVES)).inclusion(1, 5), NOTE.encode()).text().decode()
    for name, text, policy, reason in [
            ("a value of the document changed", good.replace("document.viewed", "document.edited"), POLICY, no_hash),
            ("a value of the document and the hash changed", good.replace(line, rehashed), POLICY, root),
            ("a flipped bit in event_hash", good.replace(EXAMPLE[0], flipped(EXAMPLE[0])), POLICY, no_hash),
            ("no event_hash", good.replace(f'"event_hash":"{EXAMPLE[0]}"', '"event_hash":null'), POLICY, no_hash),
            ("a disclosed value changed", good.replace('"user-17"]', '"user-18"]'), POLICY, not_of),
            ("a salt changed", good.replace('[["6d10', '[["6d11'), POLICY, not_of),
            ("a path changed", good.replace('"actor_id","user', '"actor_name","user'), POLICY, not_of),
            ("a disclosure twice", everything.replace(first, first + "," + first), POLICY, not_of),
            ("a disclosure of nothing in the document", good.replace('"user-17"]', '"user-17"],["' + "00" * 16
                                                                     + '","user_agent","x"]'), POLICY, not_of),
            ("a disclosed target of another type", everything.replace('"type":"group"}]', '"type":"grouq"}]'), POLICY, not_of),
            ("an event of the log's own with another reason", log.receipt(record).replace("request 12", "request 13"), POLICY,
             not_of),
            ("another event's line", good.replace(line, fmt.export_line(log.rows[1])), POLICY, root),
            ("a swapped proof", "immutable-receipt/v1\n" + line + "\n" + swapped, POLICY, root),
            ("a wrong index", good.replace("\nindex 0\n", "\nindex 1\n"), POLICY, root),
            ("an index behind the end", good.replace("\nindex 0\n", "\nindex 5\n"), POLICY, "the index is not in the tree"),
            ("a flipped bit in the proof", good.replace(sibling, tlog.encode(bytes.fromhex(flipped(LEAVES[1])))), POLICY, root),
            ("a hash left out", good.replace(sibling + "\n", ""), POLICY, too_short),
            ("the root changed and not signed", good.replace("1lYr", "1lYs"), POLICY, "a signature does not verify"),
            ("the size changed and not signed", good.replace("\n5\n", "\n6\n"), POLICY, "a signature does not verify"),
            ("another log's checkpoint", good[:-len(NOTE)] + other_log.checkpoint(), POLICY, "no signature of a log of the policy"),
            ("another size's checkpoint", good[:-len(NOTE)] + signed(
                tlog.Checkpoint(ORIGIN, 4, bytes.fromhex(ROOTS[3])).text(), LOG, W1), POLICY, "the inclusion proof is too long"),
            ("the log's signature left out", good.replace(LOG_LINE, ""), POLICY, "no signature of a log of the policy"),
            ("a flipped bit in the cosignature", good.replace("WwfWUAA==", "WwfWUBA=="), POLICY, "a signature does not verify"),
            ("a flipped bit in the time", good.replace("AAAABptsLy", "AAAABptsLz"), POLICY, "a signature does not verify"),
            ("another log in the policy", good, POLICY.replace(LOG_VKEY, str(OTHER_LOG.verifier)),
             "no signature of a log of the policy")]:
        yield f"receipt not valid: {name}", dict(kind="receipt", input=text, policy=policy), dict(
            verdict="NOT VALID", reason=reason)
    hashes = [hashlib.sha256(b"%d" % n).digest() for n in range(64)]
    for name, text in [
            ("nothing", ""), ("the header alone", "immutable-receipt/v1\n"), ("another version", good.replace("/v1", "/v2", 1)),
            ("no header", good.split("\n", 1)[1]), ("the proof alone", proof), ("no proof", good.split("c2sp")[0]),
            ("a space behind the header", good.replace("/v1\n", "/v1 \n", 1)),
            ("an empty line behind the header", good.replace("/v1\n", "/v1\n\n", 1)),
            ("an empty line in front of the proof", good.replace("c2sp", "\nc2sp", 1)),
            ("CR LF", good.replace("\n", "\r\n")), ("a byte order mark", "\ufeff" + good),
            ("cut off", good[:-1]), ("something behind", good + "x"), ("an empty line behind", good + "\n"),
            ("the line of an export's header", good.replace(line, make.header())),
            ("a row without a document", good.replace(line, '{"no_document":{}}')),
            ("white space in the line", good.replace('"lane":0', '"lane": 0')),
            ("a member more", good.replace(',"disclosures"', ',"x":1,"disclosures"')),
            ("no disclosures", good.replace(',"disclosures":[["6d10e1c35d6895e2a444ed10de5cd43e","actor_id","user-17"]]', "")),
            ("members in another order", good.replace('"lane":0,"log_id":"' + make.LOG_ID + '"',
                                                      '"log_id":"' + make.LOG_ID + '","lane":0')),
            ("a document of version 2", good.replace('"v":1}', '"v":2}')),
            ("a hash in capitals", good.replace(EXAMPLE[0], EXAMPLE[0].upper())),
            ("extra data in the proof", good.replace("\nindex", "\nextra eA==\nindex")),
            ("64 hashes", "immutable-receipt/v1\n" + line + "\n" + tlog.Proof(0, hashes, NOTE.encode()).text().decode()),
            ("a leading zero in the index", good.replace("index 0", "index 00")),
            ("bad base64 in the proof", good.replace(sibling, sibling[:-1] + "*")),
            ("no signature", good.replace(LOG_LINE + WITNESS_LINE, "")),
            ("two empty lines in front of the checkpoint", good.replace("\n\n" + ORIGIN, "\n\n\n" + ORIGIN))]:
        yield f"not a receipt: {name}", dict(kind="receipt", input=text, policy=POLICY), None
    yield "not a receipt: not UTF-8", dict(kind="receipt", policy=POLICY, input_hex=good.encode().replace(
        b"user-17", b"user-\xff").hex()), None


# ---------------------------------------------------------------------------------------------------------------------
# Trees beside exports


def tree_export_vectors():
    log, _ = sample()
    good = log.tree_lines()
    numbered = tree_of({"numbered": LARGE}).levels[0]
    large = Sample([make.plain()]).tree_lines(covered={("", 0): 600}, leaves=numbered[:600])
    yield "tree export: three lanes", dict(kind="tree_export", lines=good), dict(
        size=9, covered=[["acme", 0, 5], ["acme", 1, 2], ["caf\u00e9 " + make.GRIN, 0, 2]])
    yield "tree export: three tiles", dict(kind="tree_export", lines=large), dict(size=600)
    yield "tree export: one full tile", dict(kind="tree_export", lines=log.tree_lines({("", 0): 256}, numbered[:256])), \
        dict(size=256)
    yield "tree export: nothing", dict(kind="tree_export", lines=log.tree_lines({}, [])), dict(
        size=0, covered=[], root=tlog.EMPTY_ROOT.hex())
    yield "tree export: tenants beyond the BMP, in the order of UTF-8", dict(
        kind="tree_export", lines=log.tree_lines({(make.GRIN, 0): 1, (make.HEBREW, 1): 1}, numbered[:2])), dict(
            covered=[[make.HEBREW, 1, 1], [make.GRIN, 0, 1]])
    end, tile = good[-1], good[-2]
    short = tile.replace(tile.split('"')[5], tlog.encode(b"".join(log.tree.levels[0][:8])))

    def replaced(n, old, new, lines=good):
        assert old in lines[n], (lines[n], old)
        return lines[:n] + [lines[n].replace(old, new, 1)] + lines[n + 1:]

    for name, lines, number in [
            ("nothing", [], 1), ("no header", good[1:], 1), ("no end line", good[:-1], 6), ("a header twice", good[:1] + good, 2),
            ("something behind the end", good + good[-1:], 7), ("an empty line", good[:1] + [""] + good[1:], 2),
            ("an export", make.export_of(log.rows), 1), ("another version", replaced(0, '_tree":1', '_tree":2'), 1),
            ("a size with a point", replaced(0, '"size":9', '"size":9.0'), 1),
            ("a size below zero", replaced(0, '"size":9', '"size":-9'), 1),
            ("the size 2^63", replaced(0, '"size":9', f'"size":{2 ** 63}'), 1),
            ("a size that is text", replaced(0, '"size":9', '"size":"9"'), 1),
            ("no log_id", replaced(0, f'"{make.LOG_ID}"', "null"), 1),
            ("a log_id in capitals", replaced(0, make.LOG_ID, make.LOG_ID.upper()), 1),
            ("an origin with a space", replaced(0, "immutable.example", "immutable example"), 1),
            ("an empty origin", replaced(0, ORIGIN, ""), 1), ("white space", replaced(0, '"size":', '"size": '), 1),
            ("members in another order", [f'{{"log_id":"{make.LOG_ID}","immutable_tree":1,"origin":"{ORIGIN}","size":9}}',
                                          *good[1:]], 1),
            ("a member more", replaced(0, '"size":9', '"size":9,"x":1'), 1), ("not JSON", [good[0], "x", *good[1:]], 2),
            ("an array", [good[0], "[]", *good[1:]], 2), ("a member twice", replaced(1, '"covered":5', '"covered":5,"covered":5'), 2),
            ("lanes in another order", [good[0], good[2], good[1], *good[3:]], 3),
            ("a lane twice", [good[0], good[1], *good[1:]], 3), ("a lane behind a tile", [good[0], *good[2:5], good[1], end], 5),
            ("a lane of three", replaced(1, ",0]", ",0,0]"), 2), ("a lane below zero", replaced(1, ",0]", ",-1]"), 2),
            ("a lane beyond 32767", replaced(1, ",0]", ",32768]"), 2), ("covered 0", replaced(1, '"covered":5', '"covered":0'), 2),
            ("covered null", replaced(1, '"covered":5', '"covered":null'), 2),
            ("covered true", replaced(1, '"covered":5', '"covered":true'), 2),
            ("an escape that canonical JSON has not", replaced(1, "acme", "\\u0061cme"), 2),
            ("a lone surrogate", replaced(1, "acme", "\\ud800"), 2),
            ("the first tile left out", large[:2] + large[3:], 3), ("a tile left out", large[:3] + large[4:], 4),
            ("a tile twice", large[:3] + large[2:], 4), ("tiles in another order", [*large[:2], large[3], large[2], *large[4:]], 3),
            ("a hash too few", good[:-2] + [short, end], 5), ("a hash too many", replaced(0, '"size":9', '"size":8'), 5),
            ("a tile behind the last", [*good[:-1], tile.replace('"tile":0', '"tile":1'), end], 6),
            ("the last tile left out", large[:4] + large[5:], 5), ("bad base64", replaced(4, '"}', '*"}'), 5),
            ("hashes in an array", replaced(4, f'"{tile.split(chr(34))[5]}"', "[]"), 5),
            ("half a hash", good[:-2] + [tile.replace(tile.split('"')[5], tlog.encode(b"".join(log.tree.levels[0])[:-16])), end], 5),
            ("an end line that counts other tiles", replaced(5, '"tiles":1', '"tiles":2'), 6),
            ("an end line that counts other lanes", replaced(5, '"lanes":3', '"lanes":2'), 6),
            ("an end line of another version", replaced(5, '_end":1', '_end":2'), 6)]:
        yield f"not a tree export: {name}", dict(kind="tree_export", lines=lines), dict(refused=number)


def anchored_vectors():
    log, _ = sample()
    ordered = sorted(log.rows, key=lambda row: (row["tenant_id"].encode(), int(row["lane"])))
    good, tree, note = make.export_of(ordered), log.tree_lines(), log.checkpoint()
    more = make.plain(id=make.ID.format(0x300), lane=make.numbered(1), seq=make.numbered(3), log_id=None,
                      previous_event_hash=ordered[6]["event_hash"])
    other_lane = make.lane(1, lane_number=2, first_id=0x400)
    nowhere = dict.fromkeys(("tenant_id", "lane", "seq", "event_id", "expected", "actual"))
    a, second, other = ordered[:5], ordered[5:7], ordered[7:]
    cafe = other[0]["tenant_id"]

    def missing(tenant, lane, seq, **members):
        return {"type": "missing_event", **nowhere, "tenant_id": tenant, "lane": lane, "seq": seq, **members}

    def mismatch(row):
        return make.broken("checkpoint_mismatch", row, None, make.hex_(row))

    def root_differs(expected, actual):
        return {"type": "checkpoint_mismatch", **nowhere, "expected": expected.root().hex(), "actual": actual.root().hex()}

    def chained(rows):
        """The rows as one who rewrites a lane leaves them: every link and hash in order."""
        before = []
        for row in rows:
            row = dict(row, previous_event_hash=before[-1]["event_hash"]) if before else row
            before.append(make.sealed(row))
        return before

    rewritten = chained([*a[:1], make.changed(a[1], action="document.forged"), *a[2:3]])
    plain_rows = [*a[:3], *second, *other]
    plain_log = Sample(plain_rows)
    forged = Sample([*rewritten, *second, *other])
    shorter = {**log.covered, ("acme", 1): 1}
    relabelled = {**shorter, (cafe, 0): 3}
    older = log.checkpoint(6)
    covered_6 = {("acme", 0): 4, ("acme", 1): 1, (cafe, 0): 1}
    head = {"tenant_id": "acme", "lane": 0, "seq": 5, "event_hash": "\\x" + make.hex_(a[4])}
    for name, vector, verdict, breaks in [
            ("the whole log", dict(), "VALID", []),
            ("escaped", dict(export=make.escaped(good)), "VALID", []),
            ("nobody outside", dict(policy=NO_QUORUM), "consistent, not anchored", []),
            ("nobody outside, but heads", dict(policy=NO_QUORUM, heads=[head]), "VALID", []),
            ("events behind the checkpoint", dict(export=make.export_of([*a, *second, more, *other])), "VALID", []),
            ("a lane behind the checkpoint", dict(export=make.export_of([*a, *second, *other_lane, *other])), "VALID", []),
            ("an older checkpoint", dict(checkpoint=older, tree=log.tree_lines(covered_6, log.tree.levels[0][:6])), "VALID", []),
            ("an empty log", dict(export=make.export_of([]), tree=log.tree_lines({}, []), checkpoint=log.checkpoint(0)),
             "consistent, not anchored", []),
            ("an empty log, and now it is not", dict(tree=log.tree_lines({}, []), checkpoint=log.checkpoint(0)),
             "consistent, not anchored", []),
            ("too few witnesses", dict(policy=TWO_OF_THREE), "consistent, not anchored", []),
            ("the tail of a lane cut off, and too few witnesses", dict(
                export=make.export_of([*a, second[0], *other]), policy=TWO_OF_THREE), "NOT VALID", [missing("acme", 1, 2)]),
            ("the tail of a lane cut off", dict(export=make.export_of([*a[:-1], *second, *other])), "NOT VALID",
             [*[make.broken("erasure_mismatch", a[3], None, hash_) for hash_ in sorted(erased_of(a[3]))],
              missing("acme", 0, 5)]),
            ("the tail of a lane cut off, and runs with it", dict(export=make.export_of([*a, second[0], *other]),
                                                                  tree=log.tree_lines(shorter)), "NOT VALID",
             [{"type": "checkpoint_mismatch", **nowhere}]),
            ("a tail given to another tenant's runs", dict(export=make.export_of([*a, second[0], *other]),
                                                           tree=log.tree_lines(relabelled)), "NOT VALID",
             [missing(cafe, 0, 3)]),
            ("a lane removed", dict(export=make.export_of([*a, *other])), "NOT VALID", [missing("acme", 1, 1)]),
            ("a tenant removed", dict(export=make.export_of([*a, *second])), "NOT VALID", [missing(cafe, 0, 1)]),
            ("the whole log removed", dict(export=make.export_of([])), "NOT VALID",
             [missing("acme", 0, 1), missing("acme", 1, 1), missing(cafe, 0, 1)]),
            ("a lane rewritten from the middle to its end", dict(
                export=make.export_of([*rewritten, *second, *other]), tree=plain_log.tree_lines(),
                checkpoint=plain_log.checkpoint()), "NOT VALID", [mismatch(row) for row in rewritten[1:]]),
            ("a lane rewritten, and the tree with it", dict(
                export=make.export_of([*rewritten, *second, *other]), tree=forged.tree_lines(),
                checkpoint=plain_log.checkpoint()), "NOT VALID", [root_differs(plain_log.tree, forged.tree)]),
            ("an export forged from nothing", dict(export=make.export_of(rewritten)), "NOT VALID",
             [mismatch(row) for row in rewritten[1:]] + [missing("acme", 0, 4), missing("acme", 1, 1), missing(cafe, 0, 1)]),
            ("a value edited", dict(export=[good[0], *good[1:6], good[6].replace("document.viewed", "document.edited"), *good[7:]]),
             "NOT VALID", None),
            ("an event twice in the place of another", dict(export=make.export_of([*a, second[0], second[0], *other])),
             "NOT VALID", None),
            ("an event left out in the middle", dict(export=make.export_of([*a[:1], *a[2:], *second, *other])), "NOT VALID",
             [missing("acme", 0, 2, expected=make.hex_(a[1]))]),
            ("another origin in the tree", dict(tree=log.tree_lines(origin="immutable.example/other")), "NOT VALID",
             [root_differs(log.tree, log.tree)]),
            ("another leaf in the tree", dict(tree=log.tree_lines(leaves=[*log.tree.levels[0][:-1], bytes(32)])), "NOT VALID",
             None),
            ("another log's checkpoint", dict(checkpoint=Sample(log.rows, keys=(OTHER_LOG, W1)).checkpoint()), "NOT VALID", None),
            ("a forged checkpoint", dict(checkpoint=note.replace(tlog.encode(log.tree.root()), tlog.encode(forged.tree.root()))),
             "NOT VALID", None),
            ("a checkpoint of another time under the same signatures", dict(checkpoint=older.split("\n\n")[0] + note[
                note.index("\n\n"):], tree=log.tree_lines(covered_6, log.tree.levels[0][:6])), "NOT VALID", None)]:
        full = dict(kind="anchored", export=good, tree=tree, checkpoint=note, policy=POLICY)
        yield f"anchored: {name}", {**full, **vector}, {
            "verdict": verdict, **({} if breaks is None else {"breaks": breaks})}
    for name, vector in [
            ("an export of one tenant", dict(export=make.export_of([*a, *second], make.header(tenant_id="acme")))),
            ("a range", dict(export=make.export_of(a[1:3], make.header("range", from_date="x")))),
            ("two exports", dict(export=good + good)),
            ("the checkpoint of another size", dict(checkpoint=older)),
            ("a leaf more", dict(tree=log.tree_lines({**log.covered, ("acme", 1): 3}, [*log.tree.levels[0], bytes(32)]))),
            ("an export of another log", dict(export=make.export_of([], make.header(log_id=make.ID.format(7))))),
            ("an export cut off", dict(export=good[:-1])), ("a checkpoint without signatures", dict(checkpoint=TEXT + "\n"))]:
        yield f"not anchored: {name}", {**full, **vector}, None
    yield "not anchored: a tree cut off", {**full, "tree": tree[:-1]}, dict(refused=len(tree))


def erased_of(row):
    hashes = row["erased"]["commitments"]
    return [*(hashes[name] for name in hashes if name in fmt.ERASABLE), *hashes.get("metadata", []),
            *hashes.get("targets", {}).values()]


# ---------------------------------------------------------------------------------------------------------------------


def tlog_vectors():
    tree_of({"numbered": LARGE})
    vectors = []
    for make_some in (example_vectors, tree_vectors, bad_proof_vectors, key_vectors, note_vectors, open_vectors,
                      checkpoint_vectors, file_vectors, policy_vectors, confirm_vectors, receipt_vectors,
                      tree_export_vectors, anchored_vectors):
        for name, vector, expected in make_some():
            found = outcome(vector)
            if expected is None:  # it cannot be read, for whatever reason
                assert set(found) == {"error"}, (name, found)
            else:
                for member, value in expected.items():
                    assert found.get(member) == value, (name, member, value, found)
                failed = {"error", "refused"} & set(found)
                assert not failed or failed <= set(expected), (name, found)
            vectors.append({"name": name, **vector, **found})
    return vectors
