"""What a witness must answer, by c2sp.org/tlog-witness: one table of requests, which ours and a foreign one are both
held to. The requests are made by the second implementation, and it reads the answers."""

import concurrent.futures
import hashlib
import http.client
import os
import re
import subprocess
import sys
import time
import urllib.parse

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/python"))

import immutable_tlog as tlog  # noqa: E402
import make_tlog_vectors as made  # noqa: E402

VERIFY = os.environ.get("IMMUTABLE_VERIFY")
ORIGIN = made.ORIGIN
LOG = made.LOG
ROTATED = tlog.SignerKey(ORIGIN, bytes(range(200, 232)))  # a second key of the same log
STRANGER = tlog.SignerKey(ORIGIN, bytes(range(150, 182)))  # a key of nobody, under the log's name
LOG_VKEYS = [str(LOG.verifier), str(ROTATED.verifier)]
TREE = made.tree_of({"numbered": 600})


def checkpoint(size, *keys, tree=TREE, root=None, origin=ORIGIN, extra=""):
    """A note of the log at this size, signed by the log alone if nothing else is said."""
    text = tlog.Checkpoint(origin, size, tree.root(size) if root is None else root).text() + extra
    return made.signed(text, *(keys or [LOG]))


def request(old, size, *keys, proof=None, note=None, **changed):
    """The body of add-checkpoint, which holds if nothing is changed."""
    if proof is None:
        proof = TREE.consistency(old, size) if old <= size else []
    return tlog.Request(old, proof, (note or checkpoint(size, *keys, **changed)).encode("utf-8")).text()


def ask(url, path, body=None):
    """(status, headers, body) of a POST, or of a GET without a body"""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", f"{parts.path.rstrip('/')}/{path}", body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Witness:
    """A witness as a process on 127.0.0.1. `url` is its submission prefix, `monitor` its monitoring prefix."""

    ready = None  # what it prints when it listens, with its address and port
    vkey = None

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "witness.log"
        self.process = None

    def command(self):
        raise NotImplementedError

    def start(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(600):
            found = re.search(self.ready, self.log.read_text())
            if found:
                self.url = self.monitor = "http://" + found[1]
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"it does not listen: {self.log.read_text()}")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def restart(self):
        self.stop()
        self.start()


class Client:
    """Asks a witness, and checks whatever it answers with 200 or 409."""

    def __init__(self, witness):
        self.witness = witness
        self.key = tlog.read_vkey(witness.vkey)
        self.last = 0  # the time of its last cosignature

    def post(self, body, *status):
        """The answer, which must have one of these statuses."""
        found, headers, answer = ask(self.witness.url, "add-checkpoint", body)
        assert found in status, (found, answer, body)
        if found == 409:
            assert headers["Content-Type"] == "text/x.tlog.size"
        return answer.decode("utf-8")

    def cosigned(self, body):
        """A request that must be cosigned; gives the note with the cosignature."""
        lines = self.post(body, 200)
        note = tlog.read_request(body).note + lines.encode("utf-8")
        verified = tlog.open_note(tlog.read_note(note), [self.key])
        assert [each.key for each in verified] == [self.key]
        assert self.last <= verified[0].time <= time.time() + 1
        self.last = verified[0].time
        return note

    def stale(self, body, size):
        assert self.post(body, 409) == f"{size}\n"

    def monitored(self, origin=ORIGIN):
        """The last checkpoint that it shows, with both signatures verified; None if it has none."""
        status, _, note = ask(self.witness.monitor, tlog.monitoring_path(origin))
        if status == 404:
            return None
        assert status == 200
        note = tlog.read_note(note)
        verified = tlog.open_note(note, [LOG.verifier, ROTATED.verifier, self.key])
        assert verified[-1].key == self.key or verified[0].key == self.key
        assert len({each.key.type for each in verified}) == 2
        return tlog.read_checkpoint(note.text)


def check_refused_at_any_time(client):
    """What is refused whatever the witness holds; it changes nothing."""
    hashes = [hashlib.sha256(b"%d" % n).digest() for n in range(64)]
    good = request(0, 3)
    for name, body, *status in [
            ("nothing", b"", 400), ("noise", b"garbage", 400), ("bytes that are no text", b"\xff" + good, 400),
            ("no signature", good[:good.rindex(b"\n\n") + 2], 400), ("no old", good.replace(b"old 0\n", b""), 400),
            ("a leading zero", good.replace(b"old 0", b"old 00"), 400), ("a sign", good.replace(b"old 0", b"old -1"), 400),
            ("CR LF", good.replace(b"\n", b"\r\n"), 400), ("64 hashes", request(0, 3, proof=hashes), 400),
            ("a hash that is none", good.replace(b"old 0\n", b"old 0\nx\n"), 400),
            ("a checkpoint that is none", request(0, 3, note=made.signed("Hello\n", LOG)), 400),
            ("a size with a leading zero", request(0, 3, note=made.signed(tlog.Checkpoint(
                ORIGIN, 3, TREE.root(3)).text().replace("\n3\n", "\n03\n"), LOG)), 400),
            ("the size 2^63", request(0, 3, note=made.signed(tlog.Checkpoint(
                ORIGIN, 2 ** 63, TREE.root(3)).text(), LOG)), 400),
            ("old beyond the size", request(4, 3), 400),
            ("another origin", request(0, 3, made.OTHER_LOG, origin=made.OTHER_LOG.verifier.name), 404),
            ("another origin under the log's key", request(0, 3, origin="immutable.example/other"), 404),
            ("a key of nobody", request(0, 3, STRANGER), 403),
            ("a witness's signature alone", request(0, 3, made.W2), 403),
            ("a signature of another text", request(0, 3, note=checkpoint(3).replace(
                LOG.sign(tlog.read_note(checkpoint(3).encode()).text), LOG.sign("x\n"))), 403),
            ("a flipped bit in the root", good.replace(tlog.encode(TREE.root(3)).encode(), tlog.encode(TREE.root(4)).encode()), 403),
            ("a good line and a bad one of another known key", good + ROTATED.sign("x\n").encode(), 403)]:
        assert client.post(body, *status) is not None, name
    assert ask(client.witness.url, "nothing-of-this-name", good)[0] in (404, 405)


def check_witness(witness):
    """Every status of the protocol, from a witness that holds nothing, to one that was started again."""
    client = Client(witness)
    assert client.monitored() is None
    check_refused_at_any_time(client)
    client.stale(request(3, 5), 0)
    client.post(request(0, 3, proof=TREE.consistency(3, 5)), 422)  # nothing needs no proof
    client.post(request(0, 0, root=bytes(32)), 422)  # the empty tree has one root
    assert client.monitored() is None

    client.cosigned(request(0, 3))
    assert client.monitored() == tlog.Checkpoint(ORIGIN, 3, TREE.root(3))
    client.stale(request(0, 3), 3)
    client.stale(request(2, 5), 3)
    client.post(request(4, 3), 400)
    wrong = TREE.consistency(3, 5)
    for proof in ([], wrong[:-1], [*wrong, bytes(32)], [bytes(32), *wrong[1:]], wrong[::-1], TREE.consistency(3, 6)):
        client.post(request(3, 5, proof=proof), 422)
    client.post(request(3, 5, root=bytes(32)), 422)
    forked = tlog.Tree([bytes(32), *TREE.levels[0][1:600]])
    client.post(request(3, 5, tree=forked, proof=forked.consistency(3, 5)), 422)
    assert client.monitored().size == 3

    client.cosigned(request(3, 5))
    client.cosigned(request(5, 5))  # the same again: a fresh time
    client.post(request(5, 5, proof=[], root=TREE.root(6)), 422, 409)  # 409 in version 1.0.0
    client.stale(request(3, 5), 5)
    client.cosigned(request(5, 255, LOG, made.W2))  # lines of keys that it does not know
    client.cosigned(request(255, 256, ROTATED))  # the log's other key, alone
    client.cosigned(request(256, 257, LOG, ROTATED))
    client.post(request(257, 300, LOG, STRANGER, root=bytes(32)), 422)
    client.cosigned(request(257, 300, LOG, STRANGER))
    client.stale(request(0, 0), 300)
    assert client.monitored() == tlog.Checkpoint(ORIGIN, 300, TREE.root(300))
    check_refused_at_any_time(client)
    assert client.monitored("immutable.example/other") is None
    check_one_of_many(client, 300)

    held = client.monitored()
    witness.restart()
    assert client.monitored() == held
    client.stale(request(0, 3), held.size)


def check_one_of_many(client, old):
    """Of forks that arrive together, one is cosigned."""
    trees = [tlog.Tree([*TREE.levels[0][:old], hashlib.sha256(b"fork %d" % n).digest()]) for n in range(8)]
    bodies = [request(old, old + 1, tree=tree, proof=tree.consistency(old, old + 1)) for tree in trees]
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: ask(client.witness.url, "add-checkpoint", body)[0], bodies))
    assert sorted(answers) == [200] + [409] * 7, answers
    assert client.monitored().root == trees[answers.index(200)].root()


class OurWitness(Witness):
    """immutable-verify witness, with a key that it made itself."""

    ready = r"listens on (127\.0\.0\.1:[0-9]+)"

    def __init__(self, folder, vkeys):
        super().__init__(folder)
        self.vkeys = vkeys
        done = subprocess.run([VERIFY, "witness-key", "witness.example/ours", "--key", folder / "key"], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        self.vkey = done.stdout.strip()
        self.start()

    def command(self):
        logs = [word for vkey in self.vkeys for word in ("--log", vkey)]
        state = self.folder / "state"
        return [VERIFY, "witness", "--listen", "127.0.0.1:0", "--state", state, "--key", self.folder / "key", *logs,
                *([] if state.exists() else ["--init"])]
