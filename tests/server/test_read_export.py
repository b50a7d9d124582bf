"""immutable.export_events() from a running server, verified by the program and by the second implementation. Whatever one
of the two finds, counts or refuses, the other does."""

import json
import os
import pathlib
import re
import subprocess

import psycopg
import pytest

import helpers_log as h
from conftest import ROOT, Database
from helpers_log import Log, python_format
from helpers_random import Random
from test_format_agreement import insert
from test_verify_tamper import erase

PROGRAM = os.environ["IMMUTABLE_VERIFY"]
# The exit status for a file without breaks that nothing from outside confirms.
NOT_ANCHORED = 3
EVENTS, ERASURES = 400, 80
PLAIN = "COPY (SELECT immutable.export_events()) TO STDOUT"


def documented():
    """The statement as the auditor's guide has it."""
    found = re.findall(r"COPY \(SELECT immutable\.export_events\(\)\) TO STDOUT WITH \(.*?\)", (ROOT / "docs/verification.md").read_text())
    assert found
    return found[0]


def export(db, path, filters="", user="postgres", statement=None):
    """Lines, as a DBA gets them with psql."""
    statement = statement or documented().replace("export_events()", f"export_events({filters})")
    db.server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db.name, "-U", user, "-o", str(path), "-c", statement)
    return path.read_bytes().splitlines()


def program(path, *arguments):
    done = subprocess.run([PROGRAM, "--json", *map(str, arguments), str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def verify(lines, path, heads=()):
    """The verdict of both, which must agree: (exit status, summary), breaks as in helpers_log. `valid` of the other
    implementation says that there is no break; the program knows besides whether heads confirm an event."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    arguments = []
    if heads:
        saved = path.with_suffix(".heads")
        saved.write_text(json.dumps(heads))
        arguments = ["--heads", saved]
    status, theirs = program(path, *arguments)
    try:
        ours = python_format.check_export([("x", path.open("rb"))], heads)
    except python_format.InputError as refused:
        place = re.match(r"x, line (\d+):", str(refused))
        assert (status, theirs["error"]["line"]) == (2, place and int(place[1])), (str(refused), theirs)
        return 2, theirs
    breaks = [{**found, "expected": found["expected_hash"], "actual": found["actual_hash"]} for found in theirs["breaks"]]
    for found in breaks:
        assert found.pop("detail")
        del found["expected_hash"], found["actual_hash"]
    assert breaks == ours["breaks"]
    assert (theirs["valid"] is not False) == ours["valid"]
    for name, value in ours.items():
        assert name in ("breaks", "valid") or theirs[name] == value, name
    expected = 1 if breaks else 0 if theirs["events_confirmed"] else NOT_ANCHORED
    words = {0: "VALID", 1: "NOT VALID", NOT_ANCHORED: "consistent, not anchored"}
    assert (status, theirs["verdict"]) == (expected, words[expected]) and theirs["breaks_found"] == len(breaks)
    return status, {**theirs, "breaks": [h.Break(found["type"], found["tenant_id"], found["lane"], found["seq"],
                                                 found["event_id"], found["expected"], found["actual"])
                                         for found in breaks]}


def in_order(rows):
    return sorted(rows, key=lambda row: (row["tenant_id"].encode(), int(row["lane"]), int(row["seq"])))


@pytest.fixture(scope="module")
def filled(server):
    database = Database(server)
    rng = Random(20261121)
    for number in range(EVENTS):
        insert(database.conn, [rng.event(number)])
    rows = Log(database.conn).rows
    for row in rng.sample(rows, ERASURES):
        paths = sorted(python_format.commitments(row))
        erase(database, (row["tenant_id"], int(row["lane"]), int(row["seq"])), *rng.sample(paths, min(3, len(paths))))
    h.check_breaks(database.conn)
    yield database
    database.close()


@pytest.fixture
def log(db):
    return h.build_log(db)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "export.ndjson"


# ---------------------------------------------------------------------------------------------------------------------
# The lines of an export

def test_random_events_some_of_them_erased(filled, path):
    """Every line is, byte for byte, what the other implementation makes of the row."""
    lines = export(filled, path)
    rows = in_order(Log(filled.conn).rows)
    assert len(lines) == len(rows) + 2
    for line, row in zip(lines[1:], rows):
        assert line.decode() == python_format.export_line(row)
    status, summary = verify(lines, path)
    whole = h.verify_chain(filled.conn)
    assert status == NOT_ANCHORED and summary["whole"] and summary["erasures_checked"]
    assert summary["events_checked"] == whole["events_checked"] == len(rows)
    assert summary["chains_checked"] == whole["chains_checked"]
    assert summary["links_checked"] == len(rows) - whole["chains_checked"]
    assert summary["values_erased"] >= ERASURES
    assert summary["log_id"] == str(whole["log_id"])
    assert rb"\\" in b"".join(lines) and rb'\"' in b"".join(lines) and rb"\u0001" in b"".join(lines)


def test_copy_of_psql(filled, path):
    expected = export(filled, path)[1:]
    statement = documented().replace("COPY", r"\copy", 1).replace("STDOUT", f"'{path}'")
    filled.server.run("psql", "-X", "-q", "-d", filled.name, "-c", statement)
    assert path.read_bytes().splitlines()[1:] == expected


def test_the_text_format_of_copy_is_not_an_export(filled, path):
    """It doubles backslashes. Both verifiers refuse such a file."""
    status, summary = verify(export(filled, path, statement=PLAIN), path)
    assert status == 2 and summary["error"]["line"] > 1


def test_every_character(db, path):
    """Each character that jsonb can hold, in a key and in a value, and as many odd numbers: the same bytes in both implementations."""
    rng = Random(3)
    letters = [chr(code) for code in range(1, 0x110000) if not 0xd800 <= code < 0xe000]
    rng.shuffle(letters)
    events = []
    for n in range(0, len(letters), 6000):
        portion = letters[n:n + 6000]
        # Few keys of many letters: a key is in the path, which is committed to with the value.
        members = {"".join(portion[k::20]): "".join(portion[k::20][::-1]) for k in range(20)}
        metadata = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members.items())
        numbers = ",".join(rng.number() for _ in range(100))
        events.append({"tenant_id": "every", "actor_id": "a", "action": "b",
                       "metadata": f'{{{metadata}}}', "targets": f'[{{"type":"n","metadata":{{"n":[{numbers}]}}}}]'})
    for event in events:
        insert(db.conn, [event])
    lines = export(db, path)
    rows = in_order(Log(db.conn).rows)
    assert len(rows) == len(events) > 180
    assert set("".join(text for row in rows for pair in row["metadata"].items() for text in pair)) == set(letters)
    for line, row in zip(lines[1:], rows):
        assert line.decode() == python_format.export_line(row)
    assert verify(lines, path)[0] == NOT_ANCHORED


FILTERS = {
    "tenant_id => 'acme'": ("whole", lambda row: row["tenant_id"] == "acme"),
    "tenant_id => ''": ("whole", lambda row: row["tenant_id"] == ""),
    "tenant_id => 'nobody'": ("whole", lambda row: False),
    "from_date => '-infinity'": ("range", lambda row: True),
    "to_date => '1999-01-01'": ("range", lambda row: False),
    "action => '*e*'": ("gaps", lambda row: "e" in row["action"]),
    "target_type => 'user'": ("gaps", lambda row: any(target["type"] == "user" for target in row["targets"])),
    "tenant_id => 'acme', action => '*', from_date => '2000-01-01'": ("gaps", lambda row: row["tenant_id"] == "acme"),
}


@pytest.mark.parametrize("filters", FILTERS)
def test_filters(filled, path, filters):
    lanes, passes = FILTERS[filters]
    lines = export(filled, path, filters)
    rows = [row for row in in_order(Log(filled.conn).rows) if passes(row)]
    assert [line.decode() for line in lines[1:-1]] == [python_format.export_line(row) for row in rows]
    header = json.loads(lines[0])
    assert header["lanes"] == lanes
    assert set(header["filters"]) == set(re.findall(r"(\w+) =>", filters))
    status, summary = verify(lines, path)
    assert status == NOT_ANCHORED
    assert summary["links_checked"] + summary["gaps"] >= len(rows) - summary["chains_checked"]


def test_a_range_of_every_lane(db, log, path):
    """A range may begin and end anywhere in each lane; every link inside it is checked."""
    times = sorted(row["created_at"] for row in log.rows)
    lines = export(db, path, f"from_date => '{times[4]}', to_date => '{times[-4]}'")
    status, summary = verify(lines, path)
    assert status == NOT_ANCHORED and summary["events_checked"] == len(times) - 7
    assert summary["gaps"] and summary["links_checked"]
    for n in range(2, len(lines) - 2):
        place, after = (json.loads(line)["document"] for line in lines[n:n + 2])
        before = json.loads(lines[n - 1])["document"]
        if (before["tenant_id"], before["lane"]) == (place["tenant_id"], place["lane"]) == (after["tenant_id"], after["lane"]):
            status, summary = verify(lines[:n] + lines[n + 1:-1] + [recounted(lines, -1)], path)
            assert status == 1 and [found.type for found in summary["breaks"]] == ["missing_event"]
            assert summary["breaks"][0].seq == place["seq"]


def test_all_values_but_those_of_one_event_can_be_hidden(db, path):
    """With the command of the auditor's guide. The rest verifies, against heads too; the log's own events stay whole."""
    for number in range(14):
        h.add_event(db.conn, "acme", f'said "disclosures":[] {number}')
    for number in (3, 4):
        event, = db.conn.execute("SELECT id FROM immutable.events WHERE seq = %s", [number]).fetchone()
        db.conn.execute("SELECT immutable.erase(%s, 'acme', '{actor_id}', 'a test')", [event])
    lines = export(db, path, "tenant_id => 'acme', to_date => now()")
    assert len(lines) == 18
    command, = re.findall(r"^    (sed .*) range.ndjson > shown.ndjson$", (ROOT / "docs/verification.md").read_text(), re.M)
    shown = subprocess.run(["sh", "-c", f"{command} {path}"], stdout=subprocess.PIPE, check=True).stdout.splitlines()
    whole = [number for number, (left, was) in enumerate(zip(shown, lines), start=1) if left == was]
    assert whole == [1, 12, 16, 17, 18]
    status, summary = verify(shown, path, h.heads(db.conn))
    assert status == 0 and summary["heads_checked"] == 1 and not summary["whole"] and summary["events_confirmed"] == 16


def test_a_range_is_held_to_the_heads_saved_before_it(db, log, path):
    """It carries the hash of the head, which anybody can know, so that the head does not confirm it."""
    heads = h.heads(db.conn)
    after, = db.conn.execute("SELECT clock_timestamp()::text").fetchone()
    h.add_event(db.conn, "acme", "new")
    lines = export(db, path, f"from_date => '{after}'")
    status, summary = verify(lines, path, heads)
    assert status == NOT_ANCHORED and summary["heads_checked"] == 1 and summary["links_checked"] == 1
    for head in heads:
        head["event_hash"] = "\\x" + "00" * 32
    status, summary = verify(lines, path, heads)
    assert [found.type for found in summary["breaks"]] == ["chain_break"]


# What clients are set to, what the README's command makes of it, and what is none of the client's encoding.
ENCODINGS = ["UTF8", "SQL_ASCII", "LATIN1", "WIN1252", "WIN1251", "KOI8R", "EUC_JP", "SJIS", "GBK", "BIG5"]
TEXTS = ["Zo\u00eb M\u00fcller", "\u5c71\u7530", "\U0001f600 \\u00eb \\\\", "\u00c3\u00a9", "\u0420\u00b0\u0420\u00b1", "\u2028\u0001\n\t\"", "\x7f\x80\uffff"]


@pytest.fixture(scope="module")
def written(server):
    database = Database(server)
    for text in TEXTS:
        insert(database.conn, [{"tenant_id": text[:9], "actor_id": "a", "action": "b", "actor_name": text,
                                "metadata": json.dumps({text: [text, {text: text}]}),
                                "targets": json.dumps([{"type": "t", "name": text}])}])
    yield database
    database.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_client_encoding(written, path, encoding):
    """The file verifies, with the command of the README and with others; the values are the same."""
    expected = export(written, path)[1:]
    assert not any(line.isascii() for line in expected[:-1])
    for statement in (documented(), documented().replace("WITH (", "WITH (ENCODING 'UTF8', ").replace(", ENCODING 'UTF8')", ")"),
                      documented().replace(", ENCODING 'UTF8'", ""), documented().replace("COPY", r"\copy").replace("STDOUT", f"'{path}'")):
        path.unlink(missing_ok=True)
        written.server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", f"dbname={written.name} client_encoding={encoding}",
                           *([] if statement.startswith("\\") else ["-o", str(path)]), "-c", statement)
        lines = path.read_bytes().splitlines()
        status, summary = verify(lines, path)
        assert (status, summary["events_checked"]) == (NOT_ANCHORED, len(TEXTS)), statement
        header = json.loads(lines[0])
        if encoding in ("UTF8", "SQL_ASCII"):
            assert lines[1:] == expected and "escaped" not in header
        else:
            assert header["escaped"] is True and all(line.isascii() for line in lines)
            assert [python_format.restored_line(line.decode()).encode() for line in lines[1:]] == expected
            # The shell's handling of text cannot harm it, and a changed line is found.
            changed = [line.replace(rb"\u00eb", rb"\u00ea") for line in lines]
            assert changed != lines and verify(changed, path)[0] == 1


def test_a_login_whose_encoding_is_set(written, path):
    auditor = written.create_role()
    written.conn.execute(f"GRANT immutable_auditor TO {auditor}; ALTER ROLE {auditor} SET client_encoding = 'WIN1252'")
    assert verify(export(written, path, user=auditor), path)[0] == NOT_ANCHORED
    lines = export(written, path, "tenant_id => U&'Zo\\00eb M\\00fcl'", user=auditor)
    status, summary = verify(lines, path)
    assert (status, summary["whole"]) == (NOT_ANCHORED, True)
    conn = written.connect(auditor, autocommit=False)
    with conn, conn.cursor("held", withhold=True) as held:
        held.execute("SELECT immutable.export_events()")
        first = held.fetchmany(3)
        conn.commit()
        assert verify([line.encode() for line, in [*first, *held.fetchall()]], path)[0] == NOT_ANCHORED


def test_a_recoded_file_is_refused(written, path):
    """Both verifiers refuse it by name."""
    whole = b"".join(line + b"\n" for line in export(written, path))
    text = whole.decode()
    for name, spoilt, words in [("mark", b"\xef\xbb\xbf" + whole, "byte order mark"), ("utf-16", text.encode("utf-16"), "UTF-16"),
                                ("le", text.encode("utf-16-le"), "UTF-16"), ("be", text.encode("utf-16-be"), "UTF-16"),
                                ("latin 1", text.encode("latin-1", "replace"), "not UTF-8"),
                                ("crlf", whole.replace(b"\n", b"\r\n"), "CR LF"), ("empty", whole + b"\n", "an empty line")]:
        path.write_bytes(spoilt)
        status, summary = program(path)
        assert status == 2 and words in summary["error"]["message"] and summary["error"]["hint"], name
        with pytest.raises(python_format.InputError, match=words):
            python_format.check_export([("x", path.open("rb"))])


def test_an_empty_log(db, path):
    lines = export(db, path)
    assert json.loads(lines[0])["log_id"] is None and len(lines) == 2
    assert verify(lines, path)[0] == NOT_ANCHORED


def test_memory_does_not_grow_with_the_export(db):
    """Lines of 60 MB in all, through a backend that keeps a small part of it."""
    conn = db.connect()
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) "
                 "SELECT 't' || i % 7, 'a', 'b', jsonb_build_object('x', repeat(md5(i::text), 1800)) "
                 "FROM generate_series(1, 1000) i")
    conn = db.connect()

    def memory():
        status = pathlib.Path(f"/proc/{conn.info.backend_pid}/status").read_text()
        anonymous, = re.findall(r"RssAnon:\s+(\d+) kB", status)
        return int(anonymous) << 10

    most = read = 0
    with conn.cursor().copy(documented()) as lines:
        for number, chunk in enumerate(lines):
            read += len(chunk)
            if number % 50 == 0:
                most = max(most, memory())
                if number == 0:
                    before = most
    assert read > 55 << 20
    assert most - before < 12 << 20


# ---------------------------------------------------------------------------------------------------------------------
# Who may export

def test_only_an_auditor_may_export(db, log, path):
    auditor, writer, nobody = db.create_role(), db.create_role(), db.create_role()
    db.conn.execute(f"GRANT immutable_auditor TO {auditor}")
    db.conn.execute(f"GRANT immutable_writer TO {writer}")
    assert verify(export(db, path, user=auditor), path)[1]["events_checked"] == 16
    for role in (writer, nobody):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.connect(role).execute("SELECT immutable.export_events()")


def test_row_security_of_the_caller_applies(db, log, path):
    reader = db.create_role()
    db.unguard()
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {reader}; GRANT SELECT ON immutable.events, immutable.log TO {reader}; "
                    f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable TO {reader}; "
                    f"CREATE POLICY reader ON immutable.events FOR SELECT TO {reader} USING (tenant_id = 'globex'); "
                    f"CREATE POLICY reader ON immutable.log FOR SELECT TO {reader} USING (true)")
    lines = export(db, path, user=reader)
    assert {json.loads(line)["document"]["tenant_id"] for line in lines[1:-1]} == {"globex"}
    assert verify(lines, path)[0] == NOT_ANCHORED
    db.conn.execute("DROP POLICY reader ON immutable.events; DROP POLICY reader ON immutable.log")
    db.conn.execute(f"DROP OWNED BY {reader}")


# ---------------------------------------------------------------------------------------------------------------------
# Tampering in the database

def server_finds(conn):
    """The server's breaks that are in the events themselves."""
    return sorted((found for found in h.verify_breaks(conn) if found.type != "target_mismatch"), key=h._order)


CHANGES = [
    {"actor_id": "somebody else"}, {"actor_name": None}, {"action": "document.read"}, {"metadata": {"reason": "none"}},
    {"targets": [{"type": "user"}]}, {"salt": bytes(16)}, {"event_hash": bytes(32)}, {"previous_event_hash": bytes(32)},
    {"occurred_at": "2000-01-01T00:00:00Z"}, {"created_at": "infinity"}, {"ip_address": None}, {"recorded_by": "me"},
    {"lane": 9}, {"seq": 99}, {"tenant_id": "other"}, {"log_id": "00000000-0000-4000-8000-000000000000"},
    {"metadata": {"deep": json.loads("[" * 70 + "]" * 70)}}, {"targets": [1]}, {"actor_name": "x" * 70000},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
@pytest.mark.parametrize("place", [("acme", 0, 1), ("acme", 0, 3), ("acme", 1, 4)])
def test_a_changed_row(db, log, path, place, change):
    """The export shows what the server's own verification shows."""
    h.drop_checks(db.conn)
    h.update(db.conn, place, **change)
    status, summary = verify(export(db, path), path)
    assert status == 1
    assert sorted(summary["breaks"], key=h._order) == server_finds(db.conn)


@pytest.mark.parametrize("places", [[("acme", 0, 1)], [("acme", 0, 3), ("acme", 0, 4)], [("globex", 0, 2)],
                                    [("acme", 1, 1), ("acme", 1, 3)]])
def test_removed_rows(db, log, path, places):
    heads = h.heads(db.conn)
    h.delete(db.conn, *places)
    status, summary = verify(export(db, path), path, heads)
    assert status == 1 and summary["heads_checked"] == 4
    assert sorted(summary["breaks"], key=h._order) == server_finds(db.conn)


def test_the_end_of_a_lane_removed(db, log, path):
    """Only saved heads show it."""
    heads = h.heads(db.conn)
    h.delete(db.conn, ("acme", 0, 6), ("acme", 0, 5))
    lines = export(db, path)
    assert verify(lines, path)[0] == NOT_ANCHORED
    status, summary = verify(lines, path, heads)
    assert summary["breaks"] == [h.head_gone(log["acme", 0, 6])]


def test_a_lane_forked_in_a_child_table(db, log, path):
    db.unguard()
    db.conn.execute("CREATE TABLE public.child () INHERITS (immutable.events)")
    row = log["acme", 0, 4]
    h.insert_row(db.conn, h.forge(row, id="00000000-0000-4000-8000-000000000001", actor_id="x"), "public.child")
    status, summary = verify(export(db, path), path)
    # The order of the two depends on the table.
    assert status == 1 and {found.type for found in summary["breaks"]} == {"chain_break"}


def test_erasures(db, log, path):
    place = ("acme", 0, 3)
    erase(db, place, "actor_id", "actor_name", "metadata.reason", "targets.0")
    status, summary = verify(export(db, path), path)
    assert (status, summary["values_erased"]) == (NOT_ANCHORED, 4)
    _, _, commitments = erase(db, ("acme", 1, 2), "ip_address", recorded=False)
    status, summary = verify(export(db, path), path)
    assert summary["breaks"] == [h.erased_unrecorded(log["acme", 1, 2], commitments["ip_address"])] == server_finds(db.conn)


def test_an_erased_value_put_back(db, log, path):
    place = ("acme", 0, 3)
    before, _, commitments = erase(db, place, "actor_name")
    h.update(db.conn, place, actor_name=before["actor_name"], salt=bytes.fromhex(before["salt"][2:]), erased=None)
    status, summary = verify(export(db, path), path)
    assert summary["breaks"] == [h.erased_is_back(before, commitments["actor_name"])._replace(lane=None, seq=None)]
    assert [found.type for found in server_finds(db.conn)] == ["erasure_mismatch"]


# ---------------------------------------------------------------------------------------------------------------------
# Tampering with the file

def recounted(lines, by):
    """The end line, counting so many events more."""
    end = json.loads(lines[-1])
    return lines[-1].replace(b'"events":%d' % end["events"], b'"events":%d' % (end["events"] + by))


@pytest.fixture
def lines(db, path):
    h.build_log(db)
    erase(db, ("acme", 0, 3), "actor_name", "metadata.reason", "targets.1")
    return export(db, path)


def test_lines_removed_duplicated_and_swapped(lines, path):
    assert verify(lines, path)[0] == NOT_ANCHORED
    for n in range(len(lines)):
        assert verify(lines[:n] + lines[n + 1:], path)[0] > 0, f"line {n} removed"
        assert verify(lines[:n] + lines[n:n + 1] + lines[n:], path)[0] > 0, f"line {n} twice"
        if n:
            assert verify(lines[:n - 1] + [lines[n], lines[n - 1]] + lines[n + 1:], path)[0] > 0, f"line {n} moved up"


def test_lines_from_another_export(db, lines, path, server):
    other = Database(server)
    try:
        h.build_log(other)
        others = export(other, path)
    finally:
        other.close()
    for n in range(1, len(others) - 1):
        assert verify(lines[:n] + [others[n]] + lines[n + 1:], path)[0] > 0, f"line {n} replaced"
    # Valid by itself, but not of the log that the heads belong to.
    assert verify(others, path)[0] == NOT_ANCHORED
    assert verify(others, path, h.heads(db.conn))[0] == 1
    assert verify(lines + others, path)[0] == 2


def test_cut_off_anywhere(lines, path):
    rng = Random(1)
    whole = b"\n".join(lines)
    for at in [0, 1, len(lines[0]), len(lines[0]) + 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(40))]:
        status, summary = verify(whole[:at].splitlines() or [], path)
        assert status == 2, at


def test_random_changes_of_bytes(lines, path):
    """Only in lines of events: nothing can check the time in a header."""
    rng = Random(2)
    for _ in range(250):
        n = rng.randrange(1, len(lines) - 1)
        line = bytearray(lines[n])
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(line))
            kind = rng.randrange(4)
            if kind == 0:
                line[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                line[at] = rng.choice(b'0123456789abcdef"\\,:[]{} ')
            elif kind == 2:
                del line[at]
            else:
                line[at:at] = rng.choice((b"0", b'"', b",", b" ", b"\\", b"\xff", b"[", b"1e9", b"\xc3\xa4"))
        if bytes(line) != lines[n] and b"\n" not in line and b"\r" not in line:
            assert verify(lines[:n] + [bytes(line)] + lines[n + 1:], path)[0] > 0, bytes(line)
