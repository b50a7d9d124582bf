"""The second implementation of the format, in tests/python, reads rows straight from a running server and agrees with
the extension on every document and hash."""

import collections
import datetime
import hashlib
import json
import pathlib

import psycopg
import pytest
from psycopg import sql

import helpers_log as h
from conftest import Database
from helpers_log import COLUMNS, Log, python_format
from helpers_random import Random, payload, stored_json, stored_targets

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors"
SEED = 20260315
EVENTS = 2000
ERASURES = 400


def documents(conn, table="immutable.events", where="true"):
    """{id: (the server's document, whether core PostgreSQL finds the stored hash in it)}"""
    rows = conn.execute(
        "SELECT e.id::text, immutable.canonical(e), "
        "sha256(convert_to(immutable.canonical(e), 'UTF8')) IS NOT DISTINCT FROM e.event_hash "
        f"FROM {table} e WHERE {where}").fetchall()
    return {event_id: (document, equal) for event_id, document, equal in rows}


def check_agreement(conn):
    """Checks every row with both implementations, and returns the log."""
    log = Log(conn)
    server = documents(conn)
    assert len(server) == len(log.rows)
    for row in log.rows:
        document, equal = server[row["id"]]
        assert document == python_format.document(row)
        assert hashlib.sha256(document.encode()).hexdigest() == h.plain(row["event_hash"])
        assert equal
    assert python_format.verify(log.rows) == []
    return log


def insert(conn, events):
    """One statement for all."""
    names = list(events[0])
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(names)))
    conn.execute(
        sql.SQL("INSERT INTO immutable.events ({}) VALUES {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join([row] * len(events))),
        [value for event in events for value in event.values()])


def insert_each(conn, events):
    """As callers do: NULL values are left out."""
    for event in events:
        given = {name: value for name, value in event.items() if value is not None}
        insert(conn, [given])


def copy(conn, events):
    columns = sql.SQL(", ").join(map(sql.Identifier, events[0]))
    with conn.cursor().copy(sql.SQL("COPY immutable.events ({}) FROM STDIN").format(columns)) as writing:
        for event in events:
            writing.write_row(event.values())


def track(conn, events):
    for event in events:
        answer, = conn.execute("SELECT immutable.track(%s::jsonb)", [payload(event)]).fetchone()
        assert answer["status"] == "recorded"


def track_batch(conn, events):
    answer, = conn.execute("SELECT immutable.track_batch(%s::jsonb)",
                           ["[" + ",".join(map(payload, events)) + "]"]).fetchone()
    assert [event["status"] for event in answer["events"]] == ["recorded"] * len(events), answer


@pytest.fixture(scope="module")
def filled(server):
    """A database with random events, and {marker of the event: what was given}."""
    database = Database(server)
    conn = database.conn
    conn.execute("SET timezone = 'UTC'")
    rng = Random(SEED)
    given = {}
    number = 0
    while number < EVENTS:
        write = rng.choice((insert, insert_each, copy, track, track_batch))
        events = []
        for _ in range(rng.choice((1, 5, 20, 50))):
            event = rng.event(number)
            # Shows which row was made from it, whatever else it contains.
            event["session_id"] = f"{number} {event['session_id'] or ''}"
            given[event["session_id"]] = event
            events.append(event)
            number += 1
        write(conn, events)
    yield database, given
    database.close()


def test_random_events(filled):
    """The documents and hashes of all of them, and the chains."""
    database, given = filled
    log = check_agreement(database.conn)
    assert len(log.rows) == len(given) >= EVENTS
    assert len({row["tenant_id"] for row in log.rows}) > 5
    h.check_breaks(database.conn)


def test_random_events_are_stored_as_given(filled):
    database, given = filled
    log = Log(database.conn)
    # What inet_out prints, which is not what the cast to text does.
    addresses = dict(database.conn.execute(
        "SELECT a, to_json(a::inet) #>> '{}' FROM unnest(%s::text[]) a",
        [[event["ip_address"] for event in given.values() if event["ip_address"]]]).fetchall())
    for row in log.rows:
        event = given[row["session_id"]]
        for column, value in event.items():
            stored = row[column]
            if column == "metadata":
                assert stored == stored_json(python_format.parse(value))
            elif column == "targets":
                assert stored == stored_targets(value)
            elif column == "version":
                assert stored == (None if value is None else str(value))
            elif column == "occurred_at":
                if value is None:
                    assert stored == row["created_at"]
                else:
                    # fromisoformat() takes three or six digits of a fraction alone, and no Z
                    head, _, fraction = stored.removesuffix("+00:00").partition(".")
                    assert datetime.datetime.fromisoformat(head + "." + fraction.ljust(6, "0")) == \
                        datetime.datetime.fromisoformat(value.removesuffix("Z"))
            elif column == "ip_address":
                assert stored == (None if value is None else addresses[value])
            else:
                assert stored == value


def test_event_targets_are_as_given(filled):
    database, given = filled
    rows = database.conn.execute(
        "SELECT e.session_id, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata::text "
        "FROM immutable.event_targets t JOIN immutable.events e ON e.tenant_id = t.tenant_id AND e.id = t.event_id "
        "ORDER BY e.session_id, t.position").fetchall()
    stored = collections.defaultdict(list)
    for session_id, position, *target in rows:
        assert position == len(stored[session_id])
        stored[session_id].append(tuple(target[:3]) + (target[3] and python_format.parse(target[3]),))
    for session_id, event in given.items():
        assert stored[session_id] == [tuple(target.get(member) for member in ("type", "id", "name", "metadata"))
                                      for target in stored_targets(event["targets"])]


# ---------------------------------------------------------------------------------------------------------------------
# Erasure

ERASABLE = (*python_format.ERASABLE, "targets", "metadata", "salt", "erased")


def store(conn, row, erased):
    """With the triggers on: they accept a valid erasure and nothing else."""
    names = sql.SQL(", ").join(map(sql.Identifier, ERASABLE))
    changed = conn.execute(
        sql.SQL("UPDATE immutable.events e SET ({}) = (SELECT {} FROM json_populate_record(NULL::immutable.events, "
                "%s::json)) WHERE e.tenant_id = %s AND e.id = %s").format(names, names),
        [python_format.canonical(h.text_form(erased), max_depth=None), row["tenant_id"], row["id"]])
    assert changed.rowcount == 1


def spoil(rng, row, erased):
    """The name of one mistake, and an erasure that makes it; None if it is not possible here."""
    commitments, salts = erased["erased"]["commitments"], erased["erased"]["salts"]

    def with_(column, value):
        return {**erased, "erased": {**erased["erased"], column: value}}

    def flip(text):
        return text[:-1] + ("0" if text[-1] != "0" else "1")

    column = next((name for name in python_format.ERASABLE if name in commitments), None)
    path = rng.choice(sorted(salts)) if salts else None
    mistakes = {"more members": {**erased, "erased": {**erased["erased"], "why": "x"}},
                "nothing erased": {**row, "salt": None, "erased": {"commitments": {}, "salts": salts}},
                "the salt stays": {**erased, "salt": row["salt"]} if row["salt"] is not None else None,
                "a salt too many": with_("salts", {**salts, "metadata.\u0001 nothing": "00" * 16})}
    if path is not None:
        mistakes["a salt too few"] = with_("salts", {key: salt for key, salt in salts.items() if key != path})
        mistakes["another salt"] = with_("salts", {**salts, path: flip(salts[path])})
        mistakes["a salt in capitals"] = with_("salts", {**salts, path: "AB" * 16})
    if column is not None:
        mistakes["another commitment"] = with_("commitments", {**commitments, column: flip(commitments[column])})
        mistakes["a commitment less"] = with_(
            "commitments", {name: hash_ for name, hash_ in commitments.items() if name != column})
        mistakes["the value stays"] = {**erased, column: row[column] or "198.51.100.1"}
    if commitments.get("metadata"):
        mistakes["another metadata commitment"] = with_(
            "commitments", {**commitments, "metadata": [flip(hash_) for hash_ in commitments["metadata"]]})
        mistakes["a metadata value stays"] = {**erased, "metadata": row["metadata"]}
    if commitments.get("targets"):
        mistakes["a target stays"] = {**erased, "targets": row["targets"]}
        mistakes["a position beyond"] = with_(
            "commitments", {**commitments, "targets": {**commitments["targets"], "1000": "00" * 32}})
    mistakes["another value"] = {**erased, "metadata": {**erased["metadata"], "\u0001 new": "x"}}
    name = rng.choice([name for name, spoiled in mistakes.items() if spoiled is not None and spoiled != erased])
    return name, mistakes[name]


def test_random_erasures(filled):
    """The UPDATE trigger accepts what Python's erase() makes, and refuses it slightly spoiled; hashes stay as they are."""
    database, _ = filled
    conn = database.conn
    rng = Random(SEED + 1)
    before = Log(conn)
    tried = collections.Counter()
    for number in range(ERASURES):
        row = rng.choice(before.rows)
        now = Log(conn, f"(SELECT * FROM immutable.events WHERE id = '{row['id']}')").rows[0]
        paths = sorted(python_format.commitments(now))
        if not paths:
            continue
        chosen = paths if rng.random() < 0.1 else rng.sample(paths, rng.randint(1, min(4, len(paths))))
        erased = python_format.erase(now, chosen)
        assert python_format.event_hash(erased) == h.plain(row["event_hash"])
        mistake, spoiled = spoil(rng, now, erased)
        tried[mistake] += 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            store(conn, row, spoiled)
            pytest.fail(f"the trigger took an erasure with this mistake: {mistake}")
        store(conn, row, erased)
        for path in chosen:
            if path.startswith("targets."):
                conn.execute(
                    "UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL "
                    "WHERE tenant_id = %s AND event_id = %s AND position = %s",
                    [row["tenant_id"], row["id"], int(path.removeprefix("targets."))])
    assert len(tried) >= 14, tried
    after = check_agreement(conn)
    for row in before.rows:
        now = after[row["tenant_id"], int(row["lane"]), int(row["seq"])]
        assert now["event_hash"] == row["event_hash"]
        if now["erased"] is not None:
            assert documents(conn, where=f"e.id = '{row['id']}'")[row["id"]] == (python_format.document(row), True)
    erased_rows = [row for row in after.rows if row["erased"] is not None]
    assert len(erased_rows) > ERASURES // 2
    # None of them is recorded, and that is all that is wrong.
    breaks = h.verify_breaks(conn)
    assert {found.type for found in breaks} == {"erasure_mismatch"}
    assert {found.event_id for found in breaks} == {row["id"] for row in erased_rows}


def test_erasing_all_at_once_or_one_after_the_other(db):
    """Both give the same row."""
    rng = Random(SEED + 2)
    for number in range(20):
        insert(db.conn, [rng.event(number)])
    for row in Log(db.conn).rows:
        paths = sorted(python_format.commitments(row))
        whole = python_format.erase(row, paths)
        step = row
        for path in rng.sample(paths, len(paths)):
            step = python_format.erase(step, [path])
            store(db.conn, row, step)
        now = Log(db.conn)[row["tenant_id"], int(row["lane"]), int(row["seq"])]
        assert now["erased"] == whole["erased"]
        assert now == {**step, "xact": row["xact"]}
    check_agreement(db.conn)


# ---------------------------------------------------------------------------------------------------------------------
# What the server refuses

@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%1", "1.2.3", "1.2.3.4/33", "::1/129", "[::1]", "", "::g"])
def test_invalid_address(db, address):
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        db.conn.execute("SELECT immutable.track(jsonb_build_object('actor_id', 'a', 'action', 'b', "
                        "'ip_address', %s::text))", [address])
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        db.conn.execute("INSERT INTO immutable.events (actor_id, action, ip_address) VALUES ('a', 'b', %s)", [address])
    assert Log(db.conn).rows == []


@pytest.mark.parametrize("time", ["0001-12-31 23:59:59.999999+00 BC", "10000-01-01 00:00:00+00", "infinity",
                                  "-infinity", "9999-12-31 23:59:59.999999-01", "0001-01-01 00:00:00+01"])
def test_time_outside_the_allowed_years(db, time):
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        db.conn.execute("INSERT INTO immutable.events (actor_id, action, occurred_at) VALUES ('a', 'b', %s)", [time])
    assert Log(db.conn).rows == []


# ---------------------------------------------------------------------------------------------------------------------
# Vectors, and the bounds of the format

def read_vectors(name):
    return json.loads((VECTORS / f"{name}.json").read_text("ascii"))


@pytest.fixture
def loose(db):
    """A table like events without any constraint."""
    db.conn.execute("CREATE TABLE public.loose AS SELECT * FROM immutable.events WITH NO DATA")
    return db


def load(conn, row, table="public.loose"):
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    conn.execute(
        sql.SQL("INSERT INTO {} ({}, xact) SELECT {}, '1' FROM json_populate_record(NULL::immutable.events, %s::json)")
        .format(sql.SQL(table), names, names), [row])


def loose_document(conn, row):
    conn.execute("TRUNCATE public.loose")
    load(conn, row)
    (document, hash_), = conn.execute(
        "SELECT immutable.canonical(l), encode(sha256(convert_to(immutable.canonical(l), 'UTF8')), 'hex') "
        "FROM public.loose l").fetchall()
    return document, hash_


def test_event_vectors(loose):
    vectors = read_vectors("events")
    assert len(vectors) >= 200
    wrong = {}
    for vector in vectors:
        document, hash_ = loose_document(loose.conn, vector["row"])
        if document != vector["document"] or (document is not None and hash_ != vector["event_hash"]):
            wrong[vector["name"]] = document
    assert wrong == {}


def test_event_vectors_are_rows_that_the_table_takes(loose):
    """Those that have a document, as a restore would bring them."""
    conn = loose.connect()
    for vector in read_vectors("events"):
        if vector["document"] is not None:
            with conn.transaction(force_rollback=True):
                conn.execute("SET LOCAL session_replication_role = replica")
                load(conn, vector["row"], "immutable.events")
                (document, equal), = documents(conn).values()
                assert document == vector["document"], vector["name"]
                assert equal, vector["name"]


def test_erasure_vectors(loose):
    for vector in read_vectors("erasure"):
        if "error" not in vector:
            for row in (vector["row"], vector["erased_row"]):
                assert loose_document(loose.conn, row) == (vector["document"], vector["event_hash"]), vector["name"]


def test_erasure_vectors_through_the_trigger(db):
    conn = db.conn
    tried = 0
    for vector in read_vectors("erasure"):
        row = python_format.read_row(vector["row"])
        if "error" in vector:
            continue
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL session_replication_role = replica")
            load(conn, vector["row"], "immutable.events")
            conn.execute("SET LOCAL session_replication_role = origin")
            store(conn, row, python_format.read_row(vector["erased_row"]))
            assert documents(conn) == {row["id"]: (vector["document"], True)}, vector["name"]
            tried += 1
    assert tried >= 20


def members(number):
    return {f"k{n:04}": python_format.Number(n) for n in range(number)}


BOUNDS = {
    "1,000 metadata keys": ({"metadata": members(1000)}, True),
    "1,001 metadata keys": ({"metadata": members(1001)}, False),
    "a target with 1,001 metadata keys": ({"targets": [{"type": "a", "metadata": members(1001)}]}, True),
    "actor_name of 65,536 bytes": ({"actor_name": "é" * 32768}, True),
    "actor_name of 65,537 bytes": ({"actor_name": "é" * 32768 + "x"}, False),
    "user_agent of 65,537 bytes": ({"user_agent": "x" * 65537}, False),
    "action of 65,536 bytes": ({"action": "x" * 65536}, True),
    "action of 65,537 bytes": ({"action": "x" * 65537}, False),
    "resource_type of 65,537 bytes": ({"resource_type": "x" * 65537}, False),
    "recorded_by of 65,537 bytes": ({"recorded_by": "x" * 65537}, False),
    "tenant_id of 65,537 bytes": ({"tenant_id": "x" * 65537}, False),
    "65,536 letters \\u0001": ({"actor_name": "\u0001" * 65536}, True),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(loose, name):
    """As docs/hash-format.md has them; both implementations keep them."""
    changes, has_document = BOUNDS[name]
    row = {**python_format.read_row(read_vectors("events")[0]["row"]), **changes}
    document, _ = loose_document(loose.conn, python_format.canonical(row, max_depth=None))
    assert (document is not None) == has_document
    assert document == python_format.document(row)
