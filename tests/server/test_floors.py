"""The floors of src/: a room imports only rooms that lie below it, and no files import each other in a circle. What each
room may import is the table of docs/pictures/draw.py. No server is needed."""

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
# (The format's circle ends with its erasure.rs, on a branch of its own.)
CRATES = [SRC, *(crate for crate in (ROOT / "crates").glob("*/src") if crate.parent.name != "format" or (crate / "erasure.rs").exists())]


def may_import():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs/pictures/draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    return draw.MAY_IMPORT


def modules(src):
    """The code of each module, without comments; `log/lane` for src/log/lane.rs, `export` for export/mod.rs."""
    return {re.sub(r"/mod$", "", str(path.relative_to(src).with_suffix(""))): re.sub(r"//.*", "", path.read_text())
            for path in src.rglob("*.rs")}


def members(tree, prefix=""):
    """The paths of a `use` tree: a::{b, c::{d}} gives a::b and a::c::d."""
    depth, part = 0, ""
    for letter in tree + ",":
        depth += (letter == "{") - (letter == "}")
        if letter != "," or depth:
            part += letter
            continue
        part = part.strip()
        if group := re.fullmatch(r"((?:\w+::)*)\{(.*)\}", part, re.S):
            yield from members(group[2], prefix + group[1])
        elif part:
            yield prefix + part.split(" as ")[0]
        part = ""


USE = re.compile(r"^\s*(?:pub(?:\([\w:]+\))? )?use ([^;]*);", re.M)


def paths(code):
    """Every path into the crate: of `use` lines, and in the code. ($crate is a macro's, and counts as code of its file.)"""
    for found in USE.finditer(code):
        yield from members(found[1])
    for found in re.finditer(r"\b(?:crate|super)(?:::\w+)+", USE.sub("", code)):
        yield found[0]


def imports(src):
    """The modules that each module imports."""
    code = modules(src)
    found = {name: set() for name in code}
    for name, text in code.items():
        for path in paths(text):
            steps = path.split("::")
            if steps[0] == "crate":
                steps = steps[1:]
            elif steps[0] == "super":
                steps = name.split("/")[:-1] + steps[1:]
            else:
                continue
            for length in range(len(steps), 0, -1):
                other = "/".join(steps[:length])
                if other in code:
                    found[name] |= {other} - {name}
                    break
    return found


def circle(arrows):
    """What is left when everything that imports nothing, or that nobody imports, is taken away again and again."""
    left = {name: set(others) for name, others in arrows.items()}
    while True:
        imported = set().union(*left.values())
        ends = {name for name, others in left.items() if not others or name not in imported}
        if not ends:
            return sorted(left)
        left = {name: others - ends for name, others in left.items() if name not in ends}
        if not left:
            return []


def test_every_room_imports_only_what_lies_below():
    table = may_import()
    arrows = imports(SRC)
    rooms = {name.split("/")[0] for name in arrows} - {"lib"}
    assert rooms == set(table), "every room has a row in the table, and every row a room"
    upward = [f"{name} imports {other}" for name, others in sorted(arrows.items()) for other in sorted(others)
              if name != "lib" and other.split("/")[0] not in {name.split("/")[0], *table[name.split("/")[0]]}]
    assert not upward, "\n".join(upward)


def test_the_table_itself_has_no_circle():
    assert circle({room: set(others) for room, others in may_import().items()}) == []


@pytest.mark.parametrize("src", CRATES, ids=lambda src: str(src.relative_to(ROOT)))
def test_no_files_import_each_other_in_a_circle(src):
    assert circle({name: others for name, others in imports(src).items() if name not in ("lib", "main")}) == []


def test_no_import_hides_behind_a_name_that_is_relative_to_a_child():
    code = modules(SRC)
    names = {name.split("/")[-1] for name in code}
    hidden = [f"{name}: use {path}" for name, text in code.items() if name != "lib"
              for found in USE.finditer(text) for path in members(found[1]) if path.split("::")[0] in names]
    assert not hidden, "\n".join(hidden)


def test_use_trees_paths_and_circles_are_seen():
    assert list(members("crate::{a, b::{c, d as e}}")) == ["crate::a", "crate::b::c", "crate::b::d"]
    assert set(paths("use super::scope::Scope;\nfn f() { crate::pg::spi::read(); }")) == {"super::scope::Scope", "crate::pg::spi::read"}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


# Declared where the table or the function that needs them is.
ELSEWHERE = {"is_chained", "new_id", "share_identity"}


def test_sql_functions_are_declared_in_the_room_of_their_code():
    """sql/write/batch.sql, or sql/write.sql, for src/write/batch.rs; sql/install.list has every file, and in its order."""
    files = (ROOT / "sql/install.list").read_text().split()
    kept = {str(path.relative_to(ROOT / "sql").with_suffix("")) for path in (ROOT / "sql").rglob("*.sql")}
    assert set(files) == {file for file in kept if file.split("/")[0] not in ("released", "upgrade")}
    code = {symbol: name for name, text in modules(SRC).items() for symbol in re.findall(r"sql_function!\(\s*(\w+)", text)}
    declared = re.compile(r"^CREATE FUNCTION immutable\.(\w+)[^;]*?'MODULE_PATHNAME', '(\w+)'", re.M)
    found = [(file, *function) for file in files for function in declared.findall((ROOT / f"sql/{file}.sql").read_text())]
    assert {symbol for _, _, symbol in found} == set(code)
    wrong = [f"sql/{file}.sql has {name}(), which is in src/{code[symbol]}.rs" for file, name, symbol in found
             if name not in ELSEWHERE and file.split("/")[0] != code[symbol].split("/")[0]]
    assert not wrong, "\n".join(wrong)
