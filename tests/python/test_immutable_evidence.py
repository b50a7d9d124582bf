"""Tests of the second implementation of the evidence formats. `python3 test_immutable_evidence.py`, or pytest."""

import contextlib
import gzip
import hashlib
import io
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import immutable_evidence as evidence  # noqa: E402
import immutable_format as fmt  # noqa: E402
import immutable_tlog as tlog  # noqa: E402
import make_tlog_vectors as made  # noqa: E402
import make_vectors as make  # noqa: E402

VECTORS = json.loads((make.VECTORS / "tlog.json").read_text("ascii"))
POLICY = tlog.read_policy(made.POLICY.encode())


def sha256(data):
    return hashlib.sha256(data).digest()


def random_leaves(rng, count):
    return [rng.randbytes(32) for _ in range(count)]


class Vectors(unittest.TestCase):
    """The committed file, read as any other implementation would read it."""

    def test_every_vector(self):
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                found = made.outcome(vector)
                self.assertEqual({member: vector.get(member) for member in found}, found)
                self.assertEqual("error" in vector, "error" in found)
                self.assertEqual("refused" in vector, "refused" in found)

    def test_there_are_good_and_bad_ones_of_each_kind(self):
        counts = {}
        for vector in VECTORS:
            bad = "error" in vector or "refused" in vector or vector.get("verdict") == "NOT VALID"
            counts.setdefault(vector["kind"], {True: 0, False: 0})[bad] += 1
        self.assertEqual(set(counts), set(made.KINDS))
        for kind in ("inclusion", "consistency", "vkey", "note", "open", "checkpoint", "proof", "request", "policy",
                     "confirm", "receipt", "tree_export", "anchored"):
            self.assertTrue(counts[kind][True] >= 5 and counts[kind][False] >= 3, (kind, counts[kind]))


def root_by_definition(leaves):
    """Section 2.1 of RFC 6962, word for word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + root_by_definition(leaves[:k]) + root_by_definition(leaves[k:]))


class Trees(unittest.TestCase):
    def test_leaf_of_rfc_6962(self):
        self.assertEqual(tlog.leaf_hash(b"").hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")

    def test_roots_are_those_of_the_definition(self):
        rng = random.Random(6962)
        leaves = random_leaves(rng, 130)
        tree, frontier = tlog.Tree(leaves), tlog.Frontier()
        for size in range(131):
            self.assertEqual(tree.root(size), root_by_definition(leaves[:size]))
            self.assertEqual(frontier.root(), tree.root(size))
            if size < 130:
                frontier.append(leaves[size])

    def test_proofs_of_random_trees_hold_and_changed_ones_do_not(self):
        rng = random.Random(9162)
        for _ in range(300):
            size = rng.randint(1, 600)
            tree = tlog.Tree(random_leaves(rng, size))
            index, old = rng.randrange(size), rng.randint(1, size)
            leaf, root, proof = tree.levels[0][index], tree.root(), tree.inclusion(index, size)
            tlog.check_inclusion(leaf, index, size, proof, root)
            for changed in self.changed(rng, proof):
                with self.assertRaises(tlog.NotValid):
                    tlog.check_inclusion(leaf, index, size, changed, root)
            other = rng.randrange(size)
            if other != index:
                with self.assertRaises(tlog.NotValid):
                    tlog.check_inclusion(leaf, other, size, proof, root)
            proof = tree.consistency(old, size)
            tlog.check_consistency(old, size, proof, tree.root(old), root)
            for changed in self.changed(rng, proof):
                with self.assertRaises(tlog.NotValid):
                    tlog.check_consistency(old, size, changed, tree.root(old), root)
            with self.assertRaises(tlog.NotValid):
                tlog.check_consistency(old, size, proof, rng.randbytes(32), root)

    def changed(self, rng, proof):
        yield [*proof, rng.randbytes(32)]
        if proof:
            at = rng.randrange(len(proof))
            hash_ = bytearray(proof[at])
            hash_[rng.randrange(32)] ^= 1 << rng.randrange(8)
            yield [*proof[:at], bytes(hash_), *proof[at + 1:]]
            yield proof[:at] + proof[at + 1:]
            swapped = proof[::-1]
            if swapped != proof:
                yield swapped

    def test_a_fork_has_no_consistency_proof(self):
        rng = random.Random(1)
        for _ in range(100):
            leaves = random_leaves(rng, rng.randint(2, 200))
            old = rng.randint(1, len(leaves))
            at = rng.randrange(old)
            forked = tlog.Tree([*leaves[:at], rng.randbytes(32), *leaves[at + 1:]])
            with self.assertRaises(tlog.NotValid):
                tlog.check_consistency(old, len(leaves), forked.consistency(old, len(leaves)),
                                       tlog.Tree(leaves).root(old), forked.root())

    def test_tiles_hold_the_whole_tree(self):
        rng = random.Random(256)
        leaves = random_leaves(rng, 70000)
        tree = tlog.Tree(leaves)
        for size in (0, 1, 255, 256, 257, 600, 65535, 65536, 65537, 70000):
            files = tlog.tiles(tree, size)
            level_0 = b"".join(files[path] for path in sorted(files) if path.startswith("tile/0/"))
            if size < 1000 * 256:  # the paths sort as the numbers do
                self.assertEqual(level_0, b"".join(leaves[:size]))
            for path, content in files.items():
                self.assertIn(len(content), range(32, 8193, 32))
                self.assertEqual(path.endswith(f".p/{len(content) // 32}"), len(content) < 8192)
        self.assertEqual([path for path in tlog.tiles(tree, 70000) if not path.startswith("tile/0/")],
                         ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"])


class Texts(unittest.TestCase):
    def test_every_kind_of_text_is_read_back(self):
        rng = random.Random(4)
        for _ in range(200):
            checkpoint = tlog.Checkpoint(rng.choice(("a", "l\u00f6g.example/x", made.ORIGIN)), rng.choice((
                0, 1, rng.randint(0, 2 ** 63 - 1))), rng.randbytes(32), tuple(rng.sample(("x", "y z", "\u00e9"), rng.randint(0, 3))))
            self.assertEqual(tlog.read_checkpoint(checkpoint.text()), checkpoint)
            note = made.signed(checkpoint.text(), *rng.sample([made.LOG, *made.WITNESSES], rng.randint(1, 5))).encode()
            self.assertEqual(tlog.read_note(note).text, checkpoint.text())
            proof = tlog.Proof(rng.randint(0, 2 ** 63 - 1), random_leaves(rng, rng.randint(0, 63)), note,
                               rng.choice((None, b"", rng.randbytes(10))))
            self.assertEqual(tlog.read_proof(proof.text()), proof)
            request = tlog.Request(rng.randint(0, 2 ** 63 - 1), random_leaves(rng, rng.randint(0, 63)), note)
            self.assertEqual(tlog.read_request(request.text()), request)

    def test_nothing_but_the_one_text_is_read(self):
        """Whatever is read is what would be written: no two texts say the same."""
        rng = random.Random(5)
        for text, read in ((made.PROOF, tlog.read_proof), (made.OLD_3, tlog.read_request)):
            for _ in range(3000):
                data = damaged(rng, text.encode())
                with contextlib.suppress(tlog.FormatError):
                    self.assertEqual(read(data).text(), data)

    def test_noise_is_refused_and_nothing_worse(self):
        rng = random.Random(7)
        lane = Export.LOG.tree_lines()
        for _ in range(3000):
            for text, read in ((made.NOTE, tlog.read_note), (made.PROOF, tlog.read_proof), (made.OLD_3, tlog.read_request),
                               (made.TWO_OF_THREE, tlog.read_policy), (Receipts.GOOD, evidence.read_receipt),
                               ("\n".join(lane), lambda data: [evidence.TreeExport().line(line) for line in data.split(b"\n")])):
                with contextlib.suppress(tlog.FormatError, fmt.ExportError):
                    read(damaged(rng, text.encode()))
                with contextlib.suppress(tlog.FormatError, fmt.ExportError):
                    read(rng.randbytes(rng.randint(0, 100)))

    def test_who_cosigns_more_never_confirms_less(self):
        rng = random.Random(8)
        names = ["w1", "w2", "w3", "w4"]
        for _ in range(300):
            groups, free = [], list(names)
            for number in range(rng.randint(1, 3)):
                members = rng.sample(free, rng.randint(1, len(free)))
                free = [name for name in free if name not in members] + [f"g{number}"]
                groups.append(f"group g{number} {rng.choice(('any', 'all', rng.randint(1, len(members))))} {' '.join(members)}\n")
            policy = tlog.read_policy((made.WITNESS_LINES + "".join(groups) + f"quorum {rng.choice(free)}\n").encode())
            some = set(rng.sample(names, rng.randint(0, 4)))
            if policy.met(some):
                self.assertTrue(policy.met(some | {rng.choice(names)}))
            self.assertTrue(policy.met(set(names)))


def damaged(rng, data):
    """One or a few changes of the kinds that editors, disks and people make."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:at + rng.randint(1, 50)]
        elif kind == 2:
            data[at:at] = rng.choice((b"\n", b"\r", b" ", b"0", b"=", b"\xff", b"\n\n", "\u2014 ".encode(), rng.randbytes(3)))
        elif kind == 3:
            lines = data.split(b"\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            data = bytearray(b"\n".join(lines))
        elif kind == 4:
            lines = data.split(b"\n")
            del lines[rng.randrange(len(lines))]
            data = bytearray(b"\n".join(lines))
        else:
            del data[at:]
    return bytes(data)


class Receipts(unittest.TestCase):
    LOG, FULL = made.sample()
    GOOD = LOG.receipt(LOG.rows[3])

    def judge(self, data):
        try:
            return evidence.check_receipt(data, POLICY)["verdict"]
        except tlog.FormatError:
            return None

    def test_no_bit_of_a_receipt_can_change(self):
        rng = random.Random(10)
        good = self.GOOD.encode()
        self.assertEqual(self.judge(good), "VALID")
        for at in range(len(good)):
            changed = bytearray(good)
            changed[at] ^= 1 << rng.randrange(8)
            self.assertNotEqual(self.judge(bytes(changed)), "VALID", at)

    def test_no_part_of_a_receipt_is_one(self):
        good = self.GOOD.encode()
        for end in range(len(good)):
            self.assertNotEqual(self.judge(good[:end]), "VALID", end)

    def test_parts_of_two_receipts_are_none(self):
        """Of each pair of receipts of one log, no mixture holds: line, proof and checkpoint belong together."""
        parts = []
        for row in self.LOG.rows:
            for size in (len(self.LOG.tree), self.LOG.order.index(row) + 1):
                text = self.LOG.receipt(row, size=size)
                line, proof = text.split("\n", 2)[1:]
                at = proof.index("\n\n") + 2
                parts.append((line, proof[:at], proof[at:]))
        for a in parts:
            for b in parts:
                for c in parts:
                    text = f"immutable-receipt/v1\n{a[0]}\n{b[1]}{c[2]}"
                    same = a[0] == b[0] and b[1:] == c[1:]
                    holds = self.judge(text.encode()) == "VALID"
                    if same:
                        self.assertTrue(holds)
                    elif holds:  # a proof may fit a checkpoint of another size whose right edge it does not touch
                        self.assertEqual(a[0], b[0])

    def test_any_choice_of_disclosures_holds(self):
        rng = random.Random(11)
        log = made.Sample([*self.LOG.rows[:3], self.FULL])
        paths = list(fmt.commitments(self.FULL))
        for _ in range(100):
            chosen = rng.sample(paths, rng.randint(0, len(paths)))
            summary = evidence.check_receipt(log.receipt(self.FULL, chosen).encode(), POLICY)
            self.assertEqual((summary["verdict"], sorted(summary["disclosed"]), summary["not_disclosed"]),
                             ("VALID", sorted(chosen), len(paths) - len(chosen)))
        self.assertNotIn("lvarez", log.receipt(self.FULL, []))


class Export(unittest.TestCase):
    LOG, _ = made.sample()

    def judge(self, rows, covered, leaves, note=None):
        tree = evidence.TreeExport()
        for line in self.LOG.tree_lines(covered, leaves):
            tree.line(line.encode())
        tree.finish()
        rows = sorted(rows, key=lambda row: (row["tenant_id"].encode(), int(row["lane"]), int(row["seq"])))
        lines = [line.encode() for line in make.export_of(rows)]
        return evidence.check_export([("x", lines)], tree, (note or self.LOG.checkpoint()).encode(), POLICY)["verdict"]

    def test_whatever_is_covered_is_missed(self):
        """Whoever has the database can cut, relabel and rewrite rows, runs and tiles; the checkpoint he cannot."""
        rng = random.Random(12)
        places = list(self.LOG.covered)
        for _ in range(1500):
            rows, covered, leaves = list(self.LOG.rows), dict(self.LOG.covered), list(self.LOG.tree.levels[0])
            for _ in range(rng.randint(1, 3)):
                kind, place = rng.randrange(5), rng.choice(places)
                if kind == 0:
                    covered[place] = rng.randint(1, 9)
                elif kind == 1 and len(covered) > 1:
                    covered.pop(place, None)
                elif kind == 2:
                    leaves[rng.randrange(len(leaves))] = rng.choice((rng.choice(leaves), rng.randbytes(32)))
                elif kind == 3:
                    rng.shuffle(leaves)
                else:
                    at = rng.randrange(len(rows))
                    rows[at] = make.sealed(make.changed(rows[at], action="document.forged"))
            if rng.randrange(2):
                rows = [row for row in rows if rng.randrange(4)]
            whole = {make.hex_(row) for row in rows} >= {make.hex_(row) for row in self.LOG.rows}
            same = covered == self.LOG.covered and leaves == self.LOG.tree.levels[0]
            verdict = self.judge(rows, covered, leaves)
            self.assertEqual(verdict, "VALID" if whole and same else "NOT VALID", (covered, len(rows)))

    def test_what_came_later_changes_nothing(self):
        for size in range(1, len(self.LOG.tree) + 1):
            covered = {}
            for row in self.LOG.order[:size]:
                covered[row["tenant_id"], int(row["lane"])] = int(row["seq"])
            self.assertEqual(self.judge(self.LOG.rows, covered, self.LOG.tree.levels[0][:size], self.LOG.checkpoint(size)),
                             "VALID")


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory()) if hasattr(self, "enterContext") else None
        if self.folder is None:
            temporary = tempfile.TemporaryDirectory()
            self.addCleanup(temporary.cleanup)
            self.folder = temporary.name
        log = Export.LOG
        rows = sorted(log.rows, key=lambda row: (row["tenant_id"].encode(), int(row["lane"])))
        self.files = {
            "policy": made.POLICY, "none": made.NO_QUORUM, "two": made.TWO_OF_THREE, "receipt": Receipts.GOOD,
            "edited": Receipts.GOOD.replace("Auditors", "auditors"), "cut": Receipts.GOOD[:-9], "note": log.checkpoint(),
            "export": "\n".join(make.export_of(rows)) + "\n", "tree": "\n".join(log.tree_lines()) + "\n",
            "tail": "\n".join(make.export_of(rows[:-1])) + "\n", "other": made.NOTE, "bad": "x", "forged": log.checkpoint().replace("\n9\n", "\n8\n"),
            "heads": json.dumps([{"tenant_id": "acme", "lane": 0, "seq": 5, "event_hash": rows[4]["event_hash"]}])}
        for name, content in self.files.items():
            pathlib.Path(self.folder, name).write_bytes(content.encode())
            pathlib.Path(self.folder, name + ".gz").write_bytes(gzip.compress(content.encode()))

    def run_main(self, line):
        """exit status, summaries, standard error; words that name a file are paths"""
        words = [str(pathlib.Path(self.folder, word)) if word.split(".")[0] in self.files and not word.startswith("-") else word
                 for word in line.split()]
        words[0] = line.split()[0]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                status = evidence.main(words)
            except SystemExit as end:
                status = end.code
        return status, [json.loads(text) for text in out.getvalue().splitlines()], errors.getvalue()

    def test_verdicts(self):
        words = {0: "VALID", 1: "NOT VALID", 3: "consistent, not anchored"}
        for line, status in [
                ("receipt receipt --policy policy", 0), ("receipt receipt.gz --policy policy", 0),
                ("receipt receipt --policy none", 3), ("receipt receipt --policy two", 3),
                ("receipt edited --policy policy", 1), ("checkpoint note --policy policy", 0),
                ("checkpoint note --policy none", 3), ("checkpoint note --policy two", 3),
                ("export export --tree tree --checkpoint note --policy policy", 0),
                ("export export.gz --tree tree.gz --checkpoint note --policy policy", 0),
                ("export export --tree tree --checkpoint note --policy none", 3),
                ("export export --tree tree --checkpoint note --policy none --heads heads", 0),
                ("export export --tree tree --checkpoint note --policy two", 3),
                ("export tail --tree tree --checkpoint note --policy two", 1),
                ("export tail --tree tree --checkpoint note --policy policy", 1),
                ("checkpoint forged --policy policy", 1), ("export export --tree tree --checkpoint forged --policy policy", 1)]:
            with self.subTest(line):
                found, summaries, errors = self.run_main(line)
                self.assertEqual((found, [each["verdict"] for each in summaries], errors), (status, [words[status]], ""))

    def test_what_cannot_be_read(self):
        for line in ("", "nothing", "receipt", "receipt receipt", "receipt cut --policy policy", "receipt bad --policy policy",
                     "receipt receipt --policy bad", "receipt receipt --policy missing", "receipt missing --policy policy",
                     "checkpoint receipt --policy policy", "export export --policy policy", "export export --tree tree --policy policy",
                     "export export --tree export --checkpoint note --policy policy",
                     "export tree --tree tree --checkpoint note --policy policy",
                     "export export --tree tree --checkpoint bad --policy policy",
                     "export export --tree tree --checkpoint other --policy policy",
                     "export export --tree tree --checkpoint note --policy policy --heads bad"):
            with self.subTest(line):
                status, summaries, errors = self.run_main(line) if line else (*self.run_nothing(),)
                self.assertEqual((status, summaries), (2, []))
                self.assertNotIn("Traceback", errors)
                self.assertTrue(errors)

    def run_nothing(self):
        done = subprocess.run([sys.executable, evidence.__file__], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stdout.split(), done.stderr.decode()

    def test_the_worst_of_several_counts(self):
        self.assertEqual(self.run_main("receipt receipt edited receipt --policy policy")[0], 1)
        status, summaries, _ = self.run_main("receipt receipt receipt.gz --policy policy")
        self.assertEqual((status, len(summaries)), (0, 2))

    def test_it_runs_by_itself(self):
        done = subprocess.run([sys.executable, evidence.__file__, "receipt", "-", "--policy", self.folder + "/policy"],
                              input=Receipts.GOOD.encode(), stdout=subprocess.PIPE)
        self.assertEqual((done.returncode, json.loads(done.stdout)["cosigned_by"]), (0, ["w1"]))


class Documentation(unittest.TestCase):
    def test_the_page_shows_what_the_commands_print(self):
        page = pathlib.Path(__file__).resolve().parents[2] / "docs/second-implementation.md"
        log = Export.LOG
        rows = sorted(log.rows, key=lambda row: (row["tenant_id"].encode(), int(row["lane"])))
        with tempfile.TemporaryDirectory() as folder:
            for name, content in [
                    ("policy", made.POLICY), ("note", made.NOTE), ("log.note", log.checkpoint()),
                    ("event.receipt", next(each["input"] for each in VECTORS if each["name"] == "receipt: the example")),
                    ("audit.ndjson", "\n".join(make.export_of(rows)) + "\n"), ("tree.ndjson", "\n".join(log.tree_lines()) + "\n")]:
                pathlib.Path(folder, name).write_bytes(content.encode())
            lines = [line[4:] for line in page.read_text().splitlines() if line.startswith("    ")]
            commands = [at for at, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
            self.assertGreater(len(commands), 7)
            for at, end in zip(commands, commands[1:]):
                command = lines[at][2:].replace("python3 immutable_evidence.py", f"{sys.executable} {evidence.__file__}")
                done = subprocess.run(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.assertEqual(done.stdout.decode().splitlines(), lines[at + 1:end], lines[at])


if __name__ == "__main__":
    unittest.main()
