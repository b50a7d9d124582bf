"""Tests of the independent implementation itself. `python3 test_immutable_format.py`, or pytest."""

import contextlib
import copy
import gzip
import hashlib
import io
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import immutable_format as fmt  # noqa: E402
import make_vectors as make  # noqa: E402
from immutable_format import Number  # noqa: E402


def vectors(name):
    return json.loads((make.VECTORS / name).read_text("ascii"))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Vectors(unittest.TestCase):
    """The committed files, read as any other implementation would read them."""

    def test_files_are_up_to_date(self):
        self.assertEqual(make.stale(), [])

    def test_canonical(self):
        for vector in vectors("canonical.json"):
            with self.subTest(vector["name"]):
                if "error" in vector:
                    with self.assertRaises(fmt.FormatError) as caught:
                        fmt.canonical(fmt.parse(vector["input"]))
                    self.assertEqual(str(caught.exception), vector["error"])
                else:
                    self.assertEqual(fmt.canonical(fmt.parse(vector["input"])), vector["canonical"])
                    self.assertEqual(fmt.canonical(fmt.parse(vector["canonical"])), vector["canonical"])

    def test_events(self):
        for vector in vectors("events.json"):
            with self.subTest(vector["name"]):
                row = fmt.parse(vector["row"])
                before = copy.deepcopy(row)
                self.assertEqual(fmt.document(row), vector["document"])
                if vector["document"] is None:
                    self.assertIsNone(fmt.event_hash(row))
                    self.assertEqual(fmt.why_no_document(row), vector["why"])
                else:
                    self.assertEqual(fmt.event_hash(row), vector["event_hash"])
                    self.assertEqual(sha256(vector["document"].encode()), vector["event_hash"])
                    self.assertEqual(row["event_hash"], "\\x" + vector["event_hash"])
                    self.assertEqual(fmt.commitments(row), vector["commitments"])
                self.assertEqual(row, before)

    def test_erasure(self):
        for vector in vectors("erasure.json"):
            with self.subTest(vector["name"]):
                row = fmt.parse(vector["row"])
                before = copy.deepcopy(row)
                if "error" in vector:
                    with self.assertRaises(ValueError) as caught:
                        fmt.erase(row, vector["paths"])
                    self.assertEqual(str(caught.exception), vector["error"])
                else:
                    after = fmt.erase(row, vector["paths"])
                    self.assertEqual(after, fmt.parse(vector["erased_row"]))
                    for either in (row, after):
                        self.assertEqual(fmt.document(either), vector["document"])
                        self.assertEqual(fmt.event_hash(either), vector["event_hash"])
                self.assertEqual(row, before)

    def test_chains(self):
        for vector in vectors("chains.json"):
            rows = [fmt.parse(row) for row in vector["rows"]]
            for order in (rows, rows[::-1]):
                with self.subTest(vector["name"]):
                    self.assertEqual(fmt.verify(order), vector["breaks"])


class Exports(unittest.TestCase):
    def run_lines(self, lines, heads=()):
        """The summary, or the number of the line that is refused."""
        export = fmt.Export(heads)
        for number, line in enumerate(lines, 1):
            try:
                export.line(line.encode())
            except fmt.ExportError:
                return number
        try:
            return export.finish()
        except fmt.ExportError:
            return len(lines) + 1

    def test_vectors(self):
        for vector in vectors("exports.json"):
            with self.subTest(vector["name"]):
                found = self.run_lines(vector["lines"], vector.get("heads", ()))
                if "refused" in vector:
                    self.assertEqual(found, vector["refused"])
                else:
                    self.assertEqual(found["breaks"], vector["breaks"])
                    self.assertEqual({name: found[name] for name in vector["counts"]}, vector["counts"])

    def test_lines_hash_as_they_stand(self):
        """By cutting them up, as the format says, without parsing."""
        for vector in vectors("exports.json")[:5]:
            for line in vector["lines"][1:-1]:
                document, rest = line[12:].split(',"event_hash":', 1)
                self.assertEqual(sha256(document.encode()), rest[1:65])

    def test_every_changed_letter_is_found(self):
        rows = make.lane(3)
        rows[1] = make.full(seq=Number("2"), lane=Number("0"), previous_event_hash=rows[0]["event_hash"])
        lines = make.export_of(rows[:2])
        self.assertEqual(self.run_lines(lines)["breaks"], [])
        for at in range(len(lines[2])):
            for letter in '0a"':
                changed = lines[2][:at] + letter + lines[2][at + 1:]
                if changed != lines[2]:
                    found = self.run_lines([*lines[:2], changed, lines[3]])
                    self.assertTrue(isinstance(found, int) or found["breaks"], (at, letter))

    def test_a_head_confirms_what_leads_to_it(self):
        """And nothing behind it, behind a gap, or in another lane."""
        a, b = make.lane(5), make.lane(2, lane_number=1, first_id=0x101)

        def head(row):
            return {"tenant_id": row["tenant_id"], "lane": int(row["lane"]), "seq": int(row["seq"]), "event_hash": row["event_hash"]}

        gaps, range_ = make.header("gaps", action="*"), make.header("range", from_date="x")
        for rows, head_rows, begin, confirmed in [
                (a + b, [], make.header(), 0), (a + b, [a[4]], make.header(), 5), (a + b, [a[2]], make.header(), 3),
                (a + b, [a[1], a[3]], make.header(), 4), (a + b, [a[4], b[0]], make.header(), 6),
                (a[3:], [a[2]], range_, 0), (a[2:], [a[2]], range_, 1), (a[:2] + a[3:], [a[4]], gaps, 2),
                (a[:2] + a[3:], [a[1]], gaps, 2)]:
            export = fmt.Export(map(head, head_rows))
            for line in make.export_of(rows, begin):
                export.line(line.encode())
            summary = fmt.judged(export.finish(), export.events_confirmed)
            self.assertEqual((export.events_confirmed, summary["verdict"], summary["valid"]),
                             (confirmed, *(("VALID", True) if confirmed else ("consistent, not anchored", None))))

    def test_command_line(self):
        good = "\n".join(make.export_of(make.lane(3))).encode() + b"\n"
        heads = json.dumps([{"tenant_id": "acme", "lane": 0, "seq": 9, "event_hash": "\\x" + "00" * 32}])
        saved = json.dumps([{"tenant_id": "acme", "lane": 0, "seq": 3,
                             "event_hash": make.lane(3)[2]["event_hash"]}])
        with tempfile.TemporaryDirectory() as folder:
            def write(name, content):
                path = pathlib.Path(folder, name)
                path.write_bytes(content)
                return str(path)

            whole, packed = write("whole", good), write("packed.gz", gzip.compress(good))
            for arguments, status in [
                    (["export", whole], 3), (["export", packed], 3), (["export", whole, packed], 3),
                    (["export", "--heads", write("heads", heads.encode()), whole], 1),
                    (["export", "--heads", write("saved", saved.encode()), whole], 0),
                    (["export", "--heads", write("none", b"\n"), whole], 3),
                    (["export", "--heads", whole, whole], 2),
                    (["export", write("edited", good.replace(b"document.viewed", b"document.deleted", 1))], 1),
                    (["export", write("cut", good[:-60])], 2), (["export", write("empty", b"")], 2),
                    (["export", write("cut.gz", gzip.compress(good)[:-20])], 2),
                    (["export", write("bytes", b"\xff\n")], 2), (["export", folder + "/missing"], 2)]:
                with self.subTest(arguments), contextlib.redirect_stdout(io.StringIO()) as out, \
                        contextlib.redirect_stderr(io.StringIO()):
                    self.assertEqual(fmt.main(arguments), status)
                    verdict = json.loads(out.getvalue())["verdict"] if out.getvalue() else None
                    self.assertEqual(verdict, {0: "VALID", 1: "NOT VALID", 3: "consistent, not anchored"}.get(status))


class Canonical(unittest.TestCase):
    def test_python_values(self):
        self.assertEqual(fmt.canonical({"b": [1, True, None], "a": -5}), '{"a":-5,"b":[1,true,null]}')
        for value in (1.0, b"x", (1,), {1: 2}.items()):
            with self.assertRaises(fmt.FormatError):
                fmt.canonical(value)

    def test_a_number_is_no_string(self):
        self.assertEqual(fmt.canonical([Number("1.10"), "1.10"]), '[1.10,"1.10"]')
        for text in ("", "x", "01", "1.", "1\n", "\u0661"):
            with self.assertRaises(fmt.FormatError):
                fmt.canonical(Number(text))

    def test_a_number_of_many_digits_is_never_computed(self):
        digits = "9" * 100000
        self.assertEqual(fmt.canonical(fmt.parse(digits)), digits)

    def test_keys_sort_as_a_slow_definition_says(self):
        keys = [chr(code) for code in (0, 9, 0x22, 0x7f, 0x80, 0x7ff, 0xd7ff, 0xe000, 0xfb33, 0xffff, 0x10000, 0x1f600,
                                       0x10ffff)]
        keys += [first + second for first in keys for second in keys]

        def units(key):
            data = key.encode("utf-16-le")
            return [data[i] + 256 * data[i + 1] for i in range(0, len(data), 2)]

        text = fmt.canonical({key: None for key in keys})
        self.assertEqual(list(json.loads(text)), sorted(keys, key=units))
        self.assertNotEqual(list(json.loads(text)), sorted(keys))

    def test_strings_read_back(self):
        text = "".join(chr(code) for code in range(0x110000) if not 0xd800 <= code < 0xe000)
        self.assertEqual(json.loads(fmt.canonical(text)), text)


class ByHand(unittest.TestCase):
    """What design.md says, written out once more without the module."""

    SALT = bytes(range(16))

    def by_hand(self, path, value):
        leaf = hashlib.sha256(self.SALT + path.encode()).digest()[:16].hex()
        return sha256(f'["{leaf}","{path}",{value}]'.encode())

    def test_smallest(self):
        row = make.plain()
        self.assertEqual(fmt.document(row), (
            '{"action":"document.viewed","commitments":{"actor_id":"%s"},"created_at":"2026-03-15T14:32:18.847312Z",'
            '"id":"0195d3a0-6c1e-7c3a-9f00-000000000001","lane":0,"log_id":"7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a",'
            '"occurred_at":"2026-03-15T14:32:18.800000Z","previous_event_hash":null,"recorded_by":"app_writer","seq":1,'
            '"tenant_id":"acme","v":1}') % self.by_hand("actor_id", '"user-17"'))

    def test_second_event_with_metadata_and_targets(self):
        row = make.plain(
            seq=Number("2"), log_id=None, previous_event_hash="\\x" + "0a" * 32, version=Number("7"), ip_address="::1.2.3.4",
            metadata={"b": Number("1.10"), "": None}, targets=[{"type": "u", "name": "N", "id": "1"}, {"type": "a"}])
        metadata = sorted([self.by_hand("metadata.b", "1.10"), self.by_hand("metadata.", "null")])
        targets = [self.by_hand("targets.0", '{"id":"1","name":"N","type":"u"}'),
                   self.by_hand("targets.1", '{"type":"a"}')]
        self.assertEqual(fmt.document(row), (
            '{"action":"document.viewed","commitments":{"actor_id":"%s","ip_address":"%s","metadata":["%s","%s"],'
            '"targets":["%s","%s"]},"created_at":"2026-03-15T14:32:18.847312Z",'
            '"id":"0195d3a0-6c1e-7c3a-9f00-000000000001","lane":0,"occurred_at":"2026-03-15T14:32:18.800000Z",'
            '"previous_event_hash":"%s","recorded_by":"app_writer","seq":2,"target_types":["u","a"],"tenant_id":"acme",'
            '"v":1,"version":7}') % (self.by_hand("actor_id", '"user-17"'), self.by_hand("ip_address", '"::1.2.3.4"'),
                                     *metadata, *targets, "0a" * 32))

    def test_erased(self):
        row = make.plain(metadata={"b": Number("1"), "a": Number("2")}, targets=[{"type": "u", "id": "1"}, {"type": "u"}])
        after = fmt.erase(row, ["actor_id", "metadata.b", "targets.0"])
        self.assertEqual(after["erased"]["commitments"], {
            "actor_id": self.by_hand("actor_id", '"user-17"'), "metadata": [self.by_hand("metadata.b", "1")],
            "targets": {"0": self.by_hand("targets.0", '{"id":"1","type":"u"}')}})
        self.assertEqual(after["erased"]["salts"], {
            path: sha256(self.SALT + path.encode())[:32] for path in ("metadata.a", "targets.1")})
        self.assertEqual((after["salt"], after["actor_id"], after["metadata"], after["targets"]),
                         (None, None, {"a": "2"}, [{"type": "u"}, {"type": "u"}]))


class Properties(unittest.TestCase):
    def test_every_hashed_column_changes_the_hash(self):
        row = make.full()
        other = {"id": make.ID.format(99), "targets": row["targets"][::-1], "metadata": {}, "ip_address": "::2",
                 "version": Number("4"), "lane": Number("3"), "seq": Number("8"), "erased": None,
                 "occurred_at": "2020-01-01T00:00:00+00:00", "created_at": "2020-01-01T00:00:00+00:00",
                 "previous_event_hash": "\\x" + "11" * 32, "salt": "\\x" + "11" * 16}
        for column in fmt.COLUMNS:
            if column not in ("erased", "log_id", "event_hash"):
                with self.subTest(column):
                    now = dict(row, **{column: other.get(column, "other")})
                    self.assertNotIn(fmt.event_hash(now), (None, fmt.event_hash(row)))
        self.assertNotEqual(fmt.event_hash(make.plain(log_id=make.ID.format(99))), fmt.event_hash(make.plain()))

    def test_columns_that_are_not_hashed_do_not_change_it(self):
        row = make.full()
        self.assertEqual(fmt.event_hash(dict(row, xact="4711", canonical="x", later=Number("1"), event_hash=None)),
                         fmt.event_hash(row))

    def test_whatever_is_erased_in_whatever_order_the_hash_stays(self):
        row = make.full()
        paths = list(fmt.commitments(row))
        for path in paths:
            row = fmt.erase(row, [path])
            self.assertEqual("\\x" + fmt.event_hash(row), row["event_hash"])
        self.assertEqual(row["erased"]["salts"], {})
        whole = fmt.erase(make.full(), paths)
        self.assertEqual(row, whole)

    def test_no_erased_value_is_left_in_the_row(self):
        row = fmt.erase(make.full(), list(fmt.commitments(make.full())))
        text = make.row_text(row)
        for secret in ("user-17", "lvarez", "Plan", "Auditors", "g-1", "4711", "reason", "203.0.113.7", "101112131415"):
            self.assertNotIn(secret, text)

    def test_damage_of_any_kind_never_raises(self):
        junk = [None, True, "", "x", "\\x00", "\ud800", Number("1"), Number("1e5"), Number("-0"), [], {}, [[]], {"type": 1},
                {"commitments": {}}, {"commitments": {"metadata": Number("1")}, "salts": {}}]
        rows = [make.full(), fmt.erase(make.full(), ["actor_id", "metadata.deep", "targets.0"])]
        for row in rows:
            for column in fmt.COLUMNS:
                for value in junk:
                    fmt.document(dict(row, **{column: value}))
                self.assertIsNotNone(fmt.document(row))
        for name in ("actor_id", "metadata", "targets"):
            for value in junk:
                erased = copy.deepcopy(rows[1]["erased"])
                erased["commitments"][name] = value
                self.assertIsNone(fmt.document(dict(rows[1], erased=erased)))
        self.assertIsNone(fmt.document({}))


def run(*arguments, lines=(), path=None):
    """exit status, summary or None, text on standard error"""
    environment = dict(os.environ, PYTHONIOENCODING="ascii")
    if path is not None:
        environment["PATH"] = path + os.pathsep + environment["PATH"]
    data = b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines)
    done = subprocess.run([sys.executable, fmt.__file__, *arguments], input=data, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode()


class CheckCommand(unittest.TestCase):
    CLEAN = {"rows": 0, "hash_mismatch": [], "canonical_mismatch": [], "breaks": []}

    def text(self, row, **more):
        return make.row_text(row)[:-1] + "".join(f",{json.dumps(name)}:{json.dumps(value)}"
                                                 for name, value in more.items()) + "}"

    def test_good_rows(self):
        rows = make.lane(3) + make.lane(2, tenant=make.GRIN + "\u2028\x85\n", first_id=50)
        self.assertEqual(run("check", lines=[]), (0, self.CLEAN, ""))
        for order in (rows, rows[::-1]):
            lines = [self.text(row, xact="1", canonical=fmt.document(row)) for row in order]
            self.assertEqual(run("check", lines=lines + ["", "  "]), (0, dict(self.CLEAN, rows=5), ""))

    def test_mismatches(self):
        rows = make.lane(4)
        rows[1] = dict(rows[1], action="x")
        rows[2] = dict(rows[2], metadata=[])
        canonical = [None, fmt.document(rows[1]), None, "{}"]
        status, summary, _ = run("check", lines=[self.text(row, canonical=text) for row, text in zip(rows, canonical)])
        self.assertEqual(status, 1)
        self.assertEqual(summary["rows"], 4)
        self.assertEqual(summary["hash_mismatch"], [rows[1]["id"], rows[2]["id"]])
        self.assertEqual(summary["canonical_mismatch"], [rows[0]["id"], rows[3]["id"]])
        self.assertEqual(summary["breaks"], fmt.verify(rows))
        self.assertEqual([break_["type"] for break_ in summary["breaks"]], ["hash_mismatch", "hash_mismatch"])

    def test_a_difference_of_the_canonical_text_alone_fails(self):
        row = make.plain()
        self.assertEqual(run("check", lines=[self.text(row, canonical=fmt.document(row) + " ")])[0], 1)

    def test_chain_vectors(self):
        for vector in vectors("chains.json"):
            with self.subTest(vector["name"]):
                status, summary, _ = run("check", lines=vector["rows"])
                self.assertEqual((status, summary["breaks"]), (int(bool(vector["breaks"])), vector["breaks"]))

    def test_a_row_nested_beyond_all_measure_is_a_mismatch(self):
        row = make.plain()
        for levels in (65, 500, 5000, 200000):
            line = make.row_text(row).replace('"metadata":{}', '"metadata":{"\\"]":%s}' % make.nested(levels))
            status, summary, errors = run("check", lines=[line])
            self.assertEqual((status, summary and summary["hash_mismatch"]), (1, [row["id"]]), errors)

    def test_bad_input(self):
        row, good = make.plain(), make.row_text(make.plain())
        for line in ("x", "[]", "1", "{}", "NaN", good[:-1], good + good, good[:-1] + ',"id":null}', good.encode("utf-16"),
                     b"\xff\n", good.replace("acme", "\\ud800"), "[" * 5000,
                     *(make.row_text(dict(row, **{column: None})) for column in ("id", "tenant_id", "lane", "seq")),
                     make.row_text(dict(row, seq="1")), make.row_text(dict(row, lane=Number("1.0"))),
                     make.row_text(dict(row, event_hash="\\000")),
                     make.row_text(dict(row, created_at="2026-03-15T14:32:18.847312+05:30")),
                     make.row_text(dict(row, occurred_at="0044-03-15T14:32:18-01:00 BC"))):
            with self.subTest(line[:80]):
                status, summary, errors = run("check", lines=[good, line])
                self.assertEqual((status, summary), (2, None))
                self.assertIn("line 2", errors)
                self.assertNotIn("Traceback", errors)

    def test_usage(self):
        for arguments in ((), ("nothing",), ("check", "x"), ("check", "--", "x"), ("psql", "-d", "x")):
            self.assertEqual(run(*arguments)[:2], (2, None))

    def test_leaving_out_depths_keeps_the_rest(self):
        text = '{"a":[[1,[2,"]["]],{"b":[3]}],"c":"\\"[[[["}'
        self.assertEqual(fmt._without_depths(text, keep=3), '{"a":[[],{}],"c":"\\"[[[["}')
        self.assertEqual(fmt._without_depths(text), text)


class PsqlCommand(unittest.TestCase):
    """With a program in place of psql; against a server the extension's own tests run it."""

    def psql(self, program, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            script = pathlib.Path(directory) / "psql"
            script.write_text(f"#!{sys.executable}\nimport sys\n{program}\n")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            return run("psql", *arguments, path=directory)

    def printing(self, rows):
        data = "".join(make.row_text(row) + "\n" for row in rows).encode()
        return f"sys.stdout.buffer.write({data!r})"

    @unittest.skipIf(os.name == "nt", "needs scripts that run by themselves")
    def test_rows_of_psql(self):
        rows = make.lane(3)
        self.assertEqual(self.psql(self.printing(rows), "--", "-d", "x"), (0, dict(CheckCommand.CLEAN, rows=3), ""))
        status, summary, _ = self.psql(self.printing(rows[:1] + rows[2:]))
        self.assertEqual((status, summary["breaks"]), (1, fmt.verify(rows[:1] + rows[2:])))

    @unittest.skipIf(os.name == "nt", "needs scripts that run by themselves")
    def test_psql_fails(self):
        for program in ("sys.exit(2)", self.printing(make.lane(2)) + "; sys.exit(1)", "print('x', flush=True)",
                        "print('x', flush=True); import time; time.sleep(600)"):
            status, summary, errors = self.psql(program)
            self.assertEqual((status, summary), (2, None))
            self.assertNotIn("Traceback", errors)

    def test_no_psql(self):
        errors = io.StringIO()
        with mock.patch("subprocess.Popen", side_effect=FileNotFoundError(2, "No such file")), \
                contextlib.redirect_stderr(errors):
            self.assertEqual(fmt.main(["psql"]), 2)
        self.assertIn("psql does not run", errors.getvalue())

    def test_arguments(self):
        command = fmt.psql_command(["-h", "db", "-c", "x"])
        self.assertEqual(command[-4:], ["-h", "db", "-c", "x"])
        self.assertIn("SET timezone = 'UTC'", command)
        self.assertIn("immutable.canonical(e)", " ".join(command))
        self.assertNotIn("canonical", " ".join(fmt.psql_command([], server_canonical=False)))


if __name__ == "__main__":
    unittest.main()
