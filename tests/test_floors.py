"""scripts/floors on small trees, each with one fault: it names the fault, and nothing else."""

import pathlib
import runpy
import subprocess
import sys
import tempfile
import unittest

FLOORS = pathlib.Path(__file__).resolve().parent.parent / "scripts/floors"

# A tree without a fault: what looks like one stands in comments, strings and characters, or is allowed.
SOUND = {
    "src/lib.rs": "//! The extension.\n\nmod log;\nmod pg;\nmod write;\n\nfn init() {\n    log::lane::register();\n}\n",
    "src/pg.rs": "//! PostgreSQL.\n\npub mod call;\n#[macro_use]\npub(crate) mod spi;\n",
    "src/pg/call.rs": "macro_rules! exported {\n    () => { $crate::pg::call::enter() };\n}\npub(crate) use exported;\n",
    "src/pg/spi.rs": "use super::call::exported;\n\npub unsafe fn run() {}\n",
    "src/log.rs": "//! The log.\n\npub mod lane;\npub mod row;\n",
    "src/log/lane.rs": "use crate::log::row::{self, Row};\nuse crate::pg::{call as c, spi};\n\npub fn register() {}\n",
    "src/log/row.rs": """// use crate::write::chain;
/* crate::write::chain /* and */ crate::write::chain */
const TEXT: &str = "crate::write::chain \\" unsafe { }";
const RAW: &str = r#"use crate::write::chain; " unsafe {"#;
const BRACES: [char; 2] = ['{', '"'];
fn borrowed<'a>(text: &'a str) -> &'a str { text }

#[cfg(test)]
mod tests {
    use super::borrowed;
}
""",
    "src/write.rs": "//! An event's way into the log.\n\npub mod chain;\npub mod track;\n",
    "src/write/chain.rs": "use crate::log::lane;\n\npub fn chain() { crate::pg::spi::run() }\n",
    "src/write/track.rs": "pub fn track() {}\n",
    "crates/format/src/lib.rs": "//! The formats.\npub mod hash;\npub mod link;\npub use sha2::Digest;\n",
    "crates/format/src/hash.rs": "pub struct Hash;\n",
    "crates/format/src/link.rs": "use crate::hash::Hash;\n",
}


class Floors(unittest.TestCase):
    def look(self, changes, *options):
        """The faults of the sound tree with these files changed, and the whole output."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in {**SOUND, **changes}.items():
                file = pathlib.Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            done = subprocess.run([sys.executable, "-B", FLOORS, *options, folder], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        faults = [line for line in done.stdout.splitlines() if line.count(":") >= 2 and line[0] != " "]
        self.assertEqual(done.returncode, 1 if faults else 0, done.stdout)
        return faults, done.stdout

    def fault(self, changes, *expected, options=()):
        """Exactly the expected faults, each given as its beginning."""
        faults, output = self.look(changes, *options)
        self.assertEqual(len(faults), len(expected), output)
        for fault, beginning in zip(faults, expected):
            self.assertTrue(fault.startswith(beginning), output)

    def test_a_sound_tree(self):
        self.fault({})
        self.assertIn("13 files, 8 imports between them, 0 faults", self.look({})[1])

    def test_a_use_that_goes_up(self):
        self.fault({"src/log/row.rs": "\nuse crate::write::track::track;\n"},
                   "src/log/row.rs:2: log may not import write (crate::write::track::track)")

    def test_one_use_of_many(self):
        self.fault({"src/log/row.rs": "use crate::{pg::spi, write::{track::{self}}};\n"},
                   "src/log/row.rs:1: log may not import write")

    def test_a_use_within_a_function(self):
        self.fault({"src/log/row.rs": "fn f() {\n    use crate::write::track;\n}\n"}, "src/log/row.rs:2: log may not import write")

    def test_an_inline_path(self):
        self.fault({"src/log/row.rs": "fn f() {\n    crate::write::track::track()\n}\n"}, "src/log/row.rs:2: log may not import write")

    def test_an_inline_path_through_super(self):
        self.fault({"src/log/row.rs": "fn f() {\n    super::super::write::track::track()\n}\n"},
                   "src/log/row.rs:2: log may not import write")

    def test_super_within_an_inline_module(self):
        self.fault({"src/log/row.rs": "mod tests {\n    use super::super::super::write::track;\n}\n"},
                   "src/log/row.rs:2: log may not import write")

    def test_a_path_of_a_macro(self):
        self.fault({"src/pg/call.rs": "macro_rules! m {\n    () => { $crate::log::row::f() };\n}\npub(crate) use exported;\n"},
                   "src/pg/call.rs:2: pg may not import log")

    def test_another_name_for_a_room(self):
        self.fault({"src/write/chain.rs": "use crate::read as answers;\nfn f() { answers::page::read() }\n",
                    "src/read.rs": "pub mod page;\n", "src/read/page.rs": ""},
                   "src/write/chain.rs:1: write may not import read", "src/write/chain.rs:2: write may not import read")

    def test_a_name_that_a_room_passes_on(self):
        self.fault({"src/log/lane.rs": "pub use crate::pg::spi::run;\n",
                    "src/pg/spi.rs": "use crate::log::lane::run;\n",
                    "src/write/chain.rs": "use crate::log::lane::run;\n"})
        self.fault({"src/log/lane.rs": "pub use crate::write::track::track;\n"},
                   "src/log/lane.rs:1: log may not import write")

    def test_a_room_that_imports_the_root(self):
        self.fault({"src/log/row.rs": "use crate::init;\n"},
                   "src/lib.rs:1: a circle of files: src/lib.rs, src/log/lane.rs, src/log/row.rs",
                   "src/log/row.rs:1: log may not import lib.rs (crate::init)")

    def test_a_room_that_nobody_knows(self):
        self.fault({"src/attic.rs": ""}, "src/attic.rs:1: attic is not a room")

    def test_a_later_room(self):
        self.fault({"src/jobs.rs": "use crate::write::track;\nuse crate::log::row;\n"}, "src/jobs.rs:1: jobs may not import write")

    def test_a_circle_within_a_room(self):
        self.fault({"src/log/row.rs": "use crate::log::lane;\n"}, "src/log/lane.rs:1: a circle of files: src/log/lane.rs, src/log/row.rs")

    def test_a_circle_of_three_in_a_crate(self):
        self.fault({"crates/format/src/hash.rs": "use crate::end::End;\n",
                    "crates/format/src/end.rs": "fn f() { super::link::g() }\n"},
                   "crates/format/src/end.rs:1: a circle of files: crates/format/src/end.rs, crates/format/src/hash.rs,"
                   " crates/format/src/link.rs")

    def test_two_circles_are_two_faults(self):
        self.fault({"src/log/row.rs": "use crate::log::lane;\n", "src/pg/call.rs": "use crate::pg::spi;\npub use x::exported;\n"},
                   "src/log/lane.rs:1: a circle", "src/pg/call.rs:1: a circle")

    def test_a_use_that_starts_at_a_child(self):
        self.fault({"src/lib.rs": "mod log;\nuse log::lane;\n"}, "src/lib.rs:2: `use log::…` hides where it leads: write crate::log")

    def test_a_use_that_starts_at_a_child_of_a_room(self):
        self.fault({"src/log.rs": "pub mod lane;\npub mod row;\nuse lane::register;\n"},
                   "src/log.rs:3: `use lane::…` hides where it leads: write crate::log::lane",
                   "src/log.rs:3: a module file holds")

    def test_a_module_file_with_a_function(self):
        self.fault({"src/log.rs": "//! The log.\n\npub mod lane;\npub mod row;\n\npub fn f() {}\n"},
                   "src/log.rs:6: a module file holds its doc comment and its modules, nothing else (pub fn f() {})")

    def test_a_module_file_that_passes_names_on(self):
        self.fault({"src/log.rs": "pub mod lane;\npub mod row;\npub use crate::pg::spi::run;\n"}, "src/log.rs:3: a module file holds")

    SQL = {"sql/install.list": "log\nwrite/track\n",
           "sql/log.sql": "CREATE FUNCTION immutable.row() RETURNS text\n  LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_row';\n",
           "sql/write/track.sql": "CREATE FUNCTION immutable.track() RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_track';\n"
                                  "CREATE FUNCTION immutable.plain() RETURNS text LANGUAGE sql AS 'SELECT 1';\n",
           "src/log/row.rs": "sql_function!(immutable_row, row);\n",
           "src/write/track.rs": "\nsql_function!(\n    immutable_track,\n    track\n);\n"}

    def test_sql_in_the_room_of_its_code(self):
        self.fault(self.SQL)

    def test_sql_in_another_room(self):
        self.fault({**self.SQL, "src/write/chain.rs": "sql_function!(immutable_row, row);\n", "src/log/row.rs": ""},
                   "sql/log.sql:1: row() is in src/write/chain.rs, a file of another room")

    def test_sql_without_code_and_code_without_sql(self):
        self.fault({**self.SQL, "src/write/track.rs": "\nsql_function!(immutable_other, other);\n"},
                   "sql/write/track.sql:1: track() is immutable_track, which no file of src/ has",
                   "src/write/track.rs:2: no file of sql/ declares immutable_other")

    def test_sql_that_is_not_listed_or_not_there(self):
        self.fault({**self.SQL, "sql/install.list": "log\nwrite/track\nread\n", "sql/guard/ddl.sql": "", "sql/upgrade/1.sql": ""},
                   "sql/guard/ddl.sql:1: is not in sql/install.list", "sql/read.sql:1: is in sql/install.list, and is not there")

    def test_a_block_without_a_reason(self):
        self.fault({"src/pg/spi.rs": "fn f() {\n    let x = 1;\n    unsafe { g() }\n}\n"}, "src/pg/spi.rs:3: an unsafe block without")

    def test_a_reason_of_another_statement(self):
        self.fault({"src/pg/spi.rs": "fn f() {\n    // SAFETY: it is.\n    unsafe { g() };\n    unsafe { g() }\n}\n"},
                   "src/pg/spi.rs:4: an unsafe block without")

    def test_a_reason_that_says_nothing(self):
        self.fault({"src/pg/spi.rs": "fn f() {\n    // SAFETY:\n    unsafe { g() };\n}\n"}, "src/pg/spi.rs:3: an unsafe block without")

    def test_blocks_with_their_reasons(self):
        self.fault({"src/pg/spi.rs": "fn f() {\n    // SAFETY: of two\n    // lines.\n    unsafe { g() };\n"
                                     "    // SAFETY: of a statement of two lines.\n    let x =\n        unsafe { g() };\n"
                                     "    // SAFETY: of a chain of calls.\n    unsafe { g() }\n        .iter()\n"
                                     "        .map(|one| unsafe { h(one) });\n}\n"})

    def test_unsafe_code_elsewhere(self):
        changes = {"src/log/row.rs": "unsafe fn f() {}\npub unsafe extern \"C-unwind\" fn g() {}\n",
                   "src/pg/spi.rs": "unsafe fn f() {}\n"}
        self.fault(changes)
        self.fault(changes, "src/log/row.rs:1: unsafe code (2 functions, 0 blocks) outside src/pg/", options=["--unsafe"])
        self.assertIn("in all: 3 unsafe functions, 0 unsafe blocks", self.look(changes, "--unsafe")[1])

    def test_unsafe_code_elsewhere_that_is_no_function(self):
        self.fault({"src/log/row.rs": "\nunsafe impl Send for Row {}\n"},
                   "src/log/row.rs:2: unsafe code (0 functions, 0 blocks) outside", options=["--unsafe"])

    def test_too_many_unsafe_functions(self):
        sixty = "".join(f"unsafe fn f{number}() {{}}\n" for number in range(60))
        self.fault({"src/pg/spi.rs": sixty}, options=["--unsafe"])
        self.fault({"src/pg/spi.rs": sixty + "unsafe fn g() {}\n"}, "src:1: 61 unsafe functions, 60 are allowed", options=["--unsafe"])

    def test_a_long_function(self):
        def of(lines):
            return {"src/log/row.rs": "/// A comment does not count.\nfn f(\n    a: [u8; 3],\n) {\n" + "    g();\n" * (lines - 4) + "}\n"}
        self.fault(of(61))
        self.fault(of(60), options=["--length"])
        self.fault(of(61), "src/log/row.rs:2: f has 61 lines, 60 are allowed", options=["--length"])

    def test_the_table_itself_has_no_circle(self):
        table = runpy.run_path(str(FLOORS))["MAY_IMPORT"]
        for others in table.values():
            self.assertLessEqual(set(others), set(table))
        while table:
            ground = [room for room, others in table.items() if not any(other in table for other in others)]
            self.assertTrue(ground, f"a circle among {', '.join(table)}")
            for room in ground:
                del table[room]

    def test_nothing_to_look_at_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-B", FLOORS, folder], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no Rust sources", done.stderr)


if __name__ == "__main__":
    unittest.main()
