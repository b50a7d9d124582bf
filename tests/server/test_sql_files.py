"""sql/ has the rooms of src/: what is declared there is written in the room of the same name. No server is needed."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Declared where the table or the function that needs them is.
ELSEWHERE = {"is_chained", "new_id", "share_identity"}


def test_sql_functions_are_declared_in_the_room_of_their_code():
    """sql/write/batch.sql, or sql/write.sql, for src/write/batch.rs; sql/install.list has every file, and in its order."""
    files = (ROOT / "sql/install.list").read_text().split()
    kept = {str(path.relative_to(ROOT / "sql").with_suffix("")) for path in (ROOT / "sql").rglob("*.sql")}
    assert set(files) == {file for file in kept if file.split("/")[0] not in ("released", "upgrade")}
    code = {symbol: str(path.relative_to(ROOT / "src").with_suffix(""))
            for path in (ROOT / "src").rglob("*.rs")
            for symbol in re.findall(r"sql_function!\(\s*(\w+)", path.read_text())}
    declared = re.compile(r"^CREATE (?:FUNCTION|PROCEDURE) immutable\.(\w+)[^;]*?'MODULE_PATHNAME', '(\w+)'", re.M)
    found = [(file, *function) for file in files for function in declared.findall((ROOT / f"sql/{file}.sql").read_text())]
    assert {symbol for _, _, symbol in found} == set(code)
    wrong = [f"sql/{file}.sql has {name}(), which is in src/{code[symbol]}.rs" for file, name, symbol in found
             if name not in ELSEWHERE and file.split("/")[0] != code[symbol].split("/")[0]]
    assert not wrong, "\n".join(wrong)
