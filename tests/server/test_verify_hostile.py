"""Rows that no writer can have made, inserted with the triggers off to stop verification or the server: whatever they
hold, they are reported in their place, everything else is still checked, and the log goes on."""

import re

import psycopg
import pytest
from psycopg import sql

import helpers_log as h
from helpers_log import Break, Log, TARGETS, add_event, check_breaks, hole, python_format

PLACE = ("acme", 0, 2)
TAIL = ("acme", 0, 3)
MEBIBYTE = 2 ** 20
GREATEST = 2 ** 63 - 1
# What one call may take from the machine, whatever the rows are. It counts the shared buffers that the call touches.
MOST_MEMORY = 200 * MEBIBYTE


class Server:
    """Notices whether the server, or the session's process, has been replaced."""

    QUERY = "SELECT pg_postmaster_start_time(), pg_backend_pid()"

    def __init__(self, conn):
        self.conn = conn
        self.was = conn.execute(self.QUERY).fetchone()

    def check(self):
        assert self.conn.execute(self.QUERY).fetchone() == self.was


def bounded(db):
    """A session in which a call that goes on and on, or fills the disk, fails."""
    session = db.connect()
    session.execute("SET statement_timeout = '60s'")
    session.execute("SET temp_file_limit = '1GB'")
    return session


class PeakMemory:
    """The most memory that the server process of a connection has had so far, in bytes, as it says itself."""

    def __init__(self, conn):
        self.conn = conn
        self.peak = None
        conn.add_notice_handler(self.notice)
        conn.execute("SET client_min_messages = log")

    def notice(self, diagnostic):
        if found := re.search(r"(\d+) kB max resident size", diagnostic.message_detail or ""):
            self.peak = int(found[1]) * 1024

    def read(self):
        with self.conn.cursor() as cursor:
            cursor.execute("SET log_statement_stats = on")
            cursor.execute("SELECT 1")
            cursor.execute("SET log_statement_stats = off")
        return self.peak


@pytest.fixture
def log(db):
    for number in range(3):
        add_event(db.conn, "acme", f"a{number}")
    for number in range(2):
        add_event(db.conn, "globex", f"g{number}", targets=TARGETS)
    h.drop_checks(db.conn)
    check_breaks(db.conn)
    return Log(db.conn)


def store(conn, column, text, place=PLACE):
    """Puts the text of a value into a column of one event."""
    with h.behind_triggers(conn):
        changed = conn.execute(
            sql.SQL("UPDATE immutable.events SET {} = %s WHERE tenant_id = %s AND lane = %s AND seq = %s").format(
                sql.Identifier(column)), [text, *place])
    assert changed.rowcount == 1


def check_that_all_goes_on(db, expected):
    """Other tenants, and the same lane behind the row, take events; verification finds what it found before."""
    session = db.connect()
    for tenant_id in ("globex", "initech", "acme"):
        add_event(session, tenant_id, f"later-{tenant_id}", targets=TARGETS)
    assert sorted(h.verify_breaks(db.conn), key=h._order) == sorted(expected, key=h._order)
    for call in ("immutable.get_events(tenant_id => 'acme')", "immutable.heads()",
                 "immutable.find_events(tenant_id => 'acme')"):
        try:
            db.conn.execute(f"SELECT count(*) FROM {call}")
        except psycopg.Error as error:
            # Of what is nested deeper than any event, as of damage: named, and no other event's.
            assert not error.sqlstate.startswith("XX") or (
                error.sqlstate == "XX001" and "find_events" in call and 'tenant "acme", lane 0, seq 2' in error.diag.message_detail), error


def check_hostile(db, *expected, most_memory=MOST_MEMORY):
    """Exactly these breaks, in every call; neither server nor session ends; no call takes more memory than it may."""
    session = bounded(db)
    server = Server(session)
    memory = PeakMemory(session)
    before = memory.read()
    check_breaks(session, *expected)
    assert memory.read() - before < most_memory
    check_that_all_goes_on(db, expected)
    server.check()


def stored_hash(row):
    return Break("hash_mismatch", *h.at(row), None, h.plain(row["event_hash"]))


def canonical(conn, place=PLACE):
    return conn.execute("SELECT immutable.canonical(e) FROM immutable.events e "
                        "WHERE tenant_id = %s AND lane = %s AND seq = %s", place).fetchone()[0]


def deep(levels, opening, closing):
    return opening * levels + "1" + closing * levels


def texts(number, of="x"):
    return "[" + ",".join(f'"{of}{n}"' for n in range(number)) + "]"


def members(number, value):
    return "{" + ",".join(f'"k{n}":{value}' for n in range(number)) + "}"


def array(element, number):
    return "[" + ",".join([element] * number) + "]"


HEX = "ab" * 32
# name: column, text of the value, how many target_mismatch and erasure_mismatch come with it
WITHOUT_DOCUMENT = {
    "metadata: objects in objects": ("metadata", lambda: deep(5000, '{"a":', "}"), 0, 0),
    "metadata: arrays in arrays": ("metadata", lambda: '{"a":%s}' % deep(5000, "[", "]"), 0, 0),
    "metadata: 65 levels": ("metadata", lambda: deep(65, '{"a":', "}"), 0, 0),
    "metadata: array": ("metadata", lambda: "[{}]", 0, 0),
    "metadata: text": ("metadata", lambda: '"x"', 0, 0),
    "metadata: number": ("metadata", lambda: "1e131000", 0, 0),
    "metadata: null": ("metadata", lambda: "null", 0, 0),
    "metadata: 200,000 keys": ("metadata", lambda: members(200_000, "1"), 0, 0),
    "metadata: 1,001 keys": ("metadata", lambda: members(1001, "1"), 0, 0),
    "metadata: 16 MiB of text": ("metadata", lambda: '{"a":"%s"}' % ("x" * 16 * MEBIBYTE), 0, 0),
    "metadata: a key of 16 MiB": ("metadata", lambda: '{"%s":1}' % ("x" * 16 * MEBIBYTE), 0, 0),
    "metadata: a great number": ("metadata", lambda: '{"a":1e131000}', 0, 0),
    "metadata: 10,000 great numbers": ("metadata", lambda: '{"a":%s}' % array("1e131000", 10_000), 0, 0),
    "metadata: a million empty arrays": ("metadata", lambda: '{"a":%s}' % array("[]", 1_000_000), 0, 0),
    "targets: object": ("targets", lambda: '{"type":"a"}', 0, 0),
    "targets: object like an event's": ("targets", lambda: '{"0":{"type":"a"}}', 0, 0),
    "targets: text": ("targets", lambda: '"x"', 0, 0),
    "targets: null": ("targets", lambda: "null", 0, 0),
    "targets: 200,000": ("targets", lambda: array('{"type":"a"}', 200_000), 0, 0),
    "targets: 200,000 numbers": ("targets", lambda: array("1", 200_000), 0, 0),
    "targets: 1,001": ("targets", lambda: array('{"type":"a"}', 1001), 0, 0),
    "targets: 1,000 nulls": ("targets", lambda: array("null", 1000), 1000, 0),
    "targets: arrays in arrays": ("targets", lambda: deep(5000, "[", "]"), 0, 0),
    "targets: objects in a target": (
        "targets", lambda: '[{"type":"a","metadata":%s}]' % deep(5000, '{"a":', "}"), 0, 0),
    "targets: a great number": ("targets", lambda: '[{"type":"a","metadata":{"a":1e131000}}]', 1, 0),
    # Printed, they would be 1.3 GB, and each of them 131 MB.
    "targets: 10 of 1,000 great numbers": (
        "targets", lambda: array('{"type":"a","metadata":{"a":%s}}' % array("1e131000", 1000), 10), 10, 0),
    "targets: type of 16 MiB": ("targets", lambda: '[{"type":"%s"}]' % ("x" * 16 * MEBIBYTE), 1, 0),
    "targets: id of 16 MiB": ("targets", lambda: '[{"type":"a","id":"%s"}]' % ("x" * 16 * MEBIBYTE), 1, 0),
    "targets: type is an object": ("targets", lambda: '[{"type":{"type":"a"}}]', 1, 0),
    "erased: null": ("erased", lambda: "null", 0, 0),
    "erased: number": ("erased", lambda: "1e131000", 0, 0),
    "erased: text": ("erased", lambda: '"x"', 0, 0),
    "erased: array": ("erased", lambda: "[]", 0, 0),
    "erased: empty": ("erased", lambda: "{}", 0, 0),
    "erased: nothing in it": ("erased", lambda: '{"commitments":{},"salts":{}}', 0, 0),
    "erased: commitments are an array": ("erased", lambda: '{"commitments":["%s"],"salts":{}}' % HEX, 0, 0),
    "erased: commitments are a text": ("erased", lambda: '{"commitments":"%s","salts":{}}' % HEX, 0, 0),
    "erased: salts are an array": ("erased", lambda: '{"commitments":{"actor_id":"%s"},"salts":[]}' % HEX, 0, 1),
    "erased: objects in objects": ("erased", lambda: deep(5000, '{"commitments":', "}"), 0, 0),
    "erased: arrays in arrays": ("erased", lambda: '{"commitments":{"metadata":%s}}' % deep(5000, "[", "]"), 0, 0),
    "erased: arrays in targets": (
        "erased", lambda: '{"commitments":{"targets":%s},"salts":{}}' % deep(5000, "[", "]"), 0, 0),
    "erased: 200,000 numbers": ("erased", lambda: '{"commitments":%s,"salts":{}}' % members(200_000, "1"), 0, 0),
    "erased: 200,000 salts": (
        "erased", lambda: '{"commitments":{"actor_id":"%s"},"salts":%s}' % (HEX, members(200_000, '"x"')), 0, 1),
    "erased: 16 MiB as a commitment": (
        "erased", lambda: '{"commitments":{"actor_id":"%s"},"salts":{}}' % ("x" * 16 * MEBIBYTE), 0, 1),
    "erased: 2^64 as a position": (
        "erased", lambda: '{"commitments":{"targets":{"18446744073709551616":"%s"}},"salts":{}}' % HEX, 0, 1),
    "erased: a great number as a position": (
        "erased", lambda: '{"commitments":{"targets":{"%s":"%s"}},"salts":{}}' % ("9" * 100_000, HEX), 0, 1),
    "occurred_at: infinity": ("occurred_at", lambda: "infinity", 0, 0),
    "occurred_at: -infinity": ("occurred_at", lambda: "-infinity", 0, 0),
    "occurred_at: 4713 BC": ("occurred_at", lambda: "4713-11-24 00:00:00+00 BC", 0, 0),
    "occurred_at: 294276": ("occurred_at", lambda: "294276-12-31 23:59:59.999999+00", 0, 0),
    "occurred_at: a microsecond before the year 1": (
        "occurred_at", lambda: "0001-12-31 23:59:59.999999+00 BC", 0, 0),
    "occurred_at: year 10000": ("occurred_at", lambda: "10000-01-01 00:00:00+00", 0, 0),
    "created_at: infinity": ("created_at", lambda: "infinity", 0, 0),
    "created_at: -infinity": ("created_at", lambda: "-infinity", 0, 0),
    "created_at: 4713 BC": ("created_at", lambda: "4713-11-24 00:00:00+00 BC", 0, 0),
    "salt: empty": ("salt", lambda: "", 0, 0),
    "salt: 15 bytes": ("salt", lambda: "\\x" + "00" * 15, 0, 0),
    "salt: 17 bytes": ("salt", lambda: "\\x" + "00" * 17, 0, 0),
    "salt: 4 MiB": ("salt", lambda: "\\x" + "00" * 4 * MEBIBYTE, 0, 0),
    "idempotency_key: 150,000 bytes": ("idempotency_key", lambda: "x" * 150_000, 0, 0),
}
for _column in ("actor_id", "actor_name", "actor_type", "action", "action_category", "resource_type", "resource_id",
                "resource_name", "session_id", "ip_country", "ip_city", "user_agent", "recorded_by"):
    WITHOUT_DOCUMENT[f"{_column}: 8 MiB"] = (_column, lambda: "x" * 8 * MEBIBYTE, 0, 0)
    WITHOUT_DOCUMENT[f"{_column}: a byte too many"] = (_column, lambda: "é" * 32768 + "x", 0, 0)


@pytest.mark.parametrize("name", WITHOUT_DOCUMENT)
def test_row_without_a_document(db, log, name):
    column, text, targets, erasures = WITHOUT_DOCUMENT[name]
    if column == "erased":
        store(db.conn, "salt", None)
    if "8 MiB" in name:
        # No index would take it; whoever writes behind the triggers' back drops what is in the way.
        for index, in db.conn.execute(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'immutable.events'::regclass "
                "AND NOT indisunique").fetchall():
            db.conn.execute(f"DROP INDEX {index}")
    store(db.conn, column, text())
    assert canonical(db.conn) is None
    row = log[PLACE]
    expected = [stored_hash(row)] + [h.target_mismatch(row)] * targets
    if erasures:
        actual = None if "16 MiB" in name else HEX
        expected += [h.erased_unrecorded(row, actual)] * erasures
    check_hostile(db, *expected)


WITH_DOCUMENT = {
    "a small number": ("metadata", lambda: '{"a":1e-16383}'),
    "many digits": ("metadata", lambda: '{"a":1e60000}'),
    "64 levels": ("metadata", lambda: deep(64, '{"a":', "}")),
    "1,000 keys": ("metadata", lambda: members(1000, "1")),
    "65,536 bytes": ("actor_name", lambda: "é" * 32768),
    "no text": ("action", lambda: ""),
    "no actor": ("actor_id", lambda: ""),
    "first microsecond": ("occurred_at", lambda: "0001-01-01 00:00:00+00"),
    "last microsecond": ("occurred_at", lambda: "9999-12-31 23:59:59.999999+00"),
    "far future": ("created_at", lambda: "9999-12-31 23:59:59.999999+00"),
}


@pytest.mark.parametrize("name", WITH_DOCUMENT)
def test_row_at_the_limits(db, log, name):
    column, text = WITH_DOCUMENT[name]
    store(db.conn, column, text())
    now = Log(db.conn)[PLACE]
    assert python_format.event_hash(now) is not None
    assert canonical(db.conn) == python_format.document(now)
    check_hostile(db, h.hash_mismatch(now))


def test_thousand_targets_of_the_largest_size(db, log):
    """All bounds at once: the most a row can hold and still have a document. That is 65 MB of targets, which are held
    as they are stored, as they are detoasted, and as canonical text."""
    target = '{"type":"a","metadata":{"a":"%s"}}' % ("x" * 65_000)
    store(db.conn, "targets", array(target, 1000))
    now = Log(db.conn)[PLACE]
    assert python_format.event_hash(now) is not None
    check_hostile(db, h.hash_mismatch(now), *[h.target_mismatch(now)] * 1000, most_memory=2 * MOST_MEMORY)


@pytest.mark.parametrize("levels", [1_000_000, 100_000, 50_000, 20_000, 10_000])
@pytest.mark.parametrize("opening, closing", [('{"a":', "}"), ("[", "]")])
def test_the_deepest_jsonb_value(db, log, levels, opening, closing):
    """What jsonb takes is up to max_stack_depth, which may be raised as far as the system's own limit goes."""
    for depth in ("7MB", "3MB", "2MB"):
        try:
            db.conn.execute("SELECT set_config('max_stack_depth', %s, false)", [depth])
            break
        except psycopg.errors.InvalidParameterValue:
            continue
    text = '{"a":%s}' % deep(levels, opening, closing)
    try:
        store(db.conn, "metadata", text)
    except psycopg.errors.StatementTooComplex:
        check_breaks(db.conn)
    else:
        assert canonical(db.conn) is None
        check_hostile(db, stored_hash(log[PLACE]))


def test_more_breaks_than_are_listed(db, log):
    store(db.conn, "salt", None)
    store(db.conn, "erased", '{"commitments":{"metadata":%s},"salts":{}}' % texts(50_000))
    session = bounded(db)
    server = Server(session)
    memory = PeakMemory(session)
    before = memory.read()
    row = log[PLACE]
    listed = h.verify_breaks(session)
    assert listed[0] == stored_hash(row)
    assert listed[1:] == [Break("erasure_mismatch", *h.at(row))] * 50_000
    chain = h.verify_chain(session)
    assert (chain["valid"], chain["breaks_found"]) == (False, 50_001)
    assert chain["breaks"] == listed[:1000]
    assert not h.verify(session)["valid"]
    assert memory.read() - before < MOST_MEMORY
    check_that_all_goes_on(db, listed)
    server.check()


def test_many_hostile_rows(db, log):
    """The memory for one of them is freed before the next. Together they are half as large again as what a call may take."""
    for number in range(75):
        add_event(db.conn, "acme", f"m{number}")
    for seq in range(4, 79):
        store(db.conn, "metadata", '{"a":"%s"}' % ("x" * 4 * MEBIBYTE), ("acme", 0, seq))
    now = db.conn.execute("SELECT seq, id::text, encode(event_hash, 'hex') FROM immutable.events "
                          "WHERE tenant_id = 'acme' AND seq > 3").fetchall()
    rows = [Break("hash_mismatch", "acme", 0, seq, event_id, None, stored) for seq, event_id, stored in now]
    assert len(rows) == 75
    check_hostile(db, *rows)


# ---------------------------------------------------------------------------------------------------------------------
# Positions and hashes

@pytest.mark.parametrize("lane", [-1, -32768, 32767])
def test_strange_lane(db, log, lane):
    store(db.conn, "lane", str(lane))
    now = Log(db.conn)["acme", lane, 2]
    assert (python_format.event_hash(now) is None) == (lane < 0)
    check_hostile(db, hole(log[TAIL], 2), hole(now, 1), h.hash_mismatch(now))


@pytest.mark.parametrize("seq", [0, -1, -2 ** 63])
def test_seq_below_one(db, log, seq):
    store(db.conn, "seq", str(seq))
    now = Log(db.conn)["acme", 0, seq]
    check_hostile(db, stored_hash(now), h.chain_break(now, None), hole(log[TAIL], 2))


def test_lane_begins_below_one(db, log):
    for seq in range(1, 4):
        store(db.conn, "seq", str(seq - 10), ("acme", 0, seq))
    now = Log(db.conn)
    session = bounded(db)
    server = Server(session)
    check_breaks(session, *(stored_hash(now["acme", 0, seq]) for seq in (-9, -8, -7)),
                 *(h.chain_break(now["acme", 0, seq], None) for seq in (-9, -8, -7)))
    server.check()


def greatest_seq(db, log):
    """The lane's last row has the last number there is."""
    store(db.conn, "seq", str(GREATEST), TAIL)
    now = Log(db.conn)["acme", 0, GREATEST]
    assert python_format.event_hash(now) is not None
    return now, [hole(now, 3), h.hash_mismatch(now)]


def test_largest_seq(db, log):
    _, expected = greatest_seq(db, log)
    session = bounded(db)
    server = Server(session)
    check_breaks(session, *expected)
    server.check()


@pytest.mark.parametrize("child", [False, True])
def test_another_row_at_the_largest_seq(db, log, child):
    """The number after it cannot be computed."""
    now, expected = greatest_seq(db, log)
    table = "immutable.events"
    forged = {**now, "id": "22222222-2222-4222-8222-222222222222", "idempotency_key": None}
    if child:
        table = "public.smuggled"
        db.unguard()
        db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.events)")
    else:
        db.unguard()
        db.conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_lane_seq_key")
    h.insert_row(db.conn, forged, table)
    found = h.verify_breaks(db.conn)
    assert len([one for one in found if one.type == "hash_mismatch"]) == 2
    assert [(one.seq, one.expected) for one in found if one.type == "chain_break"] == [
        (GREATEST, h.plain(now["event_hash"]))]
    assert [one for one in found if one.type == "missing_event"] == expected[:1]


@pytest.mark.parametrize("same_session", [True, False])
def test_no_number_is_left(db, log, same_session):
    """After the last number there is an error that says so, and every other chain continues."""
    session = db.connect()
    if same_session:
        add_event(session, "acme", "before")
        place = ("acme", 0, 4)
    else:
        place = TAIL
    store(db.conn, "seq", str(GREATEST), place)
    server = Server(session)
    with pytest.raises(psycopg.Error) as raised:
        add_event(session, "acme", "after")
    assert raised.value.sqlstate in ("22003", "54000", "55000"), raised.value
    assert "seq" in str(raised.value)
    add_event(session, "globex", "after")
    add_event(session, "initech", "after")
    server.check()
    assert {found.tenant_id for found in h.verify_breaks(db.conn)} == {"acme"}


@pytest.mark.parametrize("created_at", ["infinity", "294276-12-31 23:59:59.999999+00",
                                        "9999-12-31 23:59:59.999999+00"])
def test_no_time_is_left(db, log, created_at):
    """An event is later than the one before it. After the last time there is an error that says so."""
    store(db.conn, "created_at", created_at, TAIL)
    session = bounded(db)
    server = Server(session)
    with pytest.raises(psycopg.Error) as raised:
        add_event(session, "acme", "after")
    assert raised.value.sqlstate in ("22008", "54000", "55000"), raised.value
    assert "created_at" in str(raised.value) or "time" in str(raised.value)
    add_event(session, "globex", "after")
    server.check()
    row = Log(db.conn)[TAIL]
    check_breaks(db.conn, h.hash_mismatch(row))


@pytest.mark.parametrize("created_at", ["-infinity", "4713-11-24 00:00:00+00 BC", "9999-12-31 23:59:59+00"])
def test_time_of_the_tail(db, log, created_at):
    store(db.conn, "created_at", created_at, TAIL)
    row = Log(db.conn)[TAIL]
    check_hostile(db, h.hash_mismatch(row))


@pytest.mark.parametrize("column", ["event_hash", "previous_event_hash"])
@pytest.mark.parametrize("digits", ["", "ab" * 31, "ab" * 33, "ab" * MEBIBYTE], ids=["0", "31", "33", "1 MiB"])
def test_hash_of_another_length(db, log, column, digits):
    store(db.conn, column, "\\x" + digits)
    now = {**log[PLACE], column: "\\x" + digits}
    if column == "event_hash":
        expected = [Break("hash_mismatch", *h.at(now), log.hash(*PLACE), digits), h.chain_break(log[TAIL], digits)]
    else:
        expected = [stored_hash(now), h.chain_break(now, log.hash("acme", 0, 1))]
        assert canonical(db.conn) is None
    check_hostile(db, *expected)


@pytest.mark.parametrize("digits", ["", "ab" * 31, "ab" * 33], ids=["0", "31", "33"])
def test_tail_with_a_hash_of_another_length(db, log, digits):
    """The lane is broken there already; an event appended to it must be broken too, or be refused, and can still be checked."""
    store(db.conn, "event_hash", "\\x" + digits, TAIL)
    server = Server(db.conn)
    broken = Break("hash_mismatch", *h.at(log[TAIL]), log.hash(*TAIL), digits)
    check_breaks(db.conn, broken)
    add_event(db.connect(), "acme", "after")
    after = Log(db.conn)["acme", 0, 4]
    assert python_format.event_hash(after) == h.plain(after["event_hash"])
    check_breaks(db.conn, broken, h.chain_break(after, digits))
    server.check()


def test_tenant_with_a_long_name(db, log):
    """As long as the index allows: repeated letters take little space in it."""
    name = "x" * 150_000
    store(db.conn, "tenant_id", name)
    now = Log(db.conn)[name, 0, 2]
    check_hostile(db, hole(log[TAIL], 2), hole(now, 1), stored_hash(now))
    saved = h.heads(db.conn)
    check_breaks(db.conn, hole(log[TAIL], 2), hole(now, 1), stored_hash(now), heads=saved)


@pytest.mark.parametrize("column", ["action", "targets", "metadata", "occurred_at", "created_at", "recorded_by"])
def test_null_in_a_mandatory_column(db, log, column):
    db.unguard()
    db.conn.execute(f"ALTER TABLE immutable.events ALTER {column} DROP NOT NULL")
    store(db.conn, column, None)
    assert canonical(db.conn) is None
    check_hostile(db, stored_hash(log[PLACE]))


@pytest.mark.parametrize("column", ["id", "tenant_id", "lane", "seq"])
def test_null_in_a_key(db, log, column):
    """Such a row has no position, so the test asserts none."""
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_pkey CASCADE")
    db.unguard()
    db.conn.execute(f"ALTER TABLE immutable.events ALTER {column} DROP NOT NULL")
    store(db.conn, column, None)
    session = bounded(db)
    server = Server(session)
    found = h.verify_breaks(session)
    assert [(one.expected, one.actual) for one in found if one.type == "hash_mismatch"] == [(None, log.hash(*PLACE))]
    assert [one for one in found if one.type != "hash_mismatch" and one.tenant_id == "globex"] == []
    if column != "id":
        assert hole(log[TAIL], 2) in found
    assert h.verify_chain(session)["breaks"] == found
    server.check()


# ---------------------------------------------------------------------------------------------------------------------
# event_targets

@pytest.mark.parametrize("column, text", [
    ("target_type", lambda: "x" * 150_000),
    ("target_id", lambda: "x" * 150_000),
    ("target_name", lambda: "x" * 16 * MEBIBYTE),
    ("target_metadata", lambda: deep(5000, '{"a":', "}")),
    ("target_metadata", lambda: '{"a":%s}' % deep(5000, "[", "]")),
    ("target_metadata", lambda: '{"a":%s}' % array("1e131000", 100)),
    ("target_metadata", lambda: members(200_000, "1")),
    ("target_metadata", lambda: "null"),
    ("created_at", lambda: "infinity"),
    ("created_at", lambda: "-infinity"),
])
def test_hostile_target(db, log, column, text):
    row = log["globex", 0, 1]
    with h.behind_triggers(db.conn):
        changed = db.conn.execute(f"UPDATE immutable.event_targets SET {column} = %s WHERE event_id = %s "
                                  "AND position = 0", [text(), row["id"]])
    assert changed.rowcount == 1
    check_hostile(db, h.target_mismatch(row))


def test_many_hostile_targets(db, log):
    """200,000 rows that belong to no event."""
    with h.behind_triggers(db.conn):
        db.conn.execute(
            "INSERT INTO immutable.event_targets (tenant_id, event_id, position, target_type, created_at) "
            "SELECT 'acme', '22222222-2222-4222-8222-222222222222', p, 'user', now() "
            "FROM generate_series(-32768, 32767) p")
    session = bounded(db)
    server = Server(session)
    memory = PeakMemory(session)
    before = memory.read()
    chain = h.verify_chain(session)
    assert chain["breaks_found"] == 65_536
    assert len(chain["breaks"]) == 1000
    assert memory.read() - before < MOST_MEMORY
    server.check()


@pytest.mark.parametrize("text", [
    lambda row: deep(5000, "[", "]"),
    lambda row: '{"type":"immutable.event","id":"x"}',
    lambda row: array('{"type":"immutable.event"}', 200_000),
    lambda row: '[{"type":"immutable.event","id":"%s","metadata":{"commitments":%s}}]' % (
        "x" * MEBIBYTE, texts(50_000)),
    lambda row: '[{"type":"immutable.event","id":"%s","metadata":{"commitments":%s}}]' % (row["id"], texts(200_000)),
    lambda row: '[{"type":"immutable.event","id":{"a":%s},"metadata":{"commitments":%s}}]' % (
        array("1e131000", 1000), texts(10_000)),
    lambda row: '[{"type":"immutable.event","id":"%s","metadata":{"commitments":%s}}]' % (
        row["id"], deep(5000, "[", "]")),
], ids=["arrays in arrays", "object", "200,000 targets", "an id of 1 MiB, 50,000 times", "200,000 commitments",
        "great numbers as id", "commitments in arrays in arrays"])
def test_hostile_record_of_an_erasure(db, log, text):
    """A row that claims to be the record of an erasure is read whichever events are verified."""
    row = log[PLACE]
    store(db.conn, "action", "immutable.event_erased")
    store(db.conn, "targets", text(row))
    session = bounded(db)
    server = Server(session)
    memory = PeakMemory(session)
    before = memory.read()
    found = h.verify_breaks(session)
    assert [one for one in found if one.type == "hash_mismatch"] == [h.hash_mismatch(Log(db.conn)[PLACE])]
    assert {one.type for one in found} <= {"hash_mismatch", "target_mismatch", "erasure_mismatch"}
    assert {one.event_id for one in found} == {row["id"]}
    check_breaks(session, tenant_id="globex")
    assert memory.read() - before < MOST_MEMORY
    server.check()
